use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::{RequireSessionService, SessionRejection};
use crate::middleware::rejection::{Renderer, on_rejection};
use crate::session::Sessions;
use crate::util::recency::MIN_RECENCY;

/// Middleware that requires a session. See the [module docs](crate::require_session).
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireSession {
    pub(super) sessions: Sessions,
    pub(crate) optional: bool,
    pub(crate) authenticated_within: Option<Duration>,
    /// What routers and proxies remove from the path before this layer.
    pub(super) layer_path: Option<Arc<str>>,
    pub(super) renderer: Renderer<SessionRejection>,
}

impl RequireSession {
    /// Creates a layer that rejects requests without a session.
    pub fn new(sessions: &Sessions) -> Self {
        Self {
            sessions: sessions.clone(),
            optional: false,
            authenticated_within: None,
            layer_path: None,
            renderer: Renderer::default(),
        }
    }

    /// Forwards requests without a session; handlers extract `Option<Session>`. A session that
    /// cannot be refreshed or loaded at the moment is still rejected with 503, and a
    /// [speculative request](crate::guides::responses#speculative-requests) whose session must be
    /// refreshed first is forwarded without it. The cookie of a session that has ended is kept: a login
    /// may replace it before the handler responds.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Requires that the user has authenticated within this time (see
    /// [`Session::authenticated_at`](crate::Session::authenticated_at)), for pages such as those that
    /// change a password. Default: not required. At least a minute: less counts as a minute, because
    /// the clocks of replicas may differ by as much, and a login takes time to return.
    ///
    /// A navigation is redirected to the login with `prompt=login`, and returns. If that login
    /// does not make the authentication recent, the response is 403: there is one such login, not a
    /// loop. Scripts get 401 `insufficient_user_authentication` with a challenge (RFC 9470). See [how
    /// to require a recent login](crate::guides::recent_login).
    pub fn authenticated_within(mut self, duration: Duration) -> Self {
        self.authenticated_within = Some(duration.max(MIN_RECENCY));
        self
    }

    /// Sets the path that is removed from requests before they reach this layer, if it is longer
    /// than the [base path](crate::session::SessionsBuilder::base_path) of the sessions: `/app/area`
    /// for a layer in a router that is nested at `/area`. It has no effect where axum routers remove
    /// it, which is known with feature `axum`. Default: the base path of the sessions.
    pub fn base_path(mut self, path: &str) -> Self {
        self.layer_path = Some(path.trim_end_matches('/').into());
        self
    }
}

on_rejection!(RequireSession, SessionRejection, renderer);

impl<S> Layer<S> for RequireSession {
    type Service = RequireSessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireSessionService { inner, layer: self.clone() }
    }
}
