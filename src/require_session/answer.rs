//! The answers to requests without a session: cookie routes' rows of the
//! [table](crate#who-gets-which-answer).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use url::form_urlencoded;

use crate::rejection::{NO_STORE, Reason, json_answer, unavailable_answer, vary_on_cookie};
use crate::session::Sessions;

/// Why [`RequireSession`](crate::RequireSession) did not let a request through.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SessionRejection {
    /// No session cookie was sent.
    NoSession(LoginRequired),
    /// The session has ended, or the cookie is none of ours.
    SessionOver(LoginRequired),
    /// The session's access token has expired and the environment does not answer.
    Unavailable,
}

/// How a request without a session gets to one.
#[derive(Clone, Debug)]
pub struct LoginRequired {
    login: Option<String>,
    clear_cookies: Vec<HeaderValue>,
}

impl LoginRequired {
    pub(super) fn of<B>(
        request: &Request<B>,
        sessions: &Sessions,
        clear_cookies: Vec<HeaderValue>,
    ) -> Self {
        let login = is_navigation(request.method(), request.headers())
            .then(|| login_address(sessions.login_path(), original_uri(request)));
        Self { login, clear_cookies }
    }

    /// Where to send the browser, with the way back in it; `None` when the request is not a
    /// navigation, so that a redirect would be followed by a script or lose a form.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    fn answer(&self) -> Response<Bytes> {
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

impl Reason for SessionRejection {
    fn name(&self) -> &'static str {
        match self {
            Self::NoSession(_) => "no_session",
            Self::SessionOver(_) => "session_over",
            Self::Unavailable => "session_unavailable",
        }
    }

    fn answer(&self) -> Response<Bytes> {
        let mut response = match self {
            Self::NoSession(login) | Self::SessionOver(login) => login.answer(),
            Self::Unavailable => unavailable_answer("The session cannot be renewed at the moment"),
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

/// Whether a person's browser is opening a page. `fetch` and forms are something else: a redirect
/// would send the first to another origin and lose the second's content.
fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    if method != Method::GET && method != Method::HEAD {
        return false;
    }
    match headers.get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => headers.get_all(header::ACCEPT).iter().any(|accept| {
            accept.to_str().is_ok_and(|accept| accept.to_ascii_lowercase().contains("text/html"))
        }),
    }
}

fn login_address(login_path: &str, uri: &Uri) -> String {
    let here = uri.path_and_query().map_or("/", |path| path.as_str());
    let return_to: String = form_urlencoded::byte_serialize(here.as_bytes()).collect();
    format!("{login_path}?return_to={return_to}")
}

/// The address as the browser knows it: nested axum routers see it without their prefix.
#[cfg(feature = "axum")]
fn original_uri<B>(request: &Request<B>) -> &Uri {
    let original = request.extensions().get::<axum::extract::OriginalUri>();
    original.map_or(request.uri(), |original| &original.0)
}

#[cfg(not(feature = "axum"))]
fn original_uri<B>(request: &Request<B>) -> &Uri {
    request.uri()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_navigation_is_told_by_its_mode_or_else_by_what_it_accepts() {
        let check = |method: Method, headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            is_navigation(&method, &headers.collect())
        };
        assert!(check(Method::GET, &[("sec-fetch-mode", "navigate"), ("accept", "*/*")]));
        assert!(check(Method::HEAD, &[("accept", "application/xml, Text/HTML;q=0.9")]));
        for mode in ["cors", "no-cors", "same-origin", "websocket"] {
            assert!(!check(Method::GET, &[("sec-fetch-mode", mode), ("accept", "text/html")]));
        }
        assert!(!check(Method::POST, &[("sec-fetch-mode", "navigate")]));
        assert!(!check(Method::GET, &[("accept", "*/*")]) && !check(Method::GET, &[]));
    }

    #[test]
    fn l9_the_way_back_is_one_encoded_parameter() {
        let uri = Uri::from_static("https://app.test/a%20b?x=1&y=%2F#z");
        assert_eq!(
            login_address("/login", &uri),
            "/login?return_to=%2Fa%2520b%3Fx%3D1%26y%3D%252F"
        );
        let authority = Uri::from_static("app.test:443");
        assert_eq!(login_address("/login", &authority), "/login?return_to=%2F");
    }
}
