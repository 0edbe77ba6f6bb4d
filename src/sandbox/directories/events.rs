//! Changes of directories, and their events.

use serde_json::{Value, json};

use crate::sandbox::respond::{members, timestamp, without_nulls};
use crate::sandbox::state::State;
use crate::sandbox::state::directories::{Directories, Directory};
use crate::sandbox::state::directory_records::{SandboxDirectoryGroup, SandboxDirectoryUser};

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    DirectoryDisabled,
    DirectoryEnabled,
    GroupCreated,
    GroupDeleted,
    GroupUpdated,
    UserCreated,
    UserDeleted,
    UserUpdated,
}

impl Change {
    fn event_type(self) -> &'static str {
        match self {
            Self::DirectoryDisabled => "organization.directory_disabled",
            Self::DirectoryEnabled => "organization.directory_enabled",
            Self::GroupCreated => "organization.directory.group_created",
            Self::GroupDeleted => "organization.directory.group_deleted",
            Self::GroupUpdated => "organization.directory.group_updated",
            Self::UserCreated => "organization.directory.user_created",
            Self::UserDeleted => "organization.directory.user_deleted",
            Self::UserUpdated => "organization.directory.user_updated",
        }
    }

    /// The event of the directory, user or group with this ID, before it is removed. `None` if
    /// there is no endpoint.
    fn data(self, directories: &Directories, id: &str) -> Option<Value> {
        match self {
            Self::DirectoryDisabled | Self::DirectoryEnabled => {
                directories.get(id).map(directory_data)
            }
            Self::GroupCreated | Self::GroupDeleted | Self::GroupUpdated => {
                let group = directories.group(id).filter(|group| !group.external)?;
                directories.get(&group.directory_id)?.enabled.then(|| group_data(group, self))
            }
            Self::UserCreated | Self::UserDeleted | Self::UserUpdated => {
                let user = directories.user(id)?;
                directories.get(&user.directory_id)?.enabled.then(|| match self {
                    Self::UserDeleted => json!({
                        "id": user.id,
                        "organization_id": user.organization_id,
                        "dp_id": user.dp_id,
                        "email": user.email,
                    }),
                    _ => user_data(directories, user),
                })
            }
        }
    }
}

impl State {
    /// Notifies the webhook endpoints; before a removal, after any other change.
    pub(crate) fn directory_changed(&mut self, change: Change, id: &str) {
        if let Some(data) = change.data(&self.directories, id) {
            self.webhooks.emit(change.event_type(), data, self.now);
        }
    }

    /// Returns whether that was a change, if the directory exists.
    pub(crate) fn set_directory_enabled(&mut self, id: &str, enabled: bool) -> Option<bool> {
        let is_changed = self.directories.set_enabled(id, enabled, self.now)?;
        if is_changed {
            let change = if enabled { Change::DirectoryEnabled } else { Change::DirectoryDisabled };
            self.directory_changed(change, id);
        }
        Some(is_changed)
    }
}

fn directory_data(directory: &Directory) -> Value {
    json!({
        "directory_type": "SCIM",
        "enabled": directory.enabled,
        "id": directory.id,
        "organization_id": directory.organization_id,
        "provider": "OKTA",
        "updated_at": timestamp(directory.updated_at),
    })
}

fn group_data(group: &SandboxDirectoryGroup, change: Change) -> Value {
    // One has the provider's ID, the other two have the external one, even if there is none.
    let (id_name, id) = match change {
        Change::GroupDeleted => ("dp_id", Some(&group.dp_id)),
        _ => ("external_id", group.external_id.as_ref()),
    };
    json!({
        "directory_id": group.directory_id,
        "display_name": group.display_name,
        "id": group.id,
        "organization_id": group.organization_id,
        "raw_attributes": {},
        id_name: id,
    })
}

/// All fields of a user.
pub(crate) fn user_data(directories: &Directories, user: &SandboxDirectoryUser) -> Value {
    let mut data = members(json!({ "raw_attributes": {} }));
    data.extend(user.attributes.clone());
    data.extend(without_nulls(json!({
        "active": user.active,
        "custom_attributes": user.custom_attributes,
        "department": user.department,
        "dp_id": user.dp_id,
        "email": user.email,
        "family_name": user.family_name,
        "given_name": user.given_name,
        "groups": directories
            .tracked_groups_of(user)
            .map(|group| json!({ "id": group.id, "name": group.display_name }))
            .collect::<Value>(),
        "id": user.id,
        "name": user.name(),
        "organization_id": user.organization_id,
        "preferred_username": user.preferred_username,
        "roles": user.roles.iter().map(|role| json!({ "role_name": role })).collect::<Value>(),
    })));
    data.into()
}
