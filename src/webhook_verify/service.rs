use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::future::{Stage, WebhookWait};
use super::signature::Signed;
use super::{ResponseFuture, WebhookRejection, WebhookVerify};
use crate::middleware::replay_body::ReplayBody;
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, Guarded};

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
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let config = &self.config;
        let request = request.map(ReplayBody::to_be_read);
        // W7: nothing is read for what cannot be accepted.
        match Signed::read(request.headers(), config.kind, config.clock.now()) {
            Ok(_) => {
                let wait = WebhookWait { config: config.clone(), stage: Stage::Read };
                Guarded::waiting(wait, request, &mut self.inner).into()
            }
            Err(error) => {
                let reason = WebhookRejection::Invalid { error };
                let rejection = Decision::Reject(config.renderer.render(reason, &request));
                Guarded::decided(rejection, request, &mut self.inner).into()
            }
        }
    }
}
