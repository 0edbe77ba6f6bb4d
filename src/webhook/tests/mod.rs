//! Parsing of the examples of the API reference and of the documentation, and of other bodies.

mod interceptors;
mod malformed;
mod objects;
mod serialize;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use time::macros::datetime;

use super::{EventError, EventPayload, WebhookEvent};

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder)
}

/// The names, without extension, and contents of a folder's JSON files.
fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let paths = fs::read_dir(data(folder)).unwrap().map(|entry| entry.unwrap().path());
    let json = paths.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<_> = json.map(|path| (name(&path), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

fn example(event_type: &str) -> WebhookEvent {
    let file = data("webhooks").join(format!("{event_type}.json"));
    WebhookEvent::parse(&fs::read(file).unwrap()).unwrap()
}

fn event(body: &Value) -> Result<WebhookEvent, EventError> {
    WebhookEvent::parse(body.to_string().as_bytes())
}

#[test]
fn every_documented_event_has_a_variant_and_is_complete() {
    let mut types: Vec<_> = EventPayload::TYPES.to_vec();
    types.sort_unstable();
    let events = files("webhooks");
    assert_eq!(events.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), types);
    assert_eq!(types.len(), 41);

    for (name, body) in events.into_iter().chain(files("webhooks-docs")) {
        let event = WebhookEvent::parse(&body).unwrap();
        assert_eq!(event.event_type(), name);
        // `organization.directory.user_created` is `DirectoryUserCreated`, and similarly for the
        // others.
        let words: Vec<_> =
            name.split(['.', '_']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let variant = format!("{:?}", event.payload());
        let variant = variant.split_once('(').unwrap().0.to_lowercase();
        let full = words.concat();
        let short = full.strip_prefix("organization").unwrap_or(&full);
        assert!(variant == full || variant == short, "{name}: {variant}");

        let whole: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(Value::Object(event.raw().clone()), whole, "{name}");
        assert_eq!(event.id(), whole["id"]);
        assert_eq!(event.environment_id(), whole["environment_id"].as_str());
        assert_eq!(event.organization_id(), whole["organization_id"].as_str());
        assert_eq!(event.display_name(), whole["display_name"].as_str());
        assert_eq!(event.spec_version(), Some("1"));
        assert!(event.occurred_at().is_some());
        assert!(event == event.clone());
    }
}

#[test]
fn times_have_up_to_nanoseconds_and_any_offset() {
    let signup = example("user.signup").occurred_at();
    assert_eq!(signup, Some(datetime!(2024-01-15 10:30:00.123456789 UTC)));
    for (text, expected) in [
        ("2024-01-15T10:30:00Z", Some(datetime!(2024-01-15 10:30 UTC))),
        ("2024-01-15T12:30:00.5+02:00", Some(datetime!(2024-01-15 10:30:00.5 UTC))),
        ("2024-01-15T10:30:00.1234567891Z", Some(datetime!(2024-01-15 10:30:00.123456789 UTC))),
        ("2024-01-15 10:30", None),
        ("yesterday", None),
        ("", None),
    ] {
        let body = json!({"id": "evt_1", "type": "t", "data": {}, "occurred_at": text});
        assert_eq!(event(&body).unwrap().occurred_at(), expected, "{text}");
    }
}

#[test]
fn the_envelope_of_the_guide_is_read_too() {
    let event = WebhookEvent::parse(
        br#"{
            "id": "evt_1234567890",
            "type": "organization.directory.user_created",
            "data": {
                "email": "john.doe@company.com",
                "name": "John Doe",
                "organization_id": "org_12345",
                "directory_id": "dir_67890"
            },
            "timestamp": "2024-01-15T10:30:00Z"
        }"#,
    )
    .unwrap();
    assert_eq!(event.id(), "evt_1234567890");
    assert_eq!(event.occurred_at(), Some(datetime!(2024-01-15 10:30 UTC)));
    assert_eq!(event.organization_id(), Some("org_12345"));
    assert_eq!((event.environment_id(), event.spec_version()), (None, None));
    let EventPayload::DirectoryUserCreated(user) = event.payload() else { panic!("{event:?}") };
    assert_eq!(user.email.as_deref(), Some("john.doe@company.com"));
    assert_eq!(user.organization_id.as_deref(), Some("org_12345"));
    assert_eq!(event.raw()["data"]["directory_id"], "dir_67890");
}

#[test]
fn the_envelopes_time_and_organization_take_precedence() {
    let body = json!({
        "id": "evt_1", "type": "organization.created", "organization_id": "org_1",
        "occurred_at": "2024-01-15T10:30:00Z", "timestamp": "2025-01-15T10:30:00Z",
        "data": {"id": "org_3", "organization_id": "org_2"},
    });
    let event = event(&body).unwrap();
    assert_eq!(event.organization_id(), Some("org_1"));
    assert_eq!(event.occurred_at(), Some(datetime!(2024-01-15 10:30 UTC)));
}

#[test]
fn the_organization_is_found_in_envelope_and_data() {
    for (event_type, data, expected) in [
        ("organization.deleted", json!({"id": "org_1"}), Some("org_1")),
        ("user.signup", json!({"organization": {"id": "org_1"}}), Some("org_1")),
        ("user.logout", json!({"user_session": {"organization_id": "org_1"}}), Some("org_1")),
        ("organization.sso_disabled", json!({"organization_id": "org_1"}), Some("org_1")),
        ("something.new", json!({"organization_id": "org_1"}), Some("org_1")),
        ("role.created", json!({"id": "role_1"}), None),
        ("organization.directory_disabled", json!({"id": "dir_1"}), None),
        ("organization.directory.user_deleted", json!({"organization": "Acme"}), None),
    ] {
        let body =
            json!({"id": "evt_1", "type": event_type, "data": data, "organization_id": null});
        assert_eq!(event(&body).unwrap().organization_id(), expected, "{event_type}");
    }
}

#[test]
fn an_unknown_type_is_kept_completely() {
    for event_type in ["user.created", "scalekit.org.create", "Organization.Created", "x"] {
        let body = json!({
            "id": "evt_1", "type": event_type, "data": {"name": "Acme", "region": ["us", 1, null]},
            "something": {"new": 1.5},
        });
        let event = event(&body).unwrap();
        assert_eq!(event.event_type(), event_type);
        let EventPayload::Unknown(data) = event.payload() else { panic!("{event:?}") };
        assert_eq!(Value::Object(data.clone()), body["data"]);
        assert_eq!(Value::Object(event.raw().clone()), body);
    }
}

#[test]
fn only_id_type_and_data_are_required() {
    let whole = json!({"id": "evt_1", "type": "user.login", "data": {}});
    assert!(event(&whole).is_ok());
    for name in ["id", "type", "data"] {
        for odd in [Value::Null, json!(""), json!([]), json!(true)] {
            let mut body = whole.clone();
            body[name] = odd;
            assert_eq!(event(&body), Err(EventError::Missing(name)), "{body}");
        }
        let mut body = whole.clone();
        body.as_object_mut().unwrap().remove(name);
        assert_eq!(event(&body), Err(EventError::Missing(name)), "{body}");
    }
    assert_eq!(EventError::Missing("id").to_string(), "the body has no id");
}

#[test]
fn debug_prints_the_event_type_and_no_personal_data() {
    let printed = format!("{:?}", example("organization.directory.user_updated"));
    assert!(printed.contains("evt_53891546994442317") && printed.contains("user_updated"));
    assert!(!printed.contains("john") && !printed.contains("Doe"), "{printed}");
}

#[cfg(feature = "axum-core")]
#[tokio::test]
async fn extraction_fails_without_the_layer() {
    use axum_core::extract::FromRequestParts as _;
    use axum_core::response::IntoResponse as _;

    let (mut parts, ()) = http::Request::new(()).into_parts();
    let missing = WebhookEvent::from_request_parts(&mut parts, &()).await.unwrap_err();
    assert_eq!(missing.into_response().status(), 500);
}
