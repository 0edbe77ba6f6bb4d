use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};

use super::RouteFuture;
use super::answer::{AuthFailure, AuthRejection};
use super::future::route_service;
use crate::origin::is_cross_site;
use crate::rejection::{Rejected, Renderer, never_cache, vary_on_cookie};
use crate::session::{Found, Renewal, Sessions, Settled};

/// Renews a session's tokens now: `POST /auth/refresh`. Made by
/// [`Sessions::refresh`](crate::Sessions::refresh).
///
/// [`RequireSession`](crate::RequireSession) renews by itself what is about to expire; this is for
/// pages that want changed roles at once, or that keep a session alive. Answers 204 with the new
/// cookie, 401 when the session has ended, 503 when the environment does not answer.
#[derive(Clone, Debug)]
pub struct Refresh {
    sessions: Sessions,
    renderer: Renderer<AuthRejection>,
}

impl Refresh {
    pub(super) fn new(sessions: &Sessions) -> Self {
        Self { sessions: sessions.clone(), renderer: Renderer::default() }
    }

    /// Renders refusals in your own way.
    #[must_use]
    pub fn on_rejection<F>(mut self, render: F) -> Self
    where
        F: Fn(Rejected<'_, AuthRejection>) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.renderer = Renderer::custom(render);
        self
    }

    fn respond(&self, request: Request<()>) -> RouteFuture {
        let refresh = self.clone();
        RouteFuture::working(async move {
            match refresh.renew(&request).await {
                Ok(response) => response,
                Err(failure) => refresh.refuse(failure, &request),
            }
        })
    }

    async fn renew(&self, request: &Request<()>) -> Result<Response<Bytes>, AuthFailure> {
        if request.method() != Method::POST {
            return Err(AuthFailure::MethodNotAllowed { allow: "POST" });
        }
        if is_cross_site(request.headers(), self.sessions.public_url()) {
            return Err(AuthFailure::CrossSite);
        }
        let session = match self.find(request.headers()).await {
            Found::Live(live) if !live.session.is_renewable() => return Ok(no_content()),
            Found::Live(live) => live.session,
            Found::Due(session) => session,
            Found::Nothing | Found::Over => return Err(AuthFailure::NoSession),
            Found::Unsure(_) => return Err(AuthFailure::Unavailable),
        };
        let renewal = self.sessions.renew(&session).await;
        if matches!(renewal, Renewal::Unavailable) {
            return Err(AuthFailure::Unavailable);
        }
        let Settled::Live(live) = self.sessions.settle(&session, renewal) else {
            return Err(AuthFailure::NoSession);
        };
        let mut response = no_content();
        if let Some(sealed) = live.resealed {
            let presented = self.sessions.cookies().presented(request.headers()).cookies();
            let cookies = self.sessions.cookies_at_response(&live.session, sealed, presented).await;
            for cookie in cookies {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        Ok(response)
    }

    async fn find(&self, headers: &HeaderMap) -> Found {
        match self.sessions.find(headers) {
            Found::Unsure(news) => {
                news.await;
                self.sessions.find(headers)
            }
            found => found,
        }
    }

    fn refuse(&self, failure: AuthFailure, request: &Request<()>) -> Response<Bytes> {
        let cookies = self.sessions.cookies();
        let over = failure == AuthFailure::NoSession;
        let presented = cookies.presented(request.headers()).cookies();
        let clear = if over { cookies.clear_session(presented) } else { Vec::new() };
        let rejection = AuthRejection::new(failure, request.headers(), self.sessions.login_path());
        self.renderer.render(rejection.set_cookies(clear), request)
    }
}

route_service!(Refresh);

fn no_content() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    never_cache(response.headers_mut());
    vary_on_cookie(response.headers_mut());
    response
}
