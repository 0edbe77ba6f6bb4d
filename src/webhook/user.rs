use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::model::lenient;
use crate::model::{SessionDevice, SessionStatus, UserProfile};

/// A user who has logged in or out, and the session.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UserWithSession {
    /// The user.
    #[serde(deserialize_with = "lenient::object")]
    pub user: UserData,
    /// The session at the environment.
    #[serde(deserialize_with = "lenient::object")]
    pub user_session: UserSession,
}

/// A user of your app.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UserData {
    /// `usr_…`, the claim `sub` of the user's tokens.
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// E-mail address.
    #[serde(deserialize_with = "lenient::text")]
    pub email: Option<String>,
    /// Your app's ID of the user.
    #[serde(deserialize_with = "lenient::text")]
    pub external_id: Option<String>,
    /// Time of creation.
    #[serde(with = "lenient::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(with = "lenient::timestamp")]
    pub update_time: Option<OffsetDateTime>,
    /// Time of the last login.
    #[serde(with = "lenient::timestamp")]
    pub last_login_time: Option<OffsetDateTime>,
    /// Your app's metadata.
    #[serde(deserialize_with = "lenient::map")]
    pub metadata: Map<String, Value>,
    /// The profile.
    #[serde(deserialize_with = "lenient::object")]
    pub user_profile: UserProfile,
}

/// A session of a user at the environment.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UserSession {
    /// `ses_…`, the claim `sid` of its tokens.
    #[serde(deserialize_with = "lenient::text")]
    pub session_id: Option<String>,
    /// `usr_…`
    #[serde(deserialize_with = "lenient::text")]
    pub user_id: Option<String>,
    /// The organization that the user was last active in.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// The status. An event of a logout may still contain the previous one.
    #[serde(deserialize_with = "lenient::open_enum")]
    pub status: Option<SessionStatus>,
    /// Time of creation.
    #[serde(with = "lenient::timestamp")]
    pub created_at: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(with = "lenient::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
    /// Time of the user's last activity.
    #[serde(with = "lenient::timestamp")]
    pub last_active_at: Option<OffsetDateTime>,
    /// Absolute expiry.
    #[serde(with = "lenient::timestamp")]
    pub absolute_expires_at: Option<OffsetDateTime>,
    /// Expiry if the user stays idle.
    #[serde(with = "lenient::timestamp")]
    pub idle_expires_at: Option<OffsetDateTime>,
    /// When it expired or was revoked.
    #[serde(with = "lenient::timestamp")]
    pub expired_at: Option<OffsetDateTime>,
    /// When the user logged out.
    #[serde(with = "lenient::timestamp")]
    pub logout_at: Option<OffsetDateTime>,
    /// The organizations that the user has signed in to during this session.
    #[serde(deserialize_with = "lenient::list")]
    pub authenticated_organizations: Vec<String>,
    /// The device that the user signed in from.
    #[serde(deserialize_with = "lenient::object")]
    pub device: SessionDevice,
}
