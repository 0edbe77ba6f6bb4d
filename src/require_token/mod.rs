//! Lets a request through when it carries an acceptable bearer token (RFC 6750).
//!
//! 1. A [`Principal`] or [`Session`](crate::Session) that came in from outside is removed.
//! 2. The token is read from the one `Authorization` header, scheme `Bearer` in any case; tokens in
//!    the query or the body are never read.
//! 3. An acceptable token's [`Principal`] is inserted and the inner service called. What is
//!    acceptable is the [`TokenVerifier`](crate::token::TokenVerifier)'s to say.
//! 4. Any other request is responded with 401 with a challenge, 400 if it carries several
//!    `Authorization` headers, and 503 if the keys to check it are out of reach.
//!
//! Responses get `Cache-Control: no-store`. Where the handler set its own, they get
//! `Vary: Authorization`.
//!
//! A CORS preflight carries no credentials and is rejected like any such request: put the CORS layer
//! outside of this one, so that it responds to preflights itself.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "sandbox")] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode, header};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_scalekit::{Principal, RequireToken, Sandbox};
//!
//! let sandbox = Sandbox::new();
//! let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id()).build()?;
//! let service = ServiceBuilder::new().layer(RequireToken::new(verifier)).service(service_fn(
//!     |request: Request<Full<Bytes>>| async move {
//!         let principal = request.extensions().get::<Principal>().expect("a principal");
//!         let subject = principal.subject().to_owned();
//!         Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(subject))))
//!     },
//! ));
//!
//! let token = sandbox.tokens().access_token("jane@acme.test");
//! let request = Request::get("/")
//!     .header(header::AUTHORIZATION, format!("Bearer {token}"))
//!     .body(Full::default())?;
//! assert_eq!(service.clone().oneshot(request).await?.status(), StatusCode::OK);
//!
//! let rejected = service.oneshot(Request::get("/").body(Full::default())?).await?;
//! assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(rejected.headers()[header::WWW_AUTHENTICATE], "Bearer");
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```
//!
//! [`Principal`]: crate::Principal

mod credentials;
mod layer;
pub(crate) mod rejection;
mod service;

pub use self::layer::RequireToken;
pub use self::rejection::TokenRejection;
pub use self::service::RequireTokenService;
