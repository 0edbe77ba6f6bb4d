//! The responses when an account is not connected: the rows of the
//! [table](crate#who-gets-which-answer) about that. All words are ours.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};

use super::ConnectAccount;
use crate::api::ApiError;
use crate::auth_routes::set_sensitive_headers;
use crate::middleware::page;
use crate::middleware::rejection::{Rejection, json_response, unavailable_response};
use crate::util::cache_control::vary_on_cookie;
use crate::util::fetch_metadata::wants_html;
use crate::util::telemetry;

/// Why a service rejected a request, and to whom.
#[derive(Clone)]
pub struct ConnectRejection {
    error: ConnectAccountError,
    /// Where the page's link leads; `None` where no one sees a page.
    page_link: Option<String>,
    set_cookie: Option<HeaderValue>,
}

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
        let page_link = wants_html(request.headers()).then(|| self.0.start_page.clone());
        let rejection = ConnectRejection { error, page_link, set_cookie };
        self.0.renderer.render(rejection, request)
    }
}

impl ConnectRejection {
    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> &ConnectAccountError {
        &self.error
    }
}

impl fmt::Debug for ConnectRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRejection").field("failure", &self.error).finish_non_exhaustive()
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

    /// A stable name for metrics, logs and JSON.
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

    fn detail(&self) -> Option<&str> {
        match self {
            Self::ConsentDenied { code } => code.as_deref(),
            _ => None,
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

    fn message(&self) -> &'static str {
        match self {
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
        }
    }
}

impl Rejection for ConnectRejection {
    fn code(&self) -> &'static str {
        self.error.code()
    }

    fn response(&self) -> Response<Bytes> {
        let (status, message) = (self.error.status(), self.error.message());
        let mut response = match status {
            StatusCode::SERVICE_UNAVAILABLE => unavailable_response(message),
            _ => json_response(status, self.code(), message),
        };
        if let Some(start_page) = &self.page_link {
            let page = page::problem(message, start_page, "Back to the start page");
            page::show(&mut response, page);
        }
        let headers = response.headers_mut();
        if let ConnectAccountError::MethodNotAllowed { allow } = self.error {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(cookie) = &self.set_cookie {
            headers.append(header::SET_COOKIE, cookie.clone());
        }
        set_sensitive_headers(headers);
        vary_on_cookie(headers);
        response
    }
}
