//! Rejections for missing and invalid bearer tokens: see
//! [bearer routes](crate::guides::responses#bearer-routes).

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::challenge::{BearerError, Challenge};
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
    /// The log has revocations that this replica has not read yet; or revocations have not been read
    /// for too long, and are configured to reject requests then.
    RevocationsStale,
}

impl Rejection for TokenRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::InsufficientUserAuthentication { .. } => "insufficient_user_authentication",
            Self::InvalidRequest { .. } => "invalid_request",
            Self::InvalidToken { .. } => "invalid_token",
            Self::KeysUnavailable => "keys_unavailable",
            Self::MissingToken { .. } => MISSING_TOKEN_CODE,
            Self::RevocationsStale => "revocations_stale",
        }
    }

    fn response(&self) -> Response<Bytes> {
        match self {
            Self::InsufficientUserAuthentication { challenge } => error(
                StatusCode::UNAUTHORIZED,
                BearerError::InsufficientUserAuthentication,
                challenge,
            ),
            Self::InvalidRequest { challenge } => {
                error(StatusCode::BAD_REQUEST, BearerError::InvalidRequest, challenge)
            }
            Self::InvalidToken { challenge, .. } => {
                error(StatusCode::UNAUTHORIZED, BearerError::InvalidToken, challenge)
            }
            Self::KeysUnavailable | Self::RevocationsStale => {
                unavailable_response("The token cannot be verified at the moment")
            }
            Self::MissingToken { challenge } => missing_token_response(challenge),
        }
    }
}

impl CheckError for TokenRejection {
    fn code(&self) -> &'static str {
        Rejection::code(self)
    }
}

fn error(status: StatusCode, error: BearerError, challenge: &Challenge) -> Response<Bytes> {
    let response = json_response(status, error.code(), error.description());
    challenged(response, &challenge.clone().error(error))
}
