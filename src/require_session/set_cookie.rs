//! Cookies and cache headers of responses to requests with a session.

use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::middleware::response_future::OnResponse;
use crate::session::{PresentedCookies, Resealed, Session, Sessions};
use crate::util::cache_control::{keep_private, never_cache, vary_on_cookie};

/// Marks a response as specific to the user, and sets or removes cookies.
#[derive(Default)]
pub(crate) struct SessionMark(Option<Box<CookieWork>>);

enum CookieWork {
    Give { sessions: Sessions, session: Session, resealed: Resealed, presented: PresentedCookies },
    Giving(BoxFuture<'static, Vec<HeaderValue>>),
    Take(Vec<HeaderValue>),
}

impl SessionMark {
    /// Sets the cookies of a session that was resealed for this request.
    pub(super) fn give(
        sessions: Sessions,
        session: Session,
        resealed: Resealed,
        presented: PresentedCookies,
    ) -> Self {
        Self(Some(Box::new(CookieWork::Give { sessions, session, resealed, presented })))
    }

    /// Removes cookies.
    pub(super) fn take(removals: Vec<HeaderValue>) -> Self {
        Self((!removals.is_empty()).then(|| Box::new(CookieWork::Take(removals))))
    }
}

impl OnResponse for SessionMark {
    /// Sets the cookies of the newest session at the time of the response. If the handler has set
    /// or removed the session's cookies itself, these are kept.
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        _: StatusCode,
        response: &mut HeaderMap,
    ) -> Poll<()> {
        if let Some(work) = &mut self.0 {
            let cookies = ready!(work.poll_cookies(cx));
            let handled = |ours: &HeaderValue| {
                let set = response.get_all(header::SET_COOKIE);
                set.iter().any(|theirs| cookie_name(theirs) == cookie_name(ours))
            };
            if !cookies.is_empty() && !cookies.iter().any(handled) {
                for cookie in cookies {
                    response.append(header::SET_COOKIE, cookie);
                }
                never_cache(response);
            }
        }
        keep_private(response);
        vary_on_cookie(response);
        Poll::Ready(())
    }
}

impl CookieWork {
    fn poll_cookies(&mut self, cx: &mut Context<'_>) -> Poll<Vec<HeaderValue>> {
        if let Self::Give { .. } = self
            && let Self::Give { sessions, session, resealed, presented } =
                std::mem::replace(self, Self::Take(Vec::new()))
        {
            *self = Self::Giving(Box::pin(async move {
                sessions.cookies_at_response(&session, resealed, presented).await
            }));
        }
        match self {
            Self::Giving(giving) => giving.as_mut().poll(cx),
            Self::Take(removals) => Poll::Ready(std::mem::take(removals)),
            Self::Give { .. } => Poll::Ready(Vec::new()),
        }
    }
}

fn cookie_name(set_cookie: &HeaderValue) -> Option<&[u8]> {
    set_cookie.as_bytes().split(|byte| *byte == b'=').next()
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::HeaderName;

    use super::*;

    fn marked(handlers: &[(HeaderName, &'static str)], removals: &[&'static str]) -> HeaderMap {
        let value = HeaderValue::from_static;
        let mut headers: HeaderMap =
            handlers.iter().map(|(name, text)| (name.clone(), value(text))).collect();
        let mut mark = SessionMark::take(removals.iter().map(|text| value(text)).collect());
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(mark.poll_response(&mut cx, StatusCode::OK, &mut headers), Poll::Ready(()));
        headers
    }

    #[test]
    fn responses_for_a_user_are_not_cacheable() {
        let headers = marked(&[], &[]);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::VARY], "cookie");
        let own = marked(&[(header::CACHE_CONTROL, "private, max-age=60")], &[]);
        assert_eq!(own[header::CACHE_CONTROL], "private, max-age=60");
        let public = marked(&[(header::CACHE_CONTROL, "public, max-age=60")], &["s=1; Path=/"]);
        assert_eq!(public[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn the_handlers_own_session_cookies_are_kept() {
        let set = |headers: &HeaderMap| headers.get_all(header::SET_COOKIE).iter().count();
        assert_eq!(set(&marked(&[(header::SET_COOKIE, "other=1")], &["s=1", "s.1=2"])), 3);
        assert_eq!(set(&marked(&[(header::SET_COOKIE, "s=; Max-Age=0")], &["s=1", "s.1=2"])), 1);
    }
}
