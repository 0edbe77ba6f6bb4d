use bytes::Bytes;
use http::{Request, Response, header};

use super::LoginError;
use super::route::{LoginRouteState, RouteFailure};
use super::session_info::info_response;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route::route;
use crate::session::{LoadedSession, RefreshTrigger, SetCookieReason, UsableSession};

/// Refreshes a session's tokens: `POST /auth/refresh`. Returned by
/// [`Sessions::refresh`](crate::Sessions::refresh).
///
/// [`RequireSession`](crate::RequireSession) refreshes tokens that are about to expire. This route
/// is for pages that need changed roles at once, or that keep a session alive. Responds with the JSON
/// of [`SessionInfo`](super::SessionInfo), and the session's cookie if that has changed; with 401
/// when the session has ended; or with 503 when the environment is unavailable.
///
/// A session is refreshed on request at most once in ten seconds: further requests within that
/// time, on any replica, get the same result. A refresh because the token was about to expire does
/// not count.
#[derive(Clone, Debug)]
#[must_use]
pub struct Refresh {
    pub(super) state: LoginRouteState,
}

impl Refresh {
    pub(super) async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        match self.refresh(&request).await {
            Ok(response) => response,
            Err(RouteFailure { error, set_cookies }) => {
                self.state.reject(error, &request, None, set_cookies)
            }
        }
    }

    async fn refresh(&self, request: &Request<()>) -> Result<Response<Bytes>, RouteFailure> {
        LoginError::require_method(request.method(), "POST")?;
        let (sessions, headers) = (&self.state.sessions, request.headers());
        if sessions.is_cross_origin(request) {
            return Err(LoginError::CrossSite.into());
        }
        let found = match sessions.load(headers).wait().await {
            LoadedSession::Active(found) if !found.session.is_refreshable() => {
                sessions.record_use(&found);
                return Ok(self.respond_with(&found).await);
            }
            loaded => self.state.require_session(loaded, headers)?,
        };
        let refreshed = self.state.require_session(
            sessions.refresh_session(found, RefreshTrigger::Requested).await,
            headers,
        )?;
        // Unlike on other routes, old tokens that are still valid are no success here.
        if refreshed.set_cookie_reason != Some(SetCookieReason::Refreshed) {
            return Err(RouteFailure {
                error: LoginError::Unavailable,
                set_cookies: sessions.record_rejected_use(&refreshed).await,
            });
        }
        Ok(self.respond_with(&refreshed).await)
    }

    /// Describes the session, with its cookie if that has changed.
    async fn respond_with(&self, usable: &UsableSession) -> Response<Bytes> {
        let sessions = &self.state.sessions;
        let mut response = info_response(sessions, &usable.session);
        for cookie in sessions.newest_set_cookies(usable).await {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }
}

route!(Refresh.state);
on_rejection!(Refresh, RouteRejection<LoginError>, state.renderer);
