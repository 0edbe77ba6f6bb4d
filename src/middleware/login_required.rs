//! The response to a request whose user must log in, or log in again: a redirect to the login, a
//! page, or 401; for a speculative request 503.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};

use super::page;
use super::rejection::{challenged, json_response, speculative_response};
use crate::challenge::{BearerError, Challenge};
use crate::util::cache_control::NO_STORE;
use crate::util::fetch_metadata::{is_navigation, is_speculative, wants_html};

/// How the user of a request logs in.
#[derive(Clone)]
pub struct LoginRequired {
    next: Next,
    reason: Reason,
    removals: Vec<HeaderValue>,
    set_cookie: Option<HeaderValue>,
}

#[derive(Clone)]
enum Next {
    /// A redirect to this login.
    Login(String),
    /// A page with a link to this login, for a user who sends a form: a redirect would lose the
    /// form.
    Link(String),
    /// A script decides.
    Script,
    /// A speculative request starts no login.
    Speculative { wants_html: bool },
}

/// Why a login is required.
#[derive(Clone)]
enum Reason {
    /// There is no session.
    MissingSession,
    /// The user must authenticate again.
    OutdatedAuthentication(Box<Challenge>),
    /// The user has just authenticated again, which was not enough.
    NotRenewed,
}

impl LoginRequired {
    /// For the login at this URL. `removals` are the `Set-Cookie` values that remove cookies of a
    /// session that is over.
    pub(crate) fn new<B>(request: &Request<B>, login: String, removals: Vec<HeaderValue>) -> Self {
        let headers = request.headers();
        let next = if is_speculative(request) {
            Next::Speculative { wants_html: wants_html(headers) }
        } else if is_navigation(request) {
            Next::Login(login)
        } else if wants_html(headers) {
            Next::Link(login)
        } else {
            Next::Script
        };
        Self { next, reason: Reason::MissingSession, removals, set_cookie: None }
    }

    /// For a user with a session, whose authentication is not recent enough. Scripts get this
    /// challenge.
    pub(crate) fn outdated_authentication(self, challenge: Challenge) -> Self {
        Self { reason: Reason::OutdatedAuthentication(Box::new(challenge)), ..self }
    }

    /// The same after a login that has not changed this: there is no redirect to another one.
    pub(crate) fn not_renewed(self) -> Self {
        let next = match self.next {
            Next::Login(login) => Next::Link(login),
            next => next,
        };
        Self { next, reason: Reason::NotRenewed, ..self }
    }

    /// Sets a cookie with the redirect.
    pub(crate) fn set_cookie(self, value: Option<HeaderValue>) -> Self {
        Self { set_cookie: value, ..self }
    }

    /// Where to send the browser: the login, with the requested page in `return_to` if its path is
    /// known (see [`base_path`](crate::session::SessionsBuilder::base_path)); or the same page at
    /// the first redirect URI's host, if the request names a host of no redirect URI. `None` if the
    /// request is not a navigation, because a script would follow the redirect and a form would lose
    /// its content; or if it is [speculative](crate::guides::responses#speculative-requests).
    #[must_use]
    pub fn login_url(&self) -> Option<&str> {
        match &self.next {
            Next::Login(login) => Some(login),
            _ => None,
        }
    }

    pub(crate) fn response(&self) -> Response<Bytes> {
        let mut response = match (&self.next, self.login_url().map(HeaderValue::try_from)) {
            (Next::Speculative { wants_html }, _) => speculative_response(*wants_html),
            (_, Some(Ok(login))) => redirect(login),
            _ => self.reason.response(),
        };
        if let Next::Link(login) = &self.next {
            let (message, label) = self.reason.page();
            page::show(&mut response, page::problem(message, login, label));
        }
        for cookie in self.removals.iter().chain(&self.set_cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie.clone());
        }
        response
    }
}

impl Reason {
    fn response(&self) -> Response<Bytes> {
        let error = BearerError::InsufficientUserAuthentication;
        match self {
            Self::MissingSession => {
                json_response(StatusCode::UNAUTHORIZED, "login_required", "Log in first")
            }
            Self::OutdatedAuthentication(challenge) => challenged(
                json_response(StatusCode::UNAUTHORIZED, error.code(), "Log in again first"),
                challenge,
            ),
            Self::NotRenewed => json_response(StatusCode::FORBIDDEN, error.code(), NOT_RENEWED),
        }
    }

    /// Message and link of the page.
    fn page(&self) -> (&'static str, &'static str) {
        match self {
            Self::MissingSession => {
                ("You are not logged in, so the form was not accepted", "Log in")
            }
            Self::OutdatedAuthentication(_) => {
                ("Log in again first. The form was not accepted", "Log in again")
            }
            Self::NotRenewed => (NOT_RENEWED, "Log in again"),
        }
    }
}

const NOT_RENEWED: &str = "You have logged in, but not recently enough for this page";

impl fmt::Debug for LoginRequired {
    /// Without the login, whose `return_to` may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequired").finish_non_exhaustive()
    }
}

fn redirect(location: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response
}
