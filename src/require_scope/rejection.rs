//! Rejections for missing scopes, roles and permissions: see
//! [scopes](crate::guides::responses#scopes).

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::Serialize;

use crate::challenge::{BearerError, Challenge, ScopeToken, expose_challenge};
use crate::middleware::LoginRequired;
use crate::middleware::rejection::{
    OVERLOADED, REQUEST_TIMEOUT, Rejection, json_response, misconfigured_response,
    unavailable_response,
};

/// Why [`RequireScope`](crate::RequireScope) did not let a request through.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ScopeRejection {
    /// The body, which says what is asked for, broke off.
    FailedToBufferBody,
    /// The principal lacks something.
    Insufficient {
        /// The names of what is missing.
        missing: Vec<ScopeToken>,
        /// The same for people, for instance `permission workspace_data:write`.
        description: String,
        /// On bearer routes: goes out as `WWW-Authenticate`.
        challenge: Option<Challenge>,
    },
    /// No one is logged in, behind a [`RequireSession`](crate::RequireSession) that is optional:
    /// answered as it would be if it were not.
    LoginRequired(LoginRequired),
    /// The server is wrong, not the request: no layer around this one inserted a principal, or the
    /// requirement cannot be met by anyone. The log says which.
    Misconfigured,
    /// Too many bodies arrived slowly at once, and this one began before the others. Responds with
    /// 503 and `Retry-After`.
    Overloaded,
    /// The body, which says what is asked for, did not arrive in time. Responds with 408.
    RequestTimeout,
}

impl Rejection for ScopeRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::FailedToBufferBody => "failed_to_buffer_body",
            Self::Insufficient { .. } => "insufficient_scope",
            Self::LoginRequired(_) => "login_required",
            Self::Misconfigured => "misconfigured",
            Self::Overloaded => "overloaded",
            Self::RequestTimeout => "request_timeout",
        }
    }

    fn response(&self) -> Response<Bytes> {
        match self {
            Self::FailedToBufferBody => {
                let message = "The body could not be read";
                json_response(StatusCode::BAD_REQUEST, "invalid_request", message)
            }
            Self::Insufficient { description, challenge, .. } => {
                let message = format!("Required {description}");
                match challenge {
                    Some(challenge) => step_up(&message, challenge),
                    None => json_response(StatusCode::FORBIDDEN, ERROR.code(), &message),
                }
            }
            Self::LoginRequired(login) => login.response(),
            Self::Misconfigured => misconfigured_response(),
            Self::Overloaded => unavailable_response(OVERLOADED),
            Self::RequestTimeout => {
                json_response(StatusCode::REQUEST_TIMEOUT, self.code(), REQUEST_TIMEOUT)
            }
        }
    }
}

const ERROR: BearerError = BearerError::InsufficientScope;

/// The body that Scalekit's guide to MCP has.
#[derive(Serialize)]
struct StepUp<'a> {
    error: &'a str,
    error_description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
}

/// What a client needs to ask for a better token.
fn step_up(description: &str, challenge: &Challenge) -> Response<Bytes> {
    let (error, scope) = (ERROR.code(), challenge.scope_text());
    let body = StepUp { error, error_description: description, scope: &scope };
    let mut response = json_response(StatusCode::FORBIDDEN, error, description);
    *response.body_mut() = serde_json::to_vec(&body).unwrap_or_default().into();
    let value = challenge.clone().error(ERROR).to_header_value();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    expose_challenge(response.headers_mut());
    response
}
