use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::RequireMcpScope;
use super::message::MessageReader;
use super::operation::{Operation, has_no_operation};
use crate::middleware::replay_body::{BodyError, ReplayBody};
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, Guarded, Wait};
use crate::require_scope::ScopeRejection;

/// A request whose body is being read.
pub(super) struct BodyRead {
    config: RequireMcpScope,
    read: Option<(Bytes, MessageReader)>,
}

impl BodyRead {
    pub(super) fn new(config: &RequireMcpScope) -> Self {
        Self { config: config.clone(), read: None }
    }

    fn poll_operation<B: Body<Data = Bytes>>(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Result<Operation, BodyError>> {
        let (body, reader) = match &mut self.read {
            Some(read) => read,
            None => match ready!(request.body_mut().poll_fill(cx, &self.config.limits)) {
                Ok(body) => self.read.insert((body, MessageReader::default())),
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        if body.is_empty() && has_no_operation(request) {
            return Poll::Ready(Ok(Operation::Nothing));
        }
        let Poll::Ready(operation) = reader.poll_read(body) else {
            // Other tasks of the thread have their turn between the parts.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        Poll::Ready(Ok(operation.confirmed_by(Operation::of_headers(request.headers()))))
    }
}

impl<B: Body<Data = Bytes>> Wait<ReplayBody<B>> for BodyRead {
    type OnResponse = ();

    fn poll_decision(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Decision<()>> {
        let authorized = match ready!(self.poll_operation(cx, request)) {
            Ok(operation) => self.config.evaluate(&operation, request),
            Err(BodyError::TooLarge) => self.config.evaluate(&Operation::Unclear, request),
            Err(BodyError::Broken) => Err(ScopeRejection::FailedToBufferBody),
            Err(BodyError::Evicted) => Err(ScopeRejection::Overloaded),
            Err(BodyError::Late) => Err(ScopeRejection::RequestTimeout),
        };
        Poll::Ready(match authorized {
            Ok(()) => Decision::Forward(()),
            Err(reason) => Decision::Reject(self.config.renderer.render(reason, request)),
        })
    }
}

pin_project! {
    /// Response future of [`RequireMcpScopeService`](super::RequireMcpScopeService).
    pub struct ResponseFuture<S, ReqBody>
    where
        S: Service<Request<ReplayBody<ReqBody>>>,
        ReqBody: Body<Data = Bytes>,
    {
        #[pin]
        guarded: Guarded<S, ReplayBody<ReqBody>, BodyRead>,
    }
}

impl<S, ReqBody> From<Guarded<S, ReplayBody<ReqBody>, BodyRead>> for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReplayBody<ReqBody>>>,
    ReqBody: Body<Data = Bytes>,
{
    fn from(guarded: Guarded<S, ReplayBody<ReqBody>, BodyRead>) -> Self {
        Self { guarded }
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReplayBody<ReqBody>>, Response = Response<ResBody>>,
    ReqBody: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().guarded.poll(cx)
    }
}

impl<S, ReqBody> fmt::Debug for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReplayBody<ReqBody>>>,
    ReqBody: Body<Data = Bytes>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
