//! Signatures of Standard Webhooks 1.0.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use http::{HeaderMap, HeaderValue};
use memchr::memmem;
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use time::OffsetDateTime;

use super::WebhookSecret;
use super::secret::BASE64;
use crate::util::diagnosis::{CheckError, Shown};

/// How far the sender's clock may be off, and how old a message may be, in seconds.
pub(super) const TOLERANCE: u64 = 300;
const MAX_ID_BYTES: usize = 256;
/// More signatures than secrets in any rotation.
const MAX_CANDIDATES: usize = 32;
const MAC_BYTES: usize = 32;

/// The two kinds of signed requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Interceptor,
    Webhook,
}

impl Kind {
    /// The kind of a body, whatever its headers are called: a `trigger_point` on the top level
    /// makes it an interceptor request. Every body is of exactly one kind.
    fn from_body(body: &[u8]) -> Self {
        // Its name can be written with escapes only. Searching for both is faster than parsing.
        if memmem::find(body, b"trigger_point").is_none() && memmem::find(body, b"\\u").is_none() {
            return Self::Webhook;
        }
        let mut found = false;
        // A member before a syntax error counts: an app's own parser may be more lenient.
        let _ = serde_json::Deserializer::from_slice(body)
            .deserialize_map(FindTriggerPoint(&mut found));
        if found { Self::Interceptor } else { Self::Webhook }
    }

    fn headers(self) -> [&'static str; 3] {
        match self {
            Self::Interceptor => {
                ["interceptor-id", "interceptor-timestamp", "interceptor-signature"]
            }
            Self::Webhook => ["webhook-id", "webhook-timestamp", "webhook-signature"],
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Interceptor => Self::Webhook,
            Self::Webhook => Self::Interceptor,
        }
    }

    /// The kind and its layer, for the log.
    fn description(self) -> &'static str {
        match self {
            Self::Interceptor => "an interceptor request: use WebhookVerify::interceptor here",
            Self::Webhook => "a webhook: use WebhookVerify::new here",
        }
    }
}

/// The member that interceptor requests have and webhooks do not.
#[derive(Deserialize)]
enum Member {
    #[serde(rename = "trigger_point")]
    TriggerPoint,
    #[serde(other)]
    Other,
}

struct FindTriggerPoint<'a>(&'a mut bool);

impl<'de> Visitor<'de> for FindTriggerPoint<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(member) = members.next_key()? {
            *self.0 |= matches!(member, Member::TriggerPoint);
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Verifies a webhook without a layer, from its headers and the raw bytes of its body. Interceptor
/// requests are rejected. Returns the message's ID, for deduplication.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use time::OffsetDateTime;
/// use tower_scalekit::webhook_verify::{WebhookError, WebhookSecret, verify};
///
/// let secret = WebhookSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
/// let mut headers = HeaderMap::new();
/// headers.insert("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".parse()?);
/// headers.insert("webhook-timestamp", "1614265330".parse()?);
/// headers.insert("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".parse()?);
/// let body = br#"{"test": 2432232314}"#;
///
/// let then = OffsetDateTime::from_unix_timestamp(1_614_265_330)?;
/// assert_eq!(verify(&headers, body, &[secret.clone()], then)?, "msg_p5jXN8AQM9LWM0D4loKWxJek");
/// let now = OffsetDateTime::now_utc();
/// assert_eq!(verify(&headers, body, &[secret], now), Err(WebhookError::TimestampOutsideTolerance));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// See [`WebhookError`]. Do not disclose it to the sender.
#[doc(alias("verifyWebhookPayload", "verify_webhook_payload"))]
pub fn verify<'h>(
    headers: &'h HeaderMap,
    body: &[u8],
    secrets: &[WebhookSecret],
    now: OffsetDateTime,
) -> Result<&'h str, WebhookError> {
    verify_kind(Kind::Webhook, headers, body, secrets, now)
}

/// Like [`verify`], for interceptor requests, whose headers are called `interceptor-…`.
///
/// # Errors
/// See [`WebhookError`].
#[doc(alias("verifyInterceptorPayload", "verify_interceptor_payload"))]
pub fn verify_interceptor<'h>(
    headers: &'h HeaderMap,
    body: &[u8],
    secrets: &[WebhookSecret],
    now: OffsetDateTime,
) -> Result<&'h str, WebhookError> {
    verify_kind(Kind::Interceptor, headers, body, secrets, now)
}

fn verify_kind<'h>(
    kind: Kind,
    headers: &'h HeaderMap,
    body: &[u8],
    secrets: &[WebhookSecret],
    now: OffsetDateTime,
) -> Result<&'h str, WebhookError> {
    SignedHeaders::read(headers, kind, now)?.verify(body, secrets)?;
    let [id, _, _] = kind.headers();
    Ok(text(only(headers, id, kind)?))
}

/// The headers of a signed request, validated without its body. The values share the memory of the
/// request's.
#[derive(Debug)]
pub(crate) struct SignedHeaders {
    kind: Kind,
    id: HeaderValue,
    /// As sent, because it is part of the signed content.
    timestamp: HeaderValue,
    signatures: HeaderValue,
}

impl SignedHeaders {
    pub(super) fn read(
        headers: &HeaderMap,
        kind: Kind,
        now: OffsetDateTime,
    ) -> Result<Self, WebhookError> {
        let [id, timestamp, signature] = kind.headers();
        let signed = Self {
            kind,
            id: only(headers, id, kind)?.clone(),
            timestamp: only(headers, timestamp, kind)?.clone(),
            signatures: only(headers, signature, kind)?.clone(),
        };
        if !(1..=MAX_ID_BYTES).contains(&signed.id.len()) {
            let found = format_args!("{} bytes", signed.id.len());
            return Err(WebhookError::Malformed.logged(id, "1 to 256 bytes", found));
        }
        check_time(timestamp, text(&signed.timestamp), now)?;
        if signed.candidates().next().is_none() {
            return Err(WebhookError::InvalidSignature.logged(
                signature,
                "v1, and 32 bytes in base64",
                "no such signature",
            ));
        }
        Ok(signed)
    }

    /// The message's ID.
    pub(super) fn id(&self) -> &str {
        text(&self.id)
    }

    /// The signatures. Malformed ones and those of other versions are skipped (Standard Webhooks,
    /// signature scheme).
    fn candidates(&self) -> impl Iterator<Item = [u8; MAC_BYTES]> {
        text(&self.signatures).split(' ').take(MAX_CANDIDATES).filter_map(|candidate| {
            let mut decoded = [0; MAC_BYTES + 4];
            let length = BASE64.decode_slice(candidate.strip_prefix("v1,")?, &mut decoded).ok()?;
            decoded.get(..length)?.try_into().ok()
        })
    }

    /// Compares every candidate with the signature of every secret, in constant time, also after a
    /// match.
    pub(super) fn verify(
        &self,
        body: &[u8],
        secrets: &[WebhookSecret],
    ) -> Result<(), WebhookError> {
        let mut fits = false;
        for secret in secrets {
            let mut mac = hmac::Context::with_key(&secret.key);
            for part in [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", body] {
                mac.update(part);
            }
            let mac = mac.sign();
            for candidate in self.candidates() {
                fits |= verify_slices_are_equal(mac.as_ref(), &candidate).is_ok();
            }
        }
        if !fits {
            let [_, _, name] = self.kind.headers();
            return Err(WebhookError::InvalidSignature.logged(
                name,
                format_args!("a signature by one of {} secrets", secrets.len()),
                format_args!(
                    "{} by others, or of another body than the {} bytes that arrived: check that \
                     the secret is that of this endpoint, and that nothing changes the body",
                    self.candidates().count(),
                    body.len()
                ),
            ));
        }
        let kind = Kind::from_body(body);
        if kind != self.kind {
            let expected = format_args!("{:?}", self.kind);
            return Err(WebhookError::WrongKind.logged("body", expected, kind.description()));
        }
        Ok(())
    }
}

/// The only value of a header, which is text.
fn only<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
    kind: Kind,
) -> Result<&'h HeaderValue, WebhookError> {
    let mut values = headers.get_all(name).iter();
    let found = match (values.next(), values.next()) {
        (Some(value), None) if value.to_str().is_ok() => return Ok(value),
        (Some(_), None) => "a value that is not ASCII",
        (Some(_), Some(_)) => "several headers",
        (None, _) if kind.other().headers().iter().all(|name| headers.contains_key(*name)) => {
            kind.other().description()
        }
        (None, _) => "none: the request is not of Scalekit, or a proxy drops it",
    };
    Err(WebhookError::Malformed.logged(name, "one header", found))
}

/// The text of a value of [`only`].
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// Whole seconds in digits, within the tolerance in both directions.
fn check_time(
    name: &'static str,
    timestamp: &str,
    now: OffsetDateTime,
) -> Result<(), WebhookError> {
    let is_in_digits = timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let Some(seconds) = timestamp.parse::<i64>().ok().filter(|_| is_in_digits) else {
        let expected = "seconds since 1970, in digits";
        return Err(WebhookError::Malformed.logged(name, expected, Shown(timestamp)));
    };
    let age = now.unix_timestamp().saturating_sub(seconds);
    if age.unsigned_abs() > TOLERANCE {
        return Err(WebhookError::TimestampOutsideTolerance.logged(
            name,
            format_args!("within {TOLERANCE} s of the clock of this server"),
            format_args!("{age} s before it: check the clock, and what delays deliveries"),
        ));
    }
    Ok(())
}

/// Returned when a request is not a valid signed webhook or interceptor request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// A header is missing, repeated or malformed, or the body ended with an error.
    #[error("the request does not follow Standard Webhooks")]
    Malformed,
    /// No signature matches.
    #[error("no signature matches")]
    InvalidSignature,
    /// An interceptor request was sent as a webhook, or the reverse. The signature does not cover
    /// the names of the headers, so a request captured at one endpoint could be replayed at the
    /// other.
    #[error("the signed body is of the other kind: webhook or interceptor request")]
    WrongKind,
    /// Signed more than five minutes ago, or that much ahead of time.
    #[error("the timestamp is too old or too new")]
    TimestampOutsideTolerance,
}

impl WebhookError {
    /// A stable code for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::InvalidSignature => "invalid_signature",
            Self::WrongKind => "wrong_kind",
            Self::TimestampOutsideTolerance => "timestamp_outside_tolerance",
        }
    }
}

impl CheckError for WebhookError {
    fn code(&self) -> &'static str {
        self.name()
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use http::HeaderName;
    use serde_json::Value;

    use super::*;

    const VECTORS: &str = include_str!("../../tests/data/standard-webhooks/vectors.json");

    fn texts(value: &Value) -> Vec<&str> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
    }

    #[test]
    fn the_vectors_of_standard_webhooks_verify_as_expected() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        for secret in texts(&vectors["bad_secrets"]) {
            assert!(WebhookSecret::new(secret).is_err(), "{secret}");
        }
        let mut counts = [0; 3];
        for case in vectors["tests"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let secrets: Result<Vec<_>, _> =
                texts(&case["secrets"]).into_iter().map(WebhookSecret::new).collect();
            let headers = case["headers"].as_object().unwrap().iter().map(|(name, value)| {
                let value = HeaderValue::from_str(value.as_str().unwrap()).unwrap();
                (HeaderName::try_from(name).unwrap(), value)
            });
            let body = STANDARD.decode(case["body_base64"].as_str().unwrap()).unwrap();
            let now = case["now"].as_i64().unwrap();
            let now = OffsetDateTime::from_unix_timestamp(now).unwrap();
            let headers = headers.collect();
            let verified = verify(&headers, &body, &secrets.unwrap(), now);
            match case["expect"].as_str().unwrap() {
                "accept" => {
                    assert_eq!(
                        verified.as_deref().ok(),
                        case["headers"]["webhook-id"].as_str(),
                        "{name}"
                    );
                    counts[0] += 1;
                }
                "reject" => {
                    assert!(verified.is_err(), "{name}");
                    counts[1] += 1;
                }
                "either" => counts[2] += 1,
                other => panic!("{name}: {other}"),
            }
        }
        assert_eq!((counts, vectors["count"].as_u64()), ([14, 32, 2], Some(48)));
    }

    #[test]
    fn each_header_appears_once() {
        let secret = WebhookSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let now = OffsetDateTime::from_unix_timestamp(1_614_265_330).unwrap();
        let good = [
            ("id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("timestamp", "1614265330"),
            ("signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        let check = |prefix: &str, headers: &[(&str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let name = HeaderName::try_from(format!("{prefix}-{name}")).unwrap();
                map.append(name, HeaderValue::from_static(value));
            }
            let body = br#"{"test": 2432232314}"#;
            (
                verify(&map, body, std::slice::from_ref(&secret), now).is_ok(),
                verify_interceptor(&map, body, std::slice::from_ref(&secret), now).is_ok(),
            )
        };
        assert_eq!(check("webhook", &good), (true, false));
        // The signed body is a webhook.
        assert_eq!(check("interceptor", &good), (false, false));
        assert_eq!(check("svix", &good), (false, false));
        for repeated in good {
            let twice = [&good[..], &[repeated]].concat();
            assert_eq!(check("webhook", &twice), (false, false), "{repeated:?}");
        }
        for missing in 0..3 {
            let mut headers = good.to_vec();
            headers.remove(missing);
            assert_eq!(check("webhook", &headers), (false, false));
        }
        let empty = [("id", ""), good[1], good[2]];
        assert_eq!(check("webhook", &empty), (false, false));
    }

    proptest::proptest! {
        #[test]
        fn hostile_headers_are_rejected_without_a_panic(
            id in "[ -~]{0,300}", timestamp in "[ -~]{0,30}", signature in "[ -~]{0,200}",
        ) {
            let secret = WebhookSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
            let mut headers = HeaderMap::new();
            headers.insert("webhook-id", HeaderValue::from_str(&id).unwrap());
            headers.insert("webhook-timestamp", HeaderValue::from_str(&timestamp).unwrap());
            headers.insert("webhook-signature", HeaderValue::from_str(&signature).unwrap());
            let now = OffsetDateTime::from_unix_timestamp(1_614_265_330).unwrap();
            let verified = verify(&headers, b"[]", &[secret], now);
            proptest::prop_assert!(verified.is_err());
        }
    }
}
