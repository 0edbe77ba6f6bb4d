//! Cookies and cache headers of responses to requests with a session.

use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::middleware::response_future::OnResponse;
use crate::util::cache_control::{default_to_no_store, set_no_store, vary_on_cookie};

/// Marks a response as specific to the user, and sets the session's cookie.
pub(crate) enum SessionHeaders {
    WithoutCookies,
    /// Does nothing until the inner service has responded.
    WithCookies(BoxFuture<'static, Vec<HeaderValue>>),
}

impl OnResponse for SessionHeaders {
    /// Sets the cookies of the newest session at the time of the response. If the handler has set
    /// or removed the session's cookies itself, these are kept.
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        _: StatusCode,
        response: &mut HeaderMap,
    ) -> Poll<()> {
        let cookies = match self {
            Self::WithoutCookies => Vec::new(),
            Self::WithCookies(cookies) => ready!(cookies.as_mut().poll(cx)),
        };
        if !cookies.is_empty() && !has_cookie_of(response, &cookies) {
            for cookie in cookies {
                response.append(header::SET_COOKIE, cookie);
            }
            set_no_store(response);
        }
        default_to_no_store(response);
        vary_on_cookie(response);
        Poll::Ready(())
    }
}

/// Whether the response sets a cookie with the name of one of these.
fn has_cookie_of(response: &HeaderMap, cookies: &[HeaderValue]) -> bool {
    response
        .get_all(header::SET_COOKIE)
        .iter()
        .any(|set| cookies.iter().any(|cookie| cookie_name(cookie) == cookie_name(set)))
}

fn cookie_name(set_cookie: &HeaderValue) -> Option<&[u8]> {
    set_cookie.as_bytes().split(|byte| *byte == b'=').next()
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::HeaderName;

    use super::*;

    fn marked(handlers: &[(HeaderName, &'static str)], cookies: &[&'static str]) -> HeaderMap {
        let value = HeaderValue::from_static;
        let mut headers: HeaderMap =
            handlers.iter().map(|(name, text)| (name.clone(), value(text))).collect();
        let cookies = cookies.iter().map(|text| value(text)).collect();
        let mut mark = SessionHeaders::WithCookies(Box::pin(std::future::ready(cookies)));
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
