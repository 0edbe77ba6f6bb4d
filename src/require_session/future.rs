use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderValue, Request, header};

use super::RequireSession;
use crate::guard::{Decision, Mark, Wait, response_future};
use crate::rejection::{keep_private, never_cache, vary_on};
use crate::session::{Renewing, Session};

response_future!(Renewal, "RequireSessionService");

/// A request whose session is being renewed.
pub(super) struct Renewal {
    pub(super) config: RequireSession,
    pub(super) session: Session,
    pub(super) renewing: Renewing,
}

impl<B> Wait<B> for Renewal {
    type Mark = SessionMark;

    fn poll_decide(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<SessionMark>> {
        let renewal = ready!(Pin::new(&mut self.renewing).poll(cx));
        Poll::Ready(self.config.settle(&self.session, renewal, request))
    }
}

/// Marks a response as one made for this user, and hands out new cookies.
#[derive(Debug, Default)]
pub(super) struct SessionMark {
    pub(super) set_cookies: Vec<HeaderValue>,
}

impl Mark for SessionMark {
    /// C8, R6. Where the handler itself set or cleared the session, its word stands.
    fn mark(self, response: &mut HeaderMap) {
        let handled = |ours: &HeaderValue| {
            let set = response.get_all(header::SET_COOKIE);
            set.iter().any(|theirs| cookie_name(theirs) == cookie_name(ours))
        };
        if !self.set_cookies.is_empty() && !self.set_cookies.iter().any(handled) {
            for cookie in self.set_cookies {
                response.append(header::SET_COOKIE, cookie);
            }
            never_cache(response);
        }
        keep_private(response);
        vary_on(response, &header::COOKIE);
    }
}

fn cookie_name(set_cookie: &HeaderValue) -> Option<&[u8]> {
    set_cookie.as_bytes().split(|byte| *byte == b'=').next()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn marked(handlers: &[(HeaderName, &'static str)], set_cookies: &[&'static str]) -> HeaderMap {
        let value = HeaderValue::from_static;
        let mut headers: HeaderMap =
            handlers.iter().map(|(name, text)| (name.clone(), value(text))).collect();
        let set_cookies = set_cookies.iter().map(|text| value(text)).collect();
        SessionMark { set_cookies }.mark(&mut headers);
        headers
    }

    #[test]
    fn c8_responses_made_for_a_user_are_not_for_caches() {
        let headers = marked(&[], &[]);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::VARY], "cookie");
        let own = marked(&[(header::CACHE_CONTROL, "private, max-age=60")], &[]);
        assert_eq!(own[header::CACHE_CONTROL], "private, max-age=60");
        let public = marked(&[(header::CACHE_CONTROL, "public, max-age=60")], &["s=1; Path=/"]);
        assert_eq!(public[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn r6_the_handlers_word_on_the_session_stands() {
        let set = |headers: &HeaderMap| headers.get_all(header::SET_COOKIE).iter().count();
        assert_eq!(set(&marked(&[(header::SET_COOKIE, "other=1")], &["s=1", "s.1=2"])), 3);
        assert_eq!(set(&marked(&[(header::SET_COOKIE, "s=; Max-Age=0")], &["s=1", "s.1=2"])), 1);
    }
}
