use http::Method;

use super::details::{NewDefaults, NewRole, Role, RoleUpdate};
use super::{DefaultRoles, reassigning, with_permissions};
use crate::api::{Api, ApiError, ApiRequest};

/// API for the roles of an organization, beside those of the environment. Returned by
/// [`Api::organization_roles`].
#[derive(Clone, Debug)]
pub struct OrganizationRolesApi {
    api: Api,
    organization_id: String,
}

impl OrganizationRolesApi {
    pub(in crate::api) fn new(api: Api, organization_id: &str) -> Self {
        Self { api, organization_id: organization_id.to_owned() }
    }

    /// Lists the roles of the environment and of the organization, with their permissions,
    /// inherited ones included.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the organization does not exist; see [`ApiError`].
    #[doc(alias("listOrganizationRoles", "list_organization_roles"))]
    pub async fn list(&self) -> Result<Vec<Role>, ApiError> {
        with_permissions(self.request(Method::GET, "")).send_list("roles").await
    }

    /// Returns a role by its name, with its permissions, inherited ones included.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getOrganizationRole", "get_organization_role"))]
    pub async fn get(&self, name: &str) -> Result<Role, ApiError> {
        with_permissions(self.one(Method::GET, name)).send_member("role").await
    }

    /// Creates a role. Never retried.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if a role has this name; see [`ApiError`].
    #[doc(alias("createOrganizationRole", "create_organization_role"))]
    pub async fn create(&self, role: &NewRole) -> Result<Role, ApiError> {
        self.request(Method::POST, "").json(role).send_member("role").await
    }

    /// Changes the fields that `update` contains.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("updateOrganizationRole", "update_organization_role"))]
    pub async fn update(&self, name: &str, update: &RoleUpdate) -> Result<Role, ApiError> {
        self.one(Method::PUT, name).json(update).send_member("role").await
    }

    /// Deletes a role permanently. Its users get another one, which is required if there are any.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("deleteOrganizationRole", "delete_organization_role"))]
    pub async fn delete(&self, name: &str, reassign_to: Option<&str>) -> Result<(), ApiError> {
        reassigning(self.one(Method::DELETE, name), reassign_to).send_empty().await
    }

    /// Sets the role of the organization's new members.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the role does not exist; see [`ApiError`].
    #[doc(alias("updateDefaultOrganizationRoles", "update_default_organization_roles"))]
    pub async fn set_default_member(&self, name: &str) -> Result<DefaultRoles, ApiError> {
        self.request(Method::PATCH, ":set_defaults")
            .json(&NewDefaults { default_creator_role: None, default_member_role: Some(name) })
            .send()
            .await
    }

    fn request(&self, method: Method, rest: &str) -> ApiRequest {
        self.api
            .request(method, format!("/api/v1/organizations/{{org_id}}/roles{rest}"))
            .path_parameter("org_id", &self.organization_id)
    }

    fn one(&self, method: Method, name: &str) -> ApiRequest {
        self.request(method, "/{role_name}").path_parameter("role_name", name)
    }
}
