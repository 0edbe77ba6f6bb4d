use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use super::LoginError;
use super::route::Route;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route::route;
use crate::session::{LoadedSession, RequestSession, SetCookieReason, Trigger};
use crate::util::cache_control::{set_no_store, vary_on_cookie};

/// Refreshes a session's tokens: `POST /auth/refresh`. Returned by
/// [`Sessions::refresh`](crate::Sessions::refresh).
///
/// [`RequireSession`](crate::RequireSession) refreshes tokens that are about to expire. This route
/// is for pages that need changed roles at once, or that keep a session alive. Responds with 204,
/// and the session's cookie if that has changed; with 401 when the session has ended; or with 503
/// when the environment is unavailable.
///
/// A session is refreshed on request at most once in ten seconds: further requests within that
/// time, on any replica, get the same result. A refresh because the token was about to expire does
/// not count.
#[derive(Clone, Debug)]
#[must_use]
pub struct Refresh(pub(super) Route);

impl Refresh {
    pub(super) async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        match self.refresh(&request).await {
            Ok(response) => response,
            Err((error, cookies)) => self.0.reject(error, &request, None, cookies),
        }
    }

    async fn refresh(
        &self,
        request: &Request<()>,
    ) -> Result<Response<Bytes>, (LoginError, Vec<HeaderValue>)> {
        let (sessions, headers) = (&self.0.sessions, request.headers());
        if request.method() != Method::POST {
            return Err(keeping_cookies(LoginError::MethodNotAllowed { allow: "POST" }));
        }
        if sessions.is_cross_site(headers) {
            return Err(keeping_cookies(LoginError::CrossSite));
        }
        let found = match sessions.load_ready(headers).await {
            LoadedSession::Active(found) if !found.session.is_refreshable() => {
                sessions.record_use(&found);
                return Ok(self.no_content(&found).await);
            }
            loaded => self.active(loaded, headers)?,
        };
        let refreshed = sessions.refresh_session(found, Trigger::Requested).await;
        let refreshed = self.active(refreshed, headers)?;
        // Unlike on other routes, old tokens that are still valid are no success here.
        if refreshed.set_cookie != Some(SetCookieReason::Refreshed) {
            return Err((LoginError::Unavailable, sessions.record_rejected_use(&refreshed)));
        }
        Ok(self.no_content(&refreshed).await)
    }

    /// Returns the session, or the error with its `Set-Cookie` values.
    fn active(
        &self,
        loaded: LoadedSession,
        headers: &HeaderMap,
    ) -> Result<RequestSession, (LoginError, Vec<HeaderValue>)> {
        let sessions = &self.0.sessions;
        match loaded {
            LoadedSession::Active(request) | LoadedSession::RefreshDue(request) => Ok(request),
            LoadedSession::Missing => Err(keeping_cookies(LoginError::MissingSession)),
            LoadedSession::Invalid { clear } => {
                Err((LoginError::MissingSession, sessions.removals(clear, headers)))
            }
            LoadedSession::Unavailable => Err(keeping_cookies(LoginError::Unavailable)),
            LoadedSession::RefreshUnavailable(due) => {
                Err((LoginError::Unavailable, sessions.record_rejected_use(&due)))
            }
        }
    }

    /// Returns 204, with the session's cookie if that has changed.
    async fn no_content(&self, request: &RequestSession) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        set_no_store(response.headers_mut());
        vary_on_cookie(response.headers_mut());
        for cookie in self.0.sessions.set_cookie(request).await {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }
}

fn keeping_cookies(error: LoginError) -> (LoginError, Vec<HeaderValue>) {
    (error, Vec::new())
}

route!(Refresh);
on_rejection!(Refresh, RouteRejection<LoginError>, 0.renderer);
