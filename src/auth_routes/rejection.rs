//! The answers of the login's routes when something is wrong: the callback's rows of the
//! [table](crate#who-gets-which-answer). All words are ours: what came in the address is not
//! repeated (L4).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::middleware::page;
use crate::middleware::rejection::{
    OVERLOADED, REQUEST_TIMEOUT, Reason, json_answer, unavailable_answer,
};
use crate::middleware::replay_body::BodyError;
use crate::oauth::{Blame, SsoError};
use crate::token::TokenError;
use crate::util::cache_control::{NO_STORE, vary_on_cookie};
use crate::util::fetch_metadata::is_shown;

/// Why a route of the login refused a request, and to whom.
#[derive(Clone)]
pub struct AuthRejection {
    failure: AuthFailure,
    /// For browsers.
    way_on: Option<String>,
    set_cookies: Vec<HeaderValue>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthFailure {
    /// The callback's `state` is not of an attempt that this browser is making: it was used
    /// already, is older than ten minutes, or was started in another browser.
    AttemptUnknown,
    /// The environment did not accept the code: it was used already, or has expired.
    CodeRefused,
    /// A page of another site caused the request.
    CrossSite,
    /// The environment sent the person back with an error.
    EnvironmentRefused {
        /// For instance `access_denied`; `None` when it was no code at all.
        error: Option<SsoError>,
    },
    /// Again and again an identity provider's portal starts a login from which the browser does not
    /// come back. The launch is not spent: a minute after the first of them it may go on, unless it
    /// was used before or has expired.
    GoesInCircles,
    /// The login got stuck behind the point where it could go on: its code is spent, and the keys, the
    /// shared store or what the app has to ask about the person are out of reach.
    Interrupted,
    /// The token with which an identity provider's portal starts a login is not acceptable.
    LaunchRefused {
        /// What is wrong with it: for your eyes, not for the person's.
        error: TokenError,
    },
    /// The `state` of a logout's return is not of a logout that this browser began: it was used
    /// already, is older than ten minutes, or was started in another browser.
    LogoutStateMismatch,
    /// The token that tells of a logout is not acceptable, or came before.
    LogoutTokenRefused,
    /// A parameter is missing, or there twice.
    MalformedRequest,
    /// Only some methods make sense here.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// Credentials or redirect URI are wrong, or the session cannot be kept; the log says which.
    Misconfigured,
    /// There is no session to renew.
    NoSession,
    /// The app does not let the person in, who has logged in all right.
    NotAdmitted,
    /// It comes from another issuer than the environment, or is meant for one (RFC 9207).
    OtherIssuer,
    /// Too many bodies arrived slowly at once, and this one began before the others. Responds with
    /// 503 and `Retry-After`.
    Overloaded,
    /// The request's body did not arrive in time. Responds with 408.
    RequestTimeout,
    /// The request's body is larger than anything that makes sense.
    RequestTooLarge,
    /// The browser has completed a login within the last minute, but sends a cookie that does not open
    /// in place of its session's, or none for the second time. Another login would most likely end in
    /// the same way, so it starts only when the user requests it from the page.
    SessionCookieLost {
        /// The cookie's name. Another app on the same host may use it, too; see
        /// [`SessionsBuilder::cookie_name`](crate::session::SessionsBuilder::cookie_name).
        cookie: String,
    },
    /// The tokens that came for the code are not acceptable.
    TokenRefused {
        /// What is wrong with them: for your eyes, not for the person's.
        error: TokenError,
    },
    /// The environment does not answer.
    Unavailable,
}

impl AuthRejection {
    pub(crate) fn new(failure: AuthFailure, headers: &HeaderMap, way_on: String) -> Self {
        let way_on = is_shown(headers).then_some(way_on);
        Self { failure, way_on, set_cookies: Vec::new() }
    }

    pub(crate) fn set_cookies(mut self, values: impl IntoIterator<Item = HeaderValue>) -> Self {
        self.set_cookies.extend(values);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn failure(&self) -> &AuthFailure {
        &self.failure
    }

    /// What to tell the person, in a sentence without a full stop.
    #[must_use]
    pub fn message(&self) -> Cow<'static, str> {
        self.failure.message()
    }

    /// The path of the app's login, which leads on to where this one was to end; `None` where the
    /// answer is not for a person.
    #[must_use]
    pub fn way_on(&self) -> Option<&str> {
        self.way_on.as_deref()
    }
}

impl fmt::Debug for AuthRejection {
    /// Without the way on, whose query may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRejection").field("failure", &self.failure).finish_non_exhaustive()
    }
}

impl From<BodyError> for AuthFailure {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken => Self::MalformedRequest,
            BodyError::Evicted => Self::Overloaded,
            BodyError::Late => Self::RequestTimeout,
            BodyError::TooLarge => Self::RequestTooLarge,
        }
    }
}

impl AuthFailure {
    /// Whether the attempt to log in is over, so that its cookie is taken away.
    pub(crate) fn ends_attempt(&self) -> bool {
        *self != Self::Unavailable
    }

    /// Whether the environment could not log the person in without asking them something.
    pub(crate) fn wants_interaction(&self) -> bool {
        let Self::EnvironmentRefused { error: Some(error) } = self else { return false };
        error.wants_interaction()
    }

    /// A stable name for metrics, logs and JSON.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::AttemptUnknown => "login_attempt_unknown",
            Self::CodeRefused => "login_code_refused",
            Self::CrossSite => "cross_site_request",
            Self::EnvironmentRefused { .. } => "login_refused",
            Self::GoesInCircles => "login_goes_in_circles",
            Self::Interrupted => "login_interrupted",
            Self::LaunchRefused { .. } => "launch_refused",
            Self::LogoutStateMismatch => "logout_state_mismatch",
            Self::LogoutTokenRefused => "logout_token_refused",
            Self::MalformedRequest => "malformed_request",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Misconfigured => "server_error",
            Self::NoSession => "login_required",
            Self::NotAdmitted => "login_not_admitted",
            Self::OtherIssuer => "other_issuer",
            Self::Overloaded => "overloaded",
            Self::RequestTimeout => "request_timeout",
            Self::RequestTooLarge => "request_too_large",
            Self::SessionCookieLost { .. } => "session_cookie_lost",
            Self::TokenRefused { .. } => "login_token_refused",
            Self::Unavailable => "temporarily_unavailable",
        }
    }

    /// More of it for logs: a code of the environment (never its free text), or of ours with the
    /// name of the rejected claim.
    pub(crate) fn detail(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::EnvironmentRefused { error } => error.as_ref().map(|error| error.as_str().into()),
            Self::LaunchRefused { error } | Self::TokenRefused { error } => {
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
            Self::AttemptUnknown
            | Self::CodeRefused
            | Self::EnvironmentRefused { .. }
            | Self::GoesInCircles
            | Self::LaunchRefused { .. }
            | Self::LogoutStateMismatch
            | Self::LogoutTokenRefused
            | Self::MalformedRequest
            | Self::OtherIssuer
            | Self::SessionCookieLost { .. }
            | Self::TokenRefused { .. } => StatusCode::BAD_REQUEST,
            Self::CrossSite | Self::NotAdmitted => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoSession => StatusCode::UNAUTHORIZED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
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
            Self::AttemptUnknown => {
                "This login was already completed, took too long, or began in another browser"
            }
            Self::CodeRefused => "This login was already completed or took too long",
            Self::CrossSite => "This can only be done from the app's own pages",
            Self::EnvironmentRefused { error } => match error {
                Some(SsoError::AccessDenied) => "The login was cancelled",
                Some(error) if error.blame() == Blame::Organization => {
                    "The login did not succeed at your organization: its administrator can tell why"
                }
                _ => "The login was not completed",
            },
            Self::GoesInCircles => {
                "The login starts again and again without success; try again in a minute"
            }
            Self::Interrupted => "The login could not be completed at the moment",
            Self::LaunchRefused { .. } => "This way into the app is not valid, or no longer",
            Self::LogoutStateMismatch => {
                "This logout was already completed, took too long, or began in another browser"
            }
            Self::LogoutTokenRefused => "The logout token is not valid here",
            Self::MalformedRequest | Self::OtherIssuer => "The request is incomplete",
            Self::MethodNotAllowed { .. } => "Another method is needed here",
            Self::Misconfigured => "The server is misconfigured; its log says how",
            Self::NoSession => "Log in first",
            Self::NotAdmitted => "This account may not use the app",
            Self::Overloaded => OVERLOADED,
            Self::RequestTimeout => REQUEST_TIMEOUT,
            Self::RequestTooLarge => "The request is too large",
            Self::TokenRefused { .. } => "The login could not be verified",
            Self::Unavailable => "The login service does not answer at the moment",
        })
    }
}

impl Reason for AuthRejection {
    fn name(&self) -> &'static str {
        self.failure.name()
    }

    fn answer(&self) -> Response<Bytes> {
        let (status, message) = (self.failure.status(), self.failure.message());
        let mut response = match status {
            StatusCode::SERVICE_UNAVAILABLE => unavailable_answer(&message),
            _ => json_answer(status, self.name(), &message),
        };
        if let Some(link) = &self.way_on {
            page::show(&mut response, page::problem(&message, link, "Log in again"));
        }
        let headers = response.headers_mut();
        if let AuthFailure::MethodNotAllowed { allow } = self.failure {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        for cookie in &self.set_cookies {
            headers.append(header::SET_COOKIE, cookie.clone());
        }
        conceal_address(headers);
        vary_on_cookie(headers);
        response
    }
}

/// Keeps caches and the next site from a response whose address holds a code or a state (L12).
pub(crate) fn conceal_address(headers: &mut HeaderMap) {
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
    conceal_address(headers);
    vary_on_cookie(headers);
    response
}
