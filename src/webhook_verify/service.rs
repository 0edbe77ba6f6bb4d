use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::WebhookVerify;
use super::dedup::{FinishReservation, duplicate_response};
use super::pending::{PendingWebhook, Verified};
use super::signature::SignedHeaders;
use super::signed_body::SignedBody;
use crate::middleware::replay_body::ReplayBody;
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{DecidingLayer, Decision, ResponseFuture};
use crate::util::telemetry;

/// The service of [`WebhookVerify`].
#[derive(Clone, Debug)]
pub struct WebhookVerifyService<S> {
    pub(super) inner: S,
    pub(super) layer: WebhookVerify,
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
        let layer = &self.layer;
        let request = request.map(ReplayBody::unread);
        // The body is not read if the headers are invalid.
        match SignedHeaders::read(request.headers(), layer.kind, layer.clock.now()) {
            Ok(signed) => ResponseFuture::pending(
                layer,
                PendingWebhook::Body(signed),
                request,
                &mut self.inner,
            ),
            Err(error) => {
                let response = layer.renderer.render(error.into(), &request);
                ResponseFuture::decided(Decision::Respond(response), request, &mut self.inner)
            }
        }
    }
}

impl<B: Body<Data = Bytes>> DecidingLayer<ReplayBody<B>> for WebhookVerify {
    type Pending = PendingWebhook;
    type OnResponse = FinishReservation;

    fn poll_decision(
        &self,
        pending: &mut PendingWebhook,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Decision<FinishReservation>> {
        Poll::Ready(match ready!(self.poll_verified(pending, cx, request)) {
            Ok(Verified::New { body: bytes, finish }) => {
                if !matches!(finish, FinishReservation::Outside) {
                    telemetry::webhook_received("accepted");
                }
                request.extensions_mut().insert(SignedBody { kind: self.kind, bytes });
                Decision::Forward(finish)
            }
            Ok(Verified::Duplicate(status)) => {
                telemetry::webhook_received("duplicate");
                Decision::Respond(duplicate_response(status))
            }
            Err(rejection) => Decision::Respond(self.renderer.render(rejection, request)),
        })
    }
}
