//! The response to a request without a session: a redirect to the login, a page, or 401.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};

use super::page;
use super::rejection::json_response;
use crate::util::cache_control::NO_STORE;
use crate::util::fetch_metadata::{is_navigation, wants_html};

/// How a request without a session gets to one.
#[derive(Clone)]
pub struct LoginRequired {
    login: Option<String>,
    /// The login for a user who sends a form: for a page, because a redirect would lose the form.
    form_login: Option<String>,
    clear_cookies: Vec<HeaderValue>,
}

impl LoginRequired {
    /// For the login at this URL. `removals` are the `Set-Cookie` values that remove cookies of a
    /// session that is over.
    pub(crate) fn new<B>(request: &Request<B>, login: String, removals: Vec<HeaderValue>) -> Self {
        let (login, form_login) = match is_navigation(request) {
            true => (Some(login), None),
            false => (None, Some(login).filter(|_| wants_html(request.headers()))),
        };
        Self { login, form_login, clear_cookies: removals }
    }

    /// Splits off the `Set-Cookie` values.
    pub(crate) fn split_removals(mut self) -> (Self, Vec<HeaderValue>) {
        let removals = std::mem::take(&mut self.clear_cookies);
        (self, removals)
    }

    /// Where to send the browser: the login, with the requested page in `return_to` if its path is
    /// known (see [`base_path`](crate::session::SessionsBuilder::base_path)); or the same page at
    /// the redirect URI's host, if the request names another host. `None` if the request is not a
    /// navigation: a script would follow the redirect, a form would lose its content.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    pub(crate) fn response(&self) -> Response<Bytes> {
        let mut response = match self.login.as_deref().map(HeaderValue::try_from) {
            Some(Ok(login)) => redirect(login),
            _ => json_response(StatusCode::UNAUTHORIZED, "login_required", "Log in first"),
        };
        if let Some(link) = &self.form_login {
            let message = "You are not logged in, so the form was not accepted";
            page::show(&mut response, page::problem(message, link, "Log in"));
        }
        for cookie in &self.clear_cookies {
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
