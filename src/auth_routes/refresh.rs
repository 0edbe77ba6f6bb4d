use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};

use super::LoginError;
use super::route::Route;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route::route;
use crate::session::{Cookie, Found, Renewal, Settled};
use crate::util::cache_control::{never_cache, vary_on_cookie};

/// Refreshes a session's tokens: `POST /auth/refresh`. Returned by
/// [`Sessions::refresh`](crate::Sessions::refresh).
///
/// [`RequireSession`](crate::RequireSession) refreshes tokens that are about to expire. This route
/// is for pages that need changed roles at once, or that keep a session alive. Responds with 204
/// and the new cookie, with 401 when the session has ended, or with 503 when the environment is
/// unavailable.
///
/// A session is refreshed on request at most once in ten seconds: further requests within that
/// time, on any replica, get the same result. A refresh because the token was about to expire does
/// not count.
#[derive(Clone, Debug)]
#[must_use]
pub struct Refresh(pub(super) Route);

impl Refresh {
    pub(super) async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        match self.renew(&request).await {
            Ok(response) => response,
            Err((failure, cookie)) => {
                let clear = match cookie {
                    Cookie::Kept => Vec::new(),
                    Cookie::Taken => self.0.sessions.clear_session(request.headers()),
                };
                self.0.reject(failure, &request, None, clear)
            }
        }
    }

    async fn renew(&self, request: &Request<()>) -> Result<Response<Bytes>, (LoginError, Cookie)> {
        if request.method() != Method::POST {
            return Err((LoginError::MethodNotAllowed { allow: "POST" }, Cookie::Kept));
        }
        if self.0.sessions.is_cross_site(request.headers()) {
            return Err((LoginError::CrossSite, Cookie::Kept));
        }
        let session = match self.0.sessions.find_in_time(request.headers()).await {
            Found::Live(live) if !live.session.is_renewable() => return Ok(no_content()),
            Found::Live(live) => live.session,
            Found::Due(session) => session,
            Found::Nothing => return Err((LoginError::MissingSession, Cookie::Kept)),
            Found::Over(cookie) => return Err((LoginError::MissingSession, cookie)),
            Found::Unavailable | Found::Unsure(_) => {
                return Err((LoginError::Unavailable, Cookie::Kept));
            }
        };
        let renewal = self.0.sessions.renew_on_request(&session).await;
        // Unlike on other routes, old tokens that are still valid are no success here.
        if matches!(renewal, Renewal::Unavailable) {
            return Err((LoginError::Unavailable, Cookie::Kept));
        }
        let live = match self.0.sessions.apply_refresh(&session, renewal) {
            Settled::Live(live) => live,
            Settled::Over(cookie) => return Err((LoginError::MissingSession, cookie)),
            Settled::Unavailable => return Err((LoginError::Unavailable, Cookie::Kept)),
        };
        let mut response = no_content();
        if let Some(resealed) = live.resealed {
            let presented = self.0.sessions.cookies().presented(request.headers()).cookies();
            let cookies =
                self.0.sessions.cookies_at_response(&live.session, resealed, presented).await;
            for cookie in cookies {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        Ok(response)
    }
}

route!(Refresh);
on_rejection!(Refresh, RouteRejection<LoginError>, 0.renderer);

fn no_content() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    never_cache(response.headers_mut());
    vary_on_cookie(response.headers_mut());
    response
}
