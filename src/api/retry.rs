//! Which calls are sent again, and when.

use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use time::OffsetDateTime;

use super::answer::{is_of_a_tool, retry_after};
use crate::http_client::HttpClientError;

pub(super) const MAX_RETRIES: u32 = 2;

/// The wait before the first retry, halved at most by jitter; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Who is told to come back later than this fails at once: nobody waits for an answer that long.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(10);

/// What may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retries {
    /// A call that does the same however often it is made.
    Idempotent,
    Never,
    /// Nothing, and another service answers: a 401 may be its own.
    Proxied,
    /// A call that may do something twice: only when the first attempt was not sent.
    Unsent,
}

impl Retries {
    pub(super) fn of(method: &Method) -> Self {
        if method.is_idempotent() { Self::Idempotent } else { Self::Never }
    }

    /// How long to wait before the next attempt after `retried` retries, if one may help.
    pub(super) fn wait(
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

/// Whether the answer may be another one a little later. A tool's provider that is busy is not.
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
    let mut jitter = [0];
    // Without randomness there is no jitter, which harms nobody.
    let _ = rand::fill(&mut jitter);
    let [jitter] = jitter;
    let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(retried));
    wait.mul_f64(1.0 - f64::from(jitter) / 510.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_vary_by_half() {
        for (retried, millis) in [(0, 250..=500), (1, 500..=1000)] {
            for _ in 0..50 {
                assert!(millis.contains(&backoff(retried).as_millis()));
            }
        }
    }
}
