//! Errors of the login routes, and their default responses: see
//! [login routes](crate::guides::responses#login-routes). Messages never repeat parameters of the request.

use std::borrow::Cow;

use http::StatusCode;

use crate::middleware::rejection::{OVERLOADED, REQUEST_TIMEOUT};
use crate::middleware::replay_body::BodyError;
use crate::middleware::route_rejection::RouteError;
use crate::oauth::{ErrorOrigin, SsoError};
use crate::token::TokenError;

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
}

impl RouteError for LoginError {
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
            Self::IssuerMismatch => "issuer_mismatch",
            Self::Overloaded => "overloaded",
            Self::RequestTimeout => "request_timeout",
            Self::PayloadTooLarge => "payload_too_large",
            Self::SessionCookieLost { .. } => "session_cookie_lost",
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
