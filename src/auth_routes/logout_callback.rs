use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};

use super::LoginError;
use super::logout_attempt::LogoutAttempt;
use super::route::LoginRouteState;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route::route;
use crate::middleware::route_response::redirect;
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
    pub(super) state: LoginRouteState,
}

impl LogoutCallback {
    pub(super) async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        match self.complete(&request) {
            Ok(attempt_removal) => {
                let sessions = &self.state.sessions;
                let page = sessions.logged_out_url(sessions.origin_of(&request));
                redirect(StatusCode::SEE_OTHER, &page, attempt_removal)
            }
            Err(error) => self.state.reject(error, &request, None, []),
        }
    }

    /// Returns the `Set-Cookie` value that removes the attempt.
    fn complete(&self, request: &Request<()>) -> Result<Option<HeaderValue>, LoginError> {
        LoginError::require_method(request.method(), "GET")?;
        let state = QueryParam::find(request.uri().query().unwrap_or_default(), "state")
            .single()
            .ok_or(LoginError::InvalidRequest)?;
        let (attempt, attempt_removal) =
            self.state.sessions.find_short_lived::<LogoutAttempt>(&state, request.headers());
        attempt
            .filter(|attempt| {
                verify_slices_are_equal(attempt.state().as_bytes(), state.as_bytes()).is_ok()
            })
            .ok_or(LoginError::LogoutStateMismatch)?;
        Ok(attempt_removal)
    }
}

route!(LogoutCallback.state);
on_rejection!(LogoutCallback, RouteRejection<LoginError>, state.renderer);
