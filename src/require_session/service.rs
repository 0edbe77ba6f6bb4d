use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::answer::LoginRequired;
use super::future::{Renewal, SessionMark};
use super::{Anonymous, RequireSession, ResponseFuture, SessionRejection};
use crate::body::ResponseBody;
use crate::challenge::ChallengeContext;
use crate::guard::{Decision, Guarded};
use crate::session::{self, Found, Live, Session, Settled};
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
        let config = &self.config;
        request.extensions_mut().remove::<Principal>();
        request.extensions_mut().remove::<Session>();
        request.extensions_mut().remove::<ChallengeContext>();
        let decision = match config.sessions.find(request.headers()) {
            Found::Live(live) => config.admit(live, &mut request),
            Found::Due(session) => {
                let renewing = config.sessions.renew(&session);
                let wait = Renewal { config: config.clone(), session, renewing };
                return Guarded::waiting(wait, request, &mut self.inner).into();
            }
            Found::Nothing => config.without(SessionRejection::NoSession, &mut request),
            Found::Over => config.without(SessionRejection::SessionOver, &mut request),
        };
        Guarded::decided(decision, request, &mut self.inner).into()
    }
}

impl RequireSession {
    fn admit<B>(&self, live: Live, request: &mut Request<B>) -> Decision<SessionMark> {
        let extensions = request.extensions_mut();
        extensions.insert(live.session.principal().clone());
        extensions.insert(live.session);
        Decision::Admit(SessionMark { set_cookies: live.set_cookies })
    }

    /// Decides on a request whose session was due.
    pub(super) fn settle<B>(
        &self,
        session: &Session,
        renewal: session::Renewal,
        request: &mut Request<B>,
    ) -> Decision<SessionMark> {
        let presented = self.sessions.cookies().presented(request.headers()).cookies();
        match self.sessions.settle(session, renewal, presented) {
            Settled::Live(live) => self.admit(live, request),
            Settled::Over => self.without(SessionRejection::SessionOver, request),
            Settled::Unavailable => self.refuse(SessionRejection::Unavailable, request),
        }
    }

    /// Decides on a request without a session; cookies that are of no use are taken away.
    fn without<B>(
        &self,
        reason: fn(LoginRequired) -> SessionRejection,
        request: &mut Request<B>,
    ) -> Decision<SessionMark> {
        let cookies = self.sessions.cookies();
        let set_cookies = cookies.clear_session(cookies.presented(request.headers()).cookies());
        if self.optional {
            request.extensions_mut().insert(Anonymous);
            return Decision::Admit(SessionMark { set_cookies });
        }
        let login = LoginRequired::of(request, &self.sessions, set_cookies);
        self.refuse(reason(login), request)
    }

    fn refuse<B>(&self, reason: SessionRejection, request: &Request<B>) -> Decision<SessionMark> {
        Decision::Refuse(self.renderer.render(reason, request))
    }
}
