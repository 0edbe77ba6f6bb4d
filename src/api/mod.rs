//! The environment's REST API, called in the application's own name.
//!
//! [`Scalekit::api`] gives the handle; each resource is a file: [`organizations`],
//! [`connections`], [`directories`], [`sessions`], [`auth_requests`], [`passwordless`],
//! [`connected_accounts`], [`tools`]. What has none yet is called by method and path through
//! [`Api::request`].
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use futures::TryStreamExt as _;
//! use http::Method;
//! use tower_scalekit::Sandbox;
//! use tower_scalekit::api::ApiError;
//! use tower_scalekit::api::sessions::SessionStatus;
//!
//! let sandbox = Sandbox::new();
//! # let _ = sandbox.tokens().access_token("jane@acme.test");
//! # let _ = sandbox.tokens().access_token("jane@acme.test");
//! let jane = sandbox.users().get("jane@acme.test").ok_or("no jane")?.id; // she is logged in twice
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
//! // The way out: any method and path, with the same token and the same care.
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
//! # How calls are made
//!
//! * The token of the client-credentials grant is kept until a minute before it expires, fetched
//!   once however many calls wait for it, and shared by all clones of the [`Scalekit`]. A call that
//!   is responded with 401 is sent once more with a new token; a `POST` or `PATCH` only where the response
//!   says that the token was rejected, so that nothing was done, or where doing it twice is harmless:
//!   revocations and the deletion of an account.
//! * `GET`, `HEAD`, `PUT`, `DELETE` and `OPTIONS` are sent again, at most twice and each time a little later,
//!   when there was no connection and after 429, 502, 503 and 504. A `Retry-After` is heeded; if it
//!   asks for more than ten seconds the call fails at once. Other methods are never sent again,
//!   except that a revocation or deletion is when there was no connection, so that it was not sent.
//! * Each attempt may take 20 s, and each response has at most 1 MiB; with [`tools`] 60 s and 8 MiB.

pub mod auth_requests;
pub mod connected_accounts;
pub mod connections;
pub mod directories;
mod error;
pub mod organizations;
pub mod passwordless;
pub mod sessions;
pub mod tools;

pub(crate) mod client;
#[cfg(test)]
mod tests;

pub use self::client::request::ApiRequest;
pub use self::error::{ApiError, ErrorResponse, Unavailable};

use http::Method;

use self::auth_requests::AuthRequestsApi;
use self::connected_accounts::ConnectedAccountsApi;
use self::connections::ConnectionsApi;
use self::directories::DirectoriesApi;
use self::organizations::OrganizationsApi;
use self::passwordless::PasswordlessApi;
use self::sessions::SessionsApi;
use self::tools::ToolsApi;
use crate::scalekit::Scalekit;

impl Scalekit {
    /// The environment's REST API, called in this application's name.
    #[must_use]
    pub fn api(&self) -> Api {
        Api { scalekit: self.clone() }
    }
}

/// The environment's REST API. Cheap to clone; made by [`Scalekit::api`].
#[derive(Clone, Debug)]
pub struct Api {
    scalekit: Scalekit,
}

impl Api {
    /// Logins that are handed to your own login page.
    #[must_use]
    pub fn auth_requests(&self) -> AuthRequestsApi {
        AuthRequestsApi::new(self.clone())
    }

    /// Accounts at other services that your app acts with for its users.
    #[must_use]
    pub fn connected_accounts(&self) -> ConnectedAccountsApi {
        ConnectedAccountsApi::new(self.clone())
    }

    /// How the people of organizations sign in through their identity providers.
    #[must_use]
    pub fn connections(&self) -> ConnectionsApi {
        ConnectionsApi::new(self.clone())
    }

    /// What organizations' identity providers keep in step: people and groups.
    #[must_use]
    pub fn directories(&self) -> DirectoriesApi {
        DirectoriesApi::new(self.clone())
    }

    /// The customers of your app.
    #[must_use]
    pub fn organizations(&self) -> OrganizationsApi {
        OrganizationsApi::new(self.clone())
    }

    /// Codes and magic links by e-mail.
    #[must_use]
    pub fn passwordless(&self) -> PasswordlessApi {
        PasswordlessApi::new(self.clone())
    }

    /// The sessions of users.
    #[must_use]
    pub fn sessions(&self) -> SessionsApi {
        SessionsApi::new(self.clone())
    }

    /// What your app can do with connected accounts.
    #[must_use]
    pub fn tools(&self) -> ToolsApi {
        ToolsApi::new(self.clone())
    }

    /// Any call, by its method and its path as the API's reference has it:
    /// `"/api/v1/sessions/{session_id}"`. What the braces stand for is given with
    /// [`path_parameter`](ApiRequest::path_parameter), which encodes it: never build a path from
    /// text that came from outside.
    pub fn request(&self, method: Method, path: impl Into<String>) -> ApiRequest {
        ApiRequest::new(self.scalekit.clone(), method, path.into())
    }
}
