//! Which tools there are.

use futures::stream::Stream;
use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::api::client::pagination;
use crate::api::client::pagination::Page;
use crate::api::{ApiError, ApiRequest};
use crate::model::wire;

/// A tool, as models are told of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Tool {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// The service, for instance `GMAIL`.
    #[serde(deserialize_with = "wire::text")]
    pub provider: Option<String>,
    /// Its `name`, `description` and `input_schema`.
    #[serde(deserialize_with = "wire::or_default")]
    pub definition: Map<String, Value>,
    /// More about it.
    #[serde(deserialize_with = "wire::or_default")]
    pub metadata: Map<String, Value>,
    /// Words to find it by.
    #[serde(deserialize_with = "wire::or_default")]
    pub tags: Vec<String>,
    /// Of several versions the one that is meant by the name alone.
    #[serde(deserialize_with = "wire::or_default")]
    pub is_default: bool,
    /// When it last changed.
    #[serde(deserialize_with = "wire::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
}

impl Tool {
    /// The name that it is [executed](super::ToolsApi::execute) by.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.definition.get("name").and_then(Value::as_str)
    }
}

/// A tool for one of a user's accounts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ScopedTool {
    /// The account (`ca_…`).
    #[serde(deserialize_with = "wire::text")]
    pub connected_account_id: Option<String>,
    /// What your app calls the user.
    #[serde(deserialize_with = "wire::text")]
    pub identifier: Option<String>,
    /// The tool.
    #[serde(deserialize_with = "wire::or_default")]
    pub tool: Tool,
}

/// The list of all tools, before it is fetched. Made by [`ToolsApi::list`](super::ToolsApi::list).
///
/// A filter that is empty is an [`ApiError::InvalidCall`]: the API would take it for none.
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct Tools(ApiRequest);

impl Tools {
    pub(super) fn new(request: ApiRequest) -> Self {
        Self(request)
    }

    /// Only those for this account (`ca_…`).
    pub fn connected_account_id(self, id: &str) -> Self {
        Self(self.0.filter("filter.connected_account_id", id))
    }

    /// Only those of this connection.
    pub fn connector(self, connector: &str) -> Self {
        Self(self.0.filter("filter.connector", connector))
    }

    /// Only those for accounts of whom your app calls so.
    pub fn identifier(self, identifier: &str) -> Self {
        Self(self.0.filter("filter.identifier", identifier))
    }

    /// Only those that have this text in them.
    pub fn matching(self, text: &str) -> Self {
        Self(self.0.matching("filter.query", text))
    }

    /// Only those for accounts of this organization.
    pub fn organization_id(self, id: &str) -> Self {
        Self(self.0.filter("filter.organization_id", id))
    }

    /// Only those of this service, for instance `GMAIL`.
    pub fn provider(self, provider: &str) -> Self {
        Self(self.0.filter("filter.provider", provider))
    }

    /// Only the one with this name; call it again for further ones.
    pub fn tool_name(self, name: &str) -> Self {
        Self(self.0.filter("filter.tool_name", name))
    }

    /// Only those for accounts of this user of Scalekit's (`usr_…`).
    pub fn user_id(self, id: &str) -> Self {
        Self(self.0.filter("filter.user_id", id))
    }

    /// How many tools come in each page. The environment decides unless set.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// The tools, page after page as they are read. Ends after an error.
    pub fn stream(self) -> impl Stream<Item = Result<Tool, ApiError>> + Send + Unpin + 'static {
        pagination::items::<ToolsPage<Tool>>(self.0)
    }

    /// Only their names, page after page as they are read. Ends after an error.
    pub fn names(self) -> impl Stream<Item = Result<String, ApiError>> + Send + Unpin + 'static {
        pagination::items::<NamesPage>(self.0.query("filter.summary", "true"))
    }
}

/// The list of the tools of a user's accounts, before it is fetched. Made by
/// [`ToolsApi::scoped`](super::ToolsApi::scoped).
///
/// A filter that is empty is an [`ApiError::InvalidCall`]: the API would take it for none.
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct ScopedTools(ApiRequest);

impl ScopedTools {
    pub(super) fn new(request: ApiRequest) -> Self {
        Self(request)
    }

    /// Only those for accounts at this connection; call it again for further ones.
    pub fn connection_name(self, name: &str) -> Self {
        Self(self.0.filter("filter.connection_names", name))
    }

    /// Only those of this service, for instance `GMAIL`; call it again for further ones.
    pub fn provider(self, provider: &str) -> Self {
        Self(self.0.filter("filter.providers", provider))
    }

    /// Only the one with this name; call it again for further ones.
    pub fn tool_name(self, name: &str) -> Self {
        Self(self.0.filter("filter.tool_names", name))
    }

    /// How many tools come in each page. The environment decides unless set.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// The tools, page after page as they are read. Ends after an error.
    pub fn stream(
        self,
    ) -> impl Stream<Item = Result<ScopedTool, ApiError>> + Send + Unpin + 'static {
        pagination::items::<ToolsPage<ScopedTool>>(self.0)
    }
}

/// The list of the tools that a user could use, before it is fetched. Made by
/// [`ToolsApi::available`](super::ToolsApi::available).
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct AvailableTools(ApiRequest);

impl AvailableTools {
    pub(super) fn new(request: ApiRequest) -> Self {
        Self(request)
    }

    /// How many tools come in each page. The environment decides unless set.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// The tools, page after page as they are read. Ends after an error.
    pub fn stream(self) -> impl Stream<Item = Result<Tool, ApiError>> + Send + Unpin + 'static {
        pagination::items::<ToolsPage<Tool>>(self.0)
    }
}

#[derive(Deserialize)]
#[serde(default, bound = "T: Deserialize<'de>")]
struct ToolsPage<T> {
    #[serde(deserialize_with = "wire::or_default")]
    tools: Vec<T>,
    #[serde(deserialize_with = "wire::or_default")]
    next_page_token: String,
}

impl<T> Default for ToolsPage<T> {
    fn default() -> Self {
        Self { tools: Vec::new(), next_page_token: String::new() }
    }
}

impl<T: for<'de> Deserialize<'de> + Send + 'static> Page for ToolsPage<T> {
    type Item = T;

    fn into_parts(self) -> (Vec<T>, String) {
        (self.tools, self.next_page_token)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamesPage {
    #[serde(deserialize_with = "wire::or_default")]
    tool_names: Vec<String>,
    #[serde(deserialize_with = "wire::or_default")]
    next_page_token: String,
}

impl Page for NamesPage {
    type Item = String;

    fn into_parts(self) -> (Vec<String>, String) {
        (self.tool_names, self.next_page_token)
    }
}
