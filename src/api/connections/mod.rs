//! Connections: how the users of an organization sign in through its identity provider.
//!
//! An app with single sign-on and other login methods first looks up the connections of an address,
//! so that users without one are not redirected to the identity provider:
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_scalekit::Sandbox;
//!
//! let sandbox = Sandbox::new();
//! let connections = sandbox.scalekit().api().connections();
//!
//! let acme = connections.enabled_for_email("Jane@acme.test").await?;
//! assert_eq!(acme[0].domains, ["acme.test"]);
//! // No connection, or not an address: another login method.
//! assert!(connections.enabled_for_email("jane@example.net").await?.is_empty());
//! assert!(connections.enabled_for_email("jane@acme.test@evil.test").await?.is_empty());
//!
//! let organization = acme[0].organization_id.as_deref().ok_or("no organization")?;
//! connections.disable(organization, &acme[0].id).await?;
//! assert!(connections.enabled_for_domain("acme.test").await?.is_empty());
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```
//!
//! Use the result only to choose a page. Identity and organization come from the token, after the
//! login; a typed address proves neither.

mod details;
mod domain;

use http::Method;

pub use self::details::{Connection, ConnectionProvider, ConnectionStatus, ConnectionType};
pub use self::domain::email_domain;
use super::{Api, ApiError, ApiRequest, EnabledState};

/// API for connections. Returned by [`Api::connections`].
#[derive(Clone, Debug)]
pub struct ConnectionsApi {
    api: Api,
}

impl ConnectionsApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Lists all connections of the environment, including disabled and unfinished ones.
    ///
    /// # Errors
    /// See [`ApiError`].
    #[doc(alias("listAppConnections", "list_app_connections"))]
    pub async fn list(&self) -> Result<Vec<Connection>, ApiError> {
        self.all().query("include", "all").send_list("connections").await
    }

    /// Lists all connections of an organization (`org_…`), including disabled and unfinished ones.
    ///
    /// # Errors
    /// See [`ApiError`].
    #[doc(alias("listConnections", "list_connections"))]
    pub async fn list_by_organization(
        &self,
        organization_id: &str,
    ) -> Result<Vec<Connection>, ApiError> {
        self.all()
            .filter("organization_id", organization_id)
            .query("include", "all")
            .send_list("connections")
            .await
    }

    /// Lists all connections of an e-mail domain, including disabled and unfinished ones.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn list_by_domain(&self, domain: &str) -> Result<Vec<Connection>, ApiError> {
        self.all().filter("domain", domain).query("include", "all").send_list("connections").await
    }

    /// Returns the connections through which users of an e-mail domain can sign in now: completed
    /// and enabled single sign-on connections. Returns none, without a request, if the domain is
    /// not a host name.
    ///
    /// # Errors
    /// See [`ApiError`].
    #[doc(alias("listConnectionsByDomain", "list_connections_by_domain"))]
    pub async fn enabled_for_domain(&self, domain: &str) -> Result<Vec<Connection>, ApiError> {
        let Some(domain) = domain::host_name(domain) else { return Ok(Vec::new()) };
        let mut connections: Vec<Connection> =
            self.all().query("domain", &domain).send_list("connections").await?;
        connections.retain(|connection| connection.signs_in(&domain));
        Ok(connections)
    }

    /// The same for the [domain](email_domain) of an e-mail address. Returns none if it is not an
    /// address.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn enabled_for_email(&self, address: &str) -> Result<Vec<Connection>, ApiError> {
        match email_domain(address) {
            Some(domain) => self.enabled_for_domain(&domain).await,
            None => Ok(Vec::new()),
        }
    }

    /// Returns a connection (`conn_…`) of an organization.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getConnection", "get_connection"))]
    pub async fn get(&self, organization_id: &str, id: &str) -> Result<Connection, ApiError> {
        self.one(Method::GET, organization_id, id, "").send_member("connection").await
    }

    /// Enables the connection.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("enableConnection", "enable_connection"))]
    pub async fn enable(&self, organization_id: &str, id: &str) -> Result<EnabledState, ApiError> {
        self.one(Method::PATCH, organization_id, id, ":enable").send().await
    }

    /// Disables the connection. Existing sessions are unaffected.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("disableConnection", "disable_connection"))]
    pub async fn disable(&self, organization_id: &str, id: &str) -> Result<EnabledState, ApiError> {
        self.one(Method::PATCH, organization_id, id, ":disable").send().await
    }

    /// Deletes a connection permanently.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist, and if an earlier attempt of this call
    /// succeeded although its response was an error; see [`ApiError`].
    #[doc(alias("deleteConnection", "delete_connection"))]
    pub async fn delete(&self, organization_id: &str, id: &str) -> Result<(), ApiError> {
        self.one(Method::DELETE, organization_id, id, "").send_empty().await
    }

    fn all(&self) -> ApiRequest {
        self.api.request(Method::GET, "/api/v1/connections")
    }

    fn one(&self, method: Method, organization_id: &str, id: &str, verb: &str) -> ApiRequest {
        let path = format!("/api/v1/organizations/{{organization_id}}/connections/{{id}}{verb}");
        self.api
            .request(method, path)
            .path_parameter("organization_id", organization_id)
            .path_parameter("id", id)
    }
}
