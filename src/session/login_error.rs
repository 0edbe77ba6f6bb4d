//! Errors of the login routes, and their default responses: see
//! [login routes](crate::guides::responses#login-routes). Messages never repeat parameters of the request.

use std::borrow::Cow;

use http::{Method, StatusCode};

use super::{BeginSessionError, CreateSessionError, HookFailure, LoginHookError};
use crate::middleware::rejection::{
    OVERLOADED, REQUEST_TIMEOUT, SPECULATIVE_CODE, SPECULATIVE_MESSAGE,
};
use crate::middleware::replay_body::BodyError;
use crate::middleware::route_rejection::RouteError;
use crate::oauth::{ErrorOrigin, OAuthError, SsoError};
use crate::token::TokenError;
use crate::util::diagnosis::CheckError;
use crate::util::telemetry;

/// Why a login route rejected a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginError {
    /// Returned when the callback's `state` belongs to no attempt of this browser: it was used
    /// already, is older than ten minutes, or was started in another browser. Also returned when the
    /// login was revoked while it was verified, and when no login is pending on the page that
    /// confirms it.
    StateMismatch,
    /// Returned when the environment rejects the code: it was used already, or has expired.
    InvalidGrant,
    /// Returned when a page of another origin, which the app does not trust, caused the
    /// request, or a page embeds a `GET` logout as an image or a frame.
    CrossSite,
    /// Returned when the environment redirects the user back with an error.
    AuthorizationFailed {
        /// For instance `access_denied`; `None` if it is not a valid code.
        error: Option<SsoError>,
    },
    /// Returned when an identity provider's portal starts logins repeatedly and the browser returns
    /// from none of them. The IdP-initiated login is not spent: it can be retried a minute after
    /// the first one, unless it was used before or has expired. Also returned when three logins
    /// were completed within seconds and another one starts: the pages are behind a layer of other
    /// `Sessions`, which does not accept the session.
    RedirectLoop,
    /// Returned when a login cannot be completed after its code was spent, because the keys or the
    /// shared store are unavailable.
    Interrupted,
    /// Returned when the token of an IdP-initiated login is invalid.
    InvalidIdpInitiatedLogin {
        /// The reason; do not show it to the user.
        error: TokenError,
    },
    /// Returned when the `state` of a logout callback belongs to no logout of this browser: it was
    /// used already, is older than ten minutes, or was started in another browser.
    LogoutStateMismatch,
    /// Returned when a logout token is invalid, or was used before.
    InvalidLogoutToken,
    /// Returned when a parameter is missing or repeated.
    InvalidRequest,
    /// Returned when the method is not supported.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// Returned when credentials or the redirect URI are wrong, the session cannot be stored, or the
    /// login hook panics; the log has the reason.
    Misconfigured,
    /// Returned when there is no session to refresh.
    MissingSession,
    /// Returned when the user has logged in, but the login hook denies the login.
    LoginDenied,
    /// Returned when the login hook is unavailable or takes too long. The login is kept: the user
    /// can reload the page.
    LoginHookUnavailable,
    /// Returned when a request on another replica is still completing this login, such as when the
    /// login hook is slow: the user can reload the page. Responds with 503 and `Retry-After`.
    InProgress,
    /// Returned when the response is from another issuer than the environment, or the login is for
    /// another one (RFC 9207).
    IssuerMismatch,
    /// Returned when too many bodies arrive slowly at once, and this one began before the others.
    /// Responds with 503 and `Retry-After`.
    Overloaded,
    /// Returned when the request body does not arrive in time. Responds with 408.
    RequestTimeout,
    /// Returned when the request body is too large.
    PayloadTooLarge,
    /// Returned when the browser has completed a login within the last minute, but its session
    /// cookie cannot be opened, or is missing for the second time. Another login would most likely
    /// fail in the same way, so it starts only when the user requests it on the page.
    SessionCookieLost {
        /// The cookie's name. Another app on the same host may use it, too; see
        /// [`SessionsBuilder::cookie_name`](crate::session::SessionsBuilder::cookie_name).
        cookie: String,
    },
    /// Returned when a browser prefetches or prerenders the page, see
    /// [speculative requests](crate::guides::responses#speculative-requests).
    Speculative,
    /// Returned when the tokens of the login are invalid.
    InvalidToken {
        /// The reason; do not show it to the user.
        error: TokenError,
    },
    /// Returned when the environment or the shared store is unavailable.
    Unavailable,
}

/// Why a verified login began no session.
impl From<BeginSessionError> for LoginError {
    fn from(error: BeginSessionError) -> Self {
        let failure = match &error {
            BeginSessionError::Hook(HookFailure::Rejected(LoginHookError::Denied)) => {
                return Self::LoginDenied;
            }
            BeginSessionError::Revoked => return Self::StateMismatch,
            BeginSessionError::Hook(HookFailure::Rejected(_)) => Self::LoginHookUnavailable,
            BeginSessionError::Create(CreateSessionError::Store(_)) => Self::Interrupted,
            BeginSessionError::Create(_) | BeginSessionError::Hook(HookFailure::Panicked) => {
                Self::Misconfigured
            }
        };
        telemetry::internal_error("login", &error);
        failure
    }
}

/// Why a callback completed no login, before it looks for the result of another request. Outside,
/// `UsedByOther` and `Revoked` are [`LoginError::StateMismatch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CompletionError {
    Rejected(LoginError),
    /// The login was revoked since it was verified.
    Revoked,
    /// Another request has claimed the attempt.
    UsedByOther,
}

impl From<LoginError> for CompletionError {
    fn from(error: LoginError) -> Self {
        Self::Rejected(error)
    }
}

impl From<BeginSessionError> for CompletionError {
    fn from(error: BeginSessionError) -> Self {
        match error {
            BeginSessionError::Revoked => Self::Revoked,
            error => Self::Rejected(error.into()),
        }
    }
}

impl From<CompletionError> for LoginError {
    fn from(error: CompletionError) -> Self {
        match error {
            CompletionError::Rejected(error) => error,
            CompletionError::Revoked | CompletionError::UsedByOther => Self::StateMismatch,
        }
    }
}

/// Why a code was not exchanged.
impl From<OAuthError> for LoginError {
    fn from(error: OAuthError) -> Self {
        if let OAuthError::InvalidGrant = error {
            return Self::InvalidGrant;
        }
        telemetry::internal_error("code_exchange", &error);
        match error {
            // A response that is not from a token endpoint, such as a captive portal's page, says
            // nothing about the code.
            OAuthError::Unavailable(_) | OAuthError::UnexpectedResponse(_) => Self::Unavailable,
            OAuthError::InvalidGrant | OAuthError::Rejected { .. } => Self::Misconfigured,
        }
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
    /// Rejects requests with other methods than these, which are the value of `Allow`.
    pub(crate) fn require_method(method: &Method, allow: &'static str) -> Result<(), Self> {
        match allow.split(", ").any(|allowed| method == allowed) {
            true => Ok(()),
            false => Err(Self::MethodNotAllowed { allow }),
        }
    }

    /// Whether the attempt has ended, so that its cookie is removed.
    pub(crate) fn ends_attempt(&self) -> bool {
        !matches!(self, Self::InProgress | Self::LoginHookUnavailable | Self::Unavailable)
    }

    /// Whether the environment could not log the user in without interaction.
    pub(crate) fn wants_interaction(&self) -> bool {
        let Self::AuthorizationFailed { error: Some(error) } = self else { return false };
        error.wants_interaction()
    }

    /// Returns details for logs: an error code of the environment (never its description), or this
    /// crate's code with the name of the rejected claim.
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
}

impl CheckError for LoginError {
    fn code(&self) -> &'static str {
        RouteError::code(self)
    }
}

impl RouteError for LoginError {
    const SPECULATIVE: Self = Self::Speculative;

    fn code(&self) -> &'static str {
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
            Self::LoginHookUnavailable => "login_hook_unavailable",
            Self::InProgress => "login_in_progress",
            Self::IssuerMismatch => "issuer_mismatch",
            Self::Overloaded => "overloaded",
            Self::RequestTimeout => "request_timeout",
            Self::PayloadTooLarge => "payload_too_large",
            Self::SessionCookieLost { .. } => "session_cookie_lost",
            Self::Speculative => SPECULATIVE_CODE,
            Self::InvalidToken { .. } => "invalid_token",
            Self::Unavailable => "temporarily_unavailable",
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
            Self::InProgress
            | Self::Interrupted
            | Self::LoginHookUnavailable
            | Self::Overloaded
            | Self::Speculative
            | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
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
                "This login was already completed, has expired, or was started in another browser"
            }
            Self::InvalidGrant => "This login was already completed or has expired",
            Self::CrossSite => "This request was not sent by a page of this app",
            Self::AuthorizationFailed { error } => match error {
                Some(SsoError::AccessDenied) => "The login was cancelled",
                Some(error) if error.origin() == ErrorOrigin::Organization => {
                    "The login failed at your organization. Contact its administrator"
                }
                _ => "The login was not completed",
            },
            Self::RedirectLoop => {
                "The login was started repeatedly without success. Try again in a minute"
            }
            Self::Interrupted => "The login could not be completed. Try again",
            Self::LoginHookUnavailable => {
                "The login cannot be completed at the moment. Reload this page to try again"
            }
            Self::InProgress => {
                "This login is still being completed. Reload this page in a few seconds"
            }
            Self::InvalidIdpInitiatedLogin { .. } => "This sign-in link is invalid or has expired",
            Self::LogoutStateMismatch => {
                "This logout was already completed, has expired, or was started in another browser"
            }
            Self::InvalidLogoutToken => "The logout token is invalid",
            Self::InvalidRequest | Self::IssuerMismatch => "The request is invalid",
            Self::MethodNotAllowed { .. } => "This method is not allowed",
            Self::Misconfigured => "The server is misconfigured. See its log",
            Self::MissingSession => "Log in first",
            Self::LoginDenied => "This account is not allowed to use the app",
            Self::Overloaded => OVERLOADED,
            Self::RequestTimeout => REQUEST_TIMEOUT,
            Self::PayloadTooLarge => "The request is too large",
            Self::Speculative => SPECULATIVE_MESSAGE,
            Self::InvalidToken { .. } => "The login could not be verified",
            Self::Unavailable => "The login service is unavailable. Try again later",
        })
    }

    fn retry_label(&self) -> &'static str {
        "Log in again"
    }

    fn allow(&self) -> Option<&'static str> {
        match self {
            Self::MethodNotAllowed { allow } => Some(allow),
            _ => None,
        }
    }
}
