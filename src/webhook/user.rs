use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::model::lenient;
use crate::model::{SessionDevice, SessionStatus};

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

/// The profile of a user.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UserProfile {
    /// `usp_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Full name.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// First name.
    #[serde(deserialize_with = "lenient::text")]
    pub given_name: Option<String>,
    /// Last name.
    #[serde(deserialize_with = "lenient::text")]
    pub family_name: Option<String>,
    /// User name.
    #[serde(deserialize_with = "lenient::text")]
    pub preferred_username: Option<String>,
    /// Whether the e-mail address is verified.
    #[serde(deserialize_with = "lenient::flag")]
    pub email_verified: Option<bool>,
    /// Phone number.
    #[serde(deserialize_with = "lenient::text")]
    pub phone_number: Option<String>,
    /// Whether the phone number is verified.
    #[serde(deserialize_with = "lenient::flag")]
    pub phone_number_verified: Option<bool>,
    /// URL of a picture.
    #[serde(deserialize_with = "lenient::text")]
    pub picture: Option<String>,
    /// Gender.
    #[serde(deserialize_with = "lenient::text")]
    pub gender: Option<String>,
    /// Language and region, as in `en-GB`.
    #[serde(deserialize_with = "lenient::text")]
    pub locale: Option<String>,
    /// The groups from the identity provider.
    #[serde(deserialize_with = "lenient::list")]
    pub groups: Vec<String>,
    /// The user's identities at identity providers.
    #[serde(deserialize_with = "lenient::list")]
    pub external_identities: Vec<ExternalIdentity>,
    /// Custom attributes.
    #[serde(deserialize_with = "lenient::map")]
    pub custom_attributes: Map<String, Value>,
    /// Your app's metadata of the profile.
    #[serde(deserialize_with = "lenient::map")]
    pub metadata: Map<String, Value>,
}

/// A user's identity at an identity provider.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ExternalIdentity {
    /// The connection (`conn_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub connection_id: Option<String>,
    /// For instance `GOOGLE`.
    #[serde(deserialize_with = "lenient::text")]
    pub connection_provider: Option<String>,
    /// For instance `OAUTH`.
    #[serde(deserialize_with = "lenient::text")]
    pub connection_type: Option<String>,
    /// The provider's ID of the user.
    #[serde(deserialize_with = "lenient::text")]
    pub connection_user_id: Option<String>,
    /// Whether it is a social provider.
    #[serde(deserialize_with = "lenient::flag")]
    pub is_social: Option<bool>,
    /// Time of the first login.
    #[serde(with = "lenient::timestamp")]
    pub created_time: Option<OffsetDateTime>,
    /// Time of the last login.
    #[serde(with = "lenient::timestamp")]
    pub last_login_time: Option<OffsetDateTime>,
    /// Time of the last synchronization.
    #[serde(with = "lenient::timestamp")]
    pub last_synced_time: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(with = "lenient::timestamp")]
    pub updated_time: Option<OffsetDateTime>,
    /// All attributes from the provider, as text.
    #[serde(deserialize_with = "lenient::text")]
    pub raw_attributes: Option<String>,
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
