use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::authorize::{evaluate, unusable};
use super::{RequireScope, ScopeRejection};
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, ResponseFuture};

/// The service of [`RequireScope`].
#[derive(Clone, Debug)]
pub struct RequireScopeService<S> {
    pub(super) inner: S,
    pub(super) layer: RequireScope,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireScopeService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let decision = match self.layer.evaluate(&mut request) {
            Ok(()) => Decision::Forward(()),
            Err(reason) => Decision::Respond(self.layer.renderer.render(reason, &request)),
        };
        ResponseFuture::decided(decision, request, &mut self.inner)
    }
}

impl RequireScope {
    fn evaluate<B>(&self, request: &mut Request<B>) -> Result<(), ScopeRejection> {
        match &self.requirement {
            Ok(requirement) => evaluate(requirement, request),
            Err(error) => Err(unusable(error.as_ref())),
        }
    }
}
