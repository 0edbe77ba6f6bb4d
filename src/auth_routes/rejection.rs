//! The responses of the login's routes when something is wrong: the callback's rows of the
//! [table](crate#who-gets-which-answer). All words are ours: what came in the address is not
//! repeated.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::middleware::page;
use crate::middleware::rejection::{
    OVERLOADED, REQUEST_TIMEOUT, Rejection, json_response, unavailable_response,
};
use crate::middleware::replay_body::BodyError;
use crate::oauth::{ErrorOrigin, SsoError};
use crate::token::TokenError;
use crate::util::cache_control::{NO_STORE, vary_on_cookie};
use crate::util::fetch_metadata::wants_html;

/// Why a route of the login rejected a request, and to whom.
#[derive(Clone)]
pub struct AuthRejection {
    error: LoginError,
    /// For browsers.
    retry_url: Option<String>,
    set_cookies: Vec<HeaderValue>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginError {
    /// The callback's `state` is not of an attempt that this browser is making: it was used
    /// already, is older than ten minutes, or was started in another browser.
    StateMismatch,
    /// The environment did not accept the code: it was used already, or has expired.
    InvalidGrant,
    /// A page of another site caused the request.
    CrossSite,
    /// The environment sent the person back with an error.
    AuthorizationFailed {
        /// For instance `access_denied`; `None` when it was no code at all.
        error: Option<SsoError>,
    },
    /// Again and again an identity provider's portal starts a login from which the browser does not
    /// come back. The launch is not spent: a minute after the first of them it may go on, unless it
    /// was used before or has expired.
    RedirectLoop,
    /// The login got stuck behind the point where it could go on: its code is spent, and the keys, the
    /// shared store or what the app has to ask about the person are out of reach.
    Interrupted,
    /// The token with which an identity provider's portal starts a login is not acceptable.
    InvalidIdpInitiatedLogin {
        /// What is wrong with it: for your eyes, not for the person's.
        error: TokenError,
    },
    /// The `state` of a logout's return is not of a logout that this browser began: it was used
    /// already, is older than ten minutes, or was started in another browser.
    LogoutStateMismatch,
    /// The token that tells of a logout is not acceptable, or came before.
    InvalidLogoutToken,
    /// A parameter is missing, or there twice.
    InvalidRequest,
    /// Only some methods make sense here.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// Credentials or redirect URI are wrong, or the session cannot be kept; the log says which.
    Misconfigured,
    /// There is no session to renew.
    MissingSession,
    /// The app does not let the person in, who has logged in all right.
    LoginDenied,
    /// It comes from another issuer than the environment, or is meant for one (RFC 9207).
    IssuerMismatch,
    /// Too many bodies arrived slowly at once, and this one began before the others. Responds with
    /// 503 and `Retry-After`.
    Overloaded,
    /// The request's body did not arrive in time. Responds with 408.
    RequestTimeout,
    /// The request's body is larger than anything that makes sense.
    PayloadTooLarge,
    /// The browser has completed a login within the last minute, but sends a cookie that does not open
    /// in place of its session's, or none for the second time. Another login would most likely end in
    /// the same way, so it starts only when the user requests it from the page.
    SessionCookieLost {
        /// The cookie's name. Another app on the same host may use it, too; see
        /// [`SessionsBuilder::cookie_name`](crate::session::SessionsBuilder::cookie_name).
        cookie: String,
    },
    /// The tokens that came for the code are not acceptable.
    InvalidToken {
        /// What is wrong with them: for your eyes, not for the person's.
        error: TokenError,
    },
    /// The environment does not respond.
    Unavailable,
}

impl AuthRejection {
    pub(crate) fn new(error: LoginError, headers: &HeaderMap, retry_url: String) -> Self {
        let retry_url = wants_html(headers).then_some(retry_url);
        Self { error, retry_url, set_cookies: Vec::new() }
    }

    pub(crate) fn set_cookies(mut self, values: impl IntoIterator<Item = HeaderValue>) -> Self {
        self.set_cookies.extend(values);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> &LoginError {
        &self.error
    }

    /// What to tell the person, in a sentence without a full stop.
    #[must_use]
    pub fn message(&self) -> Cow<'static, str> {
        self.error.message()
    }

    /// The path of the app's login, which leads on to where this one was to end; `None` where the
    /// answer is not for a person.
    #[must_use]
    pub fn retry_url(&self) -> Option<&str> {
        self.retry_url.as_deref()
    }
}

impl fmt::Debug for AuthRejection {
    /// Without the way on, whose query may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRejection").field("failure", &self.error).finish_non_exhaustive()
    }
}

impl From<BodyError> for LoginError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken => Self::InvalidRequest,
            BodyError::Evicted => Self::Overloaded,
            BodyError::Late => Self::RequestTimeout,
            BodyError::TooLarge => Self::PayloadTooLarge,
        }
    }
}

impl LoginError {
    /// Whether the attempt to log in is over, so that its cookie is taken away.
    pub(crate) fn ends_attempt(&self) -> bool {
        *self != Self::Unavailable
    }

    /// Whether the environment could not log the person in without asking them something.
    pub(crate) fn wants_interaction(&self) -> bool {
        let Self::AuthorizationFailed { error: Some(error) } = self else { return false };
        error.wants_interaction()
    }

    /// A stable name for metrics, logs and JSON.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::StateMismatch => "state_mismatch",
            Self::InvalidGrant => "invalid_grant",
            Self::CrossSite => "cross_site_request",
            Self::AuthorizationFailed { .. } => "authorization_failed",
            Self::RedirectLoop => "redirect_loop",
            Self::Interrupted => "login_interrupted",
            Self::InvalidIdpInitiatedLogin { .. } => "invalid_idp_initiated_login",
            Self::LogoutStateMismatch => "logout_state_mismatch",
            Self::InvalidLogoutToken => "invalid_logout_token",
            Self::InvalidRequest => "invalid_request",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Misconfigured => "server_error",
            Self::MissingSession => "login_required",
            Self::LoginDenied => "login_denied",
            Self::IssuerMismatch => "issuer_mismatch",
            Self::Overloaded => "overloaded",
            Self::RequestTimeout => "request_timeout",
            Self::PayloadTooLarge => "payload_too_large",
            Self::SessionCookieLost { .. } => "session_cookie_lost",
            Self::InvalidToken { .. } => "invalid_token",
            Self::Unavailable => "temporarily_unavailable",
        }
    }

    /// More of it for logs: a code of the environment (never its free text), or of ours with the
    /// name of the rejected claim.
    pub(crate) fn detail(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::AuthorizationFailed { error } => {
                error.as_ref().map(|error| error.as_str().into())
            }
            Self::InvalidIdpInitiatedLogin { error } | Self::InvalidToken { error } => {
                Some(match error.claim() {
                    Some(claim) => format!("claim {claim}").into(),
                    None => error.name().into(),
                })
            }
            _ => None,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::StateMismatch
            | Self::InvalidGrant
            | Self::AuthorizationFailed { .. }
            | Self::RedirectLoop
            | Self::InvalidIdpInitiatedLogin { .. }
            | Self::LogoutStateMismatch
            | Self::InvalidLogoutToken
            | Self::InvalidRequest
            | Self::IssuerMismatch
            | Self::SessionCookieLost { .. }
            | Self::InvalidToken { .. } => StatusCode::BAD_REQUEST,
            Self::CrossSite | Self::LoginDenied => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            Self::MissingSession => StatusCode::UNAUTHORIZED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Interrupted | Self::Overloaded | Self::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::SessionCookieLost { cookie } => {
                return Cow::Owned(format!(
                    "Your browser did not send the cookie {cookie} after the last login. It may \
                     block the cookie, or another app on this host may have replaced it"
                ));
            }
            Self::StateMismatch => {
                "This login was already completed, took too long, or began in another browser"
            }
            Self::InvalidGrant => "This login was already completed or took too long",
            Self::CrossSite => "This can only be done from the app's own pages",
            Self::AuthorizationFailed { error } => match error {
                Some(SsoError::AccessDenied) => "The login was cancelled",
                Some(error) if error.origin() == ErrorOrigin::Organization => {
                    "The login did not succeed at your organization: its administrator can tell why"
                }
                _ => "The login was not completed",
            },
            Self::RedirectLoop => {
                "The login starts again and again without success; try again in a minute"
            }
            Self::Interrupted => "The login could not be completed at the moment",
            Self::InvalidIdpInitiatedLogin { .. } => {
                "This way into the app is not valid, or no longer"
            }
            Self::LogoutStateMismatch => {
                "This logout was already completed, took too long, or began in another browser"
            }
            Self::InvalidLogoutToken => "The logout token is not valid here",
            Self::InvalidRequest | Self::IssuerMismatch => "The request is incomplete",
            Self::MethodNotAllowed { .. } => "Another method is needed here",
            Self::Misconfigured => "The server is misconfigured; its log says how",
            Self::MissingSession => "Log in first",
            Self::LoginDenied => "This account may not use the app",
            Self::Overloaded => OVERLOADED,
            Self::RequestTimeout => REQUEST_TIMEOUT,
            Self::PayloadTooLarge => "The request is too large",
            Self::InvalidToken { .. } => "The login could not be verified",
            Self::Unavailable => "The login service does not respond at the moment",
        })
    }
}

impl Rejection for AuthRejection {
    fn code(&self) -> &'static str {
        self.error.code()
    }

    fn response(&self) -> Response<Bytes> {
        let (status, message) = (self.error.status(), self.error.message());
        let mut response = match status {
            StatusCode::SERVICE_UNAVAILABLE => unavailable_response(&message),
            _ => json_response(status, self.code(), &message),
        };
        if let Some(link) = &self.retry_url {
            page::show(&mut response, page::problem(&message, link, "Log in again"));
        }
        let headers = response.headers_mut();
        if let LoginError::MethodNotAllowed { allow } = self.error {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        for cookie in &self.set_cookies {
            headers.append(header::SET_COOKIE, cookie.clone());
        }
        set_sensitive_headers(headers);
        vary_on_cookie(headers);
        response
    }
}

/// Keeps caches and the next site from a response whose address holds a code or a state.
pub(crate) fn set_sensitive_headers(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// A redirect that ends a route of the login.
pub(crate) fn redirect(
    status: StatusCode,
    location: &str,
    set_cookies: impl IntoIterator<Item = HeaderValue>,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Locations are serialised URLs: visible ASCII.
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"));
    headers.insert(header::LOCATION, location);
    for cookie in set_cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    set_sensitive_headers(headers);
    vary_on_cookie(headers);
    response
}
