//! The responses when something is wrong: the rows about logins by e-mail of the
//! [table](crate#who-gets-which-answer). All words are ours, and none tells whether an address has
//! an account.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::auth_routes::set_sensitive_headers;
use crate::middleware::page;
use crate::middleware::rejection::{
    OVERLOADED, REQUEST_TIMEOUT, Rejection, json_response, unavailable_response,
};
use crate::middleware::replay_body::BodyError;
use crate::util::cache_control::vary_on_cookie;
use crate::util::fetch_metadata::wants_html;

/// Why a route of the login by e-mail rejected a request, and how the person can go on.
#[derive(Clone)]
pub struct PasswordlessRejection {
    error: PasswordlessLoginError,
    retry_url: String,
    wants_html: bool,
    set_cookies: Vec<HeaderValue>,
}

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

impl PasswordlessRejection {
    pub(super) fn new(
        error: PasswordlessLoginError,
        headers: &HeaderMap,
        retry_url: String,
    ) -> Self {
        Self { error, retry_url, wants_html: wants_html(headers), set_cookies: Vec::new() }
    }

    pub(super) fn set_cookies(mut self, values: impl IntoIterator<Item = HeaderValue>) -> Self {
        self.set_cookies.extend(values);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> &PasswordlessLoginError {
        &self.error
    }

    /// What to tell the person, in a sentence without a full stop.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.error.message()
    }

    /// The path where the person can go on: of the app's page that asks for the code, or of the one
    /// that asks for the address; or that of the link, with its token, when the login with it could
    /// not be finished. Do not log it.
    #[must_use]
    pub fn retry_url(&self) -> &str {
        &self.retry_url
    }
}

// By hand: the way on may hold the page that the person wants to see.
impl fmt::Debug for PasswordlessRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordlessRejection")
            .field("failure", &self.error)
            .finish_non_exhaustive()
    }
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

    /// A stable name for metrics, logs and JSON.
    pub(super) fn code(&self) -> &'static str {
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

    fn message(&self) -> &'static str {
        match self {
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
        }
    }
}

impl Rejection for PasswordlessRejection {
    fn code(&self) -> &'static str {
        self.error.code()
    }

    fn response(&self) -> Response<Bytes> {
        let (status, message) = (self.error.status(), self.message());
        let mut response = match status {
            StatusCode::SERVICE_UNAVAILABLE => unavailable_response(message),
            _ => json_response(status, self.code(), message),
        };
        if self.wants_html {
            let label = match self.error.allows_retry() {
                true => "Go back",
                false => "Start again",
            };
            page::show(&mut response, page::problem(message, &self.retry_url, label));
        }
        let headers = response.headers_mut();
        match self.error {
            PasswordlessLoginError::MethodNotAllowed { allow } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            PasswordlessLoginError::TooManyEmails { retry_after } => {
                let seconds = retry_after.unwrap_or(EMAILS_WITHIN).as_secs().max(1);
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            _ => {}
        }
        conclude(headers, self.set_cookies.iter().cloned());
        response
    }
}

/// In which two mails may go to an address.
const EMAILS_WITHIN: Duration = Duration::from_secs(60);

/// What every response of these routes has: the cookies, and nothing for caches or the next site,
/// because the address may hold a link's token.
pub(super) fn conclude(
    headers: &mut HeaderMap,
    set_cookies: impl IntoIterator<Item = HeaderValue>,
) {
    for cookie in set_cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    set_sensitive_headers(headers);
    vary_on_cookie(headers);
}

/// To the script that asked.
pub(super) fn json(
    body: &serde_json::Value,
    set_cookies: impl IntoIterator<Item = HeaderValue>,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    conclude(response.headers_mut(), set_cookies);
    response
}
