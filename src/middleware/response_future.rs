//! The response future of the layers for servers: decides at once if possible, else later, and calls
//! the very service that was ready.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::response_body::{BodyChange, ResponseBody};

/// What a layer does with a request.
#[derive(Debug)]
pub(crate) enum Decision<R> {
    /// Calls the inner service; `R` completes its response.
    Forward(R),
    Respond(Response<Bytes>),
}

impl<R> Decision<R> {
    pub(crate) fn map<T>(self, map: impl FnOnce(R) -> T) -> Decision<T> {
        match self {
            Self::Forward(on_response) => Decision::Forward(map(on_response)),
            Self::Respond(response) => Decision::Respond(response),
        }
    }
}

/// The result of evaluating a request: a decision, or what it waits for.
pub(crate) enum Evaluation<P, R> {
    Decided(Decision<R>),
    Pending(P),
}

/// Completes the response of the inner service.
pub(crate) trait OnResponse {
    /// Modifies the response. Not called again once it is ready.
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Poll<()>;

    /// How the body changes, once the response is ready.
    fn body_change(self) -> BodyChange
    where
        Self: Sized,
    {
        BodyChange::None
    }
}

impl OnResponse for () {
    fn poll_response(&mut self, _: &mut Context<'_>, _: StatusCode, _: &mut HeaderMap) -> Poll<()> {
        Poll::Ready(())
    }
}

/// A layer that decides on requests, at once or later.
pub(crate) trait DecidingLayer<B> {
    /// State of a pending decision. [`Infallible`] for layers that always decide at once.
    type Pending;
    type OnResponse: OnResponse;

    /// Decides on the request, and may insert extensions for the inner service. Not called again
    /// once it has decided.
    fn poll_decision(
        &self,
        pending: &mut Self::Pending,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<Self::OnResponse>>;
}

impl<B> DecidingLayer<B> for () {
    type Pending = Infallible;
    type OnResponse = ();

    fn poll_decision(
        &self,
        pending: &mut Infallible,
        _: &mut Context<'_>,
        _: &mut Request<B>,
    ) -> Poll<Decision<()>> {
        match *pending {}
    }
}

pin_project! {
    /// Response future of the layers for servers.
    ///
    /// `S` is the inner service, `B` its request body, `L` the layer, or `()` for layers that
    /// always decide at once.
    #[allow(private_bounds)] // The trait is an implementation detail of the layers.
    pub struct ResponseFuture<S, B, L = ()>
    where
        S: Service<Request<B>>,
        L: DecidingLayer<B>,
    {
        #[pin]
        state: State<S, B, L>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, L>
    where
        S: Service<Request<B>>,
        L: DecidingLayer<B>,
    {
        // In a box, because a future is moved several times, and few are pending.
        Pending { pending: L::Pending, parked: Option<Box<Parked<S, B, L>>> },
        Inner { #[pin] future: S::Future, on_response: Option<L::OnResponse> },
        Completing { completing: Option<(S::Response, L::OnResponse)> },
        Responding { future: BoxFuture<'static, Response<Bytes>> },
        OwnResponse { response: Option<Response<Bytes>> },
    }
}

/// A pending request, its layer, and the service that was ready for it.
struct Parked<S, B, L> {
    layer: L,
    inner: S,
    request: Request<B>,
}

#[expect(private_bounds)]
impl<S, B, L> ResponseFuture<S, B, L>
where
    S: Service<Request<B>>,
    L: DecidingLayer<B>,
{
    /// A request that was decided at once.
    pub(crate) fn decided(
        decision: Decision<L::OnResponse>,
        request: Request<B>,
        inner: &mut S,
    ) -> Self {
        Self { state: State::from_decision(decision, request, inner) }
    }

    /// A pending request. `inner` was ready for it, so a clone takes its place:
    /// <https://docs.rs/tower-service/latest/tower_service/trait.Service.html#be-careful-when-cloning-inner-services>
    pub(crate) fn pending(
        layer: &L,
        pending: L::Pending,
        request: Request<B>,
        inner: &mut S,
    ) -> Self
    where
        S: Clone,
        L: Clone,
    {
        let clone = inner.clone();
        let inner = mem::replace(inner, clone);
        let parked = Some(Box::new(Parked { layer: layer.clone(), inner, request }));
        Self { state: State::Pending { pending, parked } }
    }

    /// A request that was decided at once, or is pending.
    pub(crate) fn evaluated(
        layer: &L,
        evaluation: Evaluation<L::Pending, L::OnResponse>,
        request: Request<B>,
        inner: &mut S,
    ) -> Self
    where
        S: Clone,
        L: Clone,
    {
        match evaluation {
            Evaluation::Decided(decision) => Self::decided(decision, request, inner),
            Evaluation::Pending(pending) => Self::pending(layer, pending, request, inner),
        }
    }

    /// A request to which the layer responds itself, asynchronously.
    pub(crate) fn responding(
        response: impl Future<Output = Response<Bytes>> + Send + 'static,
    ) -> Self {
        Self { state: State::Responding { future: Box::pin(response) } }
    }
}

impl<S, B, L> State<S, B, L>
where
    S: Service<Request<B>>,
    L: DecidingLayer<B>,
{
    fn from_decision(
        decision: Decision<L::OnResponse>,
        request: Request<B>,
        inner: &mut S,
    ) -> Self {
        match decision {
            Decision::Forward(on_response) => {
                Self::Inner { future: inner.call(request), on_response: Some(on_response) }
            }
            Decision::Respond(response) => Self::OwnResponse { response: Some(response) },
        }
    }
}

impl<S, B, L, ResBody> Future for ResponseFuture<S, B, L>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    L: DecidingLayer<B>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    /// Polled after completion, it stays pending, like `std::future::pending`, instead of
    /// panicking.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Pending { pending, parked } => {
                    let Some(Parked { layer, request, .. }) = parked.as_deref_mut() else {
                        return Poll::Pending;
                    };
                    let decision = ready!(layer.poll_decision(pending, cx, request));
                    let Some(Parked { mut inner, request, .. }) = parked.take().map(|it| *it)
                    else {
                        return Poll::Pending;
                    };
                    State::from_decision(decision, request, &mut inner)
                }
                StateProjection::Inner { future, on_response } => {
                    if on_response.is_none() {
                        return Poll::Pending;
                    }
                    let mut response = ready!(future.poll(cx))?;
                    let Some(mut on_response) = on_response.take() else { return Poll::Pending };
                    if poll_headers(&mut on_response, cx, &mut response).is_ready() {
                        return Poll::Ready(Ok(with_body(on_response, response)));
                    }
                    State::Completing { completing: Some((response, on_response)) }
                }
                StateProjection::Completing { completing } => {
                    if let Some((response, on_response)) = completing {
                        ready!(poll_headers(on_response, cx, response));
                    }
                    let Some((response, on_response)) = completing.take() else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(Ok(with_body(on_response, response)));
                }
                StateProjection::Responding { future } => {
                    State::OwnResponse { response: Some(ready!(future.as_mut().poll(cx))) }
                }
                StateProjection::OwnResponse { response } => {
                    let Some(response) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(response.map(ResponseBody::own)));
                }
            };
            state.set(next);
        }
    }
}

fn poll_headers<B>(
    on_response: &mut impl OnResponse,
    cx: &mut Context<'_>,
    response: &mut Response<B>,
) -> Poll<()> {
    let status = response.status();
    on_response.poll_response(cx, status, response.headers_mut())
}

fn with_body<B>(on_response: impl OnResponse, response: Response<B>) -> Response<ResponseBody<B>> {
    let change = on_response.body_change();
    response.map(|body| ResponseBody::changed(body, change))
}

impl<S, B, L> fmt::Debug for ResponseFuture<S, B, L>
where
    S: Service<Request<B>>,
    L: DecidingLayer<B>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
