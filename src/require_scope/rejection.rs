//! Rejections for missing scopes, roles and permissions: see
//! [scopes](crate::guides::responses#scopes).

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;

use crate::challenge::{BearerError, Challenge, ScopeToken};
use crate::middleware::LoginRequired;
use crate::middleware::rejection::{
    MISSING_TOKEN_CODE, Rejection, challenged, json_response, misconfigured_response,
    missing_token_response,
};

/// Why [`RequireScope`](crate::RequireScope) rejected a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ScopeRejection {
    /// The principal lacks scopes, permissions or roles.
    Insufficient {
        /// The missing names.
        missing: Vec<ScopeToken>,
        /// The missing names as a message, for instance `permission workspace_data:write`.
        description: String,
        /// On bearer routes: the `WWW-Authenticate` header.
        challenge: Option<Challenge>,
    },
    /// The request has no session, behind an optional [`RequireSession`](crate::RequireSession).
    /// The response is that of a required one.
    LoginRequired(LoginRequired),
    /// The request has no token, behind an optional [`RequireToken`](crate::RequireToken). The
    /// response is that of a required one.
    MissingToken {
        /// The challenge. It has no error code (RFC 6750 section 3.1).
        challenge: Challenge,
    },
    /// The server is misconfigured: no layer around this one inserts a principal, or the
    /// requirement cannot be met. The log says which.
    Misconfigured,
}

impl Rejection for ScopeRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Insufficient { .. } => "insufficient_scope",
            Self::LoginRequired(_) => "login_required",
            Self::MissingToken { .. } => MISSING_TOKEN_CODE,
            Self::Misconfigured => "misconfigured",
        }
    }

    fn response(&self) -> Response<Bytes> {
        match self {
            Self::Insufficient { description, challenge, .. } => {
                let message = format!("Required {description}");
                match challenge {
                    Some(challenge) => step_up(&message, challenge),
                    None => json_response(StatusCode::FORBIDDEN, ERROR.code(), &message),
                }
            }
            Self::LoginRequired(login) => login.response(),
            Self::MissingToken { challenge } => missing_token_response(challenge),
            Self::Misconfigured => misconfigured_response(),
        }
    }
}

const ERROR: BearerError = BearerError::InsufficientScope;

/// The body that Scalekit's MCP guide specifies, with its `error_description`, and with the `message`
/// that all rejections of this crate have: clients of either find their text.
#[derive(Serialize)]
struct StepUp<'a> {
    error: &'a str,
    message: &'a str,
    error_description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
}

/// The challenge for a token with more scopes.
fn step_up(description: &str, challenge: &Challenge) -> Response<Bytes> {
    let body = StepUp {
        error: ERROR.code(),
        message: description,
        error_description: description,
        scope: &challenge.scope_text(),
    };
    let mut response = json_response(StatusCode::FORBIDDEN, ERROR.code(), description);
    *response.body_mut() = serde_json::to_vec(&body).unwrap_or_default().into();
    challenged(response, &challenge.clone().error(ERROR))
}
