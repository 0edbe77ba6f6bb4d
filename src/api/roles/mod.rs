//! Roles and permissions of the environment, and roles of organizations.
//!
//! A role has permissions, and may extend another role, whose permissions it inherits. A user has
//! roles in an organization ([`memberships`](super::memberships)): those of the environment, or of
//! that organization. Their names are in the access token, and
//! [`RequireScope`](crate::RequireScope) requires permissions.
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_scalekit::api::roles::NewRole;
//! # use tower_scalekit::Sandbox;
//!
//! # let sandbox = Sandbox::new();
//! # let acme = sandbox.organizations().list().remove(0).id;
//! let api = sandbox.scalekit().api();
//! api.permissions().create("invoices:approve", "Approves invoices").await?;
//! let mut auditor = NewRole::new("auditor");
//! auditor.extends = Some("member".to_owned());
//! auditor.permissions = vec!["invoices:approve".to_owned()];
//! api.organization_roles(&acme).create(&auditor).await?;
//!
//! let roles = api.organization_roles(&acme).list().await?;
//! let auditor = roles.iter().find(|role| role.name == "auditor").ok_or("no auditor")?;
//! assert!(auditor.is_org_role);
//! let inherited = api.roles().effective_permissions("member").await?;
//! assert_eq!(inherited[0].name, "workspace_data:read");
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

mod details;
mod organization_roles;
mod permissions;

use http::Method;

pub use self::details::{DefaultRoles, NewRole, Permission, Role, RoleUpdate};
pub use self::organization_roles::OrganizationRolesApi;
pub use self::permissions::{PermissionType, PermissionsApi};
use super::{Api, ApiError, ApiRequest};

/// API for roles of the environment. Returned by [`Api::roles`].
#[derive(Clone, Debug)]
pub struct RolesApi {
    api: Api,
}

impl RolesApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Lists all roles with their permissions, inherited ones included.
    ///
    /// # Errors
    /// See [`ApiError`].
    #[doc(alias("listRoles", "list_roles"))]
    pub async fn list(&self) -> Result<Vec<Role>, ApiError> {
        with_permissions(self.api.request(Method::GET, "/api/v1/roles")).send_list("roles").await
    }

    /// Returns a role by its name, with its permissions, inherited ones included.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getRole", "get_role"))]
    pub async fn get(&self, name: &str) -> Result<Role, ApiError> {
        with_permissions(self.one(Method::GET, name, "")).send_member("role").await
    }

    /// Creates a role. Never retried.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if a role has this name; see [`ApiError`].
    #[doc(alias("createRole", "create_role"))]
    pub async fn create(&self, role: &NewRole) -> Result<Role, ApiError> {
        self.api.request(Method::POST, "/api/v1/roles").json(role).send_member("role").await
    }

    /// Changes the fields that `update` contains.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("updateRole", "update_role"))]
    pub async fn update(&self, name: &str, update: &RoleUpdate) -> Result<Role, ApiError> {
        self.one(Method::PUT, name, "").json(update).send_member("role").await
    }

    /// Deletes a role permanently. Its users get another one, which is required if there are any.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist, [`ApiError::InvalidRequest`] if another role
    /// extends it; see [`ApiError`].
    #[doc(alias("deleteRole", "delete_role", "deleteRoleBase", "delete_role_base"))]
    pub async fn delete(&self, name: &str, reassign_to: Option<&str>) -> Result<(), ApiError> {
        reassigning(self.one(Method::DELETE, name, ""), reassign_to).send_empty().await
    }

    /// Lists the roles that extend a role directly.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("listDependentRoles", "list_dependent_roles"))]
    pub async fn dependents(&self, name: &str) -> Result<Vec<Role>, ApiError> {
        self.one(Method::GET, name, "/dependents").send_list("roles").await
    }

    /// Lists the permissions of a role without inherited ones.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("listRolePermissions", "list_role_permissions"))]
    pub async fn permissions(&self, name: &str) -> Result<Vec<Permission>, ApiError> {
        self.one(Method::GET, name, "/permissions").send_list("permissions").await
    }

    /// Lists the permissions of a role, inherited ones included.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("listEffectiveRolePermissions", "list_effective_role_permissions"))]
    pub async fn effective_permissions(&self, name: &str) -> Result<Vec<Permission>, ApiError> {
        self.one(Method::GET, name, "/permissions:all").send_list("permissions").await
    }

    /// Adds permissions to a role. Returns all of its permissions.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the role or a permission does not exist; see [`ApiError`].
    #[doc(alias("addPermissionsToRole", "add_permissions_to_role"))]
    pub async fn add_permissions(
        &self,
        name: &str,
        permissions: &[&str],
    ) -> Result<Vec<Permission>, ApiError> {
        self.one(Method::POST, name, "/permissions")
            .json(&serde_json::json!({ "permission_names": permissions }))
            .send_list("permissions")
            .await
    }

    /// Removes a permission from a role. Inherited ones remain.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the role does not have it; see [`ApiError`].
    #[doc(alias("removePermissionFromRole", "remove_permission_from_role"))]
    pub async fn remove_permission(&self, name: &str, permission: &str) -> Result<(), ApiError> {
        self.one(Method::DELETE, name, "/permissions/{permission_name}")
            .path_parameter("permission_name", permission)
            .send_empty()
            .await
    }

    /// Returns the number of users with a role.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getRoleUsersCount", "get_role_users_count"))]
    pub async fn users_count(&self, name: &str) -> Result<u64, ApiError> {
        Ok(self.one(Method::GET, name, "/users:count").send::<details::Count>().await?.count)
    }

    /// Sets the roles of new users: of the creator of an organization, and of its other members.
    /// `None` keeps a role.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if a role does not exist; see [`ApiError`].
    #[doc(alias("updateDefaultRoles", "update_default_roles"))]
    pub async fn set_defaults(
        &self,
        creator: Option<&str>,
        member: Option<&str>,
    ) -> Result<DefaultRoles, ApiError> {
        self.api
            .request(Method::PATCH, "/api/v1/roles:set_defaults")
            .json(&details::NewDefaults {
                default_creator_role: creator,
                default_member_role: member,
            })
            .send()
            .await
    }

    fn one(&self, method: Method, name: &str, rest: &str) -> ApiRequest {
        self.api
            .request(method, format!("/api/v1/roles/{{role_name}}{rest}"))
            .path_parameter("role_name", name)
    }
}

/// Includes permissions in roles, inherited ones too.
fn with_permissions(request: ApiRequest) -> ApiRequest {
    request.query("include", "permissions:all")
}

fn reassigning(request: ApiRequest, role: Option<&str>) -> ApiRequest {
    match role {
        Some(role) => request.filter("reassign_role_name", role),
        None => request,
    }
}
