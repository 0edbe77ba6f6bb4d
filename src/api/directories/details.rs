use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::model::wire;
use crate::util::open_enum::open_enum;
use crate::webhook::flag_of;

/// A directory of an organization. The environment leaves out what it does not know.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Directory {
    /// `dir_…`
    #[serde(deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// Its name, mostly that of the provider.
    #[serde(deserialize_with = "wire::text")]
    pub name: Option<String>,
    /// The organization it belongs to.
    #[serde(deserialize_with = "wire::text")]
    pub organization_id: Option<String>,
    /// Whether it is kept in step.
    pub enabled: Option<bool>,
    /// How it is kept in step.
    #[serde(deserialize_with = "wire::word")]
    pub directory_type: Option<DirectoryType>,
    /// Who keeps it.
    #[serde(deserialize_with = "wire::word")]
    pub directory_provider: Option<DirectoryProvider>,
    /// The address that the provider sends its changes to.
    #[serde(deserialize_with = "wire::text")]
    pub directory_endpoint: Option<String>,
    /// How far it is set up, for instance `IN_PROGRESS`.
    #[serde(deserialize_with = "wire::text")]
    pub status: Option<String>,
    /// Whose access is used where the provider is polled.
    #[serde(deserialize_with = "wire::text")]
    pub email: Option<String>,
    /// Which groups are kept in step, for instance `ALL`.
    #[serde(deserialize_with = "wire::text")]
    pub groups_tracked: Option<String>,
    /// When it was last brought into step.
    #[serde(deserialize_with = "wire::timestamp")]
    pub last_synced_at: Option<OffsetDateTime>,
    /// How many people are in it.
    #[serde(deserialize_with = "wire::number")]
    pub total_users: Option<u64>,
    /// How many groups are in it.
    #[serde(deserialize_with = "wire::number")]
    pub total_groups: Option<u64>,
    /// What has been counted.
    pub stats: Option<DirectoryStats>,
    /// The secrets with which the provider sends its changes, but for the secrets themselves.
    #[serde(deserialize_with = "wire::or_default")]
    pub secrets: Vec<DirectorySecret>,
    /// Which group gives which role.
    #[serde(deserialize_with = "wire::or_default")]
    pub role_assignments: RoleAssignments,
    /// Which attribute of the provider's becomes which of ours.
    #[serde(deserialize_with = "wire::or_default")]
    pub attribute_mappings: AttributeMappings,
}

open_enum! {
    /// How a directory is kept in step.
    DirectoryType {
        /// By LDAP.
        Ldap = "LDAP",
        /// Scalekit asks the provider.
        Poll = "POLL",
        /// The provider tells Scalekit, by SCIM.
        Scim = "SCIM",
    }
}

open_enum! {
    /// Who keeps a directory.
    DirectoryProvider {
        /// Auth0.
        Auth0 = "AUTH0",
        /// Google Workspace.
        Google = "GOOGLE",
        /// JumpCloud.
        JumpCloud = "JUMPCLOUD",
        /// Microsoft Entra ID.
        MicrosoftAd = "MICROSOFT_AD",
        /// Okta.
        Okta = "OKTA",
        /// OneLogin.
        OneLogin = "ONELOGIN",
        /// Ping Identity.
        PingIdentity = "PING_IDENTITY",
    }
}

/// What has been counted in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DirectoryStats {
    /// How many people are in it.
    #[serde(deserialize_with = "wire::number")]
    pub total_users: Option<u64>,
    /// How many groups are in it.
    #[serde(deserialize_with = "wire::number")]
    pub total_groups: Option<u64>,
    /// When anything about a person last changed.
    #[serde(deserialize_with = "wire::timestamp")]
    pub user_updated_at: Option<OffsetDateTime>,
    /// When anything about a group last changed.
    #[serde(deserialize_with = "wire::timestamp")]
    pub group_updated_at: Option<OffsetDateTime>,
}

/// A secret with which the provider sends its changes, but for the secret itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DirectorySecret {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// The directory it is for.
    #[serde(deserialize_with = "wire::text")]
    pub directory_id: Option<String>,
    /// Its last letters, to tell it from others.
    #[serde(deserialize_with = "wire::text")]
    pub secret_suffix: Option<String>,
    /// For instance `INACTIVE`.
    #[serde(deserialize_with = "wire::text")]
    pub status: Option<String>,
    /// When it was made.
    #[serde(deserialize_with = "wire::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// When it expires.
    #[serde(deserialize_with = "wire::timestamp")]
    pub expire_time: Option<OffsetDateTime>,
    /// When it was last used.
    #[serde(deserialize_with = "wire::timestamp")]
    pub last_used_time: Option<OffsetDateTime>,
}

/// Which group gives which role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RoleAssignments {
    /// Each pair of them.
    #[serde(deserialize_with = "wire::or_default")]
    pub assignments: Vec<RoleAssignment>,
}

/// A group whose members have a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
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

/// Which attribute of the provider's becomes which of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AttributeMappings {
    /// Each pair of them.
    #[serde(deserialize_with = "wire::or_default")]
    pub attributes: Vec<AttributeMapping>,
}

/// An attribute of the provider's, and what it becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AttributeMapping {
    /// The provider's name for it.
    #[serde(deserialize_with = "wire::text")]
    pub key: Option<String>,
    /// Our name for it.
    #[serde(deserialize_with = "wire::text")]
    pub map_to: Option<String>,
}

/// A person in a directory.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DirectoryUser {
    /// `diruser_…`
    #[serde(deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// E-mail address.
    #[serde(deserialize_with = "wire::text")]
    pub email: Option<String>,
    /// All e-mail addresses.
    #[serde(deserialize_with = "wire::or_default")]
    pub emails: Vec<String>,
    /// The name they log in with.
    #[serde(deserialize_with = "wire::text")]
    pub preferred_username: Option<String>,
    /// First name.
    #[serde(deserialize_with = "wire::text")]
    pub given_name: Option<String>,
    /// Last name.
    #[serde(deserialize_with = "wire::text")]
    pub family_name: Option<String>,
    /// When anything about them last changed.
    #[serde(deserialize_with = "wire::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
    /// The groups they are in.
    #[serde(deserialize_with = "wire::or_default")]
    pub groups: Vec<DirectoryGroup>,
    /// All that the provider says about them, if it was
    /// [asked for](super::DirectoryUsers::include_detail).
    #[serde(deserialize_with = "wire::or_default")]
    pub user_detail: Map<String, Value>,
}

impl DirectoryUser {
    /// Whether they may log in, of [`user_detail`](Self::user_detail); providers write it as text
    /// too. `None` when it is not included, or neither true nor false.
    #[must_use]
    pub fn active(&self) -> Option<bool> {
        self.user_detail.get("active").and_then(flag_of)
    }
}

/// A group of a directory.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DirectoryGroup {
    /// `dirgroup_…`
    #[serde(deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// Its name.
    #[serde(deserialize_with = "wire::text")]
    pub display_name: Option<String>,
    /// How many people are in it.
    #[serde(deserialize_with = "wire::number")]
    pub total_users: Option<u64>,
    /// When anything about it last changed.
    #[serde(deserialize_with = "wire::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
    /// All that the provider says about it, if it was
    /// [asked for](super::DirectoryGroups::include_detail).
    #[serde(deserialize_with = "wire::or_default")]
    pub group_detail: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whether_a_listed_user_is_active_may_be_written_as_text() {
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
