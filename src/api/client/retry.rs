//! Retry policy of calls.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use time::OffsetDateTime;

use super::error_body::{is_tool_error, is_unauthenticated};
use super::response::retry_after;
use crate::http_client::HttpClientError;
use crate::util::jitter::jitter;

pub(in crate::api) const MAX_RETRIES: u32 = 2;

/// The delay before the first retry. It doubles with each retry; jitter shortens it by at most
/// half.
const INITIAL_BACKOFF: Duration = Duration::from_millis(500);

/// A longer `Retry-After` fails the call at once.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(10);

/// When a call may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Retries {
    /// Only if its response shows that the environment has rejected the access token.
    AfterTokenRejection,
    /// An idempotent call: also after a temporary error.
    Idempotent,
    /// An idempotent call of another service, after a 401, which may be its own.
    Proxied,
    /// Also if the first attempt was not sent.
    Unsent,
}

impl Retries {
    pub(in crate::api) fn of(method: &Method) -> Self {
        if method.is_idempotent() { Self::Idempotent } else { Self::AfterTokenRejection }
    }

    /// Whether the environment rejected the access token.
    pub(in crate::api) fn token_was_rejected(self, response: &Response<Bytes>) -> bool {
        response.status() == StatusCode::UNAUTHORIZED
            && match self {
                Self::Proxied => is_unauthenticated(response),
                // A 401 of a tool's provider does not concern our token.
                _ => !is_tool_error(response),
            }
    }

    /// Whether a call whose token [was rejected](Self::token_was_rejected) may be retried: it was
    /// certainly not processed, or is idempotent.
    pub(in crate::api) fn may_follow_token_rejection(
        self,
        method: &Method,
        response: &Response<Bytes>,
    ) -> bool {
        match self {
            Self::Idempotent | Self::Unsent => true,
            // A proxy may have replaced the response, after the environment has processed the call.
            Self::AfterTokenRejection => is_unauthenticated(response) || rejects_token(response),
            // Other services may reject with the same body as the gateway.
            Self::Proxied => method.is_idempotent(),
        }
    }

    /// The delay before the next attempt after `retried` retries; `None` if a retry does not help.
    pub(in crate::api) fn retry_delay(
        self,
        outcome: &Result<Response<Bytes>, HttpClientError>,
        retried: u32,
        now: OffsetDateTime,
    ) -> Option<Duration> {
        match (self, outcome) {
            (Self::Idempotent | Self::Unsent, Err(HttpClientError::Connect(_))) => {
                Some(backoff(retried))
            }
            (Self::Idempotent, Ok(response)) if is_transient(response) => {
                match retry_after(response, now) {
                    None => Some(backoff(retried)),
                    Some(wait) if wait <= MAX_RETRY_AFTER => Some(wait + backoff(retried)),
                    Some(_) => None,
                }
            }
            _ => None,
        }
    }
}

/// Whether the challenge rejects the token (RFC 6750, section 3.1).
fn rejects_token(response: &Response<Bytes>) -> bool {
    response.headers().get_all(header::WWW_AUTHENTICATE).iter().any(|challenge| {
        challenge.to_str().is_ok_and(|text| text.contains(r#"error="invalid_token""#))
    })
}

/// Whether the error is temporary. That of a busy tool provider is not retried.
fn is_transient(response: &Response<Bytes>) -> bool {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => !is_tool_error(response),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            true
        }
        _ => false,
    }
}

/// Between half of the delay and all of it.
fn backoff(retried: u32) -> Duration {
    INITIAL_BACKOFF.saturating_mul(2_u32.saturating_pow(retried)).mul_f64(jitter(0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_are_not_idempotent_are_retried_only_if_the_token_was_rejected() {
        let responded = |challenge: &str, body: &str| {
            let response = Response::builder().status(401).header("www-authenticate", challenge);
            response.body(Bytes::from(body.to_owned())).unwrap()
        };
        for (challenge, body, rejected) in [
            ("Bearer", r#"{"code":16,"message":"m"}"#, true),
            ("Bearer", r#"{"code":"unauthenticated"}"#, true),
            (r#"Bearer realm="a", error="invalid_token""#, "", true),
            (r#"Bearer error="insufficient_scope""#, "{}", false),
            ("Bearer", "<html>", false),
            ("Bearer", "", false),
        ] {
            let response = responded(challenge, body);
            let may =
                Retries::AfterTokenRejection.may_follow_token_rejection(&Method::POST, &response);
            assert_eq!(may, rejected, "{challenge} {body}");
            assert!(!Retries::Proxied.may_follow_token_rejection(&Method::POST, &response));
        }
    }

    #[test]
    fn delays_double_with_jitter_of_half() {
        for (retried, millis) in [(0, 250..=500), (1, 500..=1000)] {
            for _ in 0..50 {
                assert!(millis.contains(&backoff(retried).as_millis()));
            }
        }
    }
}
