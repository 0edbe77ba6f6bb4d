//! Serves the metadata of a protected resource, from which clients learn how to get a token (RFC
//! 9728, MCP authorization).
//!
//! 1. `GET` and `HEAD` on the resource's two well-known URLs return its metadata, `OPTIONS` returns
//!    the CORS permissions for scripts of any origin. Other methods get 405.
//! 2. Every other request passes through unchanged.
//!
//! The document is built from the configuration. `Host` selects one of several
//! [configured URLs](ProtectedResourceBuilder::additional_url); forwarding headers are ignored. The
//! metadata requires no token, so this layer belongs *around*
//! [`RequireToken`](crate::RequireToken), whose challenges refer to it.
//!
//! In axum, merge [`ProtectedResource::routes`]. The layer is for servers without a router, around
//! the whole server: a layer on an axum router sees the well-known paths only through that router's
//! fallback, which is lost when the router is merged into another.
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
//! use tower_scalekit::protected_resource::{ProtectedResource, ResourceId};
//! use tower_scalekit::{RequireScope, RequireToken, Sandbox};
//!
//! let scalekit = Sandbox::new().scalekit();
//! let id = ResourceId::new("res_123456789")?;
//! let resource = ProtectedResource::builder(&scalekit, "https://mcp.example.com/mcp", id)
//!     .scopes(["todo:read", "todo:write"])
//!     .build()?;
//! let app = Router::new()
//!     .route("/mcp", post(|| async { "your MCP server" }))
//!     .route_layer(RequireScope::all(["todo:read"]))
//!     .route_layer(RequireToken::for_resource(&resource))
//!     .merge(resource.routes());
//!
//! let anonymous = Request::post("/mcp").body(Body::empty())?;
//! let rejected = app.clone().oneshot(anonymous).await?;
//! assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(
//!     rejected.headers()[header::WWW_AUTHENTICATE],
//!     "Bearer resource_metadata=\
//!      \"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\"",
//! );
//! let request = Request::get(resource.metadata_url().path()).body(Body::empty())?;
//! assert_eq!(app.oneshot(request).await?.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

mod builder;
mod layer;
mod resource;
mod response;
#[cfg(feature = "axum")]
mod router;
mod service;
#[cfg(test)]
mod tests;

pub use self::builder::ProtectedResourceBuilder;
pub use self::layer::ProtectedResourceMetadata;
pub use self::resource::{ProtectedResource, ResourceId};
pub use self::service::ProtectedResourceMetadataService;
