//! Arbitrary bodies are parsed or rejected without a panic.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::webhook::interceptor::InterceptorRequest;

#[test]
fn bodies_that_are_not_objects_are_rejected() {
    for body in [
        "",
        "null",
        "[]",
        "7",
        "\"evt_1\"",
        "{",
        "{} {}",
        r#"{"id":"evt_1","type":"user.login","data":{}}}"#,
        r#"{"id":"evt_1","id":"evt_2","type":"user.login","data":{}}"#,
        r#"{"id":"evt_1","type":"user.login","type":"user.logout","data":{}}"#,
        "id=evt_1&type=user.login",
    ] {
        assert_eq!(WebhookEvent::parse(body.as_bytes()), Err(EventError::Malformed), "{body:.80}");
    }
    assert_eq!(WebhookEvent::parse(b"\xff\xfe{}"), Err(EventError::Malformed));
}

/// Any JSON.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        ".{0,8}".prop_map(Value::from),
        select(&["2024-01-15T10:30:00Z", "ACTIVE", "true", "org_1"][..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let member = ("[a-z_]{0,6}", inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            prop::collection::vec(member, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// All positions of a value, the root first.
fn places(value: &Value) -> Vec<String> {
    let mut places = vec![String::new()];
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => vec![],
    };
    for (name, value) in inner {
        places.extend(self::places(value).into_iter().map(|rest| format!("/{name}{rest}")));
    }
    places
}

proptest! {
    #[test]
    fn arbitrary_bytes_cause_no_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = WebhookEvent::parse(&body);
        let _ = InterceptorRequest::parse(&body);
    }

    #[test]
    fn samples_with_other_bytes_cause_no_panic(
        file in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        length in any::<Index>(),
    ) {
        let files = [files("webhooks"), files("interceptors")].concat();
        let mut body = file.get(&files).1.clone();
        for (place, byte) in changes {
            *place.get_mut(&mut body) = byte;
        }
        let _ = WebhookEvent::parse(&body);
        let _ = InterceptorRequest::parse(&body);
        let _ = WebhookEvent::parse(&body[..length.index(body.len())]);
    }

    #[test]
    fn samples_with_other_values_are_read_if_the_envelope_is_complete(
        file in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), json()), 1..4),
    ) {
        let files = files("webhooks");
        let mut body: Value = serde_json::from_slice(&file.get(&files).1).unwrap();
        for (place, value) in changes {
            let path = place.get(&places(&body)).clone();
            *body.pointer_mut(&path).unwrap() = value;
        }
        // The body as a JSON parser reads it.
        let body: Value = serde_json::from_str(&body.to_string()).unwrap();
        let filled = |name: &str| {
            body.get(name).is_some_and(|value| value.is_number() || value.as_str().is_some_and(|text| !text.is_empty()))
        };
        let whole = filled("id") && filled("type") && body.get("data").is_some_and(Value::is_object);
        let event = event(&body);
        prop_assert_eq!(event.is_ok(), whole, "{}", body);
        if let Ok(event) = event {
            prop_assert_eq!(Value::Object(event.raw().clone()), body);
            let known = EventPayload::TYPES.contains(&event.event_type());
            prop_assert_eq!(known, !matches!(event.payload(), EventPayload::Unknown(_)));
        }
    }
}
