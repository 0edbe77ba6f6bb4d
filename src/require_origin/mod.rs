//! Rejects requests that pages of other origins send.
//!
//! A page can send requests to a server on its visitor's own machine or network, also under its own
//! host name (DNS rebinding). An MCP server must therefore check `Origin` ([MCP, Transports]). Use
//! this layer around a server that does not; the official Rust SDK does, by its allowed origins.
//!
//! 1. A request with `Origin` requires that it is one of the configured origins: 403 if it is another
//!    one, `null`, or repeated. Browsers send it with CORS requests, WebSockets, and all methods but
//!    `GET` and `HEAD`.
//! 2. Without `Origin`, the response is 403 if `Sec-Fetch-Site` names another site or origin: the
//!    request is for an image, a frame or a link of a page there, or of a script that cannot read the
//!    response (`no-cors`). Browsers send that header to servers with `https` or on the same machine: at
//!    an `http` server in the local network, such `GET` requests pass.
//! 3. All other requests pass: those of clients that are no browsers, which send neither, those of
//!    pages of the server's own origin, and those that a user enters in the address bar.
//!
//! A page under a host name that was rebound has the server's own origin, so `GET` and `HEAD` of its
//! scripts have no `Origin`. They require a token like all others: put
//! [`RequireToken`](crate::RequireToken) around the server, too, or check `Host`.
//!
//! The layer does not authenticate, and sends no CORS headers. Put the CORS layer outside of it, so
//! that pages of allowed origins can read responses.
//!
//! [MCP, Transports]: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#security-&-endpoint
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "axum")] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, body::Body, routing::post};
//! use http::{Request, StatusCode, header};
//! use tower::ServiceExt;
//! use tower_scalekit::require_origin::RequireOrigin;
//!
//! let app = Router::new()
//!     .route("/mcp", post(|| async { "your MCP server" }))
//!     .route_layer(RequireOrigin::new(["https://inspector.example.com"])?);
//!
//! for (origin, status) in [
//!     ("https://inspector.example.com", StatusCode::OK),
//!     ("https://other.example.com", StatusCode::FORBIDDEN),
//! ] {
//!     let request = Request::post("/mcp").header(header::ORIGIN, origin).body(Body::empty())?;
//!     assert_eq!(app.clone().oneshot(request).await?.status(), status);
//! }
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

mod layer;
mod rejection;
mod service;

pub use self::layer::RequireOrigin;
pub use self::rejection::OriginRejection;
pub use self::service::RequireOriginService;
