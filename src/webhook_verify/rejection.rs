//! Rejections of webhooks and interceptor requests: see
//! [webhooks](crate::guides::responses#webhooks). The response does not reveal what is wrong.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::WebhookError;
use crate::middleware::rejection::{Rejection, json_response, unavailable_response};

/// Why [`WebhookVerify`](crate::WebhookVerify) did not let a request through.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WebhookRejection {
    /// It is not what the sender has signed.
    Invalid {
        /// What is wrong with it: for your eyes, not for the sender's.
        error: WebhookError,
    },
    /// Too many bodies arrived slowly at once, and this one began before the others. Responds with
    /// 503 and `Retry-After`.
    Overloaded,
    /// The body did not arrive in time. Responds with 503 and `Retry-After`.
    RequestTimeout,
    /// The body is larger than the limit.
    PayloadTooLarge,
    /// The same message is being handled at this moment.
    InProgress,
    /// The shared store does not tell whether it was handled before.
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
            // A sender may not try again after 4xx.
            Self::Overloaded | Self::RequestTimeout | Self::InProgress | Self::StoreUnavailable => {
                unavailable_response("Try again later")
            }
        }
    }
}

/// The response to a message that was handled before.
pub(super) fn repeated(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}
