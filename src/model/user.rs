use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::model::lenient;
use crate::util::open_enum::open_enum;

open_enum! {
    /// The state of a user's membership of an organization.
    MembershipStatus {
        /// The user is a member.
        Active = "ACTIVE",
        /// The user cannot sign in to the organization.
        Inactive = "INACTIVE",
        /// The invitation has expired.
        InviteExpired = "INVITE_EXPIRED",
        /// The user has not accepted the invitation yet.
        PendingInvite = "PENDING_INVITE",
    }
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
