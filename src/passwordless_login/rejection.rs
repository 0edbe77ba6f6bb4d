//! Errors of the passwordless login, and their default responses: see
//! [passwordless login](crate::guides::responses#passwordless-login). No message reveals whether an address has
//! an account.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::middleware::rejection::{OVERLOADED, REQUEST_TIMEOUT};
use crate::middleware::replay_body::BodyError;
use crate::middleware::route_rejection::{RouteError, complete};

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordlessLoginError {
    /// What should be an e-mail address is none.
    InvalidEmail,
    /// This browser is making no such attempt: it was completed, took too long, or began in
    /// another browser.
    NoPendingLogin,
    /// The code is wrong, or of an earlier mail.
    InvalidCode,
    /// A page of another site caused the request.
    CrossSite,
    /// The time of the code or link is over.
    Expired,
    /// The link is unknown, used, or of another browser.
    InvalidLink,
    /// A field is missing, there twice, or not text.
    InvalidRequest,
    /// Only some methods make sense here.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// Credentials or settings are wrong, or the session cannot be kept; the log says which.
    Misconfigured,
    /// The address is that of a person who may not log in here.
    LoginDenied,
    /// The link was asked for in another browser, which these settings do not allow.
    BrowserMismatch,
    /// Too many bodies arrived slowly at once, and this one began before the others. Responds with
    /// 503 and `Retry-After`.
    Overloaded,
    /// The request's body did not arrive in time. Responds with 408.
    RequestTimeout,
    /// The request's body is larger than anything that makes sense.
    PayloadTooLarge,
    /// The `state` that came back is not of an attempt of this browser: the link is a user
    /// else's.
    StateMismatch,
    /// Five codes were tried in this login, or ten for this address in a day and one in this login.
    TooManyAttempts,
    /// A limit on mails to the address, or for the client, is exceeded.
    TooManyEmails {
        /// When to try again, if known; a minute otherwise.
        retry_after: Option<Duration>,
    },
    /// The environment, the shared store, or whoever knows your people does not respond.
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
    /// Whether the same mail may still be of use, so that the person goes back to the page that
    /// asks for its code.
    pub(super) fn allows_retry(&self) -> bool {
        matches!(self, Self::InvalidCode | Self::TooManyEmails { .. } | Self::Unavailable)
    }

    /// Whether the attempt is over, so that its cookie is taken away.
    pub(super) fn ends_attempt(&self) -> bool {
        matches!(self, Self::LoginDenied)
    }
}

impl RouteError for PasswordlessLoginError {
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
            Self::Overloaded | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::InvalidEmail => "Enter an e-mail address, such as jane@example.com",
            Self::NoPendingLogin => {
                "This login was already completed, took too long, or began in another browser; \
                 ask for a new e-mail"
            }
            Self::InvalidCode => {
                "This code is not right, or was used already; look at the newest e-mail, or have it \
                 sent again"
            }
            Self::CrossSite => "This can only be done from the app's own pages",
            Self::Expired => "This code or link has expired; ask for a new e-mail",
            Self::InvalidLink => {
                "This link was used already, is no longer valid, or was asked for in another \
                 browser; ask for a new e-mail"
            }
            Self::InvalidRequest => "Something is missing; go back and fill in the form again",
            Self::MethodNotAllowed { .. } => "Nothing was sent; go back to the form",
            Self::Misconfigured => "The server is misconfigured; its log says how",
            Self::LoginDenied => "With this address you cannot log in here",
            Self::BrowserMismatch => {
                "Open the link in the browser in which you asked for it, or ask for a new e-mail \
                 here"
            }
            Self::Overloaded => OVERLOADED,
            Self::RequestTimeout => REQUEST_TIMEOUT,
            Self::PayloadTooLarge => "The request is too large",
            Self::StateMismatch => {
                "This link belongs to a login that was not started in this browser; \
                 ask for a new e-mail"
            }
            Self::TooManyAttempts => {
                "Too many codes were tried; start again and ask for a new e-mail"
            }
            Self::TooManyEmails { retry_after: Some(wait) } if *wait > EMAILS_WITHIN => {
                "Too many e-mails were requested; try again later"
            }
            Self::TooManyEmails { .. } => {
                "Too many e-mails were requested; wait a minute, then ask again"
            }
            Self::Unavailable => "The login service does not respond at the moment; try it again",
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

/// In which two mails may go to an address.
const EMAILS_WITHIN: Duration = Duration::from_secs(60);

/// To the script that asked.
pub(super) fn json(
    body: &serde_json::Value,
    set_cookies: impl IntoIterator<Item = HeaderValue>,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    complete(response.headers_mut(), set_cookies);
    response
}
