use http::Method;
use serde_json::json;

use super::Permission;
use crate::api::{Api, ApiError, ApiRequest, ListRequest};
use crate::util::open_enum::open_enum;

open_enum! {
    /// Who has defined a permission.
    PermissionType {
        /// Your app.
        Environment = "ENVIRONMENT",
        /// Scalekit.
        Scalekit = "SCALEKIT",
    }
}

/// API for permissions. Returned by [`Api::permissions`].
#[derive(Clone, Debug)]
pub struct PermissionsApi {
    api: Api,
}

impl PermissionsApi {
    pub(in crate::api) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Lists all permissions, of one type if it is given.
    #[doc(alias("listPermissions", "list_permissions"))]
    pub fn list(&self, permission_type: Option<PermissionType>) -> ListRequest<Permission> {
        ListRequest::new(
            self.api
                .request(Method::GET, "/api/v1/permissions")
                .query_option("type", permission_type),
            "permissions",
        )
    }

    /// Returns a permission by its name.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getPermission", "get_permission"))]
    pub async fn get(&self, name: &str) -> Result<Permission, ApiError> {
        self.one(Method::GET, name).send_member("permission").await
    }

    /// Creates a permission. Its name has 1 to 64 letters, digits, `_` and `:`, as in
    /// `invoices:approve`, and is what [`RequireScope`](crate::RequireScope) requires. Never
    /// retried.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if it exists; see [`ApiError`].
    #[doc(alias("createPermission", "create_permission"))]
    pub async fn create(&self, name: &str, description: &str) -> Result<Permission, ApiError> {
        self.api
            .request(Method::POST, "/api/v1/permissions")
            .json(&json!({ "name": name, "description": description }))
            .send_member("permission")
            .await
    }

    /// Changes the description of a permission.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("updatePermission", "update_permission"))]
    pub async fn update(&self, name: &str, description: &str) -> Result<Permission, ApiError> {
        self.one(Method::PUT, name)
            .json(&json!({ "name": name, "description": description }))
            .send_member("permission")
            .await
    }

    /// Deletes a permission permanently, also from the roles that have it.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("deletePermission", "delete_permission"))]
    pub async fn delete(&self, name: &str) -> Result<(), ApiError> {
        self.one(Method::DELETE, name).send_empty().await
    }

    fn one(&self, method: Method, name: &str) -> ApiRequest {
        self.api
            .request(method, "/api/v1/permissions/{permission_name}")
            .path_parameter("permission_name", name)
    }
}
