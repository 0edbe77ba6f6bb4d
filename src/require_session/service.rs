use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use tower_service::Service;

use super::rejection::{RetryLater, page_of};
use super::set_cookie::SessionMark;
use super::{RequireSession, SessionRejection};
use crate::middleware::LoginRequired;
use crate::middleware::identity::{insert_anonymous, insert_principal, strip_identity};
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, Middleware, ResponseFuture};
use crate::session::{self, Awaited, Cookie, Found, Live, Renewing, Session, Settled};
use crate::util::fetch_metadata::is_state_changing;

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
    type Future = ResponseFuture<S, ReqBody, RequireSession>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let config = &self.config;
        strip_identity(request.extensions_mut());
        match config.evaluate(config.sessions.find(request.headers()), &mut request) {
            Verdict::Decided(decision) => {
                ResponseFuture::decided(decision, request, &mut self.inner)
            }
            Verdict::Wait(until) => {
                ResponseFuture::pending(config, until, request, &mut self.inner)
            }
        }
    }
}

/// What can be said of a request.
enum Verdict {
    Decided(Decision<SessionMark>),
    Wait(Until),
}

pub(crate) enum Until {
    /// What it cannot be evaluated without has arrived.
    Arrived(Awaited),
    /// The session has new tokens.
    Renewed(Session, Renewing),
}

impl<B> Middleware<B> for RequireSession {
    type Pending = Until;
    type OnResponse = SessionMark;

    fn poll_decision(
        &self,
        until: &mut Until,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<SessionMark>> {
        loop {
            let verdict = match until {
                Until::Arrived(awaited) => {
                    let arrived = ready!(Pin::new(awaited).poll(cx));
                    let found = self.sessions.find_after(arrived, request.headers());
                    self.evaluate(found, request)
                }
                Until::Renewed(session, renewing) => {
                    let renewal = ready!(Pin::new(renewing).poll(cx));
                    Verdict::Decided(self.apply_refresh(session, renewal, request))
                }
            };
            match verdict {
                Verdict::Decided(decision) => return Poll::Ready(decision),
                Verdict::Wait(next) => *until = next,
            }
        }
    }
}

impl RequireSession {
    fn evaluate<B>(&self, found: Found, request: &mut Request<B>) -> Verdict {
        Verdict::Decided(match found {
            // Without a session there is nothing that another site could make use of.
            Found::Live(_) | Found::Due(_)
                if is_state_changing(request) && self.sessions.is_cross_site(request.headers()) =>
            {
                self.reject(SessionRejection::CrossSite, request)
            }
            Found::Live(live) => self.admit(live, request),
            Found::Due(session) => {
                let renewing = self.sessions.renew(&session);
                return Verdict::Wait(Until::Renewed(session, renewing));
            }
            Found::Unsure(awaited) => return Verdict::Wait(Until::Arrived(awaited)),
            Found::Unavailable => self.unavailable(request),
            Found::Nothing => self.without(SessionRejection::MissingSession, Cookie::Kept, request),
            Found::Over(cookie) => self.without(SessionRejection::InvalidSession, cookie, request),
        })
    }

    /// Decides on a request whose session was due.
    fn apply_refresh<B>(
        &self,
        session: &Session,
        renewal: session::Renewal,
        request: &mut Request<B>,
    ) -> Decision<SessionMark> {
        match self.sessions.apply_refresh(session, renewal) {
            Settled::Live(live) => self.admit(live, request),
            Settled::Over(cookie) => {
                self.without(SessionRejection::InvalidSession, cookie, request)
            }
            Settled::Unavailable => self.unavailable(request),
        }
    }

    fn admit<B>(&self, live: Live, request: &mut Request<B>) -> Decision<SessionMark> {
        let Live { session, resealed } = live;
        let mark = match resealed {
            None => SessionMark::default(),
            Some(resealed) => {
                let presented = self.sessions.cookies().presented(request.headers()).cookies();
                SessionMark::give(self.sessions.clone(), session.clone(), resealed, presented)
            }
        };
        insert_principal(request.extensions_mut(), session.principal().clone());
        Decision::Forward(mark)
    }

    /// Decides on a request without a session.
    fn without<B>(
        &self,
        reason: fn(LoginRequired) -> SessionRejection,
        cookie: Cookie,
        request: &mut Request<B>,
    ) -> Decision<SessionMark> {
        let removals = match cookie {
            Cookie::Kept => Vec::new(),
            Cookie::Taken => self.sessions.clear_session(request.headers()),
        };
        let page = page_of(request, &self.sessions, self.base_path.as_deref());
        let login = LoginRequired::new(request, self.sessions.login_path(), &page, removals);
        if self.optional {
            let (login, removals) = login.split_removals();
            insert_anonymous(request.extensions_mut(), login);
            return Decision::Forward(SessionMark::take(removals));
        }
        self.reject(reason(login), request)
    }

    fn unavailable<B>(&self, request: &Request<B>) -> Decision<SessionMark> {
        let retry = RetryLater::of(request, &self.sessions, self.base_path.as_deref());
        self.reject(SessionRejection::Unavailable(retry), request)
    }

    fn reject<B>(&self, reason: SessionRejection, request: &Request<B>) -> Decision<SessionMark> {
        Decision::Respond(self.renderer.render(reason, request))
    }
}
