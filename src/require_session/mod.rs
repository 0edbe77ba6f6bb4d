//! Lets a request through when a user is logged in.
//!
//! For each request:
//!
//! 1. A [`Session`] or [`Principal`] that came in from outside is removed.
//! 2. A live session is inserted as [`Session`] and [`Principal`], and the inner service called.
//! 3. A session whose access token is about to expire is renewed first, once for all requests
//!    that come with it; the new cookie goes out with the response. If the environment does not
//!    answer, the session goes on while its access token is valid, and 503 is the response after.
//! 4. Without a live session a navigation of a browser is sent to the login, and returns (to the
//!    start page where neither axum nor a
//!    [base path](crate::session::SessionsBuilder::base_path) says which page was requested); any
//!    other request gets 401 JSON. [`RequireSession::optional`] lets it through instead.
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
//! let stranger = Request::get("/").body(Body::empty())?;
//! assert_eq!(app.oneshot(stranger).await?.status(), StatusCode::UNAUTHORIZED);
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
pub(crate) mod set_cookie;

pub use self::layer::RequireSession;
pub use self::rejection::{RetryLater, SessionRejection};
pub use self::service::RequireSessionService;
