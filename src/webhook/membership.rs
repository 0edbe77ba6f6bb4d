use serde::{Deserialize, Serialize};

use super::organization::OrganizationData;
use super::user::UserData;
use crate::model::lenient;

/// A user's membership of an organization.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OrganizationMembership {
    /// The organization.
    #[serde(deserialize_with = "lenient::object")]
    pub organization: OrganizationData,
    /// The user.
    #[serde(deserialize_with = "lenient::object")]
    pub user: UserData,
}
