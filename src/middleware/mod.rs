//! Types shared by all layers and routes: response futures, bodies, limits and rejections.
//!
//! Every rejection is an extension of its response, both for default responses and for those of an
//! `on_rejection` closure:
//!
//! ```
//! # #[cfg(feature = "sandbox")] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_scalekit::auth_routes::LoginError;
//! use tower_scalekit::middleware::RouteRejection;
//! use tower_scalekit::{Sandbox, SessionSecret, Sessions};
//!
//! let sessions = Sessions::builder(Sandbox::new().scalekit())
//!     .secret(SessionSecret::generate()?)
//!     .redirect_uri("https://app.example.com/auth/callback")
//!     .build()?;
//! let callback = sessions.callback().on_rejection(|context| {
//!     let mut response = context.into_default_response();
//!     *response.status_mut() = StatusCode::IM_A_TEAPOT;
//!     response
//! });
//! let forged = Request::get("/auth/callback?code=a&state=b").body(())?;
//! let response = callback.oneshot(forged).await?;
//! assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
//! let rejection = response.extensions().get::<RouteRejection<LoginError>>();
//! assert_eq!(rejection.map(RouteRejection::error), Some(&LoginError::StateMismatch));
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

pub(crate) mod body_limits;
pub(crate) mod login_required;
pub(crate) mod page;
pub(crate) mod principal;
pub(crate) mod rejection;
pub(crate) mod replay_body;
pub(crate) mod response_body;
pub(crate) mod response_future;
pub(crate) mod route;
pub(crate) mod route_rejection;
pub(crate) mod route_response;

pub use self::body_limits::BodyLimits;
pub use self::login_required::LoginRequired;
pub use self::rejection::RejectionContext;
pub use self::replay_body::ReplayBody;
pub use self::response_body::ResponseBody;
pub use self::response_future::ResponseFuture;
pub use self::route::RouteFuture;
pub use self::route_rejection::RouteRejection;
