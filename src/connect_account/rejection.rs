//! Errors of the routes that connect accounts, and their default responses: see
//! [connected accounts](crate::guides::responses#connected-accounts).

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};

use super::ConnectAccount;
use crate::api::ApiError;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::{Renderer, SPECULATIVE_CODE, SPECULATIVE_MESSAGE};
use crate::middleware::route_rejection::{RouteError, RouteState};
use crate::util::telemetry;

/// Why a route of [`ConnectAccount`] rejected a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectAccountError {
    /// Returned when the `state` belongs to no attempt of this browser: it was used already, is
    /// older than ten minutes, or began in another browser.
    StateMismatch,
    /// Returned when a page of another origin, which the app does not trust, caused the
    /// request.
    CrossSite,
    /// Returned when a parameter is missing or repeated.
    InvalidRequest,
    /// Returned when the method is not supported.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// Returned when the connection, the credentials or a setting is wrong; the log has the reason.
    Misconfigured,
    /// Returned when the user did not consent, or the service rejected the authorization.
    ConsentDenied {
        /// For instance `access_denied`; `None` if it is not a valid code.
        code: Option<String>,
    },
    /// Returned when the environment has no pending verification of this user: it was completed
    /// already, or has expired.
    NoPendingVerification,
    /// Returned when a browser prefetches or prerenders the page, see
    /// [speculative requests](crate::guides::responses#speculative-requests).
    Speculative,
    /// Returned when another user is logged in than the one who began.
    UserMismatch,
    /// Returned when the environment is unavailable.
    Unavailable,
}

impl RouteState for ConnectAccount {
    type Error = ConnectAccountError;

    fn renderer(&self) -> &Renderer<RouteRejection<ConnectAccountError>> {
        &self.inner.renderer
    }
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
        let rejection =
            RouteRejection::new(error, self.inner.start_page.clone(), request.headers())
                .set_cookies(set_cookie);
        self.inner.renderer.render(rejection, request)
    }
}

impl ConnectAccountError {
    /// Maps an unexpected error of the API.
    pub(super) fn from_api(error: ApiError) -> Self {
        telemetry::internal_error("connect_account", &error);
        if error.is_temporary() { Self::Unavailable } else { Self::Misconfigured }
    }

    /// Whether the attempt has ended, so that its cookie is removed.
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
    const SPECULATIVE: Self = Self::Speculative;

    fn code(&self) -> &'static str {
        match self {
            Self::StateMismatch => "state_mismatch",
            Self::CrossSite => "cross_site_request",
            Self::InvalidRequest => "invalid_request",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Misconfigured => "server_error",
            Self::ConsentDenied { .. } => "consent_denied",
            Self::NoPendingVerification => "no_pending_verification",
            Self::Speculative => SPECULATIVE_CODE,
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
            Self::Speculative | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::StateMismatch => {
                "This was already completed, has expired, or was started in another browser"
            }
            Self::CrossSite => "This request was not sent by a page of this app",
            Self::InvalidRequest => "The request is invalid",
            Self::MethodNotAllowed { .. } => "This method is not allowed",
            Self::Misconfigured => "The server is misconfigured. See its log",
            Self::ConsentDenied { .. } => "The account was not connected",
            Self::NoPendingVerification => "This was already completed or has expired",
            Self::Speculative => SPECULATIVE_MESSAGE,
            Self::UserMismatch => {
                "A different user is logged in now. The account was not connected"
            }
            Self::Unavailable => "The service is unavailable. Try again later",
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
