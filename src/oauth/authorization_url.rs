use std::borrow::Cow;
use std::fmt;

use url::Url;

use super::CodeVerifier;
use crate::scalekit::Scalekit;

/// Parameters of a request to the environment's authorization endpoint (`/oauth/authorize`).
///
/// To choose how the user logs in, the environment uses the first of these that is set: provider,
/// connection, organization, domain, login hint.
#[derive(Clone)]
#[must_use]
pub struct AuthorizationRequest {
    redirect_uri: String,
    scopes: Vec<String>,
    parameters: Vec<(Cow<'static, str>, String)>,
}

/// `offline_access` requests a refresh token.
pub(crate) const DEFAULT_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// Parameters that cannot be set otherwise: the environment would choose one of several values.
const FIXED: [&str; 4] = ["response_type", "client_id", "redirect_uri", "scope"];

impl AuthorizationRequest {
    /// Creates a request that redirects to `redirect_uri`, which must be registered in the
    /// dashboard. Default scopes: `openid profile email offline_access`; the last one requests a
    /// refresh token.
    pub fn new(redirect_uri: impl Into<String>) -> Self {
        Self {
            redirect_uri: redirect_uri.into(),
            scopes: DEFAULT_SCOPES.map(str::to_owned).into(),
            parameters: Vec::new(),
        }
    }

    /// Sets the scopes, replacing the default ones.
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets random text that is returned unchanged; binds the response to this browser.
    pub fn state(self, state: impl Into<String>) -> Self {
        self.parameter("state", state)
    }

    /// Sets random text that the ID token contains.
    pub fn nonce(self, nonce: impl Into<String>) -> Self {
        self.parameter("nonce", nonce)
    }

    /// Binds the code to the holder of the verifier (PKCE, S256).
    pub fn code_challenge(self, verifier: &CodeVerifier) -> Self {
        self.parameter("code_challenge", verifier.challenge())
            .parameter("code_challenge_method", "S256")
    }

    /// Sets the user's e-mail address, whose domain selects the single sign-on connection.
    pub fn login_hint(self, email: impl Into<String>) -> Self {
        self.parameter("login_hint", email)
    }

    /// Sets the e-mail domain whose single sign-on connection is used.
    pub fn domain_hint(self, domain: impl Into<String>) -> Self {
        self.parameter("domain_hint", domain)
    }

    /// Sets the single sign-on connection (`conn_…`).
    pub fn connection_id(self, connection_id: impl Into<String>) -> Self {
        self.parameter("connection_id", connection_id)
    }

    /// Sets the organization to log in to (`org_…`).
    pub fn organization_id(self, organization_id: impl Into<String>) -> Self {
        self.parameter("organization_id", organization_id)
    }

    /// Sets the social provider: `google`, `microsoft`, `github`, `gitlab`, `linkedin` or
    /// `salesforce`.
    pub fn provider(self, provider: impl Into<String>) -> Self {
        self.parameter("provider", provider)
    }

    /// Sets the prompt: `login` requires credentials again, `create` shows the sign-up page,
    /// `select_account` the choice of organizations.
    pub fn prompt(self, prompt: impl Into<String>) -> Self {
        self.parameter("prompt", prompt)
    }

    /// Sets any other parameter, replacing one of the same name. `response_type`, `client_id`,
    /// `redirect_uri` and `scope` cannot be replaced: such a call changes nothing.
    pub fn parameter(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Self {
        let name = name.into();
        if !FIXED.contains(&&*name) {
            self.parameters.retain(|(set, _)| *set != name);
            self.parameters.push((name, value.into()));
        }
        self
    }
}

// Manual impl: the values are state and nonce, invitations and e-mail addresses.
impl fmt::Debug for AuthorizationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parameters.iter().map(|(name, _)| name).collect();
        f.debug_struct("AuthorizationRequest")
            .field("redirect_uri", &self.redirect_uri)
            .field("scopes", &self.scopes)
            .field("parameters", &names)
            .finish()
    }
}

impl Scalekit {
    /// The URL to redirect the browser to. Sends no request.
    #[doc(alias("getAuthorizationUrl", "get_authorization_url"))]
    #[must_use]
    pub fn authorization_url(&self, request: &AuthorizationRequest) -> Url {
        let mut url = self.endpoint("/oauth/authorize");
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", self.client_id())
            .append_pair("redirect_uri", &request.redirect_uri)
            .append_pair("scope", &request.scopes.join(" "));
        for (name, value) in &request.parameters {
            query.append_pair(name, value);
            // The environment's documentation and its SDKs disagree on the name, so both are sent.
            if name == "domain_hint" {
                query.append_pair("domain", value);
            }
        }
        drop(query);
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::UnreachableClient;

    #[test]
    fn every_parameter_is_encoded() {
        let scalekit = Scalekit::builder("https://acme.test/", "skc_1", "hush");
        let scalekit = scalekit.http_client(UnreachableClient).build().unwrap();
        let hostile = "a&b=c d+e%20\"'\r\n#é";
        let request = AuthorizationRequest::new("https://app.test/cb")
            .scopes(["openid", "email"])
            .state("s")
            .nonce("n")
            .login_hint(hostile)
            .domain_hint("acme.test")
            .connection_id("conn_1")
            .organization_id("org_1")
            .provider("google")
            .prompt("login")
            .prompt("create")
            .parameter("redirect_uri", "https://evil.test")
            .parameter("scope", "all");
        let url = scalekit.authorization_url(&request);
        assert!(url.as_str().is_ascii() && !url.as_str().contains(['\r', '\n', '"', ' ']));
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let expected = [
            ("response_type", "code"),
            ("client_id", "skc_1"),
            ("redirect_uri", "https://app.test/cb"),
            ("scope", "openid email"),
            ("state", "s"),
            ("nonce", "n"),
            ("login_hint", hostile),
            ("domain_hint", "acme.test"),
            ("domain", "acme.test"),
            ("connection_id", "conn_1"),
            ("organization_id", "org_1"),
            ("provider", "google"),
            ("prompt", "create"),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(url.path(), "/oauth/authorize");
    }
}
