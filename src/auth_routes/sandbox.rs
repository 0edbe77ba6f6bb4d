use std::fmt::Display;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};

use crate::sandbox::Sandbox;
use crate::session::Sessions;

impl Sandbox {
    /// Logs a user in and returns the `Cookie` header of the session, for tests of an app that is
    /// protected by [`RequireSession`](crate::RequireSession).
    ///
    /// It runs a complete login through `/login`, the sandbox and the callback, so the cookie is
    /// the same as in a browser. An unknown e-mail address is signed up. Registers the redirect
    /// URIs of `sessions`; the login is at the first.
    ///
    /// # Panics
    /// Panics when the login fails, for instance because `sessions` belongs to another environment
    /// or a fault is set.
    pub async fn session_cookie(&self, sessions: &Sessions, email: &str) -> HeaderValue {
        sessions.redirect_uris().for_each(|uri| self.register_redirect_uri(uri));
        let started = sessions.login().respond(Request::new(())).await;
        let authorization = started
            .headers()
            .get(header::LOCATION)
            .and_then(|url| url.to_str().ok())
            .unwrap_or_default();
        let callback = or_panic(self.log_in(authorization, email));
        let request = Request::get(callback).header(header::COOKIE, cookie_header(&started, ""));
        let completed = sessions.callback().respond(or_panic(request.body(()))).await;
        if !completed.status().is_redirection() {
            or_panic::<(), _>(Err(String::from_utf8_lossy(completed.body())));
        }
        cookie_header(&completed, sessions.cookie_name())
    }
}

/// Returns the `Cookie` header for the cookies of a response whose names begin with `name`.
fn cookie_header(response: &Response<Bytes>, name: &str) -> HeaderValue {
    let cookies: Vec<&str> = response
        .headers()
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok()?.split_once(';'))
        .filter(|(pair, attributes)| pair.starts_with(name) && !attributes.contains("Max-Age=0"))
        .map(|(pair, _)| pair)
        .collect();
    or_panic(cookies.join("; ").try_into())
}

fn or_panic<T, E: Display>(result: Result<T, E>) -> T {
    #[expect(clippy::panic, reason = "documented under # Panics")]
    result.unwrap_or_else(|error| panic!("the login failed: {error}"))
}
