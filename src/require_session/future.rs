use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Request;

use super::RequireSession;
use super::service::Verdict;
use super::set_cookie::SessionMark;
use crate::middleware::response_future::{Decision, Wait, response_future};
use crate::session::{Awaited, Renewing, Session};

response_future!(SessionWait, "RequireSessionService");

/// A request that waits until its session can be judged.
pub(super) struct SessionWait {
    pub(super) config: RequireSession,
    pub(super) until: Until,
}

pub(super) enum Until {
    /// What it cannot be judged without has arrived.
    Arrived(Awaited),
    /// The session has new tokens.
    Renewed(Session, Renewing),
}

impl<B> Wait<B> for SessionWait {
    type OnResponse = SessionMark;

    fn poll_decision(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<SessionMark>> {
        loop {
            let verdict = match &mut self.until {
                Until::Arrived(awaited) => {
                    let arrived = ready!(Pin::new(awaited).poll(cx));
                    let found = self.config.sessions.find_after(arrived, request.headers());
                    self.config.evaluate(found, request)
                }
                Until::Renewed(session, renewing) => {
                    let renewal = ready!(Pin::new(renewing).poll(cx));
                    Verdict::Decided(self.config.apply_refresh(session, renewal, request))
                }
            };
            match verdict {
                Verdict::Decided(decision) => return Poll::Ready(decision),
                Verdict::Wait(until) => self.until = until,
            }
        }
    }
}
