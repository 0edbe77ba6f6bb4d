//! Forwarded authentication: a service that authenticates the requests of a reverse proxy, so that
//! an upstream in any language is behind sessions and tokens.
//!
//! The proxy sends the headers of each request to this service first: nginx with `auth_request`,
//! Traefik with `ForwardAuth`, Envoy with `ext_authz` (HTTP). The service evaluates the request by
//! [`RequireSession`](crate::RequireSession), [`RequireToken`](crate::RequireToken) or
//! [`RequireAuth`](crate::RequireAuth), with [`RequireScope`](crate::RequireScope) inside if you
//! like. It responds with 200 and the identity in [headers](identity_headers), which the proxy sends
//! to the upstream; otherwise the response is that of the layer, in a form that the proxy
//! understands. The guide on [protecting an upstream](crate::guides::forward_auth) has configurations
//! of proxies.
//!
//! 1. Method and URL of the request come from headers of the proxy that [`ForwardAuth::nginx`],
//!    [`traefik`](ForwardAuth::traefik) or [`envoy`](ForwardAuth::envoy) names, and from no others.
//!    Without them the response is 500: a request whose method is unknown cannot be checked for
//!    cross-site requests.
//! 2. The proxy must overwrite these headers, and the identity headers of requests from outside.
//!    This service always sets all identity headers, those without a value as empty ones. A proxy
//!    that keeps the header of the request where this service's is empty, as some versions of Caddy
//!    do, must remove the identity headers from each request first.
//! 3. Only the response of [`IdentityService`] is 2xx. A rejection that
//!    [`on_rejection`](crate::RequireSession::on_rejection) renders as 2xx becomes 500: proxies read it
//!    as authorization.
//! 4. Cookies of a refresh are in the response. nginx cannot forward several `Set-Cookie` headers,
//!    so each is also in a header of its own.
//!
//! # Example
//!
//! ```
//! # #[cfg(all(feature = "sandbox", feature = "axum"))] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, body::Body};
//! use http::{Request, StatusCode, header};
//! use tower::ServiceExt;
//! use tower_scalekit::{ForwardAuth, RequireSession, Sandbox, SessionSecret, Sessions};
//!
//! let sandbox = Sandbox::new();
//! let sessions = Sessions::builder(sandbox.scalekit())
//!     .secret(SessionSecret::generate()?)
//!     .redirect_uri("https://app.example.com/auth/callback")
//!     .build()?;
//! let verify = ForwardAuth::nginx().service(RequireSession::new(&sessions));
//! let app: Router = Router::new().route_service("/auth/verify", verify).merge(sessions.routes());
//!
//! let subrequest = || {
//!     let request = Request::get("/auth/verify").header("host", "app.example.com");
//!     request.header("x-original-method", "GET").header("x-original-uri", "/reports?year=2026")
//! };
//! let cookie = sandbox.session_cookie(&sessions, "jane@acme.test").await;
//! let request = subrequest().header(header::COOKIE, cookie).body(Body::empty())?;
//! let response = app.clone().oneshot(request).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(response.headers()["x-auth-request-email"], "jane@acme.test");
//!
//! let page = subrequest().header(header::ACCEPT, "text/html").body(Body::empty())?;
//! let response = app.oneshot(page).await?;
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! let login = "/login?return_to=%2Freports%3Fyear%3D2026";
//! assert_eq!(response.headers()["x-auth-request-redirect"], login);
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

mod identity;
mod proxy;
mod service;

pub use self::identity::{IdentityService, identity_headers};
pub use self::proxy::ForwardAuth;
pub use self::service::{ForwardAuthFuture, ForwardAuthService};
