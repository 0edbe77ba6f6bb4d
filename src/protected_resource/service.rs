use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::ProtectedResourceMetadata;
use super::response::response;
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, ResponseFuture};

/// The service of [`ProtectedResourceMetadata`].
#[derive(Clone, Debug)]
pub struct ProtectedResourceMetadataService<S> {
    pub(super) inner: S,
    pub(super) layer: ProtectedResourceMetadata,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ProtectedResourceMetadataService<S>
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
        let resource = &self.layer.resource;
        let decision = if resource.is_metadata_path(request.uri().path()) {
            Decision::Respond(response(&request, resource))
        } else {
            Decision::Forward(())
        };
        ResponseFuture::decided(decision, request, &mut self.inner)
    }
}
