use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::LoginError;
use super::route::Route;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route::route;
use crate::middleware::route_rejection::redirect;
use crate::secret::{RandomSourceFailed, SecretString};
use crate::session::short_lived_cookies::{decode_time, encode_time};
use crate::session::{ATTEMPT_ID_BYTES, ShortLivedCookie, ShortLivedCookieKind};
use crate::util::query::QueryParam;

/// Receives the browser after a logout at the environment: `GET` path of the post-logout redirect
/// URI. Returned by [`Sessions::logout_callback`](crate::Sessions::logout_callback).
///
/// Redirects to the [page after a logout](crate::session::SessionsBuilder::logged_out_page) if
/// `state` belongs to a logout that this browser began less than ten minutes ago, so that a link on
/// another site cannot show that page to users who are still logged in. Otherwise responds with
/// 400. Does not end a session.
#[derive(Clone, Debug)]
#[must_use]
pub struct LogoutCallback {
    pub(super) route: Route,
}

impl LogoutCallback {
    pub(super) async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        match self.complete(&request) {
            Ok(attempt_removal) => {
                let sessions = &self.route.sessions;
                let page = sessions.logged_out_url(sessions.origin_of(&request));
                redirect(StatusCode::SEE_OTHER, &page, attempt_removal)
            }
            Err(error) => self.route.reject(error, &request, None, []),
        }
    }

    /// Returns the `Set-Cookie` value that removes the attempt.
    fn complete(&self, request: &Request<()>) -> Result<Option<HeaderValue>, LoginError> {
        LoginError::require_method(request.method(), "GET")?;
        let state = QueryParam::find(request.uri().query().unwrap_or_default(), "state")
            .single()
            .ok_or(LoginError::InvalidRequest)?;
        let (attempt, end) =
            self.route.sessions.attempt::<LogoutAttempt>(&state, request.headers());
        attempt
            .filter(|attempt| {
                verify_slices_are_equal(attempt.state().as_bytes(), state.as_bytes()).is_ok()
            })
            .ok_or(LoginError::LogoutStateMismatch)?;
        Ok(end)
    }
}

route!(LogoutCallback.route);
on_rejection!(LogoutCallback, RouteRejection<LoginError>, route.renderer);

const LIFETIME: Duration = Duration::minutes(10);

/// A logout, stored in a cookie while the browser is at the environment.
pub(super) struct LogoutAttempt {
    state: SecretString,
    started_at: OffsetDateTime,
}

impl LogoutAttempt {
    pub(super) fn start(now: OffsetDateTime) -> Result<Self, RandomSourceFailed> {
        Ok(Self { state: SecretString::random::<32>()?, started_at: now })
    }

    pub(super) fn state(&self) -> &str {
        self.state.expose()
    }
}

impl ShortLivedCookie for LogoutAttempt {
    const KIND: ShortLivedCookieKind = ShortLivedCookieKind::Logout;

    fn id(&self) -> Option<String> {
        self.state().get(..ATTEMPT_ID_BYTES).map(str::to_owned)
    }

    fn began_at(&self) -> OffsetDateTime {
        self.started_at
    }

    fn ends_at(&self) -> OffsetDateTime {
        self.started_at.saturating_add(LIFETIME)
    }

    /// `start, Unix seconds ‖ state`
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new([&encode_time(self.started_at)[..], self.state().as_bytes()].concat()))
    }

    fn decode(_: &str, content: &[u8]) -> Option<Self> {
        let (started_at, state) = decode_time(content)?;
        Some(Self { state: std::str::from_utf8(state).ok()?.into(), started_at })
    }
}
