//! OAuth 2.0 and OpenID Connect calls: redirect a browser to the environment and exchange the code
//! of its callback for tokens.
//!
//! The layers and [`Sessions`](crate::Sessions) use them. Apps need them only for flows of their
//! own.
//!
//! ```
//! use tower_scalekit::Scalekit;
//! use tower_scalekit::oauth::{AuthorizationRequest, CodeVerifier};
//!
//! let scalekit = Scalekit::builder("https://acme.scalekit.dev", "skc_1", "s3cret").build()?;
//! let verifier = CodeVerifier::generate()?;
//! let request = AuthorizationRequest::new("https://app.example.com/auth/callback")
//!     .code_challenge(&verifier)
//!     .organization_id("org_1");
//! let url = scalekit.authorization_url(&request);
//! assert!(url.as_str().starts_with("https://acme.scalekit.dev/oauth/authorize?response_type=code"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod authorization_url;
mod logout_url;
mod pkce;
mod sso_error;
mod token_endpoint;
mod unverified_tokens;

pub use self::authorization_url::AuthorizationRequest;
pub use self::logout_url::{IdTokenHint, LogoutRequest};
pub use self::pkce::CodeVerifier;
pub use self::sso_error::{ErrorOrigin, SsoError};
pub use self::token_endpoint::{OAuthError, TokenEndpointUnavailable};
pub use self::unverified_tokens::{UnverifiedTokens, VerifiedTokens};

pub(crate) use self::authorization_url::DEFAULT_SCOPES;
pub(crate) use self::token_endpoint::is_error_code;
