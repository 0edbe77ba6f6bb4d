//! Tools: what your app can do with a [connected account](super::connected_accounts).
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
//! // Where no tool does it: any request of the service, with the user's token added on the way.
//! let request = Request::get("/gmail/v1/users/me/profile").body("")?;
//! let profile = tools.proxy(&jane, request).await?;
//! assert_eq!(profile.status(), StatusCode::OK);
//!
//! // What the service says is distinguished from what Scalekit says.
//! sandbox.connected_accounts().fail_provider("gmail", 1, StatusCode::TOO_MANY_REQUESTS);
//! let Err(ExecuteError::Tool(error)) = tools.execute(&call).await else { panic!() };
//! assert!(error.execution_id.is_some());
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

mod execute;
mod lists;
mod proxy;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response};

use super::client::response;
use super::client::retry::Retries;
use super::connected_accounts::AccountKey;
use super::{Api, ApiError};

pub use self::execute::{ExecuteError, ToolCall, ToolError, ToolResult};
pub use self::lists::{AvailableTools, ScopedTool, ScopedTools, Tool, Tools};
pub use self::proxy::ServiceLocation;

/// A service may take its time, and answer at length.
const DEADLINE: Duration = Duration::from_secs(60);
const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;

/// The calls about tools. Made by [`Api::tools`].
#[derive(Clone, Debug)]
pub struct ToolsApi {
    api: Api,
    forwarded_headers: Vec<HeaderName>,
}

impl ToolsApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api, forwarded_headers: Vec::new() }
    }

    /// All tools that there are.
    pub fn list(&self) -> Tools {
        Tools::new(self.api.request(Method::GET, "/api/v1/tools"))
    }

    /// The tools of a user's accounts, with the account that each is for.
    pub fn scoped(&self, identifier: &str) -> ScopedTools {
        let request = self.api.request(Method::GET, "/api/v1/tools/scoped");
        ScopedTools::new(request.filter("identifier", identifier))
    }

    /// The tools that a user could use, with accounts that are connected or may be.
    pub fn available(&self, identifier: &str) -> AvailableTools {
        let request = self.api.request(Method::GET, "/api/v1/tools/available");
        AvailableTools::new(request.filter("identifier", identifier))
    }

    /// Runs a tool. Takes up to 60 s, and is never run twice: a mail that may have been sent
    /// already is not sent again. Only where Scalekit itself says that it did not accept the token,
    /// so that nothing was run, is the call made once more, with a new one.
    ///
    /// # Errors
    /// [`ExecuteError::Tool`] when the service said no, [`ExecuteError::Api`] when Scalekit did.
    pub async fn execute(&self, call: &ToolCall) -> Result<ToolResult, ExecuteError> {
        let request = self.api.request(Method::POST, "/api/v1/execute_tool").json(call);
        let request = call.account().check(request).retries(Retries::Never);
        let request = request.deadline(DEADLINE).max_response_bytes(MAX_RESPONSE_BYTES);
        let response = request.send_raw().await?;
        if let Some(error) = response::tool_error(&response, &self.api.scalekit) {
            return Err(ExecuteError::Tool(error));
        }
        Ok(response::read(&response, &self.api.scalekit)?)
    }

    /// Forwards a request header to services in addition to the default ones: see
    /// [`proxy`](Self::proxy). Call it again for further ones.
    #[must_use]
    pub fn forward_header(mut self, name: HeaderName) -> Self {
        self.forwarded_headers.push(name);
        self
    }

    /// Sends any request to the service of an account, with the user's token added by Scalekit, and
    /// returns the service's response. Takes up to 60 s.
    ///
    /// It is sent once; `GET`, `PUT` and others that do the same however often they are made once
    /// more, with a new token, when the response is a 401 in the environment's own words. A service
    /// could say the same having done what it was asked, so a `POST` or `PATCH` is never sent
    /// again: its 401 is yours, and the next call has a new token.
    ///
    /// The proxy knows accounts by [connection name and identifier](AccountKey::new) alone.
    ///
    /// The request's address is the path at the service, such as `/gmail/v1/users/me/profile`.
    ///
    /// **Request headers** are forwarded from an allow list: `Accept` and `Accept-*`, `Content-*`,
    /// `If-*`, `Range`, `Cache-Control`, `Pragma` and `User-Agent`. Name others with
    /// [`forward_header`](Self::forward_header).
    ///
    /// **Response headers** that act on the origin that serves them are removed: `Set-Cookie`, CORS
    /// headers, `Clear-Site-Data`, `Strict-Transport-Security`, `X-Accel-*` and others, and those of a
    /// single connection. `Location` is in the response's extensions, as [`ServiceLocation`]. The
    /// body is the service's: do not return it to a browser as a page of your app.
    ///
    /// # Errors
    /// When there is no response: also [`ApiError::InvalidCall`] for an address that has a host or
    /// dot segments in any spelling, for an account that is given in another way, and for a
    /// `forward_header` that is never forwarded (credentials, headers of a single connection,
    /// headers that select the account or replace the method or path). The service's own errors are
    /// responses.
    pub async fn proxy(
        &self,
        account: &AccountKey,
        request: Request<impl Into<Bytes>>,
    ) -> Result<Response<Bytes>, ApiError> {
        let (scalekit, request) = (&self.api.scalekit, request.map(Into::into));
        let request = proxy::proxied(scalekit, account, &self.forwarded_headers, request)?;
        super::client::transport::send(scalekit, request, Retries::Proxied)
            .await
            .map(proxy::returned)
    }
}
