//! Roles of the environment and of organizations, and permissions.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::successors;

use time::OffsetDateTime;

use crate::sandbox::state::State;
use crate::sandbox::state::ids::new_id;
use crate::sandbox::state::users::SandboxUser;

/// How many roles may extend each other.
const MAX_DEPTH: usize = 16;

#[derive(Clone, Debug)]
pub(crate) struct Permission {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) made_at: OffsetDateTime,
    pub(crate) changed_at: OffsetDateTime,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Role {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) display_name: String,
    pub(crate) description: String,
    pub(crate) extends: Option<String>,
    /// Without inherited ones.
    pub(crate) permissions: Vec<String>,
    /// `None` for a role of the environment.
    pub(crate) organization_id: Option<String>,
}

/// All roles and permissions.
#[derive(Debug)]
pub(crate) struct Roles {
    pub(crate) all: Vec<Role>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) default_creator: String,
    pub(crate) default_member: String,
    /// By organization.
    pub(crate) default_members: BTreeMap<String, String>,
}

impl Roles {
    /// The roles and permissions of the initial users.
    pub(crate) fn seeded(now: OffsetDateTime) -> Self {
        Self {
            all: [
                ("member", "Member", None, "workspace_data:read"),
                ("admin", "Admin", Some("member"), "workspace_data:write"),
            ]
            .map(|(name, display_name, extends, permission)| Role {
                id: new_id("role"),
                name: name.to_owned(),
                display_name: display_name.to_owned(),
                extends: extends.map(str::to_owned),
                permissions: vec![permission.to_owned()],
                ..Role::default()
            })
            .into(),
            permissions: [
                ("workspace_data:read", "Reads the data of the workspace"),
                ("workspace_data:write", "Changes the data of the workspace"),
            ]
            .map(|(name, description)| Permission {
                id: new_id("perm"),
                name: name.to_owned(),
                description: description.to_owned(),
                made_at: now,
                changed_at: now,
            })
            .into(),
            default_creator: "admin".to_owned(),
            default_member: "member".to_owned(),
            default_members: BTreeMap::new(),
        }
    }

    /// A role of the organization, or else of the environment.
    pub(crate) fn get(&self, organization_id: Option<&str>, name: &str) -> Option<&Role> {
        self.own(organization_id, name).or_else(|| self.own(None, name))
    }

    /// A role of the organization, or of the environment without one.
    fn own(&self, organization_id: Option<&str>, name: &str) -> Option<&Role> {
        self.all
            .iter()
            .find(|role| role.name == name && role.organization_id.as_deref() == organization_id)
    }

    /// The role that a role extends.
    pub(crate) fn base(&self, role: &Role) -> Option<&Role> {
        self.get(role.organization_id.as_deref(), role.extends.as_deref()?)
    }

    pub(crate) fn permission(&self, name: &str) -> Option<&Permission> {
        self.permissions.iter().find(|permission| permission.name == name)
    }

    /// The default role of the organization's members, or else that of the environment.
    pub(crate) fn default_member(&self, organization_id: Option<&str>) -> &str {
        organization_id.and_then(|id| self.default_members.get(id)).unwrap_or(&self.default_member)
    }

    /// The permissions of a role, each with the name of the role that has it.
    pub(crate) fn effective(&self, role: &Role) -> Vec<(String, String)> {
        let mut found = BTreeMap::new();
        for role in successors(Some(role), |role| self.base(role)).take(MAX_DEPTH) {
            for permission in &role.permissions {
                found.entry(permission.clone()).or_insert_with(|| role.name.clone());
            }
        }
        found.into_iter().collect()
    }

    /// The permissions of users with these roles in the organization.
    pub(crate) fn permissions_of(&self, organization_id: &str, roles: &[String]) -> Vec<String> {
        let permissions: BTreeSet<_> = roles
            .iter()
            .filter_map(|name| self.get(Some(organization_id), name))
            .flat_map(|role| self.effective(role))
            .map(|(permission, _)| permission)
            .collect();
        permissions.into_iter().collect()
    }

    /// The names of a role and of those that extend it.
    fn with_dependents(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        for _ in 0..MAX_DEPTH {
            let dependents: Vec<_> = self
                .all
                .iter()
                .filter(|role| role.extends.as_ref().is_some_and(|base| names.contains(base)))
                .map(|role| role.name.clone())
                .filter(|name| !names.contains(name))
                .collect();
            names.extend(dependents);
        }
        names
    }
}

impl State {
    /// Updates the permissions of members with this role, or with a role that extends it.
    pub(crate) fn apply_role(&mut self, name: &str) {
        let names = self.roles.with_dependents(name);
        self.change_members(|user, roles| {
            if user.roles.iter().any(|role| names.contains(role)) {
                user.permissions = roles.permissions_of(&user.organization_id, &user.roles);
            }
        });
    }

    /// Removes a role, which members replace by another one.
    pub(crate) fn remove_role(
        &mut self,
        organization_id: Option<&str>,
        name: &str,
        replacement: Option<&str>,
    ) {
        self.roles
            .all
            .retain(|role| role.name != name || role.organization_id.as_deref() != organization_id);
        self.roles.default_members.retain(|id, default| {
            *default != name || organization_id.is_some_and(|organization| organization != id)
        });
        if let (None, Some(replacement)) = (organization_id, replacement) {
            for default in [&mut self.roles.default_creator, &mut self.roles.default_member] {
                if *default == name {
                    replacement.clone_into(default);
                }
            }
        }
        self.change_members(|user, roles| {
            if organization_id.is_some_and(|id| id != user.organization_id)
                || !user.roles.iter().any(|role| role == name)
            {
                return;
            }
            user.roles.retain(|role| role != name);
            let replacement = replacement.filter(|new| !user.roles.iter().any(|own| own == new));
            user.roles.extend(replacement.map(str::to_owned));
            user.permissions = roles.permissions_of(&user.organization_id, &user.roles);
        });
    }

    /// Removes a permission, also from roles and members.
    pub(crate) fn remove_permission(&mut self, name: &str) {
        self.roles.permissions.retain(|known| known.name != name);
        for role in &mut self.roles.all {
            role.permissions.retain(|known| known != name);
        }
        self.change_members(|user, _| user.permissions.retain(|known| known != name));
    }

    /// How many users have a role.
    pub(crate) fn count_with_role(&self, organization_id: Option<&str>, name: &str) -> usize {
        self.users
            .all
            .iter()
            .filter(|user| {
                user.memberships().any(|member| {
                    organization_id.is_none_or(|id| id == member.organization_id)
                        && member.roles.iter().any(|role| role == name)
                })
            })
            .count()
    }

    fn change_members(&mut self, change: impl Fn(&mut SandboxUser, &Roles)) {
        for user in &mut self.users.all {
            let members: Vec<_> = user.memberships().collect();
            for member in members {
                user.change_at(&member.organization_id, |user| change(user, &self.roles));
            }
        }
    }
}
