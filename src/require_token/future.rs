use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::RequireToken;
use crate::body::ResponseBody;
use crate::flight::Flight;

pin_project! {
    /// Response future of [`RequireTokenService`](super::RequireTokenService).
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
        Fetching { fetch: Flight<bool>, waiting: Option<Waiting<S, ReqBody>> },
        Inner { #[pin] future: S::Future },
        Rejected { response: Option<Response<Bytes>> },
    }
}

/// A request whose token names a key that is being fetched, and the service that was made ready
/// for it.
struct Waiting<S, ReqBody> {
    inner: S,
    config: RequireToken,
    request: Request<ReqBody>,
}

impl<S, ReqBody> ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(super) fn fetching(
        inner: S,
        config: RequireToken,
        request: Request<ReqBody>,
        fetch: Flight<bool>,
    ) -> Self {
        let waiting = Some(Waiting { inner, config, request });
        Self { state: State::Fetching { fetch, waiting } }
    }

    pub(super) fn inner(future: S::Future) -> Self {
        Self { state: State::Inner { future } }
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
                StateProjection::Fetching { fetch, waiting } => {
                    let fetched = ready!(Pin::new(fetch).poll(cx));
                    let Some(waiting) = waiting.take() else { return Poll::Pending };
                    let Waiting { mut inner, config, request } = waiting;
                    let verified = config.verify_again(&request, fetched);
                    match config.admit(verified, request) {
                        Ok(request) => State::Inner { future: inner.call(request) },
                        Err(response) => State::Rejected { response: Some(response) },
                    }
                }
                StateProjection::Inner { future } => {
                    return future.poll(cx).map_ok(|response| response.map(ResponseBody::inner));
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

impl<S, ReqBody> fmt::Debug for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
