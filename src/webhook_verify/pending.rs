//! Pending states of a signed request: its body, then its reservation in the store.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, StatusCode};
use http_body::Body;

use super::dedup::{Deduplicator, FinishReservation, MessageState};
use super::signature::SignedHeaders;
use super::{WebhookError, WebhookRejection, WebhookVerify};
use crate::middleware::replay_body::{BodyError, ReplayBody};
use crate::shared_store::StoreError;
use crate::util::telemetry;

pub(crate) enum PendingWebhook {
    Body(SignedHeaders),
    Deduplication { body: Bytes, state: BoxFuture<'static, Result<MessageState, StoreError>> },
}

/// A message with a valid signature.
pub(crate) enum Verified {
    New {
        body: Bytes,
        finish: FinishReservation,
    },
    /// It was completed before, with this status.
    Duplicate(StatusCode),
}

impl WebhookVerify {
    /// Waits for the body, verifies it, and reserves the message.
    pub(super) fn poll_verified<B: Body<Data = Bytes>>(
        &self,
        pending: &mut PendingWebhook,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Result<Verified, WebhookRejection>> {
        loop {
            match pending {
                PendingWebhook::Body(signed) => {
                    let body = ready!(request.body_mut().poll_buffer(cx, &self.limits))?;
                    signed.verify(&body, &self.secrets)?;
                    let Some(deduplicator) = Deduplicator::of(self) else {
                        let finish = FinishReservation::None;
                        return Poll::Ready(Ok(Verified::New { body, finish }));
                    };
                    let state = deduplicator.reserve(signed.id(), request.extensions_mut());
                    let state = Box::pin(state);
                    *pending = PendingWebhook::Deduplication { body, state };
                }
                PendingWebhook::Deduplication { body, state } => {
                    let state = ready!(state.as_mut().poll(cx));
                    return Poll::Ready(verified(body.clone(), state));
                }
            }
        }
    }
}

fn verified(
    body: Bytes,
    state: Result<MessageState, StoreError>,
) -> Result<Verified, WebhookRejection> {
    match state {
        Ok(MessageState::Reserved(reservation)) => {
            Ok(Verified::New { body, finish: FinishReservation::Due(reservation) })
        }
        Ok(MessageState::OfOuterLayer) => {
            Ok(Verified::New { body, finish: FinishReservation::Outside })
        }
        Ok(MessageState::Completed(status)) => Ok(Verified::Duplicate(status)),
        Ok(MessageState::InProgress) => Err(WebhookRejection::InProgress),
        // A message that is handled twice is better than one that is not: no bound may block
        // deprovisioning.
        Err(error @ StoreError::Full { .. }) => {
            telemetry::webhook_not_deduplicated(&error);
            Ok(Verified::New { body, finish: FinishReservation::None })
        }
        Err(error) => {
            telemetry::internal_error("webhook_claim", &error);
            Err(WebhookRejection::StoreUnavailable)
        }
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
