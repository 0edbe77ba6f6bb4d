//! Client of the environment's REST API, authenticated as the application.
//!
//! [`Scalekit::api`] returns the client. It has a module for each resource: [`organizations`],
//! [`users`], [`memberships`], [`roles`], [`api_keys`], [`connections`], [`directories`], [`sessions`],
//! [`auth_requests`], [`passwordless`], [`connected_accounts`], [`tools`], [`mcp_configs`],
//! [`domains`], [`organization_clients`]. Other endpoints are called
//! by method and path through [`Api::request`].
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use futures::TryStreamExt as _;
//! use http::Method;
//! use tower_scalekit::Sandbox;
//! use tower_scalekit::api::ApiError;
//! use tower_scalekit::model::SessionStatus;
//!
//! let sandbox = Sandbox::new();
//! # let _ = sandbox.tokens().access_token("jane@acme.test");
//! # let _ = sandbox.tokens().access_token("jane@acme.test");
//! let jane = sandbox.users().get("jane@acme.test").ok_or("no jane")?.id; // who has two sessions
//! let api = sandbox.scalekit().api();
//!
//! let mut sessions = api.sessions().list_for_user(&jane).status(SessionStatus::Active).stream();
//! while let Some(session) = sessions.try_next().await? {
//!     assert_eq!(session.user_id.as_deref(), Some(jane.as_str()));
//! }
//! assert_eq!(api.sessions().revoke_all_for_user(&jane).await?.total_revoked, 2);
//!
//! let missing = api.sessions().get("ses_404").await;
//! assert!(matches!(missing, Err(ApiError::NotFound(_))));
//!
//! // Any method and path, with the same access token and retry policy.
//! let page: serde_json::Value = api
//!     .request(Method::GET, "/api/v1/users/{user_id}/sessions")
//!     .path_parameter("user_id", &jane)
//!     .query("page_size", "1")
//!     .send()
//!     .await?;
//! assert_eq!(page["total_size"], 2);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```
//!
//! # Access tokens and retries
//!
//! * The access token of the client-credentials grant is cached until a minute before it expires,
//!   fetched once for concurrent calls, and shared by all clones of the [`Scalekit`]. A call that
//!   gets 401 is sent once more with a new token. A `POST` or `PATCH` is sent again only if the
//!   response rejects the token, so that the call was not processed, or if the call is idempotent:
//!   revocations and the deletion of an account.
//! * `GET`, `HEAD`, `PUT`, `DELETE` and `OPTIONS` are retried at most twice, with increasing
//!   delays, when the connection failed and after 429, 502, 503 and 504. A `Retry-After` is
//!   respected; if it exceeds ten seconds, the call fails at once. Other methods are never retried,
//!   except for revocations and deletions when the connection failed, so that the call was not
//!   sent.
//! * Each attempt has a timeout of 20 s, and each response is limited to 1 MiB; for [`tools`] 60 s
//!   and 8 MiB.

pub mod api_keys;
pub mod auth_requests;
pub mod connected_accounts;
pub mod connections;
pub mod directories;
pub mod domains;
mod enabled_state;
mod error;
mod list_request;
pub mod mcp_configs;
pub mod memberships;
pub mod organization_clients;
pub mod organizations;
pub mod passwordless;
pub mod roles;
pub mod sessions;
pub mod tools;
pub mod users;

pub(crate) mod client;
#[cfg(test)]
#[cfg(feature = "sandbox")]
mod tests;

pub use self::client::pagination::ItemStream;
pub use self::client::request::ApiRequest;
pub use self::enabled_state::EnabledState;
pub use self::error::{ApiError, ErrorResponse, Unavailable};
pub use self::list_request::ListRequest;

use http::Method;

use self::api_keys::ApiKeysApi;
use self::auth_requests::AuthRequestsApi;
use self::connected_accounts::ConnectedAccountsApi;
use self::connections::ConnectionsApi;
use self::directories::DirectoriesApi;
use self::domains::DomainsApi;
use self::mcp_configs::McpConfigsApi;
use self::memberships::MembershipsApi;
use self::organization_clients::OrganizationClientsApi;
use self::organizations::OrganizationsApi;
use self::passwordless::PasswordlessApi;
use self::roles::{OrganizationRolesApi, PermissionsApi, RolesApi};
use self::sessions::SessionsApi;
use self::tools::ToolsApi;
use self::users::UsersApi;
use crate::scalekit::Scalekit;

impl Scalekit {
    /// Client of the environment's REST API, authenticated as this application.
    #[must_use]
    pub fn api(&self) -> Api {
        Api { scalekit: self.clone() }
    }
}

/// The environment's REST API. Cheap to clone. Returned by [`Scalekit::api`].
#[derive(Clone, Debug)]
pub struct Api {
    scalekit: Scalekit,
}

impl Api {
    /// Opaque tokens of organizations and users.
    #[must_use]
    pub fn api_keys(&self) -> ApiKeysApi {
        ApiKeysApi::new(self.clone())
    }

    /// Logins at your own login page.
    #[must_use]
    pub fn auth_requests(&self) -> AuthRequestsApi {
        AuthRequestsApi::new(self.clone())
    }

    /// Accounts at other services with which your app acts for its users.
    #[must_use]
    pub fn connected_accounts(&self) -> ConnectedAccountsApi {
        ConnectedAccountsApi::new(self.clone())
    }

    /// Identity providers of organizations.
    #[must_use]
    pub fn connections(&self) -> ConnectionsApi {
        ConnectionsApi::new(self.clone())
    }

    /// Synchronized users and groups of organizations.
    #[must_use]
    pub fn directories(&self) -> DirectoriesApi {
        DirectoriesApi::new(self.clone())
    }

    /// Domains of organizations.
    #[must_use]
    pub fn domains(&self) -> DomainsApi {
        DomainsApi::new(self.clone())
    }

    /// MCP servers with tools of connected accounts.
    #[must_use]
    pub fn mcp_configs(&self) -> McpConfigsApi {
        McpConfigsApi::new(self.clone())
    }

    /// Users in organizations: roles and invitations.
    #[must_use]
    pub fn memberships(&self) -> MembershipsApi {
        MembershipsApi::new(self.clone())
    }

    /// Machine clients of an organization (`org_…`).
    #[must_use]
    pub fn organization_clients(&self, organization_id: &str) -> OrganizationClientsApi {
        OrganizationClientsApi::new(self.clone(), organization_id)
    }

    /// Roles of an organization (`org_…`).
    #[must_use]
    pub fn organization_roles(&self, organization_id: &str) -> OrganizationRolesApi {
        OrganizationRolesApi::new(self.clone(), organization_id)
    }

    /// Your app's customers.
    #[must_use]
    pub fn organizations(&self) -> OrganizationsApi {
        OrganizationsApi::new(self.clone())
    }

    /// Codes and magic links by e-mail.
    #[must_use]
    pub fn passwordless(&self) -> PasswordlessApi {
        PasswordlessApi::new(self.clone())
    }

    /// Permissions of roles.
    #[must_use]
    pub fn permissions(&self) -> PermissionsApi {
        PermissionsApi::new(self.clone())
    }

    /// Roles of the environment.
    #[must_use]
    pub fn roles(&self) -> RolesApi {
        RolesApi::new(self.clone())
    }

    /// Sessions of users.
    #[must_use]
    pub fn sessions(&self) -> SessionsApi {
        SessionsApi::new(self.clone())
    }

    /// Tools that use connected accounts.
    #[must_use]
    pub fn tools(&self) -> ToolsApi {
        ToolsApi::new(self.clone())
    }

    /// Users of your app.
    #[must_use]
    pub fn users(&self) -> UsersApi {
        UsersApi::new(self.clone())
    }

    /// Builds any call from its method and its path, as in the API reference:
    /// `"/api/v1/sessions/{session_id}"`. Set the parameters in braces with
    /// [`path_parameter`](ApiRequest::path_parameter), which encodes them: never build a path from
    /// untrusted text.
    pub fn request(&self, method: Method, path: impl Into<String>) -> ApiRequest {
        ApiRequest::new(self.scalekit.clone(), method, path.into())
    }
}
