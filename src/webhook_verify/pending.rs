//! Pending states of a signed request: its body, then the store.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body;

use super::dedup::{Claim, Running};
use super::payload::SignedPayload;
use super::rejection::repeated;
use super::signature::SignedHeaders;
use super::{WebhookError, WebhookRejection, WebhookVerify};
use crate::middleware::replay_body::{BodyError, ReplayBody};
use crate::middleware::response_future::{Decision, Middleware, OnResponse};
use crate::shared_store::StoreError;
use crate::util::telemetry;

pub(crate) enum Pending {
    Body(SignedHeaders),
    Deduplication { body: Bytes, claim: BoxFuture<'static, Result<Claim, StoreError>> },
}

impl<B: Body<Data = Bytes>> Middleware<ReplayBody<B>> for WebhookVerify {
    type Pending = Pending;
    type OnResponse = Settlement;

    fn poll_decision(
        &self,
        pending: &mut Pending,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Decision<Settlement>> {
        let decision = match ready!(self.poll_message(pending, cx, request.body_mut())) {
            Ok((Decision::Forward(settlement), body)) => {
                telemetry::webhook_received("accepted");
                SignedPayload::read(self.kind, &body).insert(request.extensions_mut());
                Decision::Forward(settlement)
            }
            Ok((respond, _)) => {
                telemetry::webhook_received("duplicate");
                respond
            }
            Err(rejection) => Decision::Respond(self.renderer.render(rejection, request)),
        };
        Poll::Ready(decision)
    }
}

type Message = (Decision<Settlement>, Bytes);

impl WebhookVerify {
    fn poll_message<B: Body<Data = Bytes>>(
        &self,
        pending: &mut Pending,
        cx: &mut Context<'_>,
        body: &mut ReplayBody<B>,
    ) -> Poll<Result<Message, WebhookRejection>> {
        if let Pending::Body(headers) = pending {
            let body = ready!(body.poll_buffer(cx, &self.limits))?;
            headers.verify(&body, &self.secrets)?;
            let Some(deduplicator) = self.deduplicator() else {
                return Poll::Ready(Ok((Decision::Forward(Settlement::None), body)));
            };
            let id = headers.id.clone();
            let claim = Box::pin(async move { deduplicator.claim(&id).await });
            *pending = Pending::Deduplication { body, claim };
        }
        let Pending::Deduplication { body, claim } = pending else { return Poll::Pending };
        Poll::Ready(match ready!(claim.as_mut().poll(cx)) {
            Ok(Claim::Acquired(running)) => {
                Ok((Decision::Forward(Settlement::Due(running)), body.clone()))
            }
            Ok(Claim::Completed(status)) => Ok((Decision::Respond(repeated(status)), Bytes::new())),
            Ok(Claim::InProgress) => Err(WebhookRejection::InProgress),
            Err(error) => {
                telemetry::internal_error("webhook_claim", &error);
                Err(WebhookRejection::StoreUnavailable)
            }
        })
    }
}

impl From<BodyError> for WebhookRejection {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken => Self::Invalid { error: WebhookError::Malformed },
            BodyError::Evicted => Self::Overloaded,
            BodyError::Late => Self::RequestTimeout,
            BodyError::TooLarge => Self::PayloadTooLarge,
        }
    }
}

impl From<WebhookError> for WebhookRejection {
    fn from(error: WebhookError) -> Self {
        Self::Invalid { error }
    }
}

/// Completes or releases the claim on a message, by the status of the handler's response.
pub(crate) enum Settlement {
    None,
    Due(Box<Running>),
    Started(BoxFuture<'static, ()>),
}

impl OnResponse for Settlement {
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        status: StatusCode,
        _: &mut HeaderMap,
    ) -> Poll<()> {
        if let Self::Due(_) = self
            && let Self::Due(running) = std::mem::replace(self, Self::None)
        {
            *self = Self::Started(Box::pin(running.settle(status)));
        }
        match self {
            Self::Started(settlement) => settlement.as_mut().poll(cx),
            Self::None | Self::Due(_) => Poll::Ready(()),
        }
    }
}
