//! Tools, which your app uses with a [connected account](super::connected_accounts). A [`Toolset`]
//! lets a model use them.
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, StatusCode};
//! use serde_json::json;
//! use tower_scalekit::Sandbox;
//! use tower_scalekit::api::connected_accounts::AccountKey;
//! use tower_scalekit::api::tools::{ExecuteError, ToolCall};
//!
//! let sandbox = Sandbox::new();
//! sandbox.connected_accounts().add("gmail", "your-id-of-jane");
//! let jane = AccountKey::new("gmail", "your-id-of-jane");
//! let tools = sandbox.scalekit().api().tools();
//!
//! let call = ToolCall::new("gmail_fetch_mails", &jane)
//!     .parameter("query", "is:unread")
//!     .parameter("max_results", 5);
//! let result = tools.execute(&call).await?;
//! assert_eq!(result.data["messages"].as_array().map(Vec::len), Some(5));
//!
//! // Without a tool: any request to the service, to which Scalekit adds the user's token.
//! let request = Request::get("/gmail/v1/users/me/profile").body("")?;
//! let profile = tools.proxy(&jane, request).await?;
//! assert_eq!(profile.status(), StatusCode::OK);
//!
//! // Errors of the service are distinguished from those of Scalekit.
//! sandbox.connected_accounts().fail_provider("gmail", 1, StatusCode::TOO_MANY_REQUESTS);
//! let Err(ExecuteError::Tool(error)) = tools.execute(&call).await else { panic!() };
//! assert!(error.execution_id.is_some());
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

mod error;
mod execute;
mod lists;
mod proxy;
mod tool;
mod toolset;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response};

use super::client::retry::Retries;
use super::client::{response, transport};
use super::connected_accounts::AccountKey;
use super::{Api, ApiError};

pub use self::error::ToolError;
pub use self::execute::{ExecuteError, ToolCall, ToolResult};
pub use self::lists::{AvailableTools, ScopedTools, Tools};
pub use self::proxy::ServiceLocation;
pub use self::tool::{ScopedTool, Tool, ToolAnnotations, ToolFormat};
pub use self::toolset::{Next, RequestedCall, ToolCallError, Toolset};

/// Services may be slow and send large responses.
const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;

/// API for tools. Returned by [`Api::tools`].
#[derive(Clone, Debug)]
pub struct ToolsApi {
    api: Api,
    forwarded_headers: Vec<HeaderName>,
}

impl ToolsApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api, forwarded_headers: Vec::new() }
    }

    /// Lists all tools.
    #[doc(alias("listTools", "list_tools"))]
    pub fn list(&self) -> Tools {
        Tools::new(self.api.request(Method::GET, "/api/v1/tools"))
    }

    /// Lists the tools of a user's accounts, each with its account.
    #[doc(alias("listScopedTools", "list_scoped_tools"))]
    pub fn scoped(&self, identifier: &str) -> ScopedTools {
        ScopedTools::new(
            self,
            self.api.request(Method::GET, "/api/v1/tools/scoped").filter("identifier", identifier),
        )
    }

    /// Lists the tools that a user could use, for connected accounts and those that can be
    /// connected.
    #[doc(alias("listAvailableTools", "list_available_tools"))]
    pub fn available(&self, identifier: &str) -> AvailableTools {
        AvailableTools::new(
            self.api
                .request(Method::GET, "/api/v1/tools/available")
                .filter("identifier", identifier),
        )
    }

    /// Executes a tool. The timeout is 60 s. Never retried, because the tool may have run: an
    /// e-mail must not be sent twice. Only if Scalekit itself rejects the access token, so that the
    /// tool did not run, is the call sent once more, with a new token.
    ///
    /// # Errors
    /// [`ExecuteError::Tool`] for an error of the service, [`ExecuteError::Api`] for one of
    /// Scalekit.
    #[doc(alias("executeTool", "execute_tool"))]
    pub async fn execute(&self, call: &ToolCall) -> Result<ToolResult, ExecuteError> {
        let response = self
            .api
            .request(Method::POST, "/api/v1/execute_tool")
            .problem(call.account().problem())
            .json(call)
            .retries(Retries::AfterTokenRejection)
            .timeout(TIMEOUT)
            .max_response_bytes(MAX_RESPONSE_BYTES)
            .send_raw()
            .await?;
        match error::tool_error(&response, &self.api.scalekit) {
            Some(error) => Err(ExecuteError::Tool(error)),
            None => Ok(response::read(&response, &self.api.scalekit)?),
        }
    }

    /// Forwards a request header to services in addition to the default ones, see
    /// [`proxy`](Self::proxy). Can be called again, for several headers.
    #[must_use]
    pub fn forward_header(mut self, name: HeaderName) -> Self {
        self.forwarded_headers.push(name);
        self
    }

    /// Sends any request to the service of an account, to which Scalekit adds the user's token, and
    /// returns the service's response. The timeout is 60 s.
    ///
    /// Sent once. Idempotent requests (`GET`, `PUT` and others) are sent once more, with a new
    /// access token, if the environment itself responds with 401. The service may send the same
    /// response after it has processed the request, so a `POST` or `PATCH` is never sent again: its
    /// 401 is returned, and the next call has a new token.
    ///
    /// The proxy only supports accounts by [connection name and identifier](AccountKey::new).
    ///
    /// The request's URI is the path at the service, such as `/gmail/v1/users/me/profile`.
    ///
    /// **Request headers** are forwarded from an allow list: `Accept` and `Accept-*`, `Content-*`,
    /// `If-*`, `Range`, `Cache-Control`, `Pragma` and `User-Agent`. Add others with
    /// [`forward_header`](Self::forward_header).
    ///
    /// **Response headers** that affect the origin which serves them are removed: `Set-Cookie`,
    /// CORS headers, `Clear-Site-Data`, `Strict-Transport-Security`, `X-Accel-*` and others, as are
    /// hop-by-hop headers. `Location` is in the response's extensions, as [`ServiceLocation`]. The
    /// body is the service's: do not return it to a browser as a page of your app.
    ///
    /// # Errors
    /// When there is no response. [`ApiError::InvalidCall`] if the URI has a host or dot segments
    /// in any spelling, if the account has another kind of key, and if a `forward_header` is never
    /// forwarded (credentials, hop-by-hop headers, headers that select the account or replace the
    /// method or path). Errors of the service are responses.
    #[doc(alias = "request")]
    pub async fn proxy(
        &self,
        account: &AccountKey,
        request: Request<impl Into<Bytes>>,
    ) -> Result<Response<Bytes>, ApiError> {
        let request = proxy::proxied(
            &self.api.scalekit,
            account,
            &self.forwarded_headers,
            request.map(Into::into),
        )?;
        transport::send(&self.api.scalekit, request, Retries::Proxied).await.map(proxy::returned)
    }
}
