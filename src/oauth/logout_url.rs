use std::fmt;

use url::Url;

use crate::scalekit::Scalekit;
use crate::secret::SecretString;

/// The ID token of a login, which names to the environment the session to end. An app with sessions
/// of its own keeps it there until the logout.
///
/// ```
/// use tower_scalekit::oauth::IdTokenHint;
///
/// let hint = IdTokenHint::from("header.claims.signature".to_owned());
/// assert_eq!(hint.expose(), "header.claims.signature");
/// assert!(!format!("{hint:?}").contains("claims"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdTokenHint(SecretString);

impl IdTokenHint {
    /// The ID token itself. Do not log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl From<SecretString> for IdTokenHint {
    fn from(id_token: SecretString) -> Self {
        Self(id_token)
    }
}

impl From<IdTokenHint> for SecretString {
    fn from(hint: IdTokenHint) -> Self {
        hint.0
    }
}

impl From<String> for IdTokenHint {
    fn from(id_token: String) -> Self {
        Self(id_token.into())
    }
}

/// What to tell the environment's logout endpoint (`/oidc/logout`), all of it optional.
#[derive(Clone, Default)]
#[must_use]
pub struct LogoutRequest {
    id_token_hint: Option<IdTokenHint>,
    post_logout_redirect_uri: Option<String>,
    state: Option<String>,
}

impl LogoutRequest {
    /// A logout that names nothing: the environment's own cookie says whose session it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// The ID token of the session to end. It may have expired.
    pub fn id_token_hint(mut self, id_token: impl Into<IdTokenHint>) -> Self {
        self.id_token_hint = Some(id_token.into());
        self
    }

    /// Where the browser goes afterwards; must be registered in the dashboard.
    pub fn post_logout_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.post_logout_redirect_uri = Some(uri.into());
        self
    }

    /// Text that comes back unchanged.
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = Some(state.into());
        self
    }
}

// By hand: the state is the caller's business.
impl fmt::Debug for LogoutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogoutRequest")
            .field("post_logout_redirect_uri", &self.post_logout_redirect_uri)
            .finish_non_exhaustive()
    }
}

impl Scalekit {
    /// The address to send the browser to in order to log out. Makes no request.
    ///
    /// It works once, and only as a navigation of the browser: a `fetch` does not carry the
    /// environment's cookie. With an ID token in it, it is not to be logged.
    #[must_use]
    pub fn logout_url(&self, request: &LogoutRequest) -> Url {
        let mut url = self.endpoint("/oidc/logout");
        for (name, value) in [
            ("id_token_hint", request.id_token_hint.as_ref().map(IdTokenHint::expose)),
            ("post_logout_redirect_uri", request.post_logout_redirect_uri.as_deref()),
            ("state", request.state.as_deref()),
        ] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::UnreachableClient;

    #[test]
    fn what_is_not_set_is_not_sent() {
        let scalekit = Scalekit::builder("https://acme.test", "skc_1", "hush");
        let scalekit = scalekit.http_client(UnreachableClient).build().unwrap();
        let bare = scalekit.logout_url(&LogoutRequest::new());
        assert_eq!(bare.as_str(), "https://acme.test/oidc/logout");
        let request = LogoutRequest::new()
            .id_token_hint(SecretString::from("h.p.s"))
            .post_logout_redirect_uri("https://app.test/?a=b")
            .state("s");
        assert_eq!(
            scalekit.logout_url(&request).query(),
            Some(
                "id_token_hint=h.p.s&post_logout_redirect_uri=https%3A%2F%2Fapp.test%2F%3Fa%3Db&state=s"
            ),
        );
        assert!(!format!("{request:?}").contains("h.p.s"));
    }
}
