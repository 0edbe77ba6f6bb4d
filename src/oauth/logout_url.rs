use std::fmt;

use url::Url;

use crate::scalekit::Scalekit;
use crate::secret::SecretString;

/// The ID token of a login, which identifies the session to end at the environment. An app with
/// sessions of its own stores it until the logout.
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
    /// Returns the ID token. Do not log it.
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

/// Parameters of a request to the environment's logout endpoint (`/oidc/logout`), all optional.
#[derive(Clone, Default)]
#[must_use]
pub struct LogoutRequest {
    id_token_hint: Option<IdTokenHint>,
    post_logout_redirect_uri: Option<String>,
    state: Option<String>,
}

impl LogoutRequest {
    /// Creates a logout without parameters: the environment's own cookie identifies the session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the ID token of the session to end. It may have expired.
    pub fn id_token_hint(mut self, id_token: impl Into<IdTokenHint>) -> Self {
        self.id_token_hint = Some(id_token.into());
        self
    }

    /// Sets where the browser is redirected afterwards; must be registered in the dashboard.
    pub fn post_logout_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.post_logout_redirect_uri = Some(uri.into());
        self
    }

    /// Sets text that is returned unchanged.
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = Some(state.into());
        self
    }
}

// Manual impl: the state may be confidential.
impl fmt::Debug for LogoutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogoutRequest")
            .field("post_logout_redirect_uri", &self.post_logout_redirect_uri)
            .finish_non_exhaustive()
    }
}

impl Scalekit {
    /// The URL to redirect the browser to in order to log out. Sends no request.
    ///
    /// It works once, and only as a navigation of the browser: a `fetch` does not send the
    /// environment's cookie. It may contain an ID token: do not log it.
    #[doc(alias("getLogoutUrl", "get_logout_url"))]
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
    fn unset_parameters_are_omitted() {
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
