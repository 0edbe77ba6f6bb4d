use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::lenient;

/// A user of a directory, in events. Has other fields than that of the API.
///
/// Identify users by organization and [`id`](Self::id), or by organization and
/// [`email`](Self::email) together; never by e-mail alone, which any organization's directory may
/// claim.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DirectoryUserData {
    /// `diruser_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// The organization of the directory.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// Whether the user may log in. Most providers set it to false to end a user's access. Omitted
    /// when the user is deleted.
    #[serde(deserialize_with = "lenient::flag")]
    pub active: Option<bool>,
    /// E-mail address.
    #[serde(deserialize_with = "lenient::text")]
    pub email: Option<String>,
    /// Full name.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// First name.
    #[serde(deserialize_with = "lenient::text")]
    pub given_name: Option<String>,
    /// Last name.
    #[serde(deserialize_with = "lenient::text")]
    pub family_name: Option<String>,
    /// Nickname.
    #[serde(deserialize_with = "lenient::text")]
    pub nickname: Option<String>,
    /// User name.
    #[serde(deserialize_with = "lenient::text")]
    pub preferred_username: Option<String>,
    /// The provider's ID of the user.
    #[serde(deserialize_with = "lenient::text")]
    pub dp_id: Option<String>,
    /// Employee number.
    #[serde(deserialize_with = "lenient::text")]
    pub employee_id: Option<String>,
    /// Department.
    #[serde(deserialize_with = "lenient::text")]
    pub department: Option<String>,
    /// Division.
    #[serde(deserialize_with = "lenient::text")]
    pub division: Option<String>,
    /// Cost center.
    #[serde(deserialize_with = "lenient::text")]
    pub cost_center: Option<String>,
    /// Job title.
    #[serde(deserialize_with = "lenient::text")]
    pub title: Option<String>,
    /// For instance `Employee`.
    #[serde(deserialize_with = "lenient::text")]
    pub user_type: Option<String>,
    /// The name of the user's company, not the organization's ID.
    #[serde(deserialize_with = "lenient::text")]
    pub organization: Option<String>,
    /// Phone number.
    #[serde(deserialize_with = "lenient::text")]
    pub phone_number: Option<String>,
    /// Postal address: `formatted`, `postal_code`, `state` and others.
    #[serde(deserialize_with = "lenient::map")]
    pub address: Map<String, Value>,
    /// Language.
    #[serde(deserialize_with = "lenient::text")]
    pub language: Option<String>,
    /// Language and region, as in `en-GB`.
    #[serde(deserialize_with = "lenient::text")]
    pub locale: Option<String>,
    /// Time zone, as in `America/Araguaina`.
    #[serde(deserialize_with = "lenient::text")]
    pub zoneinfo: Option<String>,
    /// URL of a profile page.
    #[serde(deserialize_with = "lenient::text")]
    pub profile: Option<String>,
    /// URL of a picture.
    #[serde(deserialize_with = "lenient::text")]
    pub picture: Option<String>,
    /// The user's groups.
    #[serde(deserialize_with = "lenient::list")]
    pub groups: Vec<UserGroup>,
    /// The roles that the user has through groups.
    #[serde(deserialize_with = "lenient::list")]
    pub roles: Vec<UserRole>,
    /// Custom attributes.
    #[serde(deserialize_with = "lenient::map")]
    pub custom_attributes: Map<String, Value>,
    /// All attributes from the provider.
    #[serde(deserialize_with = "lenient::map")]
    pub raw_attributes: Map<String, Value>,
}

/// A group of a user of a directory.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UserGroup {
    /// `dirgroup_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Its name.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
}

/// A role of a user of a directory.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UserRole {
    /// The role's name.
    #[serde(deserialize_with = "lenient::text")]
    pub role_name: Option<String>,
}
