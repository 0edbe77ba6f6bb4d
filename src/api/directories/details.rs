use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::model::lenient::flag_of;
use crate::model::wire;
use crate::model::{DirectoryProvider, DirectoryType};

/// A directory of an organization. Fields that the environment omits are `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Directory {
    /// `dir_…`
    #[serde(deserialize_with = "wire::required")]
    pub id: String,
    /// Its name, usually the provider's.
    #[serde(default, deserialize_with = "wire::text")]
    pub name: Option<String>,
    /// The organization that it belongs to.
    #[serde(default, deserialize_with = "wire::text")]
    pub organization_id: Option<String>,
    /// Whether it is synchronized.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// How it is synchronized.
    #[serde(default, deserialize_with = "wire::open_enum")]
    pub directory_type: Option<DirectoryType>,
    /// The provider.
    #[serde(default, deserialize_with = "wire::open_enum")]
    pub directory_provider: Option<DirectoryProvider>,
    /// The SCIM endpoint for the provider.
    #[serde(default, deserialize_with = "wire::text")]
    pub directory_endpoint: Option<String>,
    /// The setup status, for instance `IN_PROGRESS`.
    #[serde(default, deserialize_with = "wire::text")]
    pub status: Option<String>,
    /// The administrator whose access is used to poll the provider.
    #[serde(default, deserialize_with = "wire::text")]
    pub email: Option<String>,
    /// Which groups are synchronized, for instance `ALL`.
    #[serde(default, deserialize_with = "wire::text")]
    pub groups_tracked: Option<String>,
    /// Time of the last synchronization.
    #[serde(default, with = "wire::timestamp")]
    pub last_synced_at: Option<OffsetDateTime>,
    /// Number of users.
    #[serde(default, deserialize_with = "wire::number")]
    pub total_users: Option<u64>,
    /// Number of groups.
    #[serde(default, deserialize_with = "wire::number")]
    pub total_groups: Option<u64>,
    /// Statistics.
    #[serde(default)]
    pub stats: Option<DirectoryStats>,
    /// The provider's SCIM secrets, without their values.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub secrets: Vec<DirectorySecret>,
    /// Role assignments by group.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub role_assignments: RoleAssignments,
    /// Attribute mappings.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub attribute_mappings: AttributeMappings,
}

/// Statistics of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DirectoryStats {
    /// Number of users.
    #[serde(deserialize_with = "wire::number")]
    pub total_users: Option<u64>,
    /// Number of groups.
    #[serde(deserialize_with = "wire::number")]
    pub total_groups: Option<u64>,
    /// Time of the last change of a user.
    #[serde(with = "wire::timestamp")]
    pub user_updated_at: Option<OffsetDateTime>,
    /// Time of the last change of a group.
    #[serde(with = "wire::timestamp")]
    pub group_updated_at: Option<OffsetDateTime>,
}

/// A SCIM secret of a provider, without its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DirectorySecret {
    /// Its ID.
    #[serde(deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// The directory that it belongs to.
    #[serde(deserialize_with = "wire::text")]
    pub directory_id: Option<String>,
    /// Its last characters.
    #[serde(deserialize_with = "wire::text")]
    pub secret_suffix: Option<String>,
    /// For instance `INACTIVE`.
    #[serde(deserialize_with = "wire::text")]
    pub status: Option<String>,
    /// Time of creation.
    #[serde(with = "wire::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// Expiry.
    #[serde(with = "wire::timestamp")]
    pub expire_time: Option<OffsetDateTime>,
    /// Time of the last use.
    #[serde(with = "wire::timestamp")]
    pub last_used_time: Option<OffsetDateTime>,
}

/// Role assignments by group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RoleAssignments {
    /// The assignments.
    #[serde(deserialize_with = "wire::or_default")]
    pub assignments: Vec<RoleAssignment>,
}

/// A group whose members have a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RoleAssignment {
    /// `dirgroup_…`
    #[serde(deserialize_with = "wire::text")]
    pub group_id: Option<String>,
    /// The role's name.
    #[serde(deserialize_with = "wire::text")]
    pub role_name: Option<String>,
}

/// Attribute mappings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AttributeMappings {
    /// The mappings.
    #[serde(deserialize_with = "wire::or_default")]
    pub attributes: Vec<AttributeMapping>,
}

/// The mapping of a provider's attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AttributeMapping {
    /// The provider's name.
    #[serde(deserialize_with = "wire::text")]
    pub key: Option<String>,
    /// Scalekit's name.
    #[serde(deserialize_with = "wire::text")]
    pub map_to: Option<String>,
}

/// A user of a directory.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct DirectoryUser {
    /// `diruser_…`
    #[serde(deserialize_with = "wire::required")]
    pub id: String,
    /// E-mail address.
    #[serde(default, deserialize_with = "wire::text")]
    pub email: Option<String>,
    /// All e-mail addresses.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub emails: Vec<String>,
    /// User name.
    #[serde(default, deserialize_with = "wire::text")]
    pub preferred_username: Option<String>,
    /// First name.
    #[serde(default, deserialize_with = "wire::text")]
    pub given_name: Option<String>,
    /// Last name.
    #[serde(default, deserialize_with = "wire::text")]
    pub family_name: Option<String>,
    /// Time of the last change.
    #[serde(default, with = "wire::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
    /// The user's groups.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub groups: Vec<DirectoryGroup>,
    /// All attributes from the provider, if [included](super::DirectoryUsers::include_detail).
    #[serde(default, deserialize_with = "wire::or_default")]
    pub user_detail: Map<String, Value>,
}

impl DirectoryUser {
    /// Whether the user is active, from [`user_detail`](Self::user_detail). Providers may send it
    /// as text. `None` if it is not included, or neither true nor false.
    #[must_use]
    pub fn active(&self) -> Option<bool> {
        self.user_detail.get("active").and_then(flag_of)
    }
}

/// A group of a directory.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct DirectoryGroup {
    /// `dirgroup_…`
    #[serde(deserialize_with = "wire::required")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub display_name: String,
    /// Number of members.
    #[serde(default, deserialize_with = "wire::number")]
    pub total_users: Option<u64>,
    /// Time of the last change.
    #[serde(default, with = "wire::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
    /// All attributes from the provider, if [included](super::DirectoryGroups::include_detail).
    #[serde(default, deserialize_with = "wire::or_default")]
    pub group_detail: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn active_may_be_text() {
        for (value, active) in [
            (json!(true), Some(true)),
            (json!(false), Some(false)),
            (json!("True"), Some(true)),
            (json!("False"), Some(false)),
            (json!("false"), Some(false)),
            (json!("no"), None),
            (json!(0), None),
            (json!(null), None),
        ] {
            let user = json!({"id": "diruser_1", "user_detail": {"active": value}});
            let user: DirectoryUser = serde_json::from_value(user).unwrap();
            assert_eq!(user.active(), active, "{value}");
        }
        assert_eq!(DirectoryUser::default().active(), None);
    }
}
