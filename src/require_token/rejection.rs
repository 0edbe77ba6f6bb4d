//! Rejections for missing and invalid bearer tokens: see
//! [bearer routes](crate::guides::responses#bearer-routes).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::challenge::{BearerError, Challenge};
use crate::dpop::DpopError;
use crate::middleware::rejection::{
    MISSING_TOKEN_CODE, Rejection, challenged, json_response, missing_token_response,
    unavailable_response,
};
use crate::token::TokenError;
use crate::util::diagnosis::CheckError;

/// Why [`RequireToken`](crate::RequireToken) rejected a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TokenRejection {
    /// The token is valid, but its user must authenticate again or in another way (RFC 9470).
    InsufficientUserAuthentication {
        /// The challenge, with the required `max_age` and `acr_values`, and without the error code
        /// that the default response adds.
        challenge: Challenge,
    },
    /// The proof of possession is invalid (RFC 9449).
    InvalidDpopProof {
        /// The reason, for logs only: it is not disclosed to the client.
        error: DpopError,
        /// The challenge, without the error code that the default response adds.
        challenge: Challenge,
    },
    /// The request has several `Authorization` headers.
    InvalidRequest {
        /// The challenge, without the error code that the default response adds.
        challenge: Challenge,
    },
    /// The token is invalid.
    InvalidToken {
        /// The reason, for logs only: it is not disclosed to the client.
        error: TokenError,
        /// The challenge, without the error code that the default response adds.
        challenge: Challenge,
    },
    /// The keys to verify the token are unavailable.
    KeysUnavailable,
    /// The request has no bearer token: no `Authorization` header, or one of another scheme.
    MissingToken {
        /// The challenge. It has no error code (RFC 6750 section 3.1).
        challenge: Challenge,
    },
    /// It cannot be determined whether the proof of possession was used before: the store is
    /// unavailable, or too many proofs are remembered.
    ReplayCheckUnavailable,
    /// This replica does not know all revocations: the log has more than it has read; or it has not read
    /// the log for too long, and is
    /// [configured](crate::revocation::RevocationsBuilder::reject_on_stale_revocations) to reject requests
    /// then.
    RevocationsStale,
    /// The proof of possession needs a nonce of this server.
    UseDpopNonce {
        /// The nonce, for the header `DPoP-Nonce`.
        nonce: Arc<str>,
        /// The challenge, without the error code that the default response adds.
        challenge: Challenge,
    },
    /// The environment cannot be asked whether an API key is valid.
    ValidationUnavailable,
}

/// Header of a nonce for proofs of possession (RFC 9449, section 8.1).
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

impl Rejection for TokenRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::InsufficientUserAuthentication { .. } => "insufficient_user_authentication",
            Self::InvalidDpopProof { .. } => "invalid_dpop_proof",
            Self::InvalidRequest { .. } => "invalid_request",
            Self::InvalidToken { .. } => "invalid_token",
            Self::KeysUnavailable => "keys_unavailable",
            Self::MissingToken { .. } => MISSING_TOKEN_CODE,
            Self::ReplayCheckUnavailable => "replay_check_unavailable",
            Self::RevocationsStale => "revocations_stale",
            Self::UseDpopNonce { .. } => "use_dpop_nonce",
            Self::ValidationUnavailable => "validation_unavailable",
        }
    }

    fn response(&self) -> Response<Bytes> {
        match self {
            Self::InsufficientUserAuthentication { challenge } => error(
                StatusCode::UNAUTHORIZED,
                BearerError::InsufficientUserAuthentication,
                challenge,
            ),
            Self::InvalidDpopProof { challenge, .. } => {
                error(StatusCode::UNAUTHORIZED, BearerError::InvalidDpopProof, challenge)
            }
            Self::InvalidRequest { challenge } => {
                error(StatusCode::BAD_REQUEST, BearerError::InvalidRequest, challenge)
            }
            Self::InvalidToken { challenge, .. } => {
                error(StatusCode::UNAUTHORIZED, BearerError::InvalidToken, challenge)
            }
            Self::KeysUnavailable
            | Self::ReplayCheckUnavailable
            | Self::RevocationsStale
            | Self::ValidationUnavailable => {
                unavailable_response("The token cannot be verified at the moment")
            }
            Self::MissingToken { challenge } => missing_token_response(challenge),
            Self::UseDpopNonce { nonce, challenge } => {
                let mut response =
                    error(StatusCode::UNAUTHORIZED, BearerError::UseDpopNonce, challenge);
                set_nonce(response.headers_mut(), nonce);
                response
            }
        }
    }
}

impl TokenRejection {
    pub(super) fn challenge_mut(&mut self) -> Option<&mut Challenge> {
        match self {
            Self::InsufficientUserAuthentication { challenge }
            | Self::InvalidDpopProof { challenge, .. }
            | Self::InvalidRequest { challenge }
            | Self::InvalidToken { challenge, .. }
            | Self::MissingToken { challenge }
            | Self::UseDpopNonce { challenge, .. } => Some(challenge),
            Self::KeysUnavailable
            | Self::ReplayCheckUnavailable
            | Self::RevocationsStale
            | Self::ValidationUnavailable => None,
        }
    }
}

impl CheckError for TokenRejection {
    fn code(&self) -> &'static str {
        Rejection::code(self)
    }
}

/// Sets the nonce that the client is to use next, and exposes it to scripts of other origins (CORS).
pub(super) fn set_nonce(headers: &mut HeaderMap, nonce: &str) {
    // base64url is always a valid value.
    if let Ok(nonce) = HeaderValue::from_str(nonce) {
        headers.insert(DPOP_NONCE, nonce);
    }
    let name = HeaderValue::from_static("dpop-nonce");
    headers.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, name);
}

fn error(status: StatusCode, error: BearerError, challenge: &Challenge) -> Response<Bytes> {
    let response = json_response(status, error.code(), error.description());
    challenged(response, &challenge.clone().error(error))
}
