//! Scopes for each tool and method of an MCP server, decided before the server sees the request.
//!
//! An MCP client posts JSON-RPC to one address, whatever it does. This layer finds out what, and
//! requires the scopes of that operation:
//!
//! 1. The body decides. It is read within its [limits](crate::middleware::BodyLimits) and handed on byte for
//!    byte.
//! 2. The headers `Mcp-Method` and `Mcp-Name` may only reject early: they let nothing through that
//!    the body does not.
//! 3. What cannot be told for sure is allowed only to those who may do everything: a batch, a member
//!    that is there twice, a body that does not parse, is too large or is compressed, a header that
//!    says something else than the body.
//! 4. A tool that was not named needs the scopes of all tools that were, unless
//!    [`default_tool_scopes`](RequireMcpScope::default_tool_scopes) says otherwise. A method that was not named
//!    needs nothing besides what layers further out require, unless
//!    [`default_method_scopes`](RequireMcpScope::default_method_scopes) does.
//!
//! A rejection is that of [`RequireScope`](crate::RequireScope), whose requirements add up with these:
//! 403, with a challenge that names all scopes of the operation.
//!
//! Every request needs a principal, also where no scopes are required. `GET`, `HEAD` and `DELETE` with
//! an empty body carry no operation: they need a principal only. With a body they are read and authorized
//! like any other request. A request that may become a tunnel (`CONNECT`, or `Upgrade` to a WebSocket)
//! is allowed only to those who may do everything, because what follows cannot be read. An offer to
//! upgrade to HTTP/2 (`h2c`) is removed from the request, for the same reason.
//!
//! A CORS preflight carries no credentials and is rejected: put the CORS layer outside of the layers
//! that require them.
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
//!     .layer(
//!         RequireMcpScope::new()
//!             .tool("list_todos", ["openid"])
//!             .tool("add_todo", ["todo:write"]),
//!     )
//!     .layer(RequireToken::for_audience(&sandbox.scalekit(), sandbox.client_id())?);
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
mod layer;
mod message;
mod names;
mod operation;
mod service;

pub use self::layer::RequireMcpScope;
pub use self::service::RequireMcpScopeService;
