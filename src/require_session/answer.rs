//! The answers to requests without a session: cookie routes' rows of the
//! [table](crate#who-gets-which-answer).

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};

use crate::cache_policy::{NO_STORE, vary_on_cookie};
use crate::origin::{is_navigation, original_uri};
use crate::rejection::{Reason, json_answer, unavailable_answer};
use crate::return_to::{ReturnTo, with_return_to};
use crate::session::{Cookie, Sessions};

/// Why [`RequireSession`](crate::RequireSession) did not let a request through.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SessionRejection {
    /// A page of another site made the browser send a request that may change something.
    CrossSite,
    /// No session cookie was sent.
    NoSession(LoginRequired),
    /// The session has ended, or the cookie is none of ours.
    SessionOver(LoginRequired),
    /// The session's access token has expired and the environment does not answer; or the session
    /// is kept in the shared store, and that does not answer.
    Unavailable,
}

/// How a request without a session gets to one.
#[derive(Clone)]
pub struct LoginRequired {
    login: Option<String>,
    clear_cookies: Vec<HeaderValue>,
}

impl LoginRequired {
    pub(crate) fn of<B>(request: &Request<B>, sessions: &Sessions, cookie: Cookie) -> Self {
        let here = original_uri(request).path_and_query().map_or("/", |path| path.as_str());
        let clear_cookies = match cookie {
            Cookie::Kept => Vec::new(),
            Cookie::Taken => sessions.cookies().clear_session(request.headers()),
        };
        Self { clear_cookies, ..Self::with_page(request, sessions, here) }
    }

    /// For a login that ends at `page`, wherever the request goes.
    pub(crate) fn with_page<B>(request: &Request<B>, sessions: &Sessions, page: &str) -> Self {
        let page = || ReturnTo::parse(page).filter(|page| !page.is_single_use());
        let login =
            is_navigation(request).then(|| with_return_to(sessions.login_path(), page().as_ref()));
        Self { login, clear_cookies: Vec::new() }
    }

    pub(super) fn into_cleared_cookies(self) -> Vec<HeaderValue> {
        self.clear_cookies
    }

    /// Where to send the browser, with the way back in it; `None` when the request is not a
    /// navigation, so that a redirect would be followed by a script or lose a form.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    pub(crate) fn answer(&self) -> Response<Bytes> {
        let mut response = match self.login.as_deref().map(HeaderValue::try_from) {
            Some(Ok(login)) => redirect(login),
            _ => json_answer(StatusCode::UNAUTHORIZED, "login_required", "Log in first"),
        };
        for cookie in &self.clear_cookies {
            response.headers_mut().append(header::SET_COOKIE, cookie.clone());
        }
        response
    }
}

impl fmt::Debug for LoginRequired {
    /// Without the way back, whose query may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequired").finish_non_exhaustive()
    }
}

impl Reason for SessionRejection {
    fn name(&self) -> &'static str {
        match self {
            Self::CrossSite => "cross_site_request",
            Self::NoSession(_) => "no_session",
            Self::SessionOver(_) => "session_over",
            Self::Unavailable => "session_unavailable",
        }
    }

    fn answer(&self) -> Response<Bytes> {
        let mut response = match self {
            Self::CrossSite => {
                let message = "This can only be done from the app's own pages";
                json_answer(StatusCode::FORBIDDEN, self.name(), message)
            }
            Self::NoSession(login) | Self::SessionOver(login) => login.answer(),
            Self::Unavailable => {
                unavailable_answer("The session cannot be looked up or renewed at the moment")
            }
        };
        vary_on_cookie(response.headers_mut());
        response
    }
}

fn redirect(location: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response
}
