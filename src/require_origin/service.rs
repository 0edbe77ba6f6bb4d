use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::RequireOrigin;
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, ResponseFuture};

/// The service of [`RequireOrigin`].
#[derive(Clone, Debug)]
pub struct RequireOriginService<S> {
    pub(super) inner: S,
    pub(super) layer: RequireOrigin,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireOriginService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let decision = match self.layer.evaluate(request.headers()) {
            Ok(()) => Decision::Forward(()),
            Err(rejection) => Decision::Respond(self.layer.renderer.render(rejection, &request)),
        };
        ResponseFuture::decided(decision, request, &mut self.inner)
    }
}
