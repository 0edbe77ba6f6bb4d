//! `/api/v1/roles`, `/api/v1/permissions` and `/api/v1/organizations/{org_id}/roles`.

use bytes::Bytes;
use http::{Method, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::organizations::known_organization;
use super::paging::PageRequest;
use super::{ApiErrorResponse, ApiResult, created, respond, timestamp};
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::ids::new_id;
use crate::sandbox::state::roles::{Permission, Role};

const UNKNOWN_ROLE: ApiErrorResponse = ApiErrorResponse::not_found("role not found");
const UNKNOWN_PERMISSION: ApiErrorResponse = ApiErrorResponse::not_found("permission not found");

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[&str],
) -> Option<Response<Bytes>> {
    let roles = |organization_id| RolesEndpoint { environment, request, organization_id };
    let environment_roles = roles(None);
    Some(respond(match (request.method(), resource) {
        (&Method::GET, ["roles"]) => environment_roles.list(),
        (&Method::POST, ["roles"]) => return Some(created(environment_roles.create())),
        (&Method::PATCH, ["roles:set_defaults"]) => environment_roles.set_defaults(),
        (method, ["roles", name]) => environment_roles.one(method, name)?,
        (&Method::GET, ["roles", name, "dependents"]) => environment_roles.dependents(name),
        (&Method::GET, ["roles", name, "permissions"]) => {
            environment_roles.permissions(name, false)
        }
        (&Method::GET, ["roles", name, "permissions:all"]) => {
            environment_roles.permissions(name, true)
        }
        (&Method::POST, ["roles", name, "permissions"]) => environment_roles.add_permissions(name),
        (&Method::DELETE, ["roles", name, "permissions", permission]) => {
            environment_roles.remove_permission(name, permission)
        }
        (&Method::GET, ["roles", name, "users:count"]) => environment_roles.users_count(name),
        (&Method::GET, ["organizations", id, "roles"]) => roles(Some(id)).list(),
        (&Method::POST, ["organizations", id, "roles"]) => {
            return Some(created(roles(Some(id)).create()));
        }
        (&Method::PATCH, ["organizations", id, "roles:set_defaults"]) => {
            roles(Some(id)).set_defaults()
        }
        (method, ["organizations", id, "roles", name]) => roles(Some(id)).one(method, name)?,
        (&Method::GET, ["permissions"]) => list_permissions(environment, request),
        (&Method::POST, ["permissions"]) => {
            return Some(created(create_permission(environment, request)));
        }
        (method, ["permissions", name]) => one_permission(environment, method, request, name)?,
        _ => return None,
    }))
}

/// Roles of the environment, or of an organization.
#[derive(Clone, Copy)]
struct RolesEndpoint<'a> {
    environment: &'a Environment,
    request: &'a Request<Bytes>,
    organization_id: Option<&'a str>,
}

impl RolesEndpoint<'_> {
    /// The organization's roles, and those of the environment.
    fn list(self) -> ApiResult {
        let state = self.environment.lock();
        self.check_organization(&state)?;
        let is_listed = |role: &&Role| {
            role.organization_id.is_none()
                || role.organization_id.as_deref() == self.organization_id
        };
        let roles: Vec<_> = state
            .roles
            .all
            .iter()
            .filter(is_listed)
            .map(|role| self.details(&state, role))
            .collect();
        Ok(json!({ "roles": roles }))
    }

    fn one(self, method: &Method, name: &str) -> Option<ApiResult> {
        Some(match *method {
            Method::DELETE => self.delete(name),
            Method::GET => {
                let state = self.environment.lock();
                self.find(&state, name).map(|role| json!({ "role": self.details(&state, role) }))
            }
            Method::PUT => self.update(name),
            _ => return None,
        })
    }

    fn create(self) -> ApiResult {
        let written: RoleFields = self.body()?;
        let name = written.name.clone().unwrap_or_default();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
            return Err(ApiErrorResponse::invalid("name must be 1 to 64 letters, digits and _"));
        }
        let mut state = self.environment.lock();
        self.check_organization(&state)?;
        if state.roles.get(self.organization_id, &name).is_some() {
            return Err(ApiErrorResponse::conflict("a role has this name"));
        }
        let mut role = Role {
            id: new_id("role"),
            name,
            organization_id: self.organization_id.map(str::to_owned),
            ..Role::default()
        };
        written.apply_to(&mut role, &state)?;
        state.roles.all.push(role.clone());
        Ok(json!({ "role": self.details(&state, &role) }))
    }

    fn update(self, name: &str) -> ApiResult {
        let written: RoleFields = self.body()?;
        let mut state = self.environment.lock();
        let mut role = self.own(&state, name)?.clone();
        written.apply_to(&mut role, &state)?;
        self.replace(&mut state, role.clone());
        Ok(json!({ "role": self.details(&state, &role) }))
    }

    fn delete(self, name: &str) -> ApiResult {
        let query = Parameters::from_query(self.request);
        let replacement = query.get("reassign_role_name");
        let mut state = self.environment.lock();
        self.own(&state, name)?;
        if let Some(replacement) = replacement {
            self.find(&state, replacement)?;
        } else if state.count_with_role(self.organization_id, name) > 0 {
            return Err(ApiErrorResponse::invalid("users have the role: set reassign_role_name"));
        }
        if self.dependents_of(&state, name).next().is_some() {
            return Err(ApiErrorResponse::invalid("other roles extend the role"));
        }
        state.remove_role(self.organization_id, name, replacement);
        Ok(json!({}))
    }

    fn dependents(self, name: &str) -> ApiResult {
        let state = self.environment.lock();
        self.find(&state, name)?;
        let dependents = self.dependents_of(&state, name).map(|role| self.details(&state, role));
        Ok(json!({ "roles": dependents.collect::<Vec<_>>() }))
    }

    fn permissions(self, name: &str, inherited: bool) -> ApiResult {
        let state = self.environment.lock();
        let role = self.find(&state, name)?;
        let names: Vec<_> = match inherited {
            true => state.roles.effective(role).into_iter().map(|(name, _)| name).collect(),
            false => role.permissions.clone(),
        };
        let permissions: Vec<_> =
            names.iter().filter_map(|name| state.roles.permission(name)).map(permission).collect();
        Ok(json!({ "permissions": permissions }))
    }

    fn add_permissions(self, name: &str) -> ApiResult {
        #[derive(Deserialize)]
        struct Body {
            permission_names: Vec<String>,
        }
        let added: Body = self.body()?;
        {
            let mut state = self.environment.lock();
            let mut role = self.own(&state, name)?.clone();
            for name in added.permission_names {
                state.roles.permission(&name).ok_or(UNKNOWN_PERMISSION)?;
                if !role.permissions.contains(&name) {
                    role.permissions.push(name);
                }
            }
            self.replace(&mut state, role);
        }
        self.permissions(name, false)
    }

    fn remove_permission(self, name: &str, permission: &str) -> ApiResult {
        let mut state = self.environment.lock();
        let mut role = self.own(&state, name)?.clone();
        let before = role.permissions.len();
        role.permissions.retain(|known| known != permission);
        if role.permissions.len() == before {
            return Err(UNKNOWN_PERMISSION);
        }
        self.replace(&mut state, role);
        Ok(json!({}))
    }

    fn users_count(self, name: &str) -> ApiResult {
        let state = self.environment.lock();
        self.find(&state, name)?;
        // An int64, which proto3's JSON writes as text.
        Ok(json!({ "count": state.count_with_role(None, name).to_string() }))
    }

    fn set_defaults(self) -> ApiResult {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            default_creator_role: Option<String>,
            default_member_role: Option<String>,
        }
        let Body { default_creator_role, default_member_role } = self.body()?;
        let mut state = self.environment.lock();
        self.check_organization(&state)?;
        for name in [&default_creator_role, &default_member_role].into_iter().flatten() {
            self.find(&state, name)?;
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
        let details = |name: &str| {
            self.find(&state, name).map_or(Value::Null, |role| self.details(&state, role))
        };
        let member = match self.organization_id {
            Some(id) => state.roles.default_member(id),
            None => &state.roles.default_member,
        };
        Ok(match self.organization_id {
            Some(_) => json!({ "default_member": details(member) }),
            None => json!({
                "default_creator": details(&state.roles.default_creator),
                "default_member": details(member),
            }),
        })
    }

    /// A role of the organization or of the environment.
    fn find<'s>(self, state: &'s State, name: &str) -> Result<&'s Role, ApiErrorResponse> {
        self.check_organization(state)?;
        state.roles.get(self.organization_id, name).ok_or(UNKNOWN_ROLE)
    }

    /// A role that can be changed here: one of the organization, or of the environment.
    fn own<'s>(self, state: &'s State, name: &str) -> Result<&'s Role, ApiErrorResponse> {
        let role = self.find(state, name)?;
        let is_own = role.organization_id.as_deref() == self.organization_id;
        if is_own { Ok(role) } else { Err(UNKNOWN_ROLE) }
    }

    fn replace(self, state: &mut State, role: Role) {
        let name = role.name.clone();
        if let Some(known) = state.roles.all.iter_mut().find(|known| known.id == role.id) {
            *known = role;
        }
        state.apply_role(&name);
    }

    fn dependents_of<'s>(
        self,
        state: &'s State,
        name: &'s str,
    ) -> impl Iterator<Item = &'s Role> + use<'s> {
        state.roles.all.iter().filter(move |role| role.extends.as_deref() == Some(name))
    }

    fn check_organization(self, state: &State) -> Result<(), ApiErrorResponse> {
        self.organization_id.map_or(Ok(()), |id| known_organization(state, id).map(drop))
    }

    fn body<T: for<'de> Deserialize<'de>>(self) -> Result<T, ApiErrorResponse> {
        serde_json::from_slice(self.request.body())
            .map_err(|_| ApiErrorResponse::invalid("the body is not that of this call"))
    }

    /// `v1rolesRole`
    fn details(self, state: &State, role: &Role) -> Value {
        let mut details = json!({
            "id": role.id,
            "name": role.name,
            "display_name": role.display_name,
            "description": role.description,
            "default_creator": role.name == state.roles.default_creator,
            "default_member": role.name == match self.organization_id {
                Some(id) => state.roles.default_member(id),
                None => &state.roles.default_member,
            },
            "is_org_role": role.organization_id.is_some(),
            "dependent_roles_count": self.dependents_of(state, &role.name).count(),
        });
        let query = Parameters::from_query(self.request);
        let permissions = match query.get("include") {
            Some("permissions:all") => Some(state.roles.effective(role)),
            Some("permissions") => {
                let own = |permission: &String| (permission.clone(), role.name.clone());
                Some(role.permissions.iter().map(own).collect())
            }
            _ => None,
        };
        if let Some(details) = details.as_object_mut() {
            if let Some(base) = &role.extends {
                details.insert("extends".to_owned(), json!(base));
            }
            if let Some(permissions) = permissions {
                let of = |(name, role_name): (String, String)| {
                    let known = state.roles.permission(&name)?;
                    Some(json!({
                        "id": known.id,
                        "name": name,
                        "description": known.description,
                        "role_name": role_name,
                        "create_time": timestamp(known.made_at),
                        "update_time": timestamp(known.changed_at),
                    }))
                };
                let permissions: Vec<_> = permissions.into_iter().filter_map(of).collect();
                details.insert("permissions".to_owned(), permissions.into());
            }
        }
        details
    }
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
    fn apply_to(self, role: &mut Role, state: &State) -> Result<(), ApiErrorResponse> {
        if let Some(name) = self.display_name {
            role.display_name = name;
        }
        if let Some(description) = self.description {
            role.description = description;
        }
        if let Some(base) = self.extends {
            let base = Some(base).filter(|base| !base.is_empty());
            if let Some(base) = &base {
                let of = role.organization_id.as_deref();
                let mut known = state.roles.get(of, base).ok_or(UNKNOWN_ROLE)?;
                // Each known role has an end, so one step at a time finds a circle.
                loop {
                    if known.name == role.name {
                        return Err(ApiErrorResponse::invalid("the roles would extend each other"));
                    }
                    match known.extends.as_deref().and_then(|base| state.roles.get(of, base)) {
                        Some(next) => known = next,
                        None => break,
                    }
                }
            }
            role.extends = base;
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
fn list_permissions(environment: &Environment, request: &Request<Bytes>) -> ApiResult {
    let query = Parameters::from_query(request);
    let page = PageRequest::parse(&query, 10, 100)?;
    let is_listed = query.get("type") != Some("SCALEKIT");
    let state = environment.lock();
    let mut found: Vec<_> = state.roles.permissions.iter().filter(|_| is_listed).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    let from = page.from.as_deref().unwrap_or_default();
    let start = found.partition_point(|permission| permission.name.as_str() < from);
    let name = |known: &&Permission| known.name.clone();
    Ok(page.response("permissions", &found, start, name, |known| permission(known)))
}

fn create_permission(environment: &Environment, request: &Request<Bytes>) -> ApiResult {
    let written = PermissionFields::read(request)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    if !(1..=64).contains(&written.name.len()) || !written.name.bytes().all(fits) {
        return Err(ApiErrorResponse::invalid("name must be 1 to 64 letters, digits, _ and :"));
    }
    let now = environment.now();
    let mut state = environment.lock();
    if state.roles.permission(&written.name).is_some() {
        return Err(ApiErrorResponse::conflict("a permission has this name"));
    }
    let PermissionFields { name, description } = written;
    let id = new_id("perm");
    let new = Permission { id, name, description, made_at: now, changed_at: now };
    state.roles.permissions.push(new.clone());
    Ok(json!({ "permission": permission(&new) }))
}

fn one_permission(
    environment: &Environment,
    method: &Method,
    request: &Request<Bytes>,
    name: &str,
) -> Option<ApiResult> {
    let now = environment.now();
    let mut state = environment.lock();
    let Some(known) = state.roles.permissions.iter_mut().find(|known| known.name == name) else {
        return Some(Err(UNKNOWN_PERMISSION));
    };
    Some(match *method {
        Method::DELETE => {
            state.remove_permission(name);
            Ok(json!({}))
        }
        Method::GET => Ok(json!({ "permission": permission(known) })),
        Method::PUT => PermissionFields::read(request).map(|written| {
            known.description = written.description;
            known.changed_at = now;
            json!({ "permission": permission(known) })
        }),
        _ => return None,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PermissionFields {
    name: String,
    description: String,
}

impl PermissionFields {
    fn read(request: &Request<Bytes>) -> Result<Self, ApiErrorResponse> {
        serde_json::from_slice(request.body())
            .map_err(|_| ApiErrorResponse::invalid("the body is not a permission"))
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
