use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::wire;

/// A role of users. Fields that the environment omits are `None`; a membership has the names only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Role {
    /// Its name in tokens, for instance `viewer`.
    #[serde(deserialize_with = "wire::required")]
    pub name: String,
    /// `role_…`
    #[serde(default, deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// Display name.
    #[serde(default, deserialize_with = "wire::text")]
    pub display_name: Option<String>,
    /// Description.
    #[serde(default, deserialize_with = "wire::text")]
    pub description: Option<String>,
    /// The role that it extends.
    #[serde(default, deserialize_with = "wire::text")]
    pub extends: Option<String>,
    /// Its permissions, inherited ones included.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub permissions: Vec<Permission>,
    /// Whether creators of organizations get it.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub default_creator: bool,
    /// Whether new members get it.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub default_member: bool,
    /// Whether it belongs to an organization.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub is_org_role: bool,
    /// Number of roles that extend it.
    #[serde(default, deserialize_with = "wire::count")]
    pub dependent_roles_count: u64,
}

/// A permission of roles. Fields that the environment omits are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Permission {
    /// Its name in tokens, for instance `invoices:approve`.
    #[serde(deserialize_with = "wire::required")]
    pub name: String,
    /// `perm_…`
    #[serde(default, deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// Description.
    #[serde(default, deserialize_with = "wire::text")]
    pub description: Option<String>,
    /// Among the permissions of a role: the role that has it, which may be one that it extends.
    #[serde(default, deserialize_with = "wire::text")]
    pub role_name: Option<String>,
    /// Whether Scalekit has defined it.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub is_scalekit_permission: bool,
    /// Time of creation.
    #[serde(default, with = "wire::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(default, with = "wire::timestamp")]
    pub update_time: Option<OffsetDateTime>,
}

/// A role to create.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct NewRole {
    /// Its name in tokens: 1 to 64 letters, digits and `_`. It cannot be changed.
    pub name: String,
    /// Display name.
    pub display_name: String,
    /// Description, at most 2000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The role whose permissions it inherits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// Names of permissions, at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
}

impl NewRole {
    /// Creates a role whose display name is its name. The other fields are optional.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { display_name: name.clone(), name, ..Self::default() }
    }
}

/// Changes to a role. `None` keeps a field.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RoleUpdate {
    /// Display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Description, at most 2000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The role whose permissions it inherits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// Names of all permissions from now on, at most 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
}

/// The roles of new users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DefaultRoles {
    /// The role of the creator of an organization.
    pub default_creator: Option<Role>,
    /// The role of its other members.
    pub default_member: Option<Role>,
}

#[derive(Serialize)]
pub(super) struct NewDefaults<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default_creator_role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default_member_role: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Count {
    #[serde(deserialize_with = "wire::count")]
    pub(super) count: u64,
}
