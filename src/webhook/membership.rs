use serde::{Deserialize, Serialize};

use super::organization::Organization;
use super::user::User;
use crate::model::lenient;

/// A user's membership of an organization.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OrgMembership {
    /// The organization.
    #[serde(deserialize_with = "lenient::object")]
    pub organization: Organization,
    /// The user.
    #[serde(deserialize_with = "lenient::object")]
    pub user: User,
}
