//! Verification of tokens: key sets, token validation, and the principal.
//!
//! A token is accepted when all of this holds ([RFC 7519], [RFC 8725], [RFC 9068]):
//!
//! 1. It is a compact JWS of three canonical base64url segments, at most 16 KiB long; header and
//!    payload are JSON objects without duplicate members; no `crit`, no `b64`.
//! 2. Its `alg` is RS256, or for other issuers one of those configured (never `none` or HMAC), and
//!    fits the key that its `kid` names in the issuer's key set. Nothing else in the header picks a
//!    key.
//! 3. After the signature is verified: `iss` is one of the allowed issuers, `aud` contains an
//!    expected audience, `exp` is present and not reached (5 s of leeway), `nbf` and `iat` are at
//!    most 60 s ahead. A null claim counts as absent; any other wrong JSON type is an error.
//! 4. It is an access token: not an ID token, not the token of an IdP-initiated login, not a logout
//!    token. A token of a Scalekit environment whose `aud` contains a client (the app's own, or the
//!    token's `azp` or `client_id`) must have a `jti` that begins with `tkn_`: otherwise access
//!    tokens and ID tokens could not be distinguished.
//! 5. It has no claim `cnf`: a token that is bound to a key ([RFC 7800]) is only accepted with a proof
//!    of that key, by [`RequireToken`](crate::RequireToken) with [DPoP](crate::dpop).
//!
//! Verified tokens are cached until they expire or their key leaves the set.
//!
//! ```
//! # #[cfg(feature = "sandbox")] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_scalekit::Sandbox;
//! use tower_scalekit::token::TokenError;
//!
//! let sandbox = Sandbox::new();
//! let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id()).build()?;
//!
//! let principal = verifier.verify(&sandbox.tokens().access_token("jane@acme.test")).await?;
//! assert!(principal.roles().iter().any(|role| role == "admin"));
//!
//! let id_token = sandbox.tokens().id_token("jane@acme.test", None);
//! assert_eq!(verifier.verify(&id_token).await.unwrap_err(), TokenError::WrongTokenType);
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```
//!
//! [RFC 7519]: https://www.rfc-editor.org/rfc/rfc7519
//! [RFC 7800]: https://www.rfc-editor.org/rfc/rfc7800
//! [RFC 8725]: https://www.rfc-editor.org/rfc/rfc8725
//! [RFC 9068]: https://www.rfc-editor.org/rfc/rfc9068

mod access_token;
mod algorithm;
mod claims;
mod id_token;
mod idp_initiated_login;
mod jws;
mod key_set;
mod leeway;
mod logout_token;
#[cfg(test)]
mod oracle;
mod principal;
mod remote_keys;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod vectors;
mod verifier;
mod verifying_key;

use std::fmt::Display;

use serde_json::Value;

use crate::util::diagnosis::{CheckError, ClaimType};

pub use self::algorithm::Algorithm;
pub use self::id_token::IdToken;
pub use self::idp_initiated_login::IdpInitiatedLogin;
pub use self::principal::{Credential, Principal};
pub use self::verifier::{
    ExternalIssuer, ScalekitEnvironment, TokenVerifier, TokenVerifierBuilder,
};

pub(crate) use self::access_token::AccessTokenExpectations;
pub(crate) use self::claims::Claims;
pub(crate) use self::id_token::{Grant, IdTokenExpectations};
pub(crate) use self::idp_initiated_login::IdpInitiatedLoginExpectations;
pub(crate) use self::jws::CompactJws;
pub(crate) use self::leeway::Leeway;
pub(crate) use self::logout_token::LogoutExpectations;
pub(crate) use self::principal::{Confirmation, ORGANIZATION_CLAIMS};
pub(crate) use self::remote_keys::{KeySetFetch, RemoteKeys, TokenCheck, TokenSource};
pub(crate) use self::verifying_key::VerifyingKey;

/// The signature algorithm of Scalekit environments, and of other issuers unless it is configured
/// (OpenID Connect Core, section 3.1.3.7).
pub(crate) const DEFAULT_ALGORITHM: Algorithm = Algorithm::RS256;

/// Returned when a token is rejected. Disclose no more than `invalid_token` to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// `exp` is reached.
    #[error("the token has expired")]
    Expired,
    /// The token is valid, but lacks a required scope.
    #[error("the token lacks a required scope")]
    InsufficientScope,
    /// The algorithm of the header is not allowed, or does not match its key.
    #[error("the algorithm is not allowed")]
    InvalidAlgorithm,
    /// An API key is unknown, expired or invalidated.
    #[error("the API key is not valid")]
    InvalidApiKey,
    /// `aud` does not contain an expected audience. ID tokens and logout tokens must be for this client
    /// alone.
    #[error("the token is for another audience")]
    InvalidAudience,
    /// A required claim is missing, or a claim has the wrong type or a value that is not allowed, such
    /// as the `client_id` of another client.
    #[error("claim {0} is missing or invalid")]
    InvalidClaim(&'static str),
    /// `iss` is not one of the allowed issuers.
    #[error("the token is from another issuer")]
    InvalidIssuer,
    /// The signature is invalid.
    #[error("the signature is invalid")]
    InvalidSignature,
    /// The keys to verify the token are unavailable. Respond with 503.
    #[error("the key set is unavailable")]
    KeysUnavailable,
    /// The token is not a well-formed signed token.
    #[error("the token is malformed")]
    Malformed,
    /// The key set has no matching key.
    #[error("no key of the issuer matches the token")]
    NoMatchingKey,
    /// `nbf` or `iat` is ahead by more than the leeway.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The user, session or organization of the token was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The binding of the token does not match the request: the token is bound to a key (claim `cnf`)
    /// whose possession the request does not prove, or to no key where a proof is required or sent.
    #[error("the token is bound to a key whose possession is not proven")]
    SenderConstrained,
    /// The environment cannot be asked whether an API key is valid. Respond with 503.
    #[error("the API key cannot be validated")]
    ValidationUnavailable,
    /// The token has another type, for instance an ID token in place of an access token.
    #[error("the token has another type")]
    WrongTokenType,
}

impl TokenError {
    /// A stable code for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidAlgorithm => "invalid_algorithm",
            Self::InvalidApiKey => "invalid_api_key",
            Self::InvalidAudience => "invalid_audience",
            Self::InvalidClaim(_) => "invalid_claim",
            Self::InvalidIssuer => "invalid_issuer",
            Self::InvalidSignature => "invalid_signature",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Malformed => "malformed",
            Self::NoMatchingKey => "no_matching_key",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::SenderConstrained => "sender_constrained",
            Self::ValidationUnavailable => "validation_unavailable",
            Self::WrongTokenType => "wrong_token_type",
        }
    }

    /// A claim that is absent or of another type. Its value is never logged.
    pub(crate) fn invalid_claim(
        name: &'static str,
        expected: impl Display,
        found: Option<&Value>,
    ) -> Self {
        Self::InvalidClaim(name).logged(name, expected, ClaimType(found))
    }

    /// The claim that is missing or invalid. Its value is never logged.
    pub(crate) fn claim(self) -> Option<&'static str> {
        match self {
            Self::InvalidClaim(name) => Some(name),
            _ => None,
        }
    }
}

impl CheckError for TokenError {
    fn code(&self) -> &'static str {
        self.name()
    }
}
