//! Directories: the users and groups of an organization's identity provider, synchronized by SCIM
//! or by polling.
//!
//! Events report changes ([`webhook`](crate::webhook)); these calls return the current state. Their
//! user types have different fields.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use futures::TryStreamExt as _;
//! # use tower_scalekit::Scalekit;
//! # use bytes::Bytes;
//! # use futures::future::BoxFuture;
//! # use tower_scalekit::http_client::{HttpClient, HttpClientError};
//! # struct Environment;
//! # impl HttpClient for Environment {
//! #     fn send(
//! #         &self,
//! #         request: http::Request<Bytes>,
//! #     ) -> BoxFuture<'_, Result<http::Response<Bytes>, HttpClientError>> {
//! #         let uri = request.uri();
//! #         let body = match (uri.path(), uri.query()) {
//! #             ("/oauth/token", _) => r#"{"access_token":"t","expires_in":3600,"token_type":"Bearer"}"#,
//! #             ("/api/v1/organizations/org_1/directories", _) => r#"{"directories":[{"id":"dir_1"}]}"#,
//! #             (_, Some("page_size=30")) => r#"{"users":[{"id":"diruser_1","email":"jane@acme.test"}],"next_page_token":"2"}"#,
//! #             _ => r#"{"users":[{"id":"diruser_2","email":"john@acme.test"}]}"#,
//! #         };
//! #         Box::pin(async move { Ok(http::Response::new(body.into())) })
//! #     }
//! # }
//! # let scalekit = Scalekit::builder("https://acme.scalekit.dev", "skc_1", "s3cret");
//! # let scalekit = scalekit.http_client(Environment).build()?;
//!
//! let directories = scalekit.api().directories();
//! let directory = directories.primary("org_1").await?.id;
//! let users = directories.users("org_1", &directory).page_size(30).stream();
//! let emails: Vec<_> = users.map_ok(|user| user.email.unwrap_or_default()).try_collect().await?;
//! assert_eq!(emails, ["jane@acme.test", "john@acme.test"]); // from two pages
//! # Ok(())
//! # }
//! ```

mod details;

use http::Method;
use time::OffsetDateTime;

pub use self::details::{
    AttributeMapping, AttributeMappings, Directory, DirectoryGroup, DirectorySecret,
    DirectoryStats, DirectoryUser, RoleAssignment, RoleAssignments,
};
use super::{Api, ApiError, ApiRequest, EnabledState, ItemStream};

/// API for directories. Returned by [`Api::directories`].
#[derive(Clone, Debug)]
pub struct DirectoriesApi {
    api: Api,
}

impl DirectoriesApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Lists the directories of an organization (`org_…`).
    ///
    /// # Errors
    /// See [`ApiError`].
    #[doc(alias("listDirectories", "list_directories"))]
    pub async fn list(&self, organization_id: &str) -> Result<Vec<Directory>, ApiError> {
        self.api
            .request(Method::GET, "/api/v1/organizations/{organization_id}/directories")
            .path_parameter("organization_id", organization_id)
            .send_list("directories")
            .await
    }

    /// Returns the first directory of an organization (`org_…`). Most have at most one.
    ///
    /// # Errors
    /// [`ApiError::NoDirectory`] if there is none; see [`ApiError`].
    #[doc(alias(
        "getPrimaryDirectoryByOrganizationId",
        "get_primary_directory_by_organization_id"
    ))]
    pub async fn primary(&self, organization_id: &str) -> Result<Directory, ApiError> {
        self.list(organization_id)
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| ApiError::NoDirectory { organization_id: organization_id.to_owned() })
    }

    /// Returns a directory (`dir_…`) of an organization.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getDirectory", "get_directory"))]
    pub async fn get(
        &self,
        organization_id: &str,
        directory_id: &str,
    ) -> Result<Directory, ApiError> {
        self.one(Method::GET, organization_id, directory_id, "").send_member("directory").await
    }

    /// Enables synchronization of a directory.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("enableDirectory", "enable_directory"))]
    pub async fn enable(
        &self,
        organization_id: &str,
        directory_id: &str,
    ) -> Result<EnabledState, ApiError> {
        self.one(Method::PATCH, organization_id, directory_id, ":enable").send().await
    }

    /// Disables synchronization of a directory.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("disableDirectory", "disable_directory"))]
    pub async fn disable(
        &self,
        organization_id: &str,
        directory_id: &str,
    ) -> Result<EnabledState, ApiError> {
        self.one(Method::PATCH, organization_id, directory_id, ":disable").send().await
    }

    /// Lists the users of a directory.
    #[doc(alias("listDirectoryUsers", "list_directory_users"))]
    pub fn users(&self, organization_id: &str, directory_id: &str) -> DirectoryUsers {
        DirectoryUsers(self.one(Method::GET, organization_id, directory_id, "/users"))
    }

    /// Lists the groups of a directory.
    #[doc(alias("listDirectoryGroups", "list_directory_groups"))]
    pub fn groups(&self, organization_id: &str, directory_id: &str) -> DirectoryGroups {
        DirectoryGroups(self.one(Method::GET, organization_id, directory_id, "/groups"))
    }

    fn one(&self, method: Method, organization_id: &str, id: &str, rest: &str) -> ApiRequest {
        let path = format!("/api/v1/organizations/{{organization_id}}/directories/{{id}}{rest}");
        self.api
            .request(method, path)
            .path_parameter("organization_id", organization_id)
            .path_parameter("id", id)
    }
}

/// A request for a list of a directory's users. Returned by [`DirectoriesApi::users`].
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct DirectoryUsers(ApiRequest);

impl DirectoryUsers {
    /// Filters by group (`dirgroup_…`).
    pub fn directory_group_id(self, group_id: &str) -> Self {
        Self(self.0.filter("directory_group_id", group_id))
    }

    /// Includes all attributes of each user ([`DirectoryUser::user_detail`]). Default: false.
    pub fn include_detail(self, include: bool) -> Self {
        Self(self.0.query("include_detail", include.to_string()))
    }

    /// Sets the page size, at most 30. Default: the environment's, 10.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// Filters by users that were changed after this time.
    pub fn updated_after(self, time: OffsetDateTime) -> Self {
        Self(self.0.query_time("updated_after", time))
    }

    /// Streams the users, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<DirectoryUser> {
        ItemStream::new(self.0, "users")
    }
}

/// A request for a list of a directory's groups. Returned by [`DirectoriesApi::groups`].
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct DirectoryGroups(ApiRequest);

impl DirectoryGroups {
    /// Includes all attributes of each group ([`DirectoryGroup::group_detail`]). Default: false.
    pub fn include_detail(self, include: bool) -> Self {
        Self(self.0.query("include_detail", include.to_string()))
    }

    /// Includes the provider's own groups. Default: false.
    pub fn include_external_groups(self, include: bool) -> Self {
        Self(self.0.query("include_external_groups", include.to_string()))
    }

    /// Sets the page size, at most 30. Default: the environment's, 10.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// Filters by groups that were changed after this time.
    pub fn updated_after(self, time: OffsetDateTime) -> Self {
        Self(self.0.query_time("updated_after", time))
    }

    /// Streams the groups, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<DirectoryGroup> {
        ItemStream::new(self.0, "groups")
    }
}
