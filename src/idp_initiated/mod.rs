//! Turns logins that start in an identity provider's portal into logins that the app starts itself.
//!
//! A user opens the app from their company's portal. Scalekit sends the browser to the
//! initiate-login URL (usually `/login`) with a launch token in `idp_initiated_login`, and
//! [`IdpInitiatedRedirect`] around whatever serves that path
//!
//! 1. verifies the token: signed by the environment's keys, not expired, and a launch, never an
//!    access or ID token;
//! 2. remembers it in the shared store for as long as it lives, and a minute longer because clocks
//!    differ: a second use, such as a reload or the Back button, becomes a plain login. So does one
//!    that the store cannot tell from a first;
//! 3. starts a login through the very connection and organization that the token names, with a
//!    `state`, `nonce` and PKCE verifier of its own: a
//!    stolen assertion is worth nothing, and a stranger's link can do no more than any link to a
//!    login through their connection. The portal's `relay_state` becomes the page to
//!    return to if it is a path or address of this app, and is forgotten if it is not;
//! 4. never begins a session.
//!
//! The same happens wherever the layer stands, because some environments send the token to the
//! callback instead. At the login's and the callback's path it also answers a bare `error`, as the
//! environment sends it where a launch has failed, in words of its own. All else reaches the inner
//! service.
//!
//! A portal that launches again and again without the browser coming back from any of these logins
//! is rejected after the third time in a minute. What is rejected is not spent: when the minute is
//! over, the same launch goes on, unless it was used before or has expired. Browsers without cookies cannot be counted.
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
//! let launch = Request::get(format!("/login?idp_initiated_login={token}")).body(())?;
//! let response = login.clone().oneshot(launch).await?;
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
//! With axum it is a layer around the routes that it watches:
//! `sessions.routes().layer(IdpInitiatedRedirect::new(&sessions))`.

mod layer;
mod query;
mod service;

pub use self::layer::IdpInitiatedRedirect;
pub use self::service::IdpInitiatedRedirectService;
