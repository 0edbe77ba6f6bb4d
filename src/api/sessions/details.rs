use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::wire;
use crate::model::{SessionDevice, SessionStatus};

/// A session of a user at the environment. Fields that the environment omits are `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct SessionDetails {
    /// `ses_…`, the claim `sid` of its tokens.
    #[serde(deserialize_with = "wire::required")]
    pub session_id: String,
    /// `usr_…`
    #[serde(default, deserialize_with = "wire::text")]
    pub user_id: Option<String>,
    /// The organization the user was last active in. Omitted for a session that was just revoked.
    #[serde(default, deserialize_with = "wire::text")]
    pub organization_id: Option<String>,
    /// The status.
    #[serde(default, deserialize_with = "wire::open_enum")]
    pub status: Option<SessionStatus>,
    /// Time of creation.
    #[serde(default, with = "wire::timestamp")]
    pub created_at: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(default, with = "wire::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
    /// Time of the user's last activity.
    #[serde(default, with = "wire::timestamp")]
    pub last_active_at: Option<OffsetDateTime>,
    /// Absolute expiry.
    #[serde(default, with = "wire::timestamp")]
    pub absolute_expires_at: Option<OffsetDateTime>,
    /// Expiry if the user stays idle.
    #[serde(default, with = "wire::timestamp")]
    pub idle_expires_at: Option<OffsetDateTime>,
    /// When it expired or was revoked.
    #[serde(default, with = "wire::timestamp")]
    pub expired_at: Option<OffsetDateTime>,
    /// When the user logged out.
    #[serde(default, with = "wire::timestamp")]
    pub logout_at: Option<OffsetDateTime>,
    /// The organizations that the user has signed in to during this session.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub authenticated_organizations: Vec<String>,
    /// The applications that the user has signed in to during this session.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub authenticated_clients: Vec<AuthenticatedClient>,
    /// The device that the user signed in from.
    #[serde(default)]
    pub device: Option<SessionDevice>,
}

/// An application that a user has signed in to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AuthenticatedClient {
    /// `skc_…`
    #[serde(deserialize_with = "wire::text")]
    pub client_id: Option<String>,
    /// The organization that the user was last active in there.
    #[serde(deserialize_with = "wire::text")]
    pub organization_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_of_the_reference_are_read() {
        // The examples of the OpenAPI document.
        let details: SessionDetails = serde_json::from_str(
            r#"{
                "absolute_expires_at": "2025-01-22T10:30:00Z",
                "authenticated_clients":
                    [{"client_id": "skc_1234567890", "organization_id": "org_1234567890"}],
                "authenticated_organizations": ["org_123", "org_456"],
                "created_at": "2025-01-15T10:30:00Z",
                "device": {
                    "browser": "Chrome", "browser_version": "120.0.0.0", "device_type": "desktop",
                    "ip": "192.0.2.1", "os": "macOS", "os_version": "14.2", "user_agent": "Mozilla",
                    "location": {"city": "San Francisco", "latitude": "37.7749",
                        "longitude": "-122.4194", "region": "United States",
                        "region_subdivision": "CA"}
                },
                "expired_at": "2025-01-15T12:00:00Z",
                "idle_expires_at": "2025-01-15T11:30:00.5+01:00",
                "last_active_at": "2025-01-15T10:55:30Z",
                "logout_at": "2025-01-15T14:00:00Z",
                "organization_id": "org_1234567890123456",
                "session_id": "ses_1234567890123456",
                "status": "ACTIVE",
                "updated_at": "2025-01-15T10:45:00Z",
                "user_id": "usr_1234567890123456",
                "something_new": [1]
            }"#,
        )
        .unwrap();
        let at = |time: Option<OffsetDateTime>| time.unwrap().unix_timestamp() - 1_736_937_000;
        assert_eq!(at(details.created_at), 0);
        assert_eq!(at(details.updated_at), 15 * 60);
        assert_eq!(at(details.last_active_at), 25 * 60 + 30);
        assert_eq!(at(details.idle_expires_at), 0);
        assert_eq!(at(details.expired_at), 90 * 60);
        assert_eq!(at(details.logout_at), 210 * 60);
        assert_eq!(at(details.absolute_expires_at), 7 * 86_400);
        assert_eq!(details.session_id, "ses_1234567890123456");
        assert_eq!(details.user_id.as_deref(), Some("usr_1234567890123456"));
        assert_eq!(details.organization_id.as_deref(), Some("org_1234567890123456"));
        assert_eq!(details.status, Some(SessionStatus::Active));
        assert_eq!(details.authenticated_organizations, ["org_123", "org_456"]);
        assert_eq!(details.authenticated_clients[0].client_id.as_deref(), Some("skc_1234567890"));
        let device = details.device.unwrap();
        assert_eq!(device.user_agent.as_deref(), Some("Mozilla"));
        assert_eq!(device.location.unwrap().latitude.as_deref(), Some("37.7749"));
    }

    #[test]
    fn all_fields_but_the_id_may_be_missing_null_or_empty() {
        let bare = SessionDetails { session_id: "ses_1".to_owned(), ..Default::default() };
        for body in [
            r#"{"session_id":"ses_1"}"#,
            r#"{"session_id":"ses_1","status":"","created_at":"","authenticated_clients":null,"device":null}"#,
            r#"{"session_id":"ses_1","user_id":null,"status":null,"created_at":null}"#,
        ] {
            assert_eq!(serde_json::from_str::<SessionDetails>(body).unwrap(), bare, "{body}");
        }
        // An error is better than a session without its expiry.
        for body in [
            r#"{"session_id":"ses_1","expired_at":"soon"}"#,
            r#"{"session_id":"ses_1","expired_at":1736937000}"#,
        ] {
            assert!(serde_json::from_str::<SessionDetails>(body).is_err(), "{body}");
        }
    }
}
