use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::WebhookVerify;
use super::pending::Pending;
use super::signature::SignedHeaders;
use crate::middleware::replay_body::ReplayBody;
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, ResponseFuture};

/// The service of [`WebhookVerify`].
#[derive(Clone, Debug)]
pub struct WebhookVerifyService<S> {
    pub(super) inner: S,
    pub(super) config: WebhookVerify,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for WebhookVerifyService<S>
where
    S: Service<Request<ReplayBody<ReqBody>>, Response = Response<ResBody>> + Clone,
    ReqBody: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReplayBody<ReqBody>, WebhookVerify>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let config = &self.config;
        let request = request.map(ReplayBody::to_be_read);
        // The body is not read if the headers are invalid.
        match SignedHeaders::read(request.headers(), config.kind, config.clock.now()) {
            Ok(headers) => {
                ResponseFuture::pending(config, Pending::Body(headers), request, &mut self.inner)
            }
            Err(error) => {
                let response = config.renderer.render(error.into(), &request);
                ResponseFuture::decided(Decision::Respond(response), request, &mut self.inner)
            }
        }
    }
}
