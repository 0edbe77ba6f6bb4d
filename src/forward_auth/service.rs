use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::ForwardAuth;
use super::identity::Authorized;
use super::proxy::InvalidSubrequest;
use crate::middleware::rejection::{json_response, misconfigured_response};
use crate::middleware::response_body::ResponseBody;
use crate::util::telemetry;

/// Responds to the subrequests of a proxy. Returned by [`ForwardAuth::service`].
#[derive(Clone, Debug)]
pub struct ForwardAuthService<S> {
    pub(super) inner: S,
    pub(super) config: ForwardAuth,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ForwardAuthService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ForwardAuthFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let state = match self.config.restore(&mut request) {
            Ok(()) => State::Inner { future: self.inner.call(request) },
            Err(InvalidSubrequest::Target) => {
                let response = json_response(
                    StatusCode::BAD_REQUEST,
                    "invalid_request",
                    "The address of the request is invalid",
                );
                State::NotRestored { response: Some(response) }
            }
            Err(error @ InvalidSubrequest::Header(_)) => {
                telemetry::internal_error("forward_auth", &error);
                State::NotRestored { response: Some(misconfigured_response()) }
            }
        };
        ForwardAuthFuture { state, config: self.config.clone() }
    }
}

pin_project! {
    /// Response future of [`ForwardAuthService`].
    pub struct ForwardAuthFuture<F> {
        #[pin]
        state: State<F>,
        config: ForwardAuth,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Inner { #[pin] future: F },
        NotRestored { response: Option<Response<Bytes>> },
    }
}

impl<F, B, E> Future for ForwardAuthFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    /// Polled after completion, it stays pending, or does what the inner future does.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match this.state.project() {
            StateProjection::Inner { future } => {
                let response = ready!(future.poll(cx))?;
                match response.extensions().get() {
                    None::<&Authorized> if response.status().is_success() => {
                        let error = RejectedAsSuccess(response.status());
                        telemetry::internal_error("forward_auth", &error);
                        misconfigured_response().map(ResponseBody::own)
                    }
                    _ => response.map(ResponseBody::inner),
                }
            }
            StateProjection::NotRestored { response } => {
                let Some(response) = response.take() else { return Poll::Pending };
                response.map(ResponseBody::own)
            }
        };
        this.config.adapt(&mut response);
        Poll::Ready(Ok(response))
    }
}

/// Returned when a proxy would read the response to a request that is not authorized as authorization.
#[derive(Debug, thiserror::Error)]
#[error(
    "a response with status {0} is not that of `IdentityService`, and proxies read it as authorization: \
     set another status in `on_rejection`, and keep the extensions of the response in other layers"
)]
struct RejectedAsSuccess(StatusCode);

impl<F> fmt::Debug for ForwardAuthFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardAuthFuture").finish_non_exhaustive()
    }
}
