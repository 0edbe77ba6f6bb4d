//! Which calls are sent again, and when.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use time::OffsetDateTime;

use super::response::{is_of_a_tool, is_unauthenticated, retry_after};
use crate::http_client::HttpClientError;
use crate::util::jitter::jitter;

pub(in crate::api) const MAX_RETRIES: u32 = 2;

/// The wait before the first retry, halved at most by jitter; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Who is told to come back later than this fails at once: no one waits for a response that long.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(10);

/// What may be sent again, besides a call whose token was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Retries {
    /// A call that does the same however often it is made.
    Idempotent,
    Never,
    /// Nothing, and another service answers: a 401 may be its own.
    Proxied,
    /// A call that may do something twice: only when the first attempt was not sent.
    Unsent,
}

impl Retries {
    pub(in crate::api) fn of(method: &Method) -> Self {
        if method.is_idempotent() { Self::Idempotent } else { Self::Never }
    }

    /// Whether the response says that the environment did not accept our token.
    pub(in crate::api) fn is_rejected(self, response: &Response<Bytes>) -> bool {
        let is_ours = || match self {
            Self::Proxied => is_unauthenticated(response),
            // What a tool's provider says is no word about it.
            _ => !is_of_a_tool(response),
        };
        response.status() == StatusCode::UNAUTHORIZED && is_ours()
    }

    /// Whether a call that was [rejected](Self::is_rejected) may be sent again: it was surely not
    /// carried out, or may be carried out twice.
    pub(in crate::api) fn may_follow_rejection(
        self,
        method: &Method,
        response: &Response<Bytes>,
    ) -> bool {
        match self {
            Self::Idempotent | Self::Unsent => true,
            // Anyone in between may have answered in other words, after the environment.
            Self::Never => is_unauthenticated(response) || names_token_invalid(response),
            // Another service may use the gateway's words for its own rejections.
            Self::Proxied => method.is_idempotent(),
        }
    }

    /// How long to wait before the next attempt after `retried` retries, if one may help.
    pub(in crate::api) fn wait(
        self,
        outcome: &Result<Response<Bytes>, HttpClientError>,
        retried: u32,
        now: OffsetDateTime,
    ) -> Option<Duration> {
        match (self, outcome) {
            (Self::Idempotent | Self::Unsent, Err(HttpClientError::Connect(_))) => {
                Some(backoff(retried))
            }
            (Self::Idempotent, Ok(response)) if may_pass(response) => {
                match retry_after(response, now) {
                    None => Some(backoff(retried)),
                    Some(told) if told <= MAX_RETRY_AFTER => Some(told + backoff(retried)),
                    Some(_) => None,
                }
            }
            _ => None,
        }
    }
}

/// Whether the challenge says that the token was rejected (RFC 6750, section 3.1).
fn names_token_invalid(response: &Response<Bytes>) -> bool {
    let mut challenges = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
    challenges.any(|challenge| {
        challenge.to_str().is_ok_and(|text| text.contains(r#"error="invalid_token""#))
    })
}

/// Whether the response may be another one a little later. A tool's provider that is busy is not.
fn may_pass(response: &Response<Bytes>) -> bool {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => !is_of_a_tool(response),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            true
        }
        _ => false,
    }
}

/// Between half of the wait and all of it.
fn backoff(retried: u32) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(retried));
    wait.mul_f64(jitter(0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_happen_twice_is_sent_again_only_if_the_token_was_surely_rejected() {
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
            let may = Retries::Never.may_follow_rejection(&Method::POST, &response);
            assert_eq!(may, rejected, "{challenge} {body}");
            assert!(!Retries::Proxied.may_follow_rejection(&Method::POST, &response));
        }
    }

    #[test]
    fn waits_double_and_vary_by_half() {
        for (retried, millis) in [(0, 250..=500), (1, 500..=1000)] {
            for _ in 0..50 {
                assert!(millis.contains(&backoff(retried).as_millis()));
            }
        }
    }
}
