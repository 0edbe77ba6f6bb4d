//! The answers when an account is not connected: the rows of the
//! [table](crate#who-gets-which-answer) about that. All words are ours.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};

use super::ConnectAccount;
use crate::api::ApiError;
use crate::auth_routes::conceal_address;
use crate::middleware::page;
use crate::middleware::rejection::{Reason, json_answer, unavailable_answer};
use crate::util::cache_control::vary_on_cookie;
use crate::util::fetch_metadata::is_shown;
use crate::util::telemetry;

/// Why a service refused a request, and to whom.
#[derive(Clone)]
pub struct ConnectRejection {
    failure: ConnectFailure,
    /// Where the page's link leads; `None` where nobody sees a page.
    page_link: Option<String>,
    set_cookie: Option<HeaderValue>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The `state` is not of an attempt that this browser is making: it was used already, is older
    /// than ten minutes, or began in another browser.
    AttemptUnknown,
    /// A page of another site caused the request.
    CrossSite,
    /// A parameter is missing, or there twice.
    MalformedRequest,
    /// Only some methods make sense here.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// The connection, the credentials or a setting is wrong; the log says which.
    Misconfigured,
    /// The user did not let the app in, or the service did not let them.
    NotAllowed {
        /// For instance `access_denied`; `None` when it was no code at all.
        code: Option<String>,
    },
    /// The environment has nothing that waits for this user: it was verified already, or is too
    /// old.
    NothingToVerify,
    /// Somebody else is logged in than who began.
    OtherPerson,
    /// The environment does not answer.
    Unavailable,
}

impl ConnectAccount {
    pub(super) fn refuse(
        &self,
        failure: ConnectFailure,
        request: &Request<()>,
        end_attempt: Option<HeaderValue>,
    ) -> Response<Bytes> {
        telemetry::account_not_connected(failure.name(), failure.detail());
        let set_cookie = end_attempt.filter(|_| failure.ends_attempt());
        let page_link = is_shown(request.headers()).then(|| self.0.start_page.clone());
        let rejection = ConnectRejection { failure, page_link, set_cookie };
        self.0.renderer.render(rejection, request)
    }
}

impl ConnectRejection {
    /// What went wrong.
    #[must_use]
    pub fn failure(&self) -> &ConnectFailure {
        &self.failure
    }
}

impl fmt::Debug for ConnectRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRejection").field("failure", &self.failure).finish_non_exhaustive()
    }
}

impl ConnectFailure {
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
    fn name(&self) -> &'static str {
        match self {
            Self::AttemptUnknown => "connect_attempt_unknown",
            Self::CrossSite => "cross_site_request",
            Self::MalformedRequest => "malformed_request",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Misconfigured => "server_error",
            Self::NotAllowed { .. } => "connect_refused",
            Self::NothingToVerify => "nothing_to_verify",
            Self::OtherPerson => "other_person",
            Self::Unavailable => "temporarily_unavailable",
        }
    }

    fn detail(&self) -> Option<&str> {
        match self {
            Self::NotAllowed { code } => code.as_deref(),
            _ => None,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::AttemptUnknown
            | Self::MalformedRequest
            | Self::NotAllowed { .. }
            | Self::NothingToVerify => StatusCode::BAD_REQUEST,
            Self::CrossSite | Self::OtherPerson => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(&self) -> &'static str {
        match self {
            Self::AttemptUnknown => {
                "This was already completed, took too long, or began in another browser"
            }
            Self::CrossSite => "This can only be done from the app's own pages",
            Self::MalformedRequest => "The request is incomplete",
            Self::MethodNotAllowed { .. } => "Another method is needed here",
            Self::Misconfigured => "The server is misconfigured; its log says how",
            Self::NotAllowed { .. } => "The account was not connected",
            Self::NothingToVerify => "This was already completed or took too long",
            Self::OtherPerson => {
                "Somebody else is logged in than who began; the account was not connected"
            }
            Self::Unavailable => "The service does not answer at the moment",
        }
    }
}

impl Reason for ConnectRejection {
    fn name(&self) -> &'static str {
        self.failure.name()
    }

    fn answer(&self) -> Response<Bytes> {
        let (status, message) = (self.failure.status(), self.failure.message());
        let mut response = match status {
            StatusCode::SERVICE_UNAVAILABLE => unavailable_answer(message),
            _ => json_answer(status, self.name(), message),
        };
        if let Some(start_page) = &self.page_link {
            let page = page::problem(message, start_page, "Back to the start page");
            page::show(&mut response, page);
        }
        let headers = response.headers_mut();
        if let ConnectFailure::MethodNotAllowed { allow } = self.failure {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(cookie) = &self.set_cookie {
            headers.append(header::SET_COOKIE, cookie.clone());
        }
        conceal_address(headers);
        vary_on_cookie(headers);
        response
    }
}
