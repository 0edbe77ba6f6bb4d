//! `/api/v1/roles`, `/api/v1/permissions` and `/api/v1/organizations/{org_id}/roles`.

use std::iter::successors;

use bytes::Bytes;
use http::{Method, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::organizations::known_organization;
use super::paging::PageRequest;
use super::{ApiErrorResponse, ApiRequest, ApiResult, created, parse, respond, timestamp};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::ids::new_id;
use crate::sandbox::state::roles::{Permission, Role};

const UNKNOWN_ROLE: ApiErrorResponse = ApiErrorResponse::not_found("role not found");
const UNKNOWN_PERMISSION: ApiErrorResponse = ApiErrorResponse::not_found("permission not found");

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(state: &mut State, request: &ApiRequest<'_>) -> Option<Response<Bytes>> {
    let (organization_id, resource) = match request.resource {
        ["organizations", id, rest @ ..] => (Some(*id), rest),
        resource => (None, resource),
    };
    let ApiRequest { query, body, .. } = request;
    let roles = RolesEndpoint { query, body, organization_id };
    Some(respond(match (request.method, resource) {
        (&Method::GET, ["roles"]) => roles.list(state),
        (&Method::POST, ["roles"]) => return Some(created(roles.create(state))),
        (&Method::PATCH, ["roles:set_defaults"]) => roles.set_defaults(state),
        (&Method::DELETE, ["roles", name]) => roles.delete(state, name),
        (&Method::GET, ["roles", name]) => roles.get(state, name),
        (&Method::PUT, ["roles", name]) => roles.update(state, name),
        // The rest is for roles of the environment.
        _ if organization_id.is_some() => return None,
        (&Method::GET, ["roles", name, "dependents"]) => roles.dependents(state, name),
        (&Method::GET, ["roles", name, "permissions"]) => roles.permissions(state, name, false),
        (&Method::GET, ["roles", name, "permissions:all"]) => roles.permissions(state, name, true),
        (&Method::POST, ["roles", name, "permissions"]) => roles.add_permissions(state, name),
        (&Method::DELETE, ["roles", name, "permissions", permission]) => {
            roles.remove_permission(state, name, permission)
        }
        (&Method::GET, ["roles", name, "users:count"]) => roles.users_count(state, name),
        (&Method::GET, ["permissions"]) => list_permissions(state, query),
        (&Method::POST, ["permissions"]) => {
            return Some(created(create_permission(state, body)));
        }
        (&Method::DELETE, ["permissions", name]) => delete_permission(state, name),
        (&Method::GET, ["permissions", name]) => get_permission(state, name),
        (&Method::PUT, ["permissions", name]) => update_permission(state, body, name),
        _ => return None,
    }))
}

/// Roles of the environment, or of an organization.
#[derive(Clone, Copy)]
struct RolesEndpoint<'a> {
    query: &'a Parameters,
    body: &'a [u8],
    organization_id: Option<&'a str>,
}

impl RolesEndpoint<'_> {
    /// The organization's roles, and those of the environment.
    fn list(self, state: &State) -> ApiResult {
        self.check_organization(state)?;
        let roles: Vec<_> = state
            .roles
            .all
            .iter()
            .filter(|role| {
                role.organization_id.is_none()
                    || role.organization_id.as_deref() == self.organization_id
            })
            .map(|role| self.details(state, role))
            .collect();
        Ok(json!({ "roles": roles }))
    }

    fn get(self, state: &State, name: &str) -> ApiResult {
        Ok(json!({ "role": self.details(state, self.find(state, name)?) }))
    }

    fn create(self, state: &mut State) -> ApiResult {
        let written: RoleFields = self.body()?;
        let name = written.name.clone().unwrap_or_default();
        if !(1..=64).contains(&name.len())
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(ApiErrorResponse::invalid("name must be 1 to 64 letters, digits and _"));
        }
        self.check_organization(state)?;
        if state.roles.get(self.organization_id, &name).is_some() {
            return Err(ApiErrorResponse::conflict("a role has this name"));
        }
        let mut role = Role {
            id: new_id("role"),
            name,
            organization_id: self.organization_id.map(str::to_owned),
            ..Role::default()
        };
        written.apply_to(&mut role, state)?;
        state.roles.all.push(role.clone());
        Ok(json!({ "role": self.details(state, &role) }))
    }

    fn update(self, state: &mut State, name: &str) -> ApiResult {
        let written: RoleFields = self.body()?;
        let mut role = self.own(state, name)?.clone();
        written.apply_to(&mut role, state)?;
        self.replace(state, role.clone());
        Ok(json!({ "role": self.details(state, &role) }))
    }

    fn delete(self, state: &mut State, name: &str) -> ApiResult {
        let replacement = self.query.get("reassign_role_name");
        self.own(state, name)?;
        if let Some(replacement) = replacement {
            self.find(state, replacement)?;
        } else if state.count_with_role(self.organization_id, name) > 0 {
            return Err(ApiErrorResponse::invalid("users have the role: set reassign_role_name"));
        }
        if dependents_of(state, name).next().is_some() {
            return Err(ApiErrorResponse::invalid("other roles extend the role"));
        }
        state.remove_role(self.organization_id, name, replacement);
        Ok(json!({}))
    }

    fn dependents(self, state: &State, name: &str) -> ApiResult {
        self.find(state, name)?;
        let dependents: Vec<_> =
            dependents_of(state, name).map(|role| self.details(state, role)).collect();
        Ok(json!({ "roles": dependents }))
    }

    fn permissions(self, state: &State, name: &str, inherited: bool) -> ApiResult {
        let role = self.find(state, name)?;
        let names: Vec<_> = match inherited {
            true => state.roles.effective(role).into_iter().map(|(name, _)| name).collect(),
            false => role.permissions.clone(),
        };
        let permissions: Vec<_> =
            names.iter().filter_map(|name| state.roles.permission(name)).map(permission).collect();
        Ok(json!({ "permissions": permissions }))
    }

    fn add_permissions(self, state: &mut State, name: &str) -> ApiResult {
        #[derive(Deserialize)]
        struct Body {
            permission_names: Vec<String>,
        }
        let Body { permission_names } = self.body()?;
        let mut role = self.own(state, name)?.clone();
        for name in permission_names {
            state.roles.permission(&name).ok_or(UNKNOWN_PERMISSION)?;
            if !role.permissions.contains(&name) {
                role.permissions.push(name);
            }
        }
        self.replace(state, role);
        self.permissions(state, name, false)
    }

    fn remove_permission(self, state: &mut State, name: &str, permission: &str) -> ApiResult {
        let mut role = self.own(state, name)?.clone();
        let before = role.permissions.len();
        role.permissions.retain(|known| known != permission);
        if role.permissions.len() == before {
            return Err(UNKNOWN_PERMISSION);
        }
        self.replace(state, role);
        Ok(json!({}))
    }

    fn users_count(self, state: &State, name: &str) -> ApiResult {
        self.find(state, name)?;
        // An int64, which proto3's JSON writes as text.
        Ok(json!({ "count": state.count_with_role(None, name).to_string() }))
    }

    fn set_defaults(self, state: &mut State) -> ApiResult {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            default_creator_role: Option<String>,
            default_member_role: Option<String>,
        }
        let Body { default_creator_role, default_member_role } = self.body()?;
        self.check_organization(state)?;
        for name in [&default_creator_role, &default_member_role].into_iter().flatten() {
            self.find(state, name)?;
        }
        if let Some(name) = default_creator_role.filter(|_| self.organization_id.is_none()) {
            state.roles.default_creator = name;
        }
        match (default_member_role, self.organization_id) {
            (Some(name), None) => state.roles.default_member = name,
            (Some(name), Some(id)) => {
                state.roles.default_members.insert(id.to_owned(), name);
            }
            (None, _) => {}
        }
        let member = self.details_of(state, state.roles.default_member(self.organization_id));
        Ok(match self.organization_id {
            Some(_) => json!({ "default_member": member }),
            None => json!({
                "default_creator": self.details_of(state, &state.roles.default_creator),
                "default_member": member,
            }),
        })
    }

    /// A role of the organization or of the environment.
    fn find<'s>(self, state: &'s State, name: &str) -> ApiResult<&'s Role> {
        self.check_organization(state)?;
        state.roles.get(self.organization_id, name).ok_or(UNKNOWN_ROLE)
    }

    /// A role that can be changed here: one of the organization, or of the environment.
    fn own<'s>(self, state: &'s State, name: &str) -> ApiResult<&'s Role> {
        match self.find(state, name)? {
            role if role.organization_id.as_deref() == self.organization_id => Ok(role),
            _ => Err(UNKNOWN_ROLE),
        }
    }

    fn replace(self, state: &mut State, role: Role) {
        let name = role.name.clone();
        if let Some(known) = state.roles.all.iter_mut().find(|known| known.id == role.id) {
            *known = role;
        }
        state.apply_role(&name);
    }

    fn check_organization(self, state: &State) -> ApiResult<()> {
        self.organization_id.map_or(Ok(()), |id| known_organization(state, id).map(drop))
    }

    fn body<T: DeserializeOwned>(self) -> ApiResult<T> {
        parse::body(self.body, "the body is not that of this call")
    }

    fn details_of(self, state: &State, name: &str) -> Value {
        self.find(state, name).map_or(Value::Null, |role| self.details(state, role))
    }

    /// `v1rolesRole`
    fn details(self, state: &State, role: &Role) -> Value {
        let roles = &state.roles;
        let permissions = match self.query.get("include") {
            Some("permissions:all") => Some(roles.effective(role)),
            Some("permissions") => Some(
                role.permissions.iter().map(|name| (name.clone(), role.name.clone())).collect(),
            ),
            _ => None,
        };
        without_nulls(json!({
            "id": role.id,
            "name": role.name,
            "display_name": role.display_name,
            "description": role.description,
            "default_creator": role.name == roles.default_creator,
            "default_member": role.name == roles.default_member(self.organization_id),
            "is_org_role": role.organization_id.is_some(),
            "dependent_roles_count": dependents_of(state, &role.name).count(),
            "extends": role.extends,
            "permissions": permissions.map(|permissions| role_permissions(state, &permissions)),
        }))
        .into()
    }
}

fn dependents_of<'s>(state: &'s State, name: &'s str) -> impl Iterator<Item = &'s Role> {
    state.roles.all.iter().filter(move |role| role.extends.as_deref() == Some(name))
}

/// Permissions, each with the name of the role that has it.
fn role_permissions(state: &State, permissions: &[(String, String)]) -> Vec<Value> {
    permissions
        .iter()
        .filter_map(|(name, role_name)| {
            let known = state.roles.permission(name)?;
            Some(json!({
                "id": known.id,
                "name": name,
                "description": known.description,
                "role_name": role_name,
                "create_time": timestamp(known.made_at),
                "update_time": timestamp(known.changed_at),
            }))
        })
        .collect()
}

/// Role fields of a request.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RoleFields {
    name: Option<String>,
    display_name: Option<String>,
    description: Option<String>,
    extends: Option<String>,
    permissions: Option<Vec<String>>,
}

impl RoleFields {
    fn apply_to(self, role: &mut Role, state: &State) -> ApiResult<()> {
        if let Some(name) = self.display_name {
            role.display_name = name;
        }
        if let Some(description) = self.description {
            role.description = description;
        }
        if let Some(base) = self.extends {
            role.extends = Some(base).filter(|base| !base.is_empty());
            if role.extends.is_some() && state.roles.base(role).is_none() {
                return Err(UNKNOWN_ROLE);
            }
            // The known roles form no circle, so this ends.
            let mut bases = successors(state.roles.base(role), |base| state.roles.base(base));
            if bases.any(|base| base.name == role.name) {
                return Err(ApiErrorResponse::invalid("the roles would extend each other"));
            }
        }
        if let Some(permissions) = self.permissions {
            if permissions.iter().any(|name| state.roles.permission(name).is_none()) {
                return Err(ApiErrorResponse::invalid("a permission does not exist"));
            }
            role.permissions = permissions;
        }
        Ok(())
    }
}

/// By name. The sandbox has no permissions of Scalekit itself.
fn list_permissions(state: &State, query: &Parameters) -> ApiResult {
    let page = PageRequest::parse(query, 10, 100)?;
    let mut found: Vec<_> = match query.get("type") {
        Some("SCALEKIT") => Vec::new(),
        _ => state.roles.permissions.iter().collect(),
    };
    found.sort_by_key(|permission| &permission.name);
    let from = page.from.as_deref().unwrap_or_default();
    Ok(page.response(
        "permissions",
        &found,
        found.partition_point(|permission| permission.name.as_str() < from),
        |known| known.name.clone(),
        |known| permission(known),
    ))
}

fn create_permission(state: &mut State, body: &[u8]) -> ApiResult {
    let PermissionFields { name, description } = PermissionFields::read(body)?;
    if !(1..=64).contains(&name.len())
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
    {
        return Err(ApiErrorResponse::invalid("name must be 1 to 64 letters, digits, _ and :"));
    }
    if state.roles.permission(&name).is_some() {
        return Err(ApiErrorResponse::conflict("a permission has this name"));
    }
    let new = Permission {
        id: new_id("perm"),
        name,
        description,
        made_at: state.now,
        changed_at: state.now,
    };
    state.roles.permissions.push(new.clone());
    Ok(json!({ "permission": permission(&new) }))
}

fn get_permission(state: &State, name: &str) -> ApiResult {
    let known = state.roles.permission(name).ok_or(UNKNOWN_PERMISSION)?;
    Ok(json!({ "permission": permission(known) }))
}

fn update_permission(state: &mut State, body: &[u8], name: &str) -> ApiResult {
    let known = state
        .roles
        .permissions
        .iter_mut()
        .find(|known| known.name == name)
        .ok_or(UNKNOWN_PERMISSION)?;
    known.description = PermissionFields::read(body)?.description;
    known.changed_at = state.now;
    Ok(json!({ "permission": permission(known) }))
}

fn delete_permission(state: &mut State, name: &str) -> ApiResult {
    state.roles.permission(name).ok_or(UNKNOWN_PERMISSION)?;
    state.remove_permission(name);
    Ok(json!({}))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PermissionFields {
    name: String,
    description: String,
}

impl PermissionFields {
    fn read(body: &[u8]) -> ApiResult<Self> {
        parse::body(body, "the body is not a permission")
    }
}

/// `rolesPermission`
fn permission(permission: &Permission) -> Value {
    json!({
        "id": permission.id,
        "name": permission.name,
        "description": permission.description,
        "is_scalekit_permission": false,
        "create_time": timestamp(permission.made_at),
        "update_time": timestamp(permission.changed_at),
    })
}
