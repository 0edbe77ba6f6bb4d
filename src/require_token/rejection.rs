//! Rejections for missing and invalid bearer tokens: see
//! [bearer routes](crate::guides::responses#bearer-routes).

use bytes::Bytes;
use http::{Response, StatusCode, header};

use crate::challenge::{BearerError, Challenge, expose_challenge};
use crate::middleware::rejection::{Rejection, json_response, unavailable_response};
use crate::token::TokenError;

/// Why [`RequireToken`](crate::RequireToken) rejected a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TokenRejection {
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
    /// Revocations have not been read for too long, and are configured to reject requests then.
    RevocationsStale,
}

impl Rejection for TokenRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest { .. } => "invalid_request",
            Self::InvalidToken { .. } => "invalid_token",
            Self::KeysUnavailable => "keys_unavailable",
            Self::MissingToken { .. } => "missing_token",
            Self::RevocationsStale => "revocations_stale",
        }
    }

    fn response(&self) -> Response<Bytes> {
        match self {
            Self::InvalidRequest { challenge } => {
                error(StatusCode::BAD_REQUEST, BearerError::InvalidRequest, challenge)
            }
            Self::InvalidToken { challenge, .. } => {
                error(StatusCode::UNAUTHORIZED, BearerError::InvalidToken, challenge)
            }
            Self::KeysUnavailable | Self::RevocationsStale => {
                unavailable_response("The token cannot be verified at the moment")
            }
            // RFC 6750 section 3.1: no error code if the request has no credentials.
            Self::MissingToken { challenge } => {
                let message = "Send an access token as Authorization: Bearer";
                challenged(json_response(StatusCode::UNAUTHORIZED, self.code(), message), challenge)
            }
        }
    }
}

fn error(status: StatusCode, error: BearerError, challenge: &Challenge) -> Response<Bytes> {
    let response = json_response(status, error.code(), error.description());
    challenged(response, &challenge.clone().error(error))
}

fn challenged(mut response: Response<Bytes>, challenge: &Challenge) -> Response<Bytes> {
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.to_header_value());
    expose_challenge(response.headers_mut());
    response
}
