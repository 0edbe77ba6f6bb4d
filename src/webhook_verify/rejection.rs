//! Rejections of webhooks and interceptor requests: see
//! [webhooks](crate::guides::responses#webhooks). The response does not reveal what is wrong.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::WebhookError;
use crate::middleware::rejection::{Rejection, json_response, unavailable_response};

/// Why [`WebhookVerify`](crate::WebhookVerify) rejected a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WebhookRejection {
    /// The request does not verify.
    Invalid {
        /// The reason, for logs only: it is not disclosed to the sender.
        error: WebhookError,
    },
    /// The body was dropped, because unfinished bodies exceeded their memory bound. Responds with
    /// 503 and `Retry-After`.
    Overloaded,
    /// The body timed out. Responds with 503 and `Retry-After`.
    RequestTimeout,
    /// The body is larger than the limit.
    PayloadTooLarge,
    /// The same message is in progress.
    InProgress,
    /// The shared store is unavailable.
    StoreUnavailable,
}

impl Rejection for WebhookRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Invalid { error } => error.name(),
            Self::Overloaded => "webhook_overloaded",
            Self::RequestTimeout => "webhook_request_timeout",
            Self::PayloadTooLarge => "webhook_payload_too_large",
            Self::InProgress => "webhook_in_progress",
            Self::StoreUnavailable => "webhook_store_unavailable",
        }
    }

    fn response(&self) -> Response<Bytes> {
        match self {
            Self::Invalid { .. } => {
                json_response(StatusCode::BAD_REQUEST, "invalid_request", "Not accepted")
            }
            Self::PayloadTooLarge => {
                json_response(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Not accepted")
            }
            // A sender may not retry after 4xx.
            Self::Overloaded | Self::RequestTimeout | Self::InProgress | Self::StoreUnavailable => {
                unavailable_response("Try again later")
            }
        }
    }
}
