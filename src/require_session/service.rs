use std::mem;
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response};
use tower_service::Service;

use super::answer::LoginRequired;
use super::{Anonymous, RequireSession, ResponseFuture, SessionRejection};
use crate::body::ResponseBody;
use crate::session::{Found, Live, Session, Settled};
use crate::token::Principal;

/// The service of [`RequireSession`].
#[derive(Clone, Debug)]
pub struct RequireSessionService<S> {
    pub(super) inner: S,
    pub(super) config: RequireSession,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireSessionService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        request.extensions_mut().remove::<Principal>();
        request.extensions_mut().remove::<Session>();
        let verdict = match self.config.sessions.find(request.headers()) {
            Found::Live(live) => Verdict::Pass(Some(live)),
            Found::Due(session) => {
                let renewing = self.config.sessions.renew(&session);
                // The clone takes the place of the service that was made ready for this request:
                // https://docs.rs/tower-service/latest/tower_service/trait.Service.html
                let clone = self.inner.clone();
                let inner = mem::replace(&mut self.inner, clone);
                let config = self.config.clone();
                return ResponseFuture::renewing(inner, config, request, session, renewing);
            }
            Found::Nothing => self.config.without_session(&request, SessionRejection::NoSession),
            Found::Over => self.config.without_session(&request, SessionRejection::SessionOver),
        };
        match verdict.admit(request, &self.config) {
            Ok((request, set_cookies)) => {
                ResponseFuture::inner(self.inner.call(request), set_cookies)
            }
            Err(response) => ResponseFuture::rejected(response),
        }
    }
}

/// What is done with a request.
pub(super) enum Verdict {
    /// Let through, with a session or as nobody.
    Pass(Option<Live>),
    /// Let through as nobody, taking the useless cookies away.
    Cleared(Vec<HeaderValue>),
    Reject(SessionRejection),
}

impl Verdict {
    /// The request as the inner service gets it and the cookies for its response, or the answer.
    pub(super) fn admit<ReqBody>(
        self,
        mut request: Request<ReqBody>,
        config: &RequireSession,
    ) -> Result<(Request<ReqBody>, Vec<HeaderValue>), Response<bytes::Bytes>> {
        let extensions = request.extensions_mut();
        let set_cookies = match self {
            Self::Pass(Some(live)) => {
                extensions.insert(live.session.principal().clone());
                extensions.insert(live.session);
                live.set_cookies
            }
            Self::Pass(None) => {
                extensions.insert(Anonymous);
                Vec::new()
            }
            Self::Cleared(clear_cookies) => {
                extensions.insert(Anonymous);
                clear_cookies
            }
            Self::Reject(reason) => return Err(config.renderer.render(reason, request.into())),
        };
        Ok((request, set_cookies))
    }
}

impl RequireSession {
    /// What is done with a request whose session was due.
    pub(super) fn settled<B>(&self, settled: Settled, request: &Request<B>) -> Verdict {
        match settled {
            Settled::Live(live) => Verdict::Pass(Some(live)),
            Settled::Over => self.without_session(request, SessionRejection::SessionOver),
            Settled::Unavailable => Verdict::Reject(SessionRejection::Unavailable),
        }
    }

    fn without_session<B>(
        &self,
        request: &Request<B>,
        reject: fn(LoginRequired) -> SessionRejection,
    ) -> Verdict {
        let cookies = self.sessions.cookies();
        let presented = cookies.presented(request.headers()).cookies();
        let clear_cookies = cookies.clear_session(&presented);
        match (self.optional, clear_cookies.is_empty()) {
            (true, true) => Verdict::Pass(None),
            (true, false) => Verdict::Cleared(clear_cookies),
            (false, _) => {
                Verdict::Reject(reject(LoginRequired::of(request, &self.sessions, clear_cookies)))
            }
        }
    }
}
