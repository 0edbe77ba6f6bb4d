use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::api::sessions::{SessionDevice, SessionStatus};
use crate::model::lenient;

/// A user who has logged in or out, and their session.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UserWithSession {
    /// Who it is.
    #[serde(deserialize_with = "lenient::object")]
    pub user: User,
    /// Their session at the environment.
    #[serde(deserialize_with = "lenient::object")]
    pub user_session: UserSession,
}

/// A user of your app.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct User {
    /// `usr_…`, the claim `sub` of their tokens.
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// E-mail address.
    #[serde(deserialize_with = "lenient::text")]
    pub email: Option<String>,
    /// The id that your app gave them.
    #[serde(deserialize_with = "lenient::text")]
    pub external_id: Option<String>,
    /// When they first came.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// When anything about them last changed.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub update_time: Option<OffsetDateTime>,
    /// When they last logged in.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub last_login_time: Option<OffsetDateTime>,
    /// What your app keeps with them.
    #[serde(deserialize_with = "lenient::map")]
    pub metadata: Map<String, Value>,
    /// What is known about them.
    #[serde(deserialize_with = "lenient::object")]
    pub user_profile: UserProfile,
}

/// What is known about a user.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
    /// The name they log in with.
    #[serde(deserialize_with = "lenient::text")]
    pub preferred_username: Option<String>,
    /// Whether the e-mail address is known to be theirs.
    #[serde(deserialize_with = "lenient::flag")]
    pub email_verified: Option<bool>,
    /// Phone number.
    #[serde(deserialize_with = "lenient::text")]
    pub phone_number: Option<String>,
    /// Whether the phone number is known to be theirs.
    #[serde(deserialize_with = "lenient::flag")]
    pub phone_number_verified: Option<bool>,
    /// Address of a picture.
    #[serde(deserialize_with = "lenient::text")]
    pub picture: Option<String>,
    /// Gender.
    #[serde(deserialize_with = "lenient::text")]
    pub gender: Option<String>,
    /// Language and region, as in `en-GB`.
    #[serde(deserialize_with = "lenient::text")]
    pub locale: Option<String>,
    /// The groups that their identity provider tells of.
    #[serde(deserialize_with = "lenient::list")]
    pub groups: Vec<String>,
    /// Who they are at identity providers.
    #[serde(deserialize_with = "lenient::list")]
    pub external_identities: Vec<ExternalIdentity>,
    /// What your app asks for beyond all that.
    #[serde(deserialize_with = "lenient::map")]
    pub custom_attributes: Map<String, Value>,
    /// What your app keeps with the profile.
    #[serde(deserialize_with = "lenient::map")]
    pub metadata: Map<String, Value>,
}

/// Who a user is at an identity provider.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ExternalIdentity {
    /// The connection they came through (`conn_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub connection_id: Option<String>,
    /// For instance `GOOGLE`.
    #[serde(deserialize_with = "lenient::text")]
    pub connection_provider: Option<String>,
    /// For instance `OAUTH`.
    #[serde(deserialize_with = "lenient::text")]
    pub connection_type: Option<String>,
    /// The provider's id of them.
    #[serde(deserialize_with = "lenient::text")]
    pub connection_user_id: Option<String>,
    /// Whether people have accounts there of their own.
    #[serde(deserialize_with = "lenient::flag")]
    pub is_social: Option<bool>,
    /// When they first came from there.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub created_time: Option<OffsetDateTime>,
    /// When they last came from there.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub last_login_time: Option<OffsetDateTime>,
    /// When they were last brought into step.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub last_synced_time: Option<OffsetDateTime>,
    /// When anything about this last changed.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub updated_time: Option<OffsetDateTime>,
    /// All that the provider says about them, as text.
    #[serde(deserialize_with = "lenient::text")]
    pub raw_attributes: Option<String>,
}

/// A session of a user at the environment.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UserSession {
    /// `ses_…`, the claim `sid` of its tokens.
    #[serde(deserialize_with = "lenient::text")]
    pub session_id: Option<String>,
    /// `usr_…`
    #[serde(deserialize_with = "lenient::text")]
    pub user_id: Option<String>,
    /// The organization the user was last active in.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// Whether it is alive, and if not how it ended.
    /// An event of a logout may still tell the status before.
    #[serde(deserialize_with = "lenient::word")]
    pub status: Option<SessionStatus>,
    /// When it began.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub created_at: Option<OffsetDateTime>,
    /// When anything about it last changed.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
    /// When the user was last seen.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub last_active_at: Option<OffsetDateTime>,
    /// When it ends at the latest.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub absolute_expires_at: Option<OffsetDateTime>,
    /// When it ends if the user is not seen again.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub idle_expires_at: Option<OffsetDateTime>,
    /// When it expired or was revoked.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub expired_at: Option<OffsetDateTime>,
    /// When the user logged out.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub logout_at: Option<OffsetDateTime>,
    /// The organizations the user has signed in to during this session.
    #[serde(deserialize_with = "lenient::list")]
    pub authenticated_organizations: Vec<String>,
    /// Where the user signed in.
    #[serde(deserialize_with = "lenient::object")]
    pub device: SessionDevice,
}
