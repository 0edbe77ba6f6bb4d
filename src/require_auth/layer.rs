use tower_layer::Layer;

use super::RequireAuthService;
use crate::require_session::RequireSession;
use crate::require_token::RequireToken;

/// Middleware that requires a session or a bearer token. See the [module
/// docs](crate::require_auth).
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireAuth {
    pub(super) session: RequireSession,
    pub(super) token: RequireToken,
}

impl RequireAuth {
    /// Accepts the credentials that one of these layers accepts. Their settings apply, including
    /// `on_rejection`: each credential has the rejections of its own layer. A credential is required
    /// unless both layers are optional. If only the session's layer requires a recent login
    /// ([`authenticated_within`](RequireSession::authenticated_within)), tokens must meet it, too.
    pub fn new(mut session: RequireSession, mut token: RequireToken) -> Self {
        let settings = token.settings_mut();
        if settings.step_up.max_age.is_none() {
            settings.step_up.max_age = session.authenticated_within;
        }
        // With one of them optional, requests without a credential, or with an invalid session, would
        // be forwarded.
        let is_optional = session.optional && settings.optional;
        session.optional = is_optional;
        settings.optional = is_optional;
        Self { session, token }
    }

    /// Makes both layers optional: requests without a credential, and those of an invalid session,
    /// are forwarded; handlers extract `Option<Principal>`. An invalid bearer token is rejected.
    pub fn optional(self) -> Self {
        Self { session: self.session.optional(), token: self.token.optional() }
    }
}

impl<S> Layer<S> for RequireAuth {
    type Service = RequireAuthService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireAuthService { inner, layer: self.clone() }
    }
}
