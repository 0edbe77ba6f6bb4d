//! The settings of a sandbox.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Sandbox;
use super::environment::{Environment, Settings};
use super::state::State;
use crate::clock::ManualClock;

/// Settings of a [`Sandbox`]. Returned by [`Sandbox::builder`].
///
/// ```
/// use std::time::Duration;
/// use tower_scalekit::sandbox::Sandbox;
///
/// let sandbox = Sandbox::builder()
///     .environment_url("https://globex.scalekit.test/")
///     .redirect_uri("https://app.example.com/auth/callback")
///     .access_token_lifetime(Duration::from_secs(60))
///     .build();
/// assert_eq!(sandbox.environment_url(), "https://globex.scalekit.test");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SandboxBuilder {
    access_token_lifetime: Option<Duration>,
    clock: Option<ManualClock>,
    environment_url: String,
    initiate_login_url: Option<String>,
    post_logout_redirect_uris: BTreeSet<String>,
    redirect_uris: BTreeSet<String>,
    settings: Settings,
}

impl SandboxBuilder {
    /// Sets the lifetime of access tokens, in whole seconds. Default: 300 s, and 900 s with
    /// [`modular_sso`](Self::modular_sso).
    pub fn access_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_token_lifetime = Some(lifetime);
        self
    }

    /// Sets the clock of the environment. Default: [`ManualClock::running`].
    pub fn clock(mut self, clock: ManualClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets the URL of the environment. Default: `https://acme.scalekit.test`; of a served sandbox,
    /// the bound address.
    pub fn environment_url(mut self, url: &str) -> Self {
        url.trim_end_matches('/').clone_into(&mut self.environment_url);
        self
    }

    /// Sets the URL where IdP-initiated logins begin; see
    /// [`Idp::set_initiate_login_url`](super::Idp::set_initiate_login_url).
    pub fn initiate_login_url(mut self, url: &str) -> Self {
        self.initiate_login_url = Some(url.to_owned());
        self
    }

    /// Sets whether `http` redirect URIs on loopback hosts are allowed without being registered, on
    /// any port and path, for login and logout. Default: true, as in a development environment.
    pub fn loopback_redirects(mut self, allowed: bool) -> Self {
        self.settings.loopback_redirects = allowed;
        self
    }

    /// Disables Full-Stack Auth: users only sign in through the connection of their organization,
    /// sign-ins are not remembered, and tokens are those of Modular SSO. The subject is the
    /// connection and the user at its identity provider (`conn_…;…`), the access token does not
    /// contain organization, roles, permissions and session, and there is no refresh token.
    ///
    /// A request that selects no connection shows a page with a field for an e-mail address, whose
    /// domain selects one. Clients of resources are unaffected.
    ///
    /// ```
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// let sandbox = Sandbox::builder().modular_sso().build();
    /// let claims = sandbox.tokens().access_token_draft("john@example.com").claims;
    /// assert!(claims["sub"].as_str().unwrap().starts_with("conn_"));
    /// assert!(!claims.contains_key("roles"));
    /// ```
    pub fn modular_sso(mut self) -> Self {
        self.settings.modular_sso = true;
        self
    }

    /// Allows a post-logout redirect URI, by the rules of [`Sandbox::register_redirect_uri`].
    pub fn post_logout_redirect_uri(mut self, uri: &str) -> Self {
        self.post_logout_redirect_uris.insert(uri.to_owned());
        self
    }

    /// Allows a redirect URI; see [`Sandbox::register_redirect_uri`].
    pub fn redirect_uri(mut self, uri: &str) -> Self {
        self.redirect_uris.insert(uri.to_owned());
        self
    }

    /// Sets how long a refresh token still works after it was exchanged. Default: 30 s. With zero,
    /// the second use of a refresh token revokes all of its successors at once.
    pub fn refresh_grace(mut self, grace: Duration) -> Self {
        self.settings.refresh_grace = grace;
        self
    }

    /// Creates the environment, with its initial data.
    ///
    /// # Panics
    ///
    /// When the operating system provides no random bytes for keys and secrets.
    #[must_use]
    pub fn build(mut self) -> Sandbox {
        let clock = self.clock.unwrap_or_else(ManualClock::running);
        let lifetime = if self.settings.modular_sso { 900 } else { 300 };
        self.settings.access_token_lifetime =
            self.access_token_lifetime.unwrap_or(Duration::from_secs(lifetime));
        let mut state = State::seeded(self.environment_url, clock.clock().now());
        state.redirect_uris = self.redirect_uris;
        state.post_logout_redirect_uris = self.post_logout_redirect_uris;
        state.initiate_login_url = self.initiate_login_url;
        Sandbox { environment: Arc::new(Environment::new(clock, self.settings, state)) }
    }
}

impl Default for SandboxBuilder {
    fn default() -> Self {
        Self {
            access_token_lifetime: None,
            clock: None,
            environment_url: "https://acme.scalekit.test".to_owned(),
            initiate_login_url: None,
            post_logout_redirect_uris: BTreeSet::new(),
            redirect_uris: BTreeSet::new(),
            settings: Settings::default(),
        }
    }
}
