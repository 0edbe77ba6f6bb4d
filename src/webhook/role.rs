use serde::{Deserialize, Serialize};

use crate::model::lenient;

/// A role of users.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RoleData {
    /// `role_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Its name in tokens, for instance `viewer`.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// Display name.
    #[serde(deserialize_with = "lenient::text")]
    pub display_name: Option<String>,
    /// Description.
    #[serde(deserialize_with = "lenient::text")]
    pub description: Option<String>,
    /// The role that it extends.
    #[serde(deserialize_with = "lenient::text")]
    pub extends: Option<String>,
}

/// A permission of roles.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PermissionData {
    /// `perm_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Its name in tokens, for instance `data:manage`.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// Description.
    #[serde(deserialize_with = "lenient::text")]
    pub description: Option<String>,
}
