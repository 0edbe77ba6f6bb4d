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
use super::operation::{Operation, has_no_operation};
use crate::body::ResponseBody;
use crate::guard::{Decision, Guarded, Wait};
use crate::replay_body::{BodyError, ReplayBody};
use crate::require_scope::ScopeRejection;

/// A request whose body is being read.
pub(super) struct BodyRead {
    pub(super) config: RequireMcpScope,
}

impl<B: Body<Data = Bytes>> Wait<ReplayBody<B>> for BodyRead {
    type Mark = ();

    fn poll_decide(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Decision<()>> {
        let operation = match ready!(request.body_mut().poll_fill(cx, &self.config.limits)) {
            Ok(body) if body.is_empty() && has_no_operation(request) => Operation::Nothing,
            Ok(body) => {
                Operation::of_body(&body).confirmed_by(Operation::of_headers(request.headers()))
            }
            Err(BodyError::TooLarge) => Operation::Unclear,
            Err(error) => {
                let reason = match error {
                    BodyError::Evicted => ScopeRejection::Overloaded,
                    BodyError::Late => ScopeRejection::RequestTimeout,
                    BodyError::Broken | BodyError::TooLarge => ScopeRejection::BodyBroken,
                };
                return Poll::Ready(Decision::Refuse(self.config.renderer.render(reason, request)));
            }
        };
        Poll::Ready(match self.config.judge(&operation, request) {
            Ok(()) => Decision::Admit(()),
            Err(reason) => Decision::Refuse(self.config.renderer.render(reason, request)),
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
