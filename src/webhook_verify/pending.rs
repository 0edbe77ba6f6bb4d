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

pub(crate) enum Pending {
    /// Of a request that was received at this time.
    Body(OffsetDateTime),
    Deduplication {
        body: Bytes,
        claim: BoxFuture<'static, Result<Claim, StoreError>>,
    },
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
        pending: &mut Pending,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Result<Verified, WebhookRejection>> {
        if let Pending::Body(received_at) = pending {
            let body = ready!(request.body_mut().poll_buffer(cx, &self.limits))?;
            // Again, because they borrow from the request, which the future has held meanwhile.
            let headers = SignedHeaders::read(request.headers(), self.kind, *received_at)?;
            headers.verify(&body, &self.secrets)?;
            let Some(deduplicator) = self.deduplicator() else {
                return Poll::Ready(Ok(Verified::New { body, finish: FinishClaim::None }));
            };
            let id = headers.id.to_owned();
            let claim = Box::pin(async move { deduplicator.claim(&id).await });
            *pending = Pending::Deduplication { body, claim };
        }
        let Pending::Deduplication { body, claim } = pending else { return Poll::Pending };
        Poll::Ready(match ready!(claim.as_mut().poll(cx)) {
            Ok(Claim::Acquired(guard)) => {
                Ok(Verified::New { body: body.clone(), finish: FinishClaim::Due(guard) })
            }
            Ok(Claim::Completed(status)) => Ok(Verified::Duplicate(status)),
            Ok(Claim::InProgress) => Err(WebhookRejection::InProgress),
            // A message that is handled twice is better than one that is not: no bound may block
            // deprovisioning.
            Err(error @ StoreError::Full { .. }) => {
                telemetry::webhook_not_deduplicated(&error);
                Ok(Verified::New { body: body.clone(), finish: FinishClaim::None })
            }
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
        if let Self::Due(_) = self
            && let Self::Due(guard) = std::mem::replace(self, Self::None)
        {
            *self = Self::Started(Box::pin(guard.finish(status)));
        }
        match self {
            Self::Started(finish) => finish.as_mut().poll(cx),
            Self::None | Self::Due(_) => Poll::Ready(()),
        }
    }
}
