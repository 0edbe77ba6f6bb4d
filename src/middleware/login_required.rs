//! The response to a request without a session: a redirect to the login, a page, or 401; for a
//! speculative request 503.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};

use super::page;
use super::rejection::{json_response, speculative_response};
use crate::util::cache_control::NO_STORE;
use crate::util::fetch_metadata::{is_navigation, is_speculative, wants_html};

/// How the user of a request without a session logs in.
#[derive(Clone)]
pub struct LoginRequired {
    next: Next,
    clear_cookies: Vec<HeaderValue>,
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
        Self { next, clear_cookies: removals, set_cookie: None }
    }

    /// Sets a cookie with the redirect.
    pub(crate) fn set_cookie(self, value: Option<HeaderValue>) -> Self {
        Self { set_cookie: value, ..self }
    }

    /// Where to send the browser: the login, with the requested page in `return_to` if its path is
    /// known (see [`base_path`](crate::session::SessionsBuilder::base_path)); or the same page at
    /// the redirect URI's host, if the request names another host. `None` if the request is not a
    /// navigation, because a script would follow the redirect and a form would lose its content; or
    /// if it is [speculative](crate::guides::responses#speculative-requests).
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
            _ => json_response(StatusCode::UNAUTHORIZED, "login_required", "Log in first"),
        };
        if let Next::Link(login) = &self.next {
            let message = "You are not logged in, so the form was not accepted";
            page::show(&mut response, page::problem(message, login, "Log in"));
        }
        for cookie in self.clear_cookies.iter().chain(&self.set_cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie.clone());
        }
        response
    }
}

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
