//! Turns logins that start in an identity provider's portal (IdP-initiated logins) into logins that
//! the app starts itself.
//!
//! A user opens the app from their company's portal. Scalekit redirects the browser to the
//! initiate-login URL (usually `/login`) with a token in `idp_initiated_login`.
//! [`IdpInitiatedRedirect`] around the service of that path
//!
//! 1. verifies the token: it is signed by the environment's keys, has not expired, and is of this
//!    type, never an access or ID token;
//! 2. records it in the shared store until it expires, and a minute longer because clocks differ: a
//!    second use, such as a reload or the Back button, becomes an ordinary login. So does any use
//!    while the store is unavailable;
//! 3. starts a login through the connection and organization of the token, with its own `state`,
//!    `nonce` and PKCE verifier: a stolen assertion is worthless, and an attacker's link can do no
//!    more than any link to a login through their connection. The portal's `relay_state` becomes
//!    the page to return to if it is a path or URL of this app; otherwise it is ignored;
//!
//! The layer does the same on every path, because some environments send the token to the callback
//! instead. On the paths of the login and the callback, it also responds to an `error` without
//! `state`, which the environment sends when an IdP-initiated login has failed. Other requests
//! reach the inner service.
//!
//! If a portal starts logins repeatedly and the browser returns from none of them, the fourth one
//! within a minute is rejected. A rejected token is not spent: after the minute, the same login
//! works, unless it was used before or has expired. Browsers without cookies are not counted.
//!
//! ```
//! # #[cfg(feature = "sandbox")] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, StatusCode, header};
//! use serde_json::json;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_scalekit::{IdpInitiatedRedirect, Sandbox, SessionSecret, Sessions};
//!
//! let sandbox = Sandbox::new();
//! let sessions = Sessions::builder(sandbox.scalekit())
//!     .secret(SessionSecret::generate()?)
//!     .redirect_uri("https://app.example.com/auth/callback")
//!     .build()?;
//! let login =
//!     ServiceBuilder::new().layer(IdpInitiatedRedirect::new(&sessions)).service(sessions.login());
//!
//! # let exp = sandbox.clock().clock().now().unix_timestamp() + 300;
//! # let claims = json!({ "connection_id": "conn_1", "organization_id": "org_1", "exp": exp });
//! # let token = sandbox.tokens().sign(claims);
//! let idp_login = Request::get(format!("/login?idp_initiated_login={token}")).body(())?;
//! let response = login.clone().oneshot(idp_login).await?;
//! assert_eq!(response.status(), StatusCode::FOUND);
//! assert!(response.headers()[header::LOCATION].to_str()?.contains("connection_id=conn_1"));
//!
//! let forged = Request::get("/login?idp_initiated_login=forged").body(())?;
//! assert_eq!(login.oneshot(forged).await?.status(), StatusCode::BAD_REQUEST);
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```
//!
//! With axum, add the layer around the routes:
//! `sessions.routes().route_layer(IdpInitiatedRedirect::new(&sessions))`.

mod layer;
mod query;
mod service;

pub use self::layer::IdpInitiatedRedirect;
pub use self::service::IdpInitiatedRedirectService;
