//! Requires scopes for each tool and method of an MCP server, before the server sees the request.
//!
//! An MCP client posts all JSON-RPC messages to one URL. This layer reads the operation from the
//! message and requires its scopes:
//!
//! 1. The body decides. It is read within its [limits](crate::middleware::BodyLimits) and passed on
//!    byte for byte. A body that cannot be read, or that parsers read differently, is rejected
//!    whatever the token: it is not JSON, has a `Content-Encoding`, is too large, or has a duplicate
//!    member.
//! 2. The headers `Mcp-Method` and `Mcp-Name` must match the body, and the revision 2026-07-28
//!    requires them. They never allow what the body does not.
//! 3. A batch, which only revisions before 2025-06-18 have, requires the scopes of all operations.
//! 4. A tool that is not configured requires the scopes of all configured tools, unless
//!    [`default_tool_scopes`](RequireMcpScope::default_tool_scopes) is set. A method that is not
//!    configured requires nothing, unless
//!    [`default_method_scopes`](RequireMcpScope::default_method_scopes) is set. Requirements of
//!    outer layers always apply.
//! 5. Tools may also require [permissions](RequireMcpScope::tool_permissions),
//!    [roles](RequireMcpScope::tool_roles) and [conditions](RequireMcpScope::tool_condition) on
//!    claims.
//!
//! The response to a rejected request is an error of JSON-RPC. For a missing scope it is 403, with
//! a challenge that names all scopes of the operation, also those of outer layers of
//! [`RequireScope`](crate::RequireScope). See [responses](crate::guides::responses#mcp).
//!
//! Every request requires a principal, even if no scopes are required. `GET`, `HEAD` and `DELETE`
//! with an empty body carry no operation and require only a principal. With a body they are read
//! and authorized like any other request. A request that may become a tunnel (`CONNECT`, or
//! `Upgrade` to a WebSocket) requires the scopes of all operations, because its later messages
//! cannot be read. An offer to upgrade to HTTP/2 (`h2c`) is removed from the request, for the same
//! reason.
//!
//! CORS preflights carry no credentials and are rejected: put the CORS layer outside of the layers
//! that require them, and let it expose `WWW-Authenticate`, without which clients in browsers cannot
//! read the challenge. The layer does not check `Origin`. The MCP server must, as a protection from
//! DNS rebinding, or [`RequireOrigin`](crate::RequireOrigin) around it.
//!
//! # Example
//!
//! ```
//! # #[cfg(all(feature = "sandbox", feature = "axum"))] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, body::Body, routing::post};
//! use http::{Request, StatusCode, header};
//! use tower::ServiceExt;
//! use tower_scalekit::require_scope::mcp::RequireMcpScope;
//! use tower_scalekit::{RequireToken, Sandbox};
//!
//! # let sandbox = Sandbox::new();
//! let app = Router::new()
//!     .route("/mcp", post(|| async { "your MCP server" }))
//!     .route_layer(
//!         RequireMcpScope::new()
//!             .tool("list_todos", ["openid"])
//!             .tool("add_todo", ["todo:write"]),
//!     )
//!     .route_layer(RequireToken::for_audience(&sandbox.scalekit(), sandbox.client_id())?);
//!
//! # let token = sandbox.tokens().access_token("jane@acme.test");
//! for (tool, status) in [("list_todos", StatusCode::OK), ("add_todo", StatusCode::FORBIDDEN)] {
//!     let call = format!(
//!         r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#
//!     );
//!     let request = Request::post("/mcp")
//!         .header(header::AUTHORIZATION, format!("Bearer {token}"))
//!         .body(Body::from(call))?;
//!     assert_eq!(app.clone().oneshot(request).await?.status(), status);
//! }
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

mod grammar;
mod headers;
mod layer;
mod lists;
mod message;
mod names;
mod operation;
mod rejection;
mod rules;
mod service;

pub use self::layer::RequireMcpScope;
pub use self::rejection::{McpError, McpRejection};
pub use self::service::RequireMcpScopeService;
