use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::api::memberships::{InitialMembership, Membership};
use crate::model::UserProfile;
use crate::model::wire;

/// A user of your app. Fields that the environment omits are `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct UserDetails {
    /// `usr_…`, the claim `sub` of the user's tokens.
    #[serde(deserialize_with = "wire::required")]
    pub id: String,
    /// E-mail address.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub email: String,
    /// Your app's ID of the user, the claim `xuid` of access tokens.
    #[serde(default, deserialize_with = "wire::text")]
    pub external_id: Option<String>,
    /// Time of creation.
    #[serde(default, with = "wire::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(default, with = "wire::timestamp")]
    pub update_time: Option<OffsetDateTime>,
    /// Time of the last login.
    #[serde(default, with = "wire::timestamp")]
    pub last_login_time: Option<OffsetDateTime>,
    /// Your app's metadata.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub metadata: BTreeMap<String, String>,
    /// Memberships of organizations, with roles.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub memberships: Vec<Membership>,
    /// The profile.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub user_profile: UserProfile,
}

impl UserDetails {
    /// The user's membership of an organization (`org_…`).
    #[must_use]
    pub fn membership(&self, organization_id: &str) -> Option<&Membership> {
        self.memberships.iter().find(|membership| membership.organization_id == organization_id)
    }
}

/// A user to create as a member of an organization.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct NewMember {
    /// E-mail address, unique in the environment.
    pub email: String,
    /// Your app's ID of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Your app's metadata: keys of 3 to 25 characters, values of 1 to 256.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Roles in the organization, and the invitation.
    pub membership: InitialMembership,
    /// The profile.
    pub user_profile: NewUserProfile,
}

impl NewMember {
    /// Creates a user with an e-mail address. The other fields are optional.
    #[must_use]
    pub fn new(email: impl Into<String>) -> Self {
        Self { email: email.into(), ..Self::default() }
    }
}

/// Changes to a user. `None` keeps a field.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct UserUpdate {
    /// Your app's ID of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Your app's metadata: keys of 3 to 25 characters, values of 1 to 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// The profile.
    pub user_profile: NewUserProfile,
}

/// The fields of a profile that your app sets. `None` keeps a field, or leaves it empty.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct NewUserProfile {
    /// Full name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// First name, at most 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    /// Last name, at most 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    /// User name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
    /// Phone number in the format of E.164, such as `+14155552671`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// URL of a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// Gender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
    /// Language and region (BCP 47), as in `en-GB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Names of groups, each of 1 to 250 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Custom attributes: keys of 3 to 25 characters, values of 1 to 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_attributes: Option<BTreeMap<String, String>>,
    /// Metadata of the profile: keys of 3 to 25 characters, values of 1 to 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}
