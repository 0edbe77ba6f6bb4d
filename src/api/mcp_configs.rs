//! MCP configurations: each is an MCP server of Scalekit with tools of your users' connected
//! accounts, for agents that speak the Model Context Protocol.
//!
//! A configuration has one [URL](McpConfig::mcp_server_url) for all users, with Streamable HTTP. Its
//! clients send a [session token](McpConfigsApi::create_session_token) as a bearer token, which acts
//! as one user. Scalekit's OpenAPI document describes these calls and the claims of the token; how
//! the server authenticates its clients is described in the guide "Virtual MCP servers" only.
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_scalekit::api::mcp_configs::McpConfigSettings;
//! # use tower_scalekit::Sandbox;
//!
//! # let sandbox = Sandbox::new();
//! let configs = sandbox.scalekit().api().mcp_configs();
//! let settings = McpConfigSettings::new()
//!     .tools("gmail", ["gmail_fetch_mails"])
//!     .tools("slack", ["slack_list_channels", "slack_send_message"]);
//! let config = configs.create("daily-summarizer", &settings).await?; // once
//!
//! // Before each run of the agent: the accounts of the user, then a token.
//! for account in configs.connect_accounts(&config.id, "user_123").await? {
//!     if let Some(link) = account.authentication_link.filter(|_| !account.is_active) {
//!         println!("open {}", link.url());
//! #         sandbox.consent(link.url().as_str())?;
//!     }
//! }
//! let token = configs.create_session_token(&config.id, "user_123", None).await?;
//! let server = config.mcp_server_url.ok_or("the environment has no MCP servers")?;
//! println!("{server} with Authorization: Bearer {}", token.token.expose());
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

use std::fmt;
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;

use super::client::retry::Retries;
use super::connected_accounts::AuthorizationLink;
use super::{Api, ApiError, ApiRequest, ItemStream};
use crate::model::{ConnectedAccountStatus, wire};
use crate::secret::SecretString;

/// API for MCP configurations. Returned by [`Api::mcp_configs`].
#[derive(Clone, Debug)]
pub struct McpConfigsApi {
    api: Api,
}

impl McpConfigsApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Lists configurations.
    #[doc(alias = "list_configs")]
    pub fn list(&self) -> McpConfigs {
        McpConfigs(self.api.request(Method::GET, "/api/v1/mcp/configs"))
    }

    /// Returns a configuration (`cfg_…`).
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias = "GetMcpConfig")]
    pub async fn get(&self, config_id: &str) -> Result<McpConfig, ApiError> {
        self.one(Method::GET, config_id, "").send_member("config").await
    }

    /// Creates a configuration. Its name has 1 to 100 lower-case letters, digits, `-` and `_`, and
    /// cannot be changed. Never retried.
    ///
    /// # Errors
    /// [`ApiError::InvalidRequest`] for an unknown connection or tool; see [`ApiError`].
    #[doc(alias = "create_config")]
    pub async fn create(
        &self,
        name: &str,
        settings: &McpConfigSettings,
    ) -> Result<McpConfig, ApiError> {
        #[derive(Serialize)]
        struct Body<'a> {
            name: &'a str,
            #[serde(flatten)]
            settings: &'a McpConfigSettings,
        }
        self.api
            .request(Method::POST, "/api/v1/mcp/configs")
            .json(&Body { name, settings })
            .problem(settings.problem)
            .send_member("config")
            .await
    }

    /// Replaces the settings of a configuration. What an environment does with settings that are
    /// left out is not documented.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias = "update_config")]
    pub async fn update(
        &self,
        config_id: &str,
        settings: &McpConfigSettings,
    ) -> Result<McpConfig, ApiError> {
        self.one(Method::PUT, config_id, "")
            .json(settings)
            .problem(settings.problem)
            .send_member("config")
            .await
    }

    /// Deletes a configuration permanently.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias = "delete_config")]
    pub async fn delete(&self, config_id: &str) -> Result<(), ApiError> {
        self.one(Method::DELETE, config_id, "").send_empty().await
    }

    /// Returns the accounts of a user at the configuration's connections, without creating any.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the configuration does not exist; see [`ApiError`].
    #[doc(alias = "list_mcp_connected_accounts")]
    pub async fn connected_accounts(
        &self,
        config_id: &str,
        identifier: &str,
    ) -> Result<Vec<McpConnectedAccount>, ApiError> {
        self.accounts(config_id, identifier, false)
            .retries(Retries::Idempotent)
            .send_list("connected_accounts")
            .await
    }

    /// The same with a link for each account, where its user authorizes your app. Creates accounts
    /// that do not exist. Never retried.
    ///
    /// Whoever opens a link connects an account of theirs: give it to this user only. These links
    /// have no user verification, for which there is [`ConnectAccount`](crate::ConnectAccount).
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the configuration does not exist; see [`ApiError`].
    #[doc(alias = "list_mcp_connected_accounts")]
    pub async fn connect_accounts(
        &self,
        config_id: &str,
        identifier: &str,
    ) -> Result<Vec<McpConnectedAccount>, ApiError> {
        self.accounts(config_id, identifier, true).send_list("connected_accounts").await
    }

    /// Creates a token with which an MCP client acts as this user at the configuration's server. It
    /// lives for an hour, or `lifetime`: 60 s to 24 h.
    ///
    /// The identifier is that of the session or the job, never one from a request or from a model.
    ///
    /// Scalekit's Python SDK also has tokens with an `access_level` of `READ_ONLY`, and tokens for the
    /// server of a single connection. The OpenAPI document does not describe them: send such a call
    /// with [`Api::request`].
    ///
    /// # Errors
    /// [`ApiError::InvalidRequest`] if an account of the user is not active; see [`ApiError`].
    #[doc(alias = "CreateMcpSessionToken")]
    pub async fn create_session_token(
        &self,
        config_id: &str,
        identifier: &str,
        lifetime: Option<Duration>,
    ) -> Result<McpSessionToken, ApiError> {
        #[derive(Deserialize)]
        struct Created {
            #[serde(deserialize_with = "wire::required")]
            token: String,
            #[serde(default, with = "wire::timestamp")]
            expires_at: Option<OffsetDateTime>,
        }
        #[derive(Serialize)]
        struct Body<'a> {
            identifier: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            expiry: Option<String>,
        }
        let seconds = lifetime.map(|lifetime| lifetime.as_secs());
        let problem = match seconds {
            None | Some(60..=86_400) => None,
            Some(_) => Some("the lifetime of a session token is 60 s to 24 h"),
        };
        let Created { token, expires_at } = self
            .of_user(config_id, "/tokens", identifier)
            .json(&Body { identifier, expiry: seconds.map(|seconds| format!("{seconds}s")) })
            .problem(problem)
            .send()
            .await?;
        Ok(McpSessionToken { token: token.into(), expires_at })
    }

    fn accounts(&self, config_id: &str, identifier: &str, with_links: bool) -> ApiRequest {
        self.of_user(config_id, "/connected_accounts", identifier)
            .json(&json!({ "identifier": identifier, "include_auth_link": with_links }))
    }

    fn of_user(&self, config_id: &str, rest: &str, identifier: &str) -> ApiRequest {
        let problem = identifier.is_empty().then_some("the identifier of the user is empty");
        self.one(Method::POST, config_id, rest).problem(problem)
    }

    fn one(&self, method: Method, config_id: &str, rest: &str) -> ApiRequest {
        self.api
            .request(method, format!("/api/v1/mcp/configs/{{config_id}}{rest}"))
            .path_parameter("config_id", config_id)
    }
}

/// A request for a list of configurations. Returned by [`McpConfigsApi::list`].
///
/// An empty filter is an [`ApiError::InvalidCall`], because the API would ignore it.
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct McpConfigs(ApiRequest);

impl McpConfigs {
    /// Filters by ID.
    pub fn id(self, id: &str) -> Self {
        Self(self.0.filter("filter.id", id))
    }

    /// Filters by name, in any case.
    pub fn name(self, name: &str) -> Self {
        Self(self.0.filter("filter.name", name))
    }

    /// Filters by provider, for instance `GMAIL`.
    pub fn provider(self, provider: &str) -> Self {
        Self(self.0.filter("filter.provider", provider))
    }

    /// Filters by the URL of the server.
    pub fn mcp_server_url(self, url: &str) -> Self {
        Self(self.0.filter("filter.mcp_server_url", url))
    }

    /// Filters by the beginning of a name.
    pub fn matching(self, text: &str) -> Self {
        Self(self.0.matching("search", text))
    }

    /// Sets the page size, at most 30. Default: the environment's.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// Streams the configurations, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<McpConfig> {
        ItemStream::new(self.0, "configs")
    }
}

/// An MCP configuration. Fields that the environment omits are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct McpConfig {
    /// `cfg_…`
    #[serde(deserialize_with = "wire::required")]
    pub id: String,
    /// Its name, which is unique.
    #[serde(default, deserialize_with = "wire::text")]
    pub name: Option<String>,
    /// Description.
    #[serde(default, deserialize_with = "wire::text")]
    pub description: Option<String>,
    /// The URL of its MCP server. `None` if the environment has no such servers.
    #[serde(default, deserialize_with = "wire::text")]
    pub mcp_server_url: Option<String>,
    /// Its connections and their tools.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub connection_tool_mappings: Vec<ConnectionToolMapping>,
}

/// The tools of a connection in an MCP configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct ConnectionToolMapping {
    /// The connection's name, as spelled in the dashboard.
    #[serde(default, deserialize_with = "wire::text")]
    pub connection_name: Option<String>,
    /// The names of its tools. Empty: all tools of the connection.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub tools: Vec<String>,
    /// The connection (`conn_…`).
    #[serde(default, deserialize_with = "wire::text")]
    pub connection_id: Option<String>,
    /// The service, for instance `GMAIL`.
    #[serde(default, deserialize_with = "wire::text")]
    pub provider: Option<String>,
}

/// The settings of an MCP configuration.
#[derive(Clone, Debug, Default, Serialize)]
#[must_use]
pub struct McpConfigSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    connection_tool_mappings: Vec<NewMapping>,
    #[serde(skip)]
    problem: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct NewMapping {
    connection_name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<String>,
}

impl McpConfigSettings {
    /// Creates settings without connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the description. Default: none.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Adds these tools of a connection. Without any tool, the calls fail with
    /// [`ApiError::InvalidCall`], because the environment would add all. At most 25 connections.
    pub fn tools(
        mut self,
        connection_name: impl Into<String>,
        tools: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let tools: Vec<String> = tools.into_iter().map(Into::into).collect();
        if tools.is_empty() {
            self.problem = Some("no tools are named, which would add all tools of the connection");
        }
        self.add(connection_name.into(), tools)
    }

    /// Adds all tools of a connection, also those that Scalekit adds later, and those that delete.
    pub fn all_tools(self, connection_name: impl Into<String>) -> Self {
        self.add(connection_name.into(), Vec::new())
    }

    fn add(mut self, connection_name: String, tools: Vec<String>) -> Self {
        self.connection_tool_mappings.push(NewMapping { connection_name, tools });
        if self.connection_tool_mappings.len() > 25 {
            self.problem = Some("an MCP configuration has at most 25 connections");
        }
        self
    }
}

/// The account of a user at a connection of an MCP configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "WireAccount")]
#[non_exhaustive]
pub struct McpConnectedAccount {
    /// The connection's name.
    pub connection_name: Option<String>,
    /// The connection (`conn_…`).
    pub connection_id: Option<String>,
    /// The service, for instance `GMAIL`.
    pub provider: Option<String>,
    /// The account (`ca_…`); `None` if there is none.
    pub connected_account_id: Option<String>,
    /// The status of the account.
    pub status: Option<ConnectedAccountStatus>,
    /// Whether tools can use the account.
    pub is_active: bool,
    /// Where the user authorizes your app. Only from [`McpConfigsApi::connect_accounts`].
    pub authentication_link: Option<AuthorizationLink>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireAccount {
    #[serde(deserialize_with = "wire::text")]
    connection_name: Option<String>,
    #[serde(deserialize_with = "wire::text")]
    connection_id: Option<String>,
    #[serde(deserialize_with = "wire::text")]
    provider: Option<String>,
    #[serde(deserialize_with = "wire::text")]
    connected_account_id: Option<String>,
    #[serde(deserialize_with = "wire::open_enum")]
    connected_account_status: Option<ConnectedAccountStatus>,
    #[serde(deserialize_with = "wire::text")]
    authentication_link: Option<String>,
}

impl From<WireAccount> for McpConnectedAccount {
    fn from(wire: WireAccount) -> Self {
        Self {
            is_active: wire.connected_account_status == Some(ConnectedAccountStatus::Active),
            connection_name: wire.connection_name,
            connection_id: wire.connection_id,
            provider: wire.provider,
            connected_account_id: wire.connected_account_id,
            status: wire.connected_account_status,
            authentication_link: wire
                .authentication_link
                .and_then(|link| AuthorizationLink::new(&link, None)),
        }
    }
}

/// A token for the MCP server of a configuration. Returned by
/// [`McpConfigsApi::create_session_token`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpSessionToken {
    /// The bearer token: a JWT whose `sub` is the identifier and whose `aud` is the server's URL.
    pub token: SecretString,
    /// Expiry.
    pub expires_at: Option<OffsetDateTime>,
}

// Manual impl: contains the token.
impl fmt::Debug for McpSessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpSessionToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
