//! What the layers that let requests through or answer them have in common: deciding at once where
//! possible, waiting where not, and calling the very service that was made ready.

use std::convert::Infallible;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::response_body::ResponseBody;

/// What is done with a request.
#[derive(Debug)]
pub(crate) enum Decision<M> {
    /// The inner service gets it, and `M` has its way with the response.
    Forward(M),
    Reject(Response<Bytes>),
}

/// What a layer adds to the response of a request that it let through.
pub(crate) trait OnResponse {
    /// Adds it. Not called again once it is ready.
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        status: StatusCode,
        response: &mut HeaderMap,
    ) -> Poll<()>;
}

impl OnResponse for () {
    fn poll_response(&mut self, _: &mut Context<'_>, _: StatusCode, _: &mut HeaderMap) -> Poll<()> {
        Poll::Ready(())
    }
}

/// A decision that has to wait for something.
pub(crate) trait Wait<B> {
    type OnResponse: OnResponse;

    /// Decides on the request, to which it may add what the inner service should know. Not called
    /// again once it has decided.
    fn poll_decision(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<Self::OnResponse>>;
}

impl<B> Wait<B> for Infallible {
    type OnResponse = ();

    fn poll_decision(&mut self, _: &mut Context<'_>, _: &mut Request<B>) -> Poll<Decision<()>> {
        match *self {}
    }
}

pin_project! {
    /// Response future of a guarded service.
    #[project = GuardedProjection]
    pub(crate) enum Guarded<S, B, W>
    where
        S: Service<Request<B>>,
        W: Wait<B>,
    {
        Waiting { wait: W, held: Option<Held<S, B>> },
        Inner { #[pin] future: S::Future, mark: Option<W::OnResponse> },
        Marking { response: Option<S::Response>, mark: W::OnResponse },
        Rejected { response: Option<Response<Bytes>> },
    }
}

/// A request that waits, and the service that was made ready for it.
pub(crate) struct Held<S, B> {
    inner: S,
    request: Request<B>,
}

impl<S, B, W> Guarded<S, B, W>
where
    S: Service<Request<B>>,
    W: Wait<B>,
{
    /// A request that was decided on at once.
    pub(crate) fn decided(
        decision: Decision<W::OnResponse>,
        request: Request<B>,
        inner: &mut S,
    ) -> Self {
        match decision {
            Decision::Forward(mark) => {
                Self::Inner { future: inner.call(request), mark: Some(mark) }
            }
            Decision::Reject(response) => Self::Rejected { response: Some(response) },
        }
    }

    /// A request that has to wait. `inner` was made ready for it, so a clone takes its place:
    /// <https://docs.rs/tower-service/latest/tower_service/trait.Service.html#be-careful-when-cloning-inner-services>
    pub(crate) fn waiting(wait: W, request: Request<B>, inner: &mut S) -> Self
    where
        S: Clone,
    {
        let clone = inner.clone();
        let inner = mem::replace(inner, clone);
        Self::Waiting { wait, held: Some(Held { inner, request }) }
    }
}

impl<S, B, W, ResBody> Future for Guarded<S, B, W>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    W: Wait<B>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project() {
                GuardedProjection::Waiting { wait, held } => {
                    let Some(waiting) = held.as_mut() else { return Poll::Pending };
                    let decision = ready!(wait.poll_decision(cx, &mut waiting.request));
                    let Some(Held { mut inner, request }) = held.take() else {
                        return Poll::Pending;
                    };
                    Self::decided(decision, request, &mut inner)
                }
                GuardedProjection::Inner { future, mark } => {
                    let response = ready!(future.poll(cx))?;
                    let Some(mark) = mark.take() else { return Poll::Pending };
                    Self::Marking { response: Some(response), mark }
                }
                GuardedProjection::Marking { response, mark } => {
                    if let Some(response) = response.as_mut() {
                        let status = response.status();
                        ready!(mark.poll_response(cx, status, response.headers_mut()));
                    }
                    let Some(response) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(response.map(ResponseBody::inner)));
                }
                GuardedProjection::Rejected { response } => {
                    let Some(response) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(response.map(ResponseBody::own)));
                }
            };
            self.set(next);
        }
    }
}

/// The public face of a layer's [`Guarded`] future: a name of its own in the layer's module.
macro_rules! response_future {
    ($wait:ty, $service:literal) => {
        pin_project_lite::pin_project! {
            #[doc = concat!("Response future of [`", $service, "`](super::", $service, ").")]
            pub struct ResponseFuture<S, ReqBody>
            where
                S: tower_service::Service<http::Request<ReqBody>>,
            {
                #[pin]
                guarded: crate::middleware::response_future::Guarded<S, ReqBody, $wait>,
            }
        }

        impl<S, ReqBody> From<crate::middleware::response_future::Guarded<S, ReqBody, $wait>>
            for ResponseFuture<S, ReqBody>
        where
            S: tower_service::Service<http::Request<ReqBody>>,
        {
            fn from(
                guarded: crate::middleware::response_future::Guarded<S, ReqBody, $wait>,
            ) -> Self {
                Self { guarded }
            }
        }

        impl<S, ReqBody, ResBody> std::future::Future for ResponseFuture<S, ReqBody>
        where
            S: tower_service::Service<http::Request<ReqBody>, Response = http::Response<ResBody>>,
        {
            type Output = Result<
                http::Response<crate::middleware::response_body::ResponseBody<ResBody>>,
                S::Error,
            >;

            fn poll(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Self::Output> {
                self.project().guarded.poll(cx)
            }
        }

        impl<S, ReqBody> std::fmt::Debug for ResponseFuture<S, ReqBody>
        where
            S: tower_service::Service<http::Request<ReqBody>>,
        {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("ResponseFuture").finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use response_future;
