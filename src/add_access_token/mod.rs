//! Adds the access token of a session to outgoing requests.
//!
//! [`AddAccessToken`] is for clients: it wraps a service that *sends* requests, such as a hyper or
//! reqwest client. The session is in the extensions of each request, so that one client serves all
//! users. For each request:
//!
//! 1. Rejects a request to an origin that is not configured, so that no other service gets the token.
//! 2. Rejects a request without a [`Session`] in its extensions. A request that has passed
//!    [`RequireSession`](crate::RequireSession) has one, so a proxy can forward requests with their
//!    extensions. A [`Session`] that the app inserts is used for requests that have passed no layer.
//! 3. Gets the token from [`Session::access_token`], which refreshes it if that is due.
//! 4. Sets `Authorization: Bearer …`, marked as sensitive. Replaces an existing `Authorization`.
//!
//! The client must follow no redirects, or drop `Authorization` when a redirect leads to another
//! origin, as reqwest does.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "sandbox")] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response, header};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_scalekit::{AddAccessToken, RequireSession, Sandbox, Session, SessionSecret, Sessions};
//!
//! # let sandbox = Sandbox::new();
//! let sessions = Sessions::builder(sandbox.scalekit())
//!     .secret(SessionSecret::generate()?)
//!     .redirect_uri("https://app.example.com/auth/callback")
//!     .retain_access_token()
//!     .build()?;
//!
//! // Once, when the app starts. In a real app, the inner service is an HTTP client.
//! # let http_client = service_fn(|request: Request<String>| async move {
//! #     let token = request.headers()[header::AUTHORIZATION].clone();
//! #     Ok::<_, std::convert::Infallible>(Response::new(token))
//! # });
//! let reports = ServiceBuilder::new()
//!     .layer(AddAccessToken::new(["https://reports.example.com"])?)
//!     .service(http_client);
//!
//! // In a handler that takes a `Session`:
//! # let cookie = sandbox.session_cookie(&sessions, "jane@acme.test").await;
//! # let handler = service_fn(move |request: Request<()>| {
//! #     let reports = reports.clone();
//! #     async move {
//! #         let session = Session::from_extensions(request.extensions()).unwrap();
//! let mut request = Request::get("https://reports.example.com/today").body(String::new())?;
//! request.extensions_mut().insert(session);
//! let response = reports.clone().oneshot(request).await?;
//! #         assert!(response.body().to_str()?.starts_with("Bearer ey"));
//! #         Ok::<_, Box<dyn std::error::Error>>(Response::new(String::new()))
//! #     }
//! # });
//! # let request = Request::get("/").header(header::COOKIE, cookie).body(())?;
//! # let app = tower_layer::Layer::layer(&RequireSession::new(&sessions), handler);
//! # app.oneshot(request).await?;
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```
//!
//! [`Session`]: crate::Session
//! [`Session::access_token`]: crate::Session::access_token

mod layer;
mod service;

pub use self::layer::AddAccessToken;
pub use self::service::{AddAccessTokenError, AddAccessTokenFuture, AddAccessTokenService};
