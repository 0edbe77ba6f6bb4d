use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::lenient;

/// A person in a directory, as events tell of them: other fields than those of the API.
///
/// Tell people apart by organization and [`id`](Self::id), or by organization and
/// [`email`](Self::email) together; never by e-mail alone, which any organization's directory may
/// claim.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DirectoryUser {
    /// `diruser_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// The organization whose directory they are in.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// Whether they may log in. False is how most providers end their access. Not told when they are
    /// deleted.
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
    /// What they are called.
    #[serde(deserialize_with = "lenient::text")]
    pub nickname: Option<String>,
    /// The name they log in with.
    #[serde(deserialize_with = "lenient::text")]
    pub preferred_username: Option<String>,
    /// The provider's id of them.
    #[serde(deserialize_with = "lenient::text")]
    pub dp_id: Option<String>,
    /// Their number in the company.
    #[serde(deserialize_with = "lenient::text")]
    pub employee_id: Option<String>,
    /// Department.
    #[serde(deserialize_with = "lenient::text")]
    pub department: Option<String>,
    /// Division.
    #[serde(deserialize_with = "lenient::text")]
    pub division: Option<String>,
    /// Cost centre.
    #[serde(deserialize_with = "lenient::text")]
    pub cost_center: Option<String>,
    /// Job title.
    #[serde(deserialize_with = "lenient::text")]
    pub title: Option<String>,
    /// For instance `Employee`.
    #[serde(deserialize_with = "lenient::text")]
    pub user_type: Option<String>,
    /// The name of their company, not the id of the organization.
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
    /// Address of a page about them.
    #[serde(deserialize_with = "lenient::text")]
    pub profile: Option<String>,
    /// Address of a picture.
    #[serde(deserialize_with = "lenient::text")]
    pub picture: Option<String>,
    /// The groups they are in.
    #[serde(deserialize_with = "lenient::list")]
    pub groups: Vec<UserGroup>,
    /// The roles that those give them.
    #[serde(deserialize_with = "lenient::list")]
    pub roles: Vec<UserRole>,
    /// What the organization lets its provider tell beyond all that.
    #[serde(deserialize_with = "lenient::map")]
    pub custom_attributes: Map<String, Value>,
    /// All that the provider says about them.
    #[serde(deserialize_with = "lenient::map")]
    pub raw_attributes: Map<String, Value>,
}

/// A group that a person in a directory is in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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

/// A role that a person in a directory has.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UserRole {
    /// The role's name.
    #[serde(deserialize_with = "lenient::text")]
    pub role_name: Option<String>,
}
