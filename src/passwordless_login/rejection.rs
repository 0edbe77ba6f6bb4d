//! Errors of the passwordless login, and their default responses: see
//! [passwordless login](crate::guides::responses#passwordless-login). No message reveals whether an
//! address has an account.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::PasswordlessLogin;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::{
    JSON, OVERLOADED, REQUEST_TIMEOUT, Renderer, SPECULATIVE_CODE, SPECULATIVE_MESSAGE,
};
use crate::middleware::replay_body::BodyError;
use crate::middleware::route_rejection::{RouteError, RouteState};
use crate::middleware::route_response::set_route_headers;

/// Why a route of a login by e-mail rejected a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordlessLoginError {
    /// Returned when `email` is not an e-mail address.
    InvalidEmail,
    /// Returned when this browser has no such attempt: it was completed, has expired, or began in
    /// another browser.
    NoPendingLogin,
    /// Returned when the code is wrong, or from an earlier e-mail.
    InvalidCode,
    /// Returned when a page of another origin, which the app does not trust, caused the
    /// request.
    CrossSite,
    /// Returned when the code or link has expired.
    Expired,
    /// Returned when the link is unknown, used, or of another browser.
    InvalidLink,
    /// Returned when a field is missing, repeated, or not a string.
    InvalidRequest,
    /// Returned when the method is not supported.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// Returned when credentials or settings are wrong, or the session cannot be stored; the log
    /// has the reason.
    Misconfigured,
    /// Returned when the user of the address is not allowed to log in.
    LoginDenied,
    /// Returned when the link was requested in another browser, which these settings do not allow.
    BrowserMismatch,
    /// Returned when too many bodies arrive slowly at once, and this one began before the others.
    /// Responds with 503 and `Retry-After`.
    Overloaded,
    /// Returned when the request body does not arrive in time. Responds with 408.
    RequestTimeout,
    /// Returned when the request body is too large.
    PayloadTooLarge,
    /// Returned when a browser prefetches or prerenders the page, see
    /// [speculative requests](crate::guides::responses#speculative-requests).
    Speculative,
    /// Returned when the `state` of the verification belongs to no attempt of this browser: the
    /// link is from another user's login.
    StateMismatch,
    /// Returned when five codes were tried in this login, or ten for this address in a day and one
    /// in this login.
    TooManyAttempts,
    /// Returned when a limit of e-mails to the address, or for the client, is exceeded.
    TooManyEmails {
        /// When to try again, if known. Default: a minute.
        retry_after: Option<Duration>,
    },
    /// Returned when the environment, the shared store or the login hook is unavailable.
    Unavailable,
}

impl From<BodyError> for PasswordlessLoginError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken => Self::InvalidRequest,
            BodyError::Evicted => Self::Overloaded,
            BodyError::Late => Self::RequestTimeout,
            BodyError::TooLarge => Self::PayloadTooLarge,
        }
    }
}

impl PasswordlessLoginError {
    /// Whether the same e-mail may still be used, so that the user returns to the page that asks
    /// for its code.
    pub(super) fn allows_retry(&self) -> bool {
        matches!(self, Self::InvalidCode | Self::TooManyEmails { .. } | Self::Unavailable)
    }

    /// Whether the attempt has ended, so that its cookie is removed.
    pub(super) fn ends_attempt(&self) -> bool {
        matches!(self, Self::LoginDenied)
    }
}

impl RouteState for PasswordlessLogin {
    type Error = PasswordlessLoginError;

    fn renderer(&self) -> &Renderer<RouteRejection<PasswordlessLoginError>> {
        &self.inner.renderer
    }
}

impl RouteError for PasswordlessLoginError {
    const SPECULATIVE: Self = Self::Speculative;

    fn code(&self) -> &'static str {
        match self {
            Self::InvalidEmail => "invalid_email",
            Self::NoPendingLogin => "no_pending_login",
            Self::InvalidCode => "invalid_code",
            Self::CrossSite => "cross_site_request",
            Self::Expired => "code_expired",
            Self::InvalidLink => "invalid_link",
            Self::InvalidRequest => "invalid_request",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Misconfigured => "server_error",
            Self::LoginDenied => "login_denied",
            Self::BrowserMismatch => "browser_mismatch",
            Self::Overloaded => "overloaded",
            Self::RequestTimeout => "request_timeout",
            Self::PayloadTooLarge => "payload_too_large",
            Self::Speculative => SPECULATIVE_CODE,
            Self::StateMismatch => "state_mismatch",
            Self::TooManyAttempts => "too_many_attempts",
            Self::TooManyEmails { .. } => "too_many_emails",
            Self::Unavailable => "temporarily_unavailable",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::InvalidEmail
            | Self::NoPendingLogin
            | Self::InvalidCode
            | Self::Expired
            | Self::InvalidLink
            | Self::InvalidRequest
            | Self::BrowserMismatch
            | Self::StateMismatch => StatusCode::BAD_REQUEST,
            Self::CrossSite | Self::LoginDenied => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyAttempts | Self::TooManyEmails { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded | Self::Speculative | Self::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::InvalidEmail => "Enter an e-mail address, such as jane@example.com",
            Self::NoPendingLogin => {
                "This login was already completed, has expired, or was started in another browser. \
                 Request a new e-mail"
            }
            Self::InvalidCode => {
                "This code is wrong or was used already. Check the newest e-mail, or have it \
                 sent again"
            }
            Self::CrossSite => "This request was not sent by a page of this app",
            Self::Expired => "This code or link has expired. Request a new e-mail",
            Self::InvalidLink => {
                "This link was used already, has expired, or was requested in another browser. \
                 Request a new e-mail"
            }
            Self::InvalidRequest => "A field is missing. Go back and fill in the form again",
            Self::MethodNotAllowed { .. } => "Nothing was sent. Go back to the form",
            Self::Misconfigured => "The server is misconfigured. See its log",
            Self::LoginDenied => "This address is not allowed to log in",
            Self::BrowserMismatch => {
                "Open the link in the browser in which you requested it, or request a new e-mail \
                 here"
            }
            Self::Overloaded => OVERLOADED,
            Self::RequestTimeout => REQUEST_TIMEOUT,
            Self::PayloadTooLarge => "The request is too large",
            Self::Speculative => SPECULATIVE_MESSAGE,
            Self::StateMismatch => {
                "This link belongs to a login that was not started in this browser. \
                 Request a new e-mail"
            }
            Self::TooManyAttempts => {
                "Too many codes were tried. Start again and request a new e-mail"
            }
            Self::TooManyEmails { retry_after: Some(wait) } if *wait > EMAILS_WITHIN => {
                "Too many e-mails were requested. Try again later"
            }
            Self::TooManyEmails { .. } => {
                "Too many e-mails were requested. Wait a minute, then try again"
            }
            Self::Unavailable => "The login service is unavailable. Try again",
        })
    }

    fn retry_label(&self) -> &'static str {
        if self.allows_retry() { "Go back" } else { "Start again" }
    }

    fn allow(&self) -> Option<&'static str> {
        match self {
            Self::MethodNotAllowed { allow } => Some(allow),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyEmails { retry_after } => Some(retry_after.unwrap_or(EMAILS_WITHIN)),
            _ => None,
        }
    }
}

/// The interval in which two e-mails may be sent to an address.
const EMAILS_WITHIN: Duration = Duration::from_secs(60);

/// Returns a JSON response for scripts.
pub(super) fn json(
    body: &serde_json::Value,
    set_cookies: impl IntoIterator<Item = HeaderValue>,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    set_route_headers(response.headers_mut(), set_cookies);
    response
}
