use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};

use super::LoginError;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::Renderer;
use crate::middleware::route_rejection::{RouteError as _, RouteState};
use crate::session::{LoadedSession, RecentLogin, Sessions, UsableSession};
use crate::util::return_to::ReturnTo;
use crate::util::telemetry;

/// The state that all routes of this module have.
#[derive(Clone, Debug)]
pub(crate) struct LoginRouteState {
    pub(crate) sessions: Sessions,
    pub(crate) renderer: Renderer<RouteRejection<LoginError>>,
}

impl RouteState for LoginRouteState {
    type Error = LoginError;

    fn renderer(&self) -> &Renderer<RouteRejection<LoginError>> {
        &self.renderer
    }
}

impl LoginRouteState {
    pub(crate) fn new(sessions: &Sessions) -> Self {
        Self { sessions: sessions.clone(), renderer: Renderer::default() }
    }

    /// Returns the response to a login that failed.
    pub(crate) fn reject_login(
        &self,
        error: LoginError,
        request: &Request<()>,
        return_to: Option<&ReturnTo>,
        set_cookies: impl IntoIterator<Item = HeaderValue>,
    ) -> Response<Bytes> {
        telemetry::login_failed(error.code(), error.detail().as_deref());
        self.reject(error, request, return_to, set_cookies)
    }

    /// Returns the response to a request that failed. Its page links to a login that returns to
    /// `return_to`.
    pub(crate) fn reject(
        &self,
        error: LoginError,
        request: &Request<()>,
        return_to: Option<&ReturnTo>,
        set_cookies: impl IntoIterator<Item = HeaderValue>,
    ) -> Response<Bytes> {
        // Without a prompt, the environment would repeat the login of a user who was denied, without
        // interaction.
        let login = self.sessions.login_target(return_to, error == LoginError::LoginDenied);
        let recent = match error {
            LoginError::SessionCookieLost { .. } | LoginError::RedirectLoop => {
                RecentLogin::removals(&self.sessions, request.headers())
            }
            _ => Vec::new(),
        };
        let rejection = RouteRejection::new(error, login, request.headers())
            .set_cookies(set_cookies)
            .set_cookies(recent);
        self.renderer.render(rejection, request)
    }

    /// Returns the session of a request, which may be due for a refresh.
    pub(super) fn require_session(
        &self,
        loaded: LoadedSession,
        headers: &HeaderMap,
    ) -> Result<UsableSession, RouteFailure> {
        match loaded {
            LoadedSession::Active(session) | LoadedSession::RefreshDue(session) => Ok(session),
            LoadedSession::Missing => Err(LoginError::MissingSession.into()),
            LoadedSession::Invalid { clear } => Err(RouteFailure {
                error: LoginError::MissingSession,
                set_cookies: self.sessions.removals(clear, headers),
            }),
            LoadedSession::Unavailable { set_cookies } => {
                Err(RouteFailure { error: LoginError::Unavailable, set_cookies })
            }
        }
    }
}

/// An error, and the `Set-Cookie` values of its response.
pub(super) struct RouteFailure {
    pub(super) error: LoginError,
    pub(super) set_cookies: Vec<HeaderValue>,
}

impl From<LoginError> for RouteFailure {
    fn from(error: LoginError) -> Self {
        Self { error, set_cookies: Vec::new() }
    }
}
