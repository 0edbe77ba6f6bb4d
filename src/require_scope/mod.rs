//! Requires scopes, permissions or roles of the request's [`Principal`](crate::Principal).
//!
//! The layer reads the principal that [`RequireSession`](crate::RequireSession) or
//! [`RequireToken`](crate::RequireToken) inserted. It belongs *inside* of one of them: a route
//! without a principal responds with 500.
//!
//! Requirements of nested layers add up. A rejection is 403 `insufficient_scope` and names the
//! missing scopes. On bearer routes it carries a challenge with all scopes of the operation (RFC
//! 6750 section 3.1), so that a client can request them in one step.
//!
//! # Example
//!
//! ```
//! # #[cfg(all(feature = "sandbox", feature = "axum"))] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, body::Body, routing::get};
//! use http::{Request, StatusCode, header};
//! use tower::ServiceExt;
//! use tower_scalekit::{RequireScope, RequireToken, Sandbox};
//!
//! let sandbox = Sandbox::new();
//! let app = Router::new()
//!     .route("/admin", get(|| async { "hello, admin" }))
//!     .route_layer(RequireScope::all_permissions(["workspace_data:write"]))
//!     .route_layer(RequireToken::for_audience(&sandbox.scalekit(), sandbox.client_id())?);
//!
//! for (email, status) in
//!     [("jane@acme.test", StatusCode::OK), ("john@acme.test", StatusCode::FORBIDDEN)]
//! {
//!     let token = sandbox.tokens().access_token(email);
//!     let request = Request::get("/admin")
//!         .header(header::AUTHORIZATION, format!("Bearer {token}"))
//!         .body(Body::empty())?;
//!     assert_eq!(app.clone().oneshot(request).await?.status(), status);
//! }
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

pub(crate) mod authorize;
pub(crate) mod hierarchy;
mod layer;
pub mod mcp;
pub(crate) mod rejection;
mod requirement;
mod service;

pub use self::hierarchy::ScopeHierarchy;
pub use self::layer::RequireScope;
pub use self::rejection::ScopeRejection;
pub use self::service::RequireScopeService;
