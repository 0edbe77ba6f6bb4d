//! The envelope around the data of an event.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

use crate::sandbox::state::ids::new_id;
use crate::sandbox::state::users::capitalized;

pub(crate) const ENVIRONMENT_ID: &str = "env_58327482062864391";

pub(crate) fn envelope(event_type: &str, data: Value, now: OffsetDateTime) -> Value {
    let mut envelope = Map::new();
    let mut set = |name: &str, value: Value| envelope.insert(name.to_owned(), value);
    set("spec_version", json!("1"));
    set("id", json!(new_id("evt")));
    set("type", json!(event_type));
    set("object", json!(object(event_type)));
    set("occurred_at", nanoseconds(now));
    set("environment_id", json!(ENVIRONMENT_ID));
    if let Some(id) = organization_id(&data) {
        set("organization_id", json!(id));
    }
    set("data", data);
    if !event_type.starts_with("connected_account.") {
        set("display_name", json!(display_name(event_type)));
    }
    envelope.into()
}

fn object(event_type: &str) -> String {
    let known = [
        ("organization.directory.user_", "DirectoryUser"),
        ("organization.directory.group_", "DirectoryGroup"),
        ("organization.directory_", "Directory"),
        ("organization.sso_", "Connection"),
        ("organization.", "Organization"),
        ("user.login", "User"),
        ("user.logout", "User"),
        ("user.", "OrgMembership"),
        ("connected_account.", "ConnectedAccount"),
    ];
    match known.iter().find(|(prefix, _)| event_type.starts_with(prefix)) {
        Some((_, object)) => (*object).to_owned(),
        None => capitalized(event_type.split('.').next().unwrap_or_default()),
    }
}

fn display_name(event_type: &str) -> String {
    let of_its_own = ["organization.directory", "organization.sso"];
    let named = match event_type.split_once('.') {
        Some((_, rest)) if of_its_own.iter().any(|own| event_type.starts_with(own)) => rest,
        _ => event_type,
    };
    named
        .split(['.', '_'])
        .map(|word| match word {
            "dns" => "DNS".to_owned(),
            "sso" => "SSO Connection".to_owned(),
            word => capitalized(word),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn organization_id(data: &Value) -> Option<&str> {
    let places = ["/organization_id", "/organization/id", "/user_session/organization_id", "/id"];
    let ids = places.iter().filter_map(|place| data.pointer(place).and_then(Value::as_str));
    ids.into_iter().find(|id| id.starts_with("org_"))
}

/// RFC 3339 in UTC, always with nine digits of the second.
fn nanoseconds(time: OffsetDateTime) -> Value {
    time.to_offset(time::UtcOffset::UTC).format(&Iso8601::DEFAULT).map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_are_derived_from_the_type() {
        for (event_type, expected_object, expected_name) in [
            ("organization.created", "Organization", "Organization Created"),
            ("organization.directory_enabled", "Directory", "Directory Enabled"),
            ("organization.directory.user_created", "DirectoryUser", "Directory User Created"),
            (
                "organization.domain_dns_verification_failed",
                "Organization",
                "Organization Domain DNS Verification Failed",
            ),
            ("organization.sso_created", "Connection", "SSO Connection Created"),
            ("permission.updated", "Permission", "Permission Updated"),
            ("user.logout", "User", "User Logout"),
            (
                "user.organization_membership_created",
                "OrgMembership",
                "User Organization Membership Created",
            ),
        ] {
            assert_eq!(object(event_type), expected_object);
            assert_eq!(display_name(event_type), expected_name);
        }
    }

    #[test]
    fn whole_seconds_have_nine_digits_too() {
        assert_eq!(nanoseconds(OffsetDateTime::UNIX_EPOCH), "1970-01-01T00:00:00.000000000Z");
    }
}
