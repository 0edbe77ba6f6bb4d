use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};

use super::LoginError;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::Renderer;
use crate::middleware::route_rejection::{RouteError as _, RouteState};
use crate::session::{LoadedSession, RecentLogin, RequestSession, Sessions};
use crate::util::return_to::ReturnTo;
use crate::util::telemetry;

/// The common state of this module's routes.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) sessions: Sessions,
    pub(crate) renderer: Renderer<RouteRejection<LoginError>>,
}

impl RouteState for Route {
    type Error = LoginError;

    fn renderer(&self) -> &Renderer<RouteRejection<LoginError>> {
        &self.renderer
    }
}

impl Route {
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
        let mut login = self.sessions.with_return_to(self.sessions.login_path(), return_to);
        if error == LoginError::LoginDenied {
            // Otherwise the environment would log the same user in again without interaction.
            login.push(if login.contains('?') { '&' } else { '?' });
            login.push_str("prompt=login");
        }
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

    /// Returns the session, or the error with its `Set-Cookie` values.
    pub(super) fn active(
        &self,
        loaded: LoadedSession,
        headers: &HeaderMap,
    ) -> Result<RequestSession, (LoginError, Vec<HeaderValue>)> {
        let sessions = &self.sessions;
        match loaded {
            LoadedSession::Active(request) | LoadedSession::RefreshDue(request) => Ok(request),
            LoadedSession::Missing => Err((LoginError::MissingSession, Vec::new())),
            LoadedSession::Invalid { clear } => {
                Err((LoginError::MissingSession, sessions.removals(clear, headers)))
            }
            LoadedSession::Unavailable | LoadedSession::Loading(_) => {
                Err((LoginError::Unavailable, Vec::new()))
            }
            LoadedSession::RefreshUnavailable(due) => {
                Err((LoginError::Unavailable, sessions.record_rejected_use(&due)))
            }
        }
    }
}
