//! Events and interceptor requests serialize in the form in which they arrive.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::*;
use crate::webhook::interceptor::{InterceptorData, InterceptorRequest};

/// Whether a serialized value is that of the body: null or empty for what the body does not have, or
/// has as null or empty text; times and words in another spelling; else the same.
fn matches(serialized: &Value, sent: &Value) -> bool {
    let time = |value: &Value| OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok();
    match (serialized, sent) {
        (Value::Null, sent) => sent.is_null() || sent == "",
        (Value::Object(members), sent) => {
            members.iter().all(|(name, value)| matches(value, &sent[name]))
        }
        (Value::Array(items), Value::Null) => items.is_empty(),
        (Value::Array(items), Value::Array(sent)) => {
            items.len() == sent.len()
                && items.iter().zip(sent).all(|(item, sent)| matches(item, sent))
        }
        (Value::String(text), Value::String(sent)) if text.eq_ignore_ascii_case(sent) => true,
        (serialized, sent) if time(serialized).is_some() => time(serialized) == time(sent),
        _ => serialized == sent,
    }
}

#[test]
fn events_serialize_as_they_were_sent() {
    for (name, body) in files("webhooks").into_iter().chain(files("webhooks-docs")) {
        let event = WebhookEvent::parse(&body).unwrap();
        let serialized = serde_json::to_value(&event).unwrap();
        let sent = serde_json::from_slice(&body).unwrap();
        assert!(matches(&serialized, &sent), "{name}: {serialized}\n{sent}");

        let again = self::event(&serialized).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), serialized, "{name}");
        assert_eq!((again.id(), again.event_type()), (event.id(), name.as_str()));
        assert_eq!(again.occurred_at(), event.occurred_at(), "{name}");
        if !name.starts_with("organization.domain_") {
            assert_eq!(again.payload(), event.payload(), "{name}");
        }
    }
    let body = json!({"id": "evt_1", "type": "user.created", "data": {"name": "Acme", "seats": 7}});
    let unknown = serde_json::to_value(event(&body).unwrap()).unwrap();
    assert_eq!(unknown["data"], body["data"]);
}

#[test]
fn the_secret_of_a_domain_is_not_serialized() {
    let domain = example("organization.domain_created");
    let serialized = serde_json::to_value(&domain).unwrap();
    assert_eq!(serialized["data"]["domain"], "acmecorp.com");
    assert!(!serialized.to_string().contains("txt_record_secret"), "{serialized}");
}

#[test]
fn interceptor_requests_serialize_as_they_were_sent() {
    let requests = files("interceptors").into_iter();
    for (name, body) in requests.filter(|(name, _)| name.ends_with(".request_body")) {
        let request = InterceptorRequest::parse(&body).unwrap();
        let serialized = serde_json::to_value(&request).unwrap();
        let sent: Value = serde_json::from_slice(&body).unwrap();
        let (data, context) = (&serialized["data"], &serialized["interceptor_context"]);
        assert!(matches(data, &sent["data"]), "{name}: {data}");
        assert_eq!(context["user_email"], sent["interceptor_context"]["user_email"], "{name}");
        assert_eq!(serialized["trigger_point"], sent["trigger_point"], "{name}");
        assert!(!serialized.to_string().contains("xsrPHl7k7ARgdhC6"), "no state: {serialized}");

        let again = InterceptorRequest::parse(serialized.to_string().as_bytes()).unwrap();
        assert_eq!(again.data, request.data, "{name}");
        assert_eq!(again.display_name, request.display_name, "{name}");
        assert_eq!(again.context.triggered_at, request.context.triggered_at, "{name}");
    }
    let unknown_user = serde_json::to_value(InterceptorData::Signup(None)).unwrap();
    assert_eq!(unknown_user, json!({"user": null}));
    let unknown = InterceptorData::Unknown(json!({"a": [1]}));
    assert_eq!(serde_json::to_value(unknown).unwrap(), json!({"a": [1]}));
}
