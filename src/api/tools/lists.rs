//! Lists of tools.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::api::{ApiRequest, ItemStream};
use crate::model::wire;

/// A tool with its definition for models.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Tool {
    /// Its ID.
    #[serde(deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// The service, for instance `GMAIL`.
    #[serde(deserialize_with = "wire::text")]
    pub provider: Option<String>,
    /// Its `name`, `description` and `input_schema`.
    #[serde(deserialize_with = "wire::or_default")]
    pub definition: Map<String, Value>,
    /// Further metadata.
    #[serde(deserialize_with = "wire::or_default")]
    pub metadata: Map<String, Value>,
    /// Tags.
    #[serde(deserialize_with = "wire::or_default")]
    pub tags: Vec<String>,
    /// Whether it is the default version.
    #[serde(deserialize_with = "wire::or_default")]
    pub is_default: bool,
    /// Time of the last change.
    #[serde(with = "wire::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
}

impl Tool {
    /// The name for [`execute`](super::ToolsApi::execute).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.definition.get("name").and_then(Value::as_str)
    }
}

/// A tool for one of a user's accounts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ScopedTool {
    /// The account (`ca_…`).
    #[serde(deserialize_with = "wire::text")]
    pub connected_account_id: Option<String>,
    /// Your app's identifier of the user.
    #[serde(deserialize_with = "wire::text")]
    pub identifier: Option<String>,
    /// The tool.
    #[serde(deserialize_with = "wire::or_default")]
    pub tool: Tool,
}

/// A request for a list of all tools. Returned by [`ToolsApi::list`](super::ToolsApi::list).
///
/// An empty filter is an [`ApiError::InvalidCall`](crate::api::ApiError::InvalidCall), because the
/// API would ignore it.
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct Tools(ApiRequest);

impl Tools {
    pub(super) fn new(request: ApiRequest) -> Self {
        Self(request)
    }

    /// Filters by account (`ca_…`).
    pub fn connected_account_id(self, id: &str) -> Self {
        Self(self.0.filter("filter.connected_account_id", id))
    }

    /// Filters by connection.
    pub fn connector(self, connector: &str) -> Self {
        Self(self.0.filter("filter.connector", connector))
    }

    /// Filters by identifier.
    pub fn identifier(self, identifier: &str) -> Self {
        Self(self.0.filter("filter.identifier", identifier))
    }

    /// Filters by text.
    pub fn matching(self, text: &str) -> Self {
        Self(self.0.matching("filter.query", text))
    }

    /// Filters by organization.
    pub fn organization_id(self, id: &str) -> Self {
        Self(self.0.filter("filter.organization_id", id))
    }

    /// Filters by provider, for instance `GMAIL`.
    pub fn provider(self, provider: &str) -> Self {
        Self(self.0.filter("filter.provider", provider))
    }

    /// Filters by name. Can be called again, for several names.
    pub fn tool_name(self, name: &str) -> Self {
        Self(self.0.filter("filter.tool_name", name))
    }

    /// Filters by Scalekit user (`usr_…`).
    pub fn user_id(self, id: &str) -> Self {
        Self(self.0.filter("filter.user_id", id))
    }

    /// Sets the page size. Default: the environment's.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// Streams the tools, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<Tool> {
        ItemStream::new(self.0, "tools")
    }

    /// Streams only the names, fetching pages as needed. Ends after an error.
    pub fn names(self) -> ItemStream<String> {
        ItemStream::new(self.0.query("filter.summary", "true"), "tool_names")
    }
}

/// A request for a list of the tools of a user's accounts. Returned by
/// [`ToolsApi::scoped`](super::ToolsApi::scoped).
///
/// An empty filter is an [`ApiError::InvalidCall`](crate::api::ApiError::InvalidCall), because the
/// API would ignore it.
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct ScopedTools(ApiRequest);

impl ScopedTools {
    pub(super) fn new(request: ApiRequest) -> Self {
        Self(request)
    }

    /// Filters by connection. Can be called again, for several connections.
    pub fn connection_name(self, name: &str) -> Self {
        Self(self.0.filter("filter.connection_names", name))
    }

    /// Filters by provider, for instance `GMAIL`. Can be called again, for several providers.
    pub fn provider(self, provider: &str) -> Self {
        Self(self.0.filter("filter.providers", provider))
    }

    /// Filters by name. Can be called again, for several names.
    pub fn tool_name(self, name: &str) -> Self {
        Self(self.0.filter("filter.tool_names", name))
    }

    /// Sets the page size. Default: the environment's.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// Streams the tools, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<ScopedTool> {
        ItemStream::new(self.0, "tools")
    }
}

/// A request for a list of the tools that a user could use. Returned by
/// [`ToolsApi::available`](super::ToolsApi::available).
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct AvailableTools(ApiRequest);

impl AvailableTools {
    pub(super) fn new(request: ApiRequest) -> Self {
        Self(request)
    }

    /// Sets the page size. Default: the environment's.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// Streams the tools, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<Tool> {
        ItemStream::new(self.0, "tools")
    }
}
