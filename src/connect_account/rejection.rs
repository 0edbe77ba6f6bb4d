//! Errors of the routes that connect accounts, and their default responses: see
//! [connected accounts](crate::guides::responses#connected-accounts).

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};

use super::ConnectAccount;
use crate::api::ApiError;
use crate::middleware::RouteRejection;
use crate::middleware::route_rejection::RouteError;
use crate::util::fetch_metadata::wants_html;
use crate::util::telemetry;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectAccountError {
    /// The `state` is not of an attempt that this browser is making: it was used already, is older
    /// than ten minutes, or began in another browser.
    StateMismatch,
    /// A page of another site caused the request.
    CrossSite,
    /// A parameter is missing, or there twice.
    InvalidRequest,
    /// Only some methods make sense here.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// The connection, the credentials or a setting is wrong; the log says which.
    Misconfigured,
    /// The user did not let the app in, or the service did not let them.
    ConsentDenied {
        /// For instance `access_denied`; `None` when it was no code at all.
        code: Option<String>,
    },
    /// The environment has nothing that waits for this user: it was verified already, or is too
    /// old.
    NoPendingVerification,
    /// another user is logged in than who began.
    UserMismatch,
    /// The environment does not respond.
    Unavailable,
}

impl ConnectAccount {
    pub(super) fn reject(
        &self,
        error: ConnectAccountError,
        request: &Request<()>,
        end_attempt: Option<HeaderValue>,
    ) -> Response<Bytes> {
        telemetry::account_not_connected(error.code(), error.detail());
        let set_cookie = end_attempt.filter(|_| error.ends_attempt());
        let start_page = wants_html(request.headers()).then(|| self.0.start_page.clone());
        let rejection =
            RouteRejection::new(error, start_page, request.headers()).set_cookies(set_cookie);
        self.0.renderer.render(rejection, request)
    }
}

impl ConnectAccountError {
    /// What a call of the API came to that should have gone well.
    pub(super) fn of_api(error: &ApiError) -> Self {
        telemetry::internal_error("connect_account", error);
        match error {
            ApiError::RateLimited { .. } | ApiError::Unavailable(_) => Self::Unavailable,
            _ => Self::Misconfigured,
        }
    }

    /// Whether the attempt is over, so that its cookie is taken away.
    fn ends_attempt(&self) -> bool {
        *self != Self::Unavailable
    }

    fn detail(&self) -> Option<&str> {
        match self {
            Self::ConsentDenied { code } => code.as_deref(),
            _ => None,
        }
    }
}

impl RouteError for ConnectAccountError {
    fn code(&self) -> &'static str {
        match self {
            Self::StateMismatch => "state_mismatch",
            Self::CrossSite => "cross_site_request",
            Self::InvalidRequest => "invalid_request",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Misconfigured => "server_error",
            Self::ConsentDenied { .. } => "consent_denied",
            Self::NoPendingVerification => "no_pending_verification",
            Self::UserMismatch => "user_mismatch",
            Self::Unavailable => "temporarily_unavailable",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::StateMismatch
            | Self::InvalidRequest
            | Self::ConsentDenied { .. }
            | Self::NoPendingVerification => StatusCode::BAD_REQUEST,
            Self::CrossSite | Self::UserMismatch => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::StateMismatch => {
                "This was already completed, took too long, or began in another browser"
            }
            Self::CrossSite => "This can only be done from the app's own pages",
            Self::InvalidRequest => "The request is incomplete",
            Self::MethodNotAllowed { .. } => "Another method is needed here",
            Self::Misconfigured => "The server is misconfigured; its log says how",
            Self::ConsentDenied { .. } => "The account was not connected",
            Self::NoPendingVerification => "This was already completed or took too long",
            Self::UserMismatch => {
                "another user is logged in than who began; the account was not connected"
            }
            Self::Unavailable => "The service does not respond at the moment",
        })
    }

    fn retry_label(&self) -> &'static str {
        "Back to the start page"
    }

    fn allow(&self) -> Option<&'static str> {
        match self {
            Self::MethodNotAllowed { allow } => Some(allow),
            _ => None,
        }
    }
}
