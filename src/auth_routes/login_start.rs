//! The start of every login.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use time::Duration;

use super::LoginError;
use super::login_attempt::{LoginAttempt, LoginTrigger};
use crate::middleware::route_response::redirect;
use crate::oauth::AuthorizationRequest;
use crate::session::origins::AppOrigin;
use crate::session::{RecentLogin, Sessions};
use crate::util::diagnosis::CheckError as _;
use crate::util::fetch_metadata::Initiator;
use crate::util::return_to::ReturnTo;
use crate::util::telemetry;

/// How many logins a portal may start in a row, and within which time, without one that returns.
const MAX_IDP_INITIATED_LOGINS: usize = 3;
const LOOP_WINDOW: Duration = Duration::minutes(1);

/// A login that is about to start.
pub(crate) struct LoginStart<'a> {
    pub(crate) sessions: &'a Sessions,
    /// Where the login begins and ends.
    pub(crate) origin: &'a AppOrigin,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) return_to: ReturnTo,
    pub(crate) trigger: LoginTrigger,
    /// Parameters of the authorization request, except those that secure the login.
    pub(crate) parameters: Vec<(String, String)>,
}

impl LoginStart<'_> {
    /// Redirects the browser to the environment, with a new `state`, `nonce` and PKCE verifier.
    pub(crate) fn redirect(self) -> Result<Response<Bytes>, LoginError> {
        if RecentLogin::has_lost_session_cookie(self.sessions, self.headers) {
            let expected = "that of the login that was just completed";
            let found = match self.sessions.cookies().read(self.headers).sent().is_empty() {
                true => "none, for the second time: the browser does not store it",
                false => "one that no secret opens: another app, or other `Sessions`, replaced it",
            };
            let cookie = self.sessions.cookie_name().to_owned();
            return Err(LoginError::SessionCookieLost { cookie }.logged(
                "session cookie",
                expected,
                found,
            ));
        }
        // Redirects of one chain have passed the environment: the user has started none of them.
        if self.trigger == LoginTrigger::User
            && self.sessions.initiator(self.origin, self.headers) == Initiator::Other
            && RecentLogin::is_loop(self.sessions, self.headers)
        {
            let expected = "a page after the third login within seconds";
            let found = "another login: the layer around the page must have the same `Sessions` \
                         (secret, name, environment, redirect URI) as the routes";
            return Err(LoginError::RedirectLoop.logged("session", expected, found));
        }
        let origin = self.sessions.origins().id(self.origin);
        let now = self.sessions.now();
        let attempt =
            LoginAttempt::start(origin, self.return_to, self.trigger, now).map_err(|error| {
                telemetry::internal_error("login", &error);
                LoginError::Misconfigured
            })?;
        let cookies = self
            .sessions
            .store_short_lived(&attempt, self.headers)
            .ok_or(LoginError::Misconfigured)?;
        let mut authorization = AuthorizationRequest::new(self.origin.redirect_uri().as_str())
            .scopes(self.sessions.scopes());
        for (name, value) in self.parameters {
            authorization = authorization.parameter(name, value);
        }
        let url = self.sessions.scalekit().authorization_url(&attempt.apply_to(authorization));
        Ok(redirect(StatusCode::FOUND, url.as_str(), cookies))
    }
}

/// Whether a portal has started so many logins in this browser in a row that the next one is
/// probably automatic.
///
/// Only logins that have not returned count. One that has returned shows a page of the app or an
/// error page, and only the user can continue from there.
pub(crate) fn is_redirect_loop(sessions: &Sessions, headers: &HeaderMap) -> bool {
    LoginAttempt::idp_initiated_within(sessions, headers, LOOP_WINDOW) >= MAX_IDP_INITIATED_LOGINS
}
