//! Rejects requests without a valid bearer token (RFC 6750).
//!
//! 1. A [`Principal`] of an outer layer is removed from the extensions.
//! 2. The token is read from the only `Authorization` header, whose scheme is `Bearer` in any case.
//!    Tokens in the query or the body are ignored.
//! 3. If the [`TokenVerifier`](crate::token::TokenVerifier) accepts the token, its [`Principal`] is
//!    inserted and the inner service called.
//!
//!    A token that is bound to a key (claim `cnf`) is accepted only with a proof of that key, if
//!    [DPoP](crate::dpop) is configured.
//! 4. Any other request gets 401 with a challenge, 400 if it has several `Authorization` headers, and 503
//!    if a check cannot be made at the moment: the keys, the revocations, the check for replayed proofs, or
//!    the validation of API keys are unavailable.
//!
//! With [`api_keys`](crate::RequireToken::api_keys), a token without dots is an API key, which the
//! environment validates; see [`ApiKeyVerifier`]. A signed token is never validated as a key, nor a
//! key as a token.
//!
//! Responses get `Cache-Control: no-store`. If the handler sets its own, they get `Vary:
//! Authorization`.
//!
//! CORS preflights carry no credentials and are rejected like any such request: put the CORS layer
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

mod api_keys;
mod authorization;
mod challenges;
mod checks;
mod layer;
pub(crate) mod rejection;
mod service;
mod step_up;

pub use self::api_keys::ApiKeyVerifier;
pub use self::layer::RequireToken;
pub use self::rejection::TokenRejection;
pub use self::service::RequireTokenService;
pub(crate) use self::service::{PendingToken, TokenHeaders};
