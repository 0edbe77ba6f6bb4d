//! The envelope around the data of an event.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::ids::new_id;
use crate::sandbox::state::users::capitalized;

pub(crate) const ENVIRONMENT_ID: &str = "env_58327482062864391";

pub(crate) fn envelope(event_type: &str, data: Value, now: OffsetDateTime) -> Value {
    let has_display_name = !event_type.starts_with("connected_account.");
    let mut envelope = without_nulls(json!({
        "spec_version": "1",
        "id": new_id("evt"),
        "type": event_type,
        "object": object(event_type),
        "occurred_at": nanoseconds(now),
        "environment_id": ENVIRONMENT_ID,
        "organization_id": organization_id(&data),
        "display_name": has_display_name.then(|| display_name(event_type)),
    }));
    envelope.insert("data".to_owned(), data);
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
    event_type
        .strip_prefix("organization.")
        .filter(|rest| rest.starts_with("directory") || rest.starts_with("sso"))
        .unwrap_or(event_type)
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
    ["/organization_id", "/organization/id", "/user_session/organization_id", "/id"]
        .iter()
        .filter_map(|place| data.pointer(place).and_then(Value::as_str))
        .find(|id| id.starts_with("org_"))
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
