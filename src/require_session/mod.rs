//! Rejects requests without a session.
//!
//! For each request:
//!
//! 1. A [`Principal`] that an outer layer inserted is removed.
//! 2. A valid session is inserted, as a [`Principal`] that carries the [`Session`], and the inner
//!    service is called.
//! 3. A session whose access token is about to expire is refreshed first, once for all concurrent
//!    requests; the response sets the new cookie. If the environment is unavailable, the session
//!    stays valid while its access token is, and after that the response is 503.
//! 4. Without a valid session, a browser navigation is redirected to the login, and returns
//!    afterwards (to the start page if neither axum nor a
//!    [base path](crate::session::SessionsBuilder::base_path) provides the requested path). Any
//!    other request gets 401 JSON. [`RequireSession::optional`] forwards it instead. A navigation to
//!    a host of no redirect URI is first redirected to the same page at the host of the first one: see
//!    [how to run an app behind a proxy](crate::guides::behind_a_proxy).
//! 5. A [speculative request](crate::guides::responses#speculative-requests) starts no login and no
//!    refresh.
//!
//! Responses get `Cache-Control: no-store`, unless the handler set its own, and `Vary: Cookie`.
//!
//! Apply it with `Router::route_layer`, or `Router::layer`: routes added *after* the layer are
//! public.
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
//! use tower_scalekit::{RequireSession, Sandbox, Session, SessionSecret, Sessions};
//!
//! let sandbox = Sandbox::new();
//! let sessions = Sessions::builder(sandbox.scalekit())
//!     .secret(SessionSecret::generate()?)
//!     .redirect_uri("https://app.example.com/auth/callback")
//!     .build()?;
//! let app = Router::new()
//!     .route("/", get(|session: Session| async move { session.user().email.clone() }))
//!     .route_layer(RequireSession::new(&sessions));
//!
//! let cookie = sandbox.session_cookie(&sessions, "jane@acme.test").await;
//! let request = Request::get("/").header(header::COOKIE, cookie).body(Body::empty())?;
//! assert_eq!(app.clone().oneshot(request).await?.status(), StatusCode::OK);
//!
//! let anonymous = Request::get("/").body(Body::empty())?;
//! assert_eq!(app.oneshot(anonymous).await?.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```
//!
//! [`Principal`]: crate::Principal
//! [`Session`]: crate::Session

mod layer;
pub(crate) mod rejection;
mod service;
pub(crate) mod session_headers;

pub use self::layer::RequireSession;
pub use self::rejection::{RetryLater, SessionRejection};
pub use self::service::RequireSessionService;
pub(crate) use self::session_headers::SessionHeaders;
