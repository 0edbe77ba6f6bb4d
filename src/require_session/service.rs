use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::answer::LoginRequired;
use super::future::{SessionWait, Until};
use super::mark::SessionMark;
use super::{RequireSession, ResponseFuture, SessionRejection};
use crate::body::ResponseBody;
use crate::guard::{Decision, Guarded};
use crate::session::{self, Found, Live, NoPrincipal, Session, Settled, forget_identity};

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
        forget_identity(request.extensions_mut());
        match config.judge(config.sessions.find(request.headers()), &mut request) {
            Verdict::Decided(decision) => {
                Guarded::decided(decision, request, &mut self.inner).into()
            }
            Verdict::Wait(until) => {
                let wait = SessionWait { config: config.clone(), until };
                Guarded::waiting(wait, request, &mut self.inner).into()
            }
        }
    }
}

/// What can be said of a request.
pub(super) enum Verdict {
    Decided(Decision<SessionMark>),
    Wait(Until),
}

impl RequireSession {
    pub(super) fn judge<B>(&self, found: Found, request: &mut Request<B>) -> Verdict {
        Verdict::Decided(match found {
            Found::Live(live) => self.admit(live, request),
            Found::Due(session) => {
                let renewing = self.sessions.renew(&session);
                return Verdict::Wait(Until::Renewed(session, renewing));
            }
            Found::Unsure(awaited) => return Verdict::Wait(Until::Arrived(awaited)),
            Found::Unavailable => self.refuse(SessionRejection::Unavailable, request),
            Found::Nothing => self.without(SessionRejection::NoSession, request),
            Found::Over => self.without(SessionRejection::SessionOver, request),
        })
    }

    /// Decides on a request whose session was due.
    pub(super) fn settle<B>(
        &self,
        session: &Session,
        renewal: session::Renewal,
        request: &mut Request<B>,
    ) -> Decision<SessionMark> {
        match self.sessions.settle(session, renewal) {
            Settled::Live(live) => self.admit(live, request),
            Settled::Over => self.without(SessionRejection::SessionOver, request),
            Settled::Unavailable => self.refuse(SessionRejection::Unavailable, request),
        }
    }

    fn admit<B>(&self, live: Live, request: &mut Request<B>) -> Decision<SessionMark> {
        let Live { session, resealed } = live;
        let mark = match resealed {
            None => SessionMark::default(),
            Some(sealed) => {
                let presented = self.sessions.cookies().presented(request.headers()).cookies();
                SessionMark::give(self.sessions.clone(), session.clone(), sealed, presented)
            }
        };
        let extensions = request.extensions_mut();
        extensions.insert(session.principal().clone());
        extensions.insert(session);
        Decision::Admit(mark)
    }

    /// Decides on a request without a session.
    fn without<B>(
        &self,
        reason: fn(LoginRequired) -> SessionRejection,
        request: &mut Request<B>,
    ) -> Decision<SessionMark> {
        if self.optional {
            request.extensions_mut().insert(NoPrincipal::Anonymous(self.sessions.clone()));
            let useless = self.sessions.cookies().clear_session(request.headers());
            return Decision::Admit(SessionMark::take(useless));
        }
        self.refuse(reason(LoginRequired::of(request, &self.sessions)), request)
    }

    fn refuse<B>(&self, reason: SessionRejection, request: &Request<B>) -> Decision<SessionMark> {
        Decision::Refuse(self.renderer.render(reason, request))
    }
}
