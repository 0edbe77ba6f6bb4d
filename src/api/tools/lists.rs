//! Lists of tools.

use futures::TryStreamExt as _;

use super::ToolsApi;
use super::tool::{ScopedTool, Tool};
use super::toolset::Toolset;
use crate::api::{ApiError, ApiRequest, ItemStream};

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
pub struct ScopedTools {
    api: ToolsApi,
    request: ApiRequest,
}

impl ScopedTools {
    pub(super) fn new(api: &ToolsApi, request: ApiRequest) -> Self {
        Self { api: api.clone(), request }
    }

    /// Filters by connection. Can be called again, for several connections.
    pub fn connection_name(self, name: &str) -> Self {
        self.with(|request| request.filter("filter.connection_names", name))
    }

    /// Filters by provider, for instance `GMAIL`. Can be called again, for several providers.
    pub fn provider(self, provider: &str) -> Self {
        self.with(|request| request.filter("filter.providers", provider))
    }

    /// Filters by name. Can be called again, for several names.
    pub fn tool_name(self, name: &str) -> Self {
        self.with(|request| request.filter("filter.tool_names", name))
    }

    /// Sets the page size. Default: the environment's.
    pub fn page_size(self, size: u32) -> Self {
        self.with(|request| request.query("page_size", size.to_string()))
    }

    /// Streams the tools, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<ScopedTool> {
        ItemStream::new(self.request, "tools")
    }

    /// Fetches the tools, for a model.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn toolset(self) -> Result<Toolset, ApiError> {
        let tools: Vec<_> = ItemStream::new(self.request, "tools").try_collect().await?;
        Ok(Toolset::new(&self.api, tools))
    }

    fn with(self, change: impl FnOnce(ApiRequest) -> ApiRequest) -> Self {
        Self { request: change(self.request), ..self }
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
