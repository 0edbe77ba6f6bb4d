//! Pending states of a signed request: its body, then the claim in the store.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body;
use time::OffsetDateTime;

use super::dedup::{Claim, ClaimGuard};
use super::signature::SignedHeaders;
use super::{WebhookError, WebhookRejection, WebhookVerify};
use crate::middleware::replay_body::{BodyError, ReplayBody};
use crate::middleware::response_future::OnResponse;
use crate::shared_store::StoreError;
use crate::util::telemetry;

pub(crate) enum PendingWebhook {
    Body { received_at: OffsetDateTime },
    Deduplication { body: Bytes, claim: BoxFuture<'static, Result<Claim, StoreError>> },
}

/// A message with a valid signature.
pub(crate) enum Verified {
    New {
        body: Bytes,
        finish: FinishClaim,
    },
    /// It was completed before, with this status.
    Duplicate(StatusCode),
}

impl WebhookVerify {
    /// Waits for the body, verifies it, and claims the message.
    pub(super) fn poll_verified<B: Body<Data = Bytes>>(
        &self,
        pending: &mut PendingWebhook,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Result<Verified, WebhookRejection>> {
        loop {
            match pending {
                PendingWebhook::Body { received_at } => {
                    let body = ready!(request.body_mut().poll_buffer(cx, &self.limits))?;
                    // The headers are read again, because they borrow from the request, which the
                    // future has held meanwhile.
                    let id = SignedHeaders::read(request.headers(), self.kind, *received_at)?
                        .verify(&body, &self.secrets)?;
                    let Some(deduplicator) = self.deduplicator() else {
                        return Poll::Ready(Ok(Verified::New { body, finish: FinishClaim::None }));
                    };
                    let claim = Box::pin(deduplicator.claim(id.to_owned()));
                    *pending = PendingWebhook::Deduplication { body, claim };
                }
                PendingWebhook::Deduplication { body, claim } => {
                    let claim = ready!(claim.as_mut().poll(cx));
                    return Poll::Ready(verified(body.clone(), claim));
                }
            }
        }
    }
}

fn verified(body: Bytes, claim: Result<Claim, StoreError>) -> Result<Verified, WebhookRejection> {
    match claim {
        Ok(Claim::Acquired(guard)) => Ok(Verified::New { body, finish: FinishClaim::Due(guard) }),
        Ok(Claim::Completed(status)) => Ok(Verified::Duplicate(status)),
        Ok(Claim::InProgress) => Err(WebhookRejection::InProgress),
        // A message that is handled twice is better than one that is not: no bound may block
        // deprovisioning.
        Err(error @ StoreError::Full { .. }) => {
            telemetry::webhook_not_deduplicated(&error);
            Ok(Verified::New { body, finish: FinishClaim::None })
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

/// Completes or releases the claim on a message, by the status of the handler's response.
pub(crate) enum FinishClaim {
    None,
    Due(Box<ClaimGuard>),
    Started(BoxFuture<'static, ()>),
}

impl OnResponse for FinishClaim {
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        status: StatusCode,
        _: &mut HeaderMap,
    ) -> Poll<()> {
        *self = match std::mem::replace(self, Self::None) {
            Self::Due(guard) => Self::Started(Box::pin(guard.finish(status))),
            other => other,
        };
        match self {
            Self::Started(finish) => finish.as_mut().poll(cx),
            Self::None | Self::Due(_) => Poll::Ready(()),
        }
    }
}
