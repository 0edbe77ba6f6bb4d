//! Rejections for missing and invalid sessions: see
//! [cookie routes](crate::guides::responses#cookie-routes).

use std::fmt;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};

use crate::middleware::LoginRequired;
use crate::middleware::page;
use crate::middleware::rejection::{
    Rejection, SPECULATIVE_CODE, json_response, misconfigured_response, unavailable_response,
};
use crate::session::Sessions;
use crate::util::cache_control::vary_on_cookie;
use crate::util::fetch_metadata::{is_navigation, wants_html};
use crate::util::return_to::ReturnTo;

/// Why [`RequireSession`](crate::RequireSession) rejected a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SessionRejection {
    /// Returned when a page of another origin, which the app does not trust, caused a
    /// state-changing request.
    CrossSite,
    /// Returned when the request has no session cookie.
    MissingSession(LoginRequired),
    /// Returned when the session has ended, or its cookie cannot be opened.
    InvalidSession(LoginRequired),
    /// Returned when the user has not authenticated within the required time (see
    /// [`authenticated_within`](crate::RequireSession::authenticated_within)).
    OutdatedAuthentication(LoginRequired),
    /// Returned when the user has just logged in again for that reason, and the environment still
    /// names an earlier authentication. Responds with 403.
    AuthenticationNotRenewed(LoginRequired),
    /// Returned when a browser prefetches or prerenders the page and has no session, or one that
    /// must be refreshed first, see
    /// [speculative requests](crate::guides::responses#speculative-requests).
    Speculative(LoginRequired),
    /// Returned when the layer is around the login itself, which would redirect endlessly. Responds
    /// with 500.
    AroundOwnLogin,
    /// Returned when the session's access token has expired and the environment is unavailable;
    /// when the shared store that keeps the session is unavailable; when its log has revocations that
    /// this replica has not read yet; or when revocations are stale and
    /// [`reject_on_stale_revocations`](crate::session::SessionsBuilder::reject_on_stale_revocations)
    /// is set.
    Unavailable(RetryLater),
}

/// How a browser can retry a request that could not be served.
#[derive(Clone)]
pub struct RetryLater {
    page: Option<ReturnTo>,
}

impl RetryLater {
    pub(super) fn of<B>(
        request: &Request<B>,
        sessions: &Sessions,
        layer_path: Option<&str>,
    ) -> Self {
        Self {
            page: wants_html(request.headers()).then(|| {
                page_of(request, sessions, layer_path)
                    .unwrap_or_else(|| sessions.start_page().clone())
            }),
        }
    }

    /// Returns the path of the page to load again: the requested one, the one that sent the form,
    /// or the start page if that is unknown. Returns `None` when no browser will show the response.
    #[must_use]
    pub fn page(&self) -> Option<&str> {
        self.page.as_ref().map(ReturnTo::as_str)
    }

    fn response(&self) -> Response<Bytes> {
        let message = "The session cannot be loaded at the moment. Try again later";
        let mut response = unavailable_response(message);
        if let Some(page) = &self.page {
            page::show(&mut response, page::problem(message, page.as_str(), "Try again"));
        }
        response
    }
}

impl fmt::Debug for RetryLater {
    /// Without the page, whose query may contain a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLater").finish_non_exhaustive()
    }
}

/// Returns the page that the user is on: the one that was requested, or the one whose form was sent.
/// `None` if that is unknown.
pub(super) fn page_of<B>(
    request: &Request<B>,
    sessions: &Sessions,
    layer_path: Option<&str>,
) -> Option<ReturnTo> {
    if is_navigation(request) {
        sessions.requested_target(request, layer_path).and_then(|target| ReturnTo::parse(&target))
    } else {
        request
            .headers()
            .get(header::REFERER)
            .and_then(|referer| sessions.origin_of(request).page(referer.to_str().ok()?))
    }
}

impl Rejection for SessionRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::CrossSite => "cross_site_request",
            Self::MissingSession(_) => "missing_session",
            Self::InvalidSession(_) => "invalid_session",
            Self::OutdatedAuthentication(_) => "outdated_authentication",
            Self::AuthenticationNotRenewed(_) => "authentication_not_renewed",
            Self::Speculative(_) => SPECULATIVE_CODE,
            Self::AroundOwnLogin => "server_error",
            Self::Unavailable(_) => "session_unavailable",
        }
    }

    fn response(&self) -> Response<Bytes> {
        let mut response = match self {
            Self::CrossSite => {
                let message = "This request was not sent by a page of this app";
                json_response(StatusCode::FORBIDDEN, self.code(), message)
            }
            Self::MissingSession(login)
            | Self::InvalidSession(login)
            | Self::OutdatedAuthentication(login)
            | Self::AuthenticationNotRenewed(login)
            | Self::Speculative(login) => login.response(),
            Self::AroundOwnLogin => misconfigured_response(),
            Self::Unavailable(retry) => retry.response(),
        };
        vary_on_cookie(response.headers_mut());
        response
    }
}
