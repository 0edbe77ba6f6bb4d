//! Webhooks: accepted if and only if they are signed with a secret, their timestamp is current and they
//! are no interceptor request. Parsing an event does not panic.
#![no_main]

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use time::{Duration, OffsetDateTime};
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::webhook::interceptor::InterceptorRequest;
use tower_scalekit::webhook_verify::{WebhookError, WebhookSecret, verify, verify_interceptor};
use tower_scalekit_fuzz::{Input, mutate};

const NOW: i64 = 1_800_000_000;
const NAMES: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
const EVENT: &[u8] =
    br#"{"id":"evt_1","type":"organization.directory.user_updated","data":{"active":false}}"#;

const REQUEST: &[u8] = br#"{"data":{"trigger_point":1},"trigger_point":"PRE_SIGNUP"}"#;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut body = input.pick(&[EVENT, REQUEST]).to_vec();
    let mut id = b"msg_1".to_vec();
    let offset = *input.pick(&[0, -300, 300, -301, 301, 1]);
    let mut timestamp = (NOW + offset).to_string().into_bytes();
    for text in [&mut body, &mut id, &mut timestamp] {
        if input.byte() % 4 == 0 {
            mutate(&mut input, text);
        }
    }

    let mut list = Vec::new();
    for _ in 0..input.byte() % 40 {
        list.extend(*input.pick(&[&b"v1,"[..], b"v1a,", b"v2,", b"V1,", b""]));
        let mac = mac(*input.pick(&[1, 2, 3]), &id, &timestamp, &body);
        let mut text = match input.byte() % 4 {
            0 => STANDARD_NO_PAD.encode(mac),
            _ => STANDARD.encode(mac),
        }
        .into_bytes();
        if input.byte() % 4 == 0 {
            mutate(&mut input, &mut text);
        }
        list.extend(text);
        list.extend(*input.pick(&[&b" "[..], b" ", b" ", b"  ", b",", b""]));
    }
    // On its way to us.
    for text in [&mut body, &mut id, &mut timestamp] {
        if input.byte() % 8 == 1 {
            mutate(&mut input, text);
        }
    }

    let mut headers = HeaderMap::new();
    for (name, value) in NAMES.iter().zip([&id, &timestamp, &list]) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            for _ in 0..*input.pick(&[1, 1, 1, 1, 0, 2]) {
                headers.append(HeaderName::from_static(name), value.clone());
            }
        }
    }
    let secrets = [1, 2]
        .map(|number| WebhookSecret::new(&STANDARD.encode([number; 32])).expect("a good secret"));
    let now = OffsetDateTime::from_unix_timestamp(NOW).expect("a date");
    let now = now + Duration::milliseconds(500);
    let verified = verify(&headers, &body, &secrets, now);
    // One of the two, by the body. Where that is JSON, serde_json says which.
    let signed = expected(&headers, &body);
    let renamed = renamed(&headers);
    let as_request = verify_interceptor(&renamed, &body, &secrets, now);
    match (&verified, &as_request) {
        (Ok(id), Err(WebhookError::WrongKind)) | (Err(WebhookError::WrongKind), Ok(id)) => {
            assert_eq!(Some(*id), signed.as_deref(), "{headers:?}");
        }
        other => assert!(signed.is_none(), "{headers:?} {other:?}"),
    }
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&body) {
        assert!(verified.is_err() || value.get("trigger_point").is_none());
        assert!(as_request.is_err() || value.get("trigger_point").is_some());
    }

    let _ = InterceptorRequest::parse(&body);
    if let Ok(event) = WebhookEvent::parse(&body) {
        assert!(!event.id().is_empty() && !event.event_type().is_empty());
        assert!(event.raw().contains_key("data"));
    }
});

/// The headers of an interceptor's request.
fn renamed(headers: &HeaderMap) -> HeaderMap {
    let renamed = headers.iter().map(|(name, value)| {
        let name = name.as_str().replace("webhook", "interceptor");
        (HeaderName::try_from(name).expect("a name"), value.clone())
    });
    renamed.collect()
}

fn mac(secret: u8, id: &[u8], timestamp: &[u8], body: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[secret; 32]);
    hmac::sign(&key, &[id, b".", timestamp, b".", body].concat()).as_ref().to_vec()
}

/// The id of an acceptable message.
fn expected(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let mut values = Vec::new();
    for name in NAMES {
        let mut all = headers.get_all(name).iter();
        let value = all.next()?.as_bytes();
        let visible = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        (all.next().is_none() && visible).then(|| values.push(value))?;
    }
    let [id, timestamp, list] = values[..] else { return None };
    let text = std::str::from_utf8(timestamp).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u64 = text.parse().ok()?;
    let good = digits
        && (1..=256).contains(&id.len())
        && (NOW.unsigned_abs() - 300..=NOW.unsigned_abs() + 300).contains(&seconds);
    let signed = list.split(|byte| *byte == b' ').take(32).any(|candidate| {
        let signature = candidate.strip_prefix(b"v1,").unwrap_or_default();
        [1, 2].iter().any(|secret| {
            let mac = mac(*secret, id, timestamp, body);
            signature == STANDARD.encode(&mac).as_bytes()
                || signature == STANDARD_NO_PAD.encode(&mac).as_bytes()
        })
    });
    (good && signed).then(|| String::from_utf8_lossy(id).into_owned())
}
