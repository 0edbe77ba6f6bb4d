use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::RequireSession;
use crate::body::ResponseBody;
use crate::rejection::{keep_private, never_cache, vary_on};
use crate::session::{Renewing, Session};

pin_project! {
    /// Response future of [`RequireSessionService`](super::RequireSessionService).
    pub struct ResponseFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, ReqBody>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        Renewing { renewing: Renewing, waiting: Option<Waiting<S, ReqBody>> },
        Inner { #[pin] future: S::Future, set_cookies: Vec<HeaderValue> },
        Rejected { response: Option<Response<Bytes>> },
    }
}

/// A request whose session is being renewed, and the service that was made ready for it.
struct Waiting<S, ReqBody> {
    inner: S,
    config: RequireSession,
    request: Request<ReqBody>,
    session: Session,
}

impl<S, ReqBody> ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(super) fn renewing(
        inner: S,
        config: RequireSession,
        request: Request<ReqBody>,
        session: Session,
        renewing: Renewing,
    ) -> Self {
        let waiting = Some(Waiting { inner, config, request, session });
        Self { state: State::Renewing { renewing, waiting } }
    }

    pub(super) fn inner(future: S::Future, set_cookies: Vec<HeaderValue>) -> Self {
        Self { state: State::Inner { future, set_cookies } }
    }

    pub(super) fn rejected(response: Response<Bytes>) -> Self {
        Self { state: State::Rejected { response: Some(response) } }
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Renewing { renewing, waiting } => {
                    let renewal = ready!(Pin::new(renewing).poll(cx));
                    let Some(waiting) = waiting.take() else { return Poll::Pending };
                    let Waiting { mut inner, config, request, session } = waiting;
                    let cookies = config.sessions.cookies().presented(request.headers()).cookies();
                    let settled = config.sessions.settle(session, renewal, &cookies);
                    match config.settled(settled, &request).admit(request, &config) {
                        Ok((request, set_cookies)) => {
                            State::Inner { future: inner.call(request), set_cookies }
                        }
                        Err(response) => State::Rejected { response: Some(response) },
                    }
                }
                StateProjection::Inner { future, set_cookies } => {
                    let mut response = ready!(future.poll(cx))?;
                    mark(response.headers_mut(), std::mem::take(set_cookies));
                    return Poll::Ready(Ok(response.map(ResponseBody::inner)));
                }
                StateProjection::Rejected { response } => {
                    let Some(response) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(response.map(ResponseBody::own)));
                }
            };
            state.set(next);
        }
    }
}

/// Marks a response as one made for this user, and hands out the new cookies (C8, R6). Where the
/// handler itself set or cleared the session, its word stands.
fn mark(headers: &mut HeaderMap, set_cookies: Vec<HeaderValue>) {
    let handled = |ours: &HeaderValue| {
        let set = headers.get_all(header::SET_COOKIE);
        set.iter().any(|theirs| cookie_name(theirs) == cookie_name(ours))
    };
    if !set_cookies.is_empty() && !set_cookies.iter().any(handled) {
        for cookie in set_cookies {
            headers.append(header::SET_COOKIE, cookie);
        }
        never_cache(headers);
    }
    keep_private(headers);
    vary_on(headers, &header::COOKIE);
}

fn cookie_name(set_cookie: &HeaderValue) -> Option<&[u8]> {
    set_cookie.as_bytes().split(|byte| *byte == b'=').next()
}

impl<S, ReqBody> fmt::Debug for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(
        handlers: &[(http::HeaderName, &'static str)],
        set_cookies: &[&'static str],
    ) -> HeaderMap {
        let mut headers: HeaderMap = handlers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        mark(
            &mut headers,
            set_cookies.iter().map(|value| HeaderValue::from_static(value)).collect(),
        );
        headers
    }

    #[test]
    fn c8_responses_made_for_a_user_are_not_for_caches() {
        let headers = marked(&[], &[]);
        assert_eq!(
            (&headers[header::CACHE_CONTROL], &headers[header::VARY]),
            (&HeaderValue::from_static("no-store"), &HeaderValue::from_static("cookie"),)
        );
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
