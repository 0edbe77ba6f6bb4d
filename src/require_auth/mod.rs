//! Requires a browser's session or a bearer token, for routes that serve both pages and API
//! clients.
//!
//! For each request:
//!
//! 1. An `Authorization` header of the scheme `Bearer`, or of `DPoP` if [it is
//!    accepted](crate::RequireToken::dpop), is the credential, even beside a session cookie.
//!    Credentials of another scheme, such as those of a proxy with Basic authentication, count as none
//!    (RFC 6750, section 3.1).
//! 2. Without it, a session cookie is the credential.
//! 3. A bearer token without dots is an API key, if `RequireToken` accepts
//!    [them](crate::RequireToken::api_keys).
//! 4. The credential is accepted or rejected by the rules of its layer,
//!    [`RequireToken`](crate::RequireToken) or [`RequireSession`](crate::RequireSession). If it is
//!    invalid, the request is rejected: the other one is never tried.
//! 5. A request without a credential gets the response of `RequireSession` if a browser is going to
//!    show it (a navigation is redirected to the login), and otherwise 401 with the challenge of
//!    `RequireToken`.
//!
//! The [`Principal`](crate::Principal) names the [credential](crate::Principal::credential) by which the
//! request was authenticated. [`RequireScope`](crate::RequireScope) works for each. Handlers
//! extract `Principal`, or `Option<Session>` for the user's profile; the extractor `Session` alone
//! responds with 500 to a bearer token.
//!
//! State-changing requests from other sites are rejected for sessions only: browsers attach no
//! bearer tokens on their own. Pages of other origins that send tokens need a CORS layer, which goes
//! outside of this one.
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
//! use tower_scalekit::token::Credential;
//! use tower_scalekit::{Principal, RequireAuth, RequireSession, RequireToken};
//! use tower_scalekit::{Sandbox, SessionSecret, Sessions};
//!
//! let sandbox = Sandbox::new();
//! let scalekit = sandbox.scalekit();
//! let sessions = Sessions::builder(scalekit.clone())
//!     .secret(SessionSecret::generate()?)
//!     .redirect_uri("https://app.example.com/auth/callback")
//!     .build()?;
//! let session = RequireSession::new(&sessions);
//! let token = RequireToken::for_audience(&scalekit, scalekit.client_id())?;
//! let app = Router::new()
//!     .route("/", get(|principal: Principal| async move { format!("{:?}", principal.credential()) }))
//!     .route_layer(RequireAuth::new(session, token));
//!
//! let send = async |name, value: &str| {
//!     let request = Request::get("/").header(name, value).body(Body::empty())?;
//!     let response = app.clone().oneshot(request).await?;
//!     let status = response.status();
//!     let body = axum::body::to_bytes(response.into_body(), 1024).await?;
//!     Ok::<_, Box<dyn std::error::Error>>((status, body))
//! };
//! let cookie = sandbox.session_cookie(&sessions, "jane@acme.test").await;
//! let (_, body) = send(header::COOKIE, cookie.to_str()?).await?;
//! assert_eq!(body, "Session");
//! let token = format!("Bearer {}", sandbox.tokens().access_token("jane@acme.test"));
//! let (_, body) = send(header::AUTHORIZATION, &token).await?;
//! assert_eq!(body, "BearerToken");
//!
//! assert_eq!(send(header::ACCEPT, "text/html").await?.0, StatusCode::FOUND);
//! assert_eq!(send(header::ACCEPT, "application/json").await?.0, StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

mod layer;
mod service;

pub use self::layer::RequireAuth;
pub use self::service::RequireAuthService;
