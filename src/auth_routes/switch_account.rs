use bytes::Bytes;
use http::{Request, Response};

use super::LoginError;
use super::route::LoginRouteState;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route::route;
use crate::session::{
    RecentLogin, SessionCookies, SwitchError, SwitchStep, UnconfirmedCredentials,
};
use crate::util::telemetry;

/// Asks the user before a login replaces the session of another user: `GET` and
/// `POST /auth/switch-account`. Returned by
/// [`Sessions::switch_account`](crate::Sessions::switch_account).
///
/// The [`Callback`](super::Callback) redirects the browser here if the `sub` of the login differs
/// from that of the browser's session. The login stays sealed in the shared store for ten minutes,
/// for this browser only. "Keep" discards it, and revokes the session that it has created at the
/// environment. A session that the environment had before, for other apps, stays. The same happens to
/// the oldest of more than five pending logins, and to an expired one at the next login or logout in
/// this browser within an hour. "Switch" begins its session in place of the other one,
/// and only then calls the hook of [`on_login`](crate::session::SessionsBuilder::on_login).
/// While another replica begins the session, and for two minutes after that was interrupted, the
/// response to either is 503.
#[derive(Clone, Debug)]
#[must_use]
pub struct SwitchAccount {
    pub(super) state: LoginRouteState,
}

impl SwitchAccount {
    pub(super) async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        match self.step(&request).await {
            Ok(response) => response,
            Err(error) => self.state.reject_login(error, &request, None, []),
        }
    }

    async fn step(&self, request: &Request<()>) -> Result<Response<Bytes>, LoginError> {
        let sessions = self.state.sessions.clone();
        let (attempt, dropped) =
            match sessions.switch_step(request, sessions.switch_account_path()).await? {
                SwitchStep::Respond(response) => return Ok(response),
                SwitchStep::Switch { attempt, dropped } => (attempt, dropped),
            };
        let (begins, headers) = (sessions.clone(), request.headers().clone());
        let recent = RecentLogin::cookies(&sessions, &attempt, sessions.start_page(), &headers);
        let begin = async move |credentials| match credentials {
            UnconfirmedCredentials::Tokens(record) => {
                let cookies = begins.begin_login_session(*record, &headers).await?.into_values();
                telemetry::login_completed();
                Ok(SessionCookies::new(cookies.into_iter().chain(recent)))
            }
            UnconfirmedCredentials::Email(_) => Err(LoginError::StateMismatch),
        };
        let switched = sessions.switch(sessions.switches(), attempt, begin).await?;
        Ok(switched.into_response(dropped))
    }
}

route!(SwitchAccount.state);
on_rejection!(SwitchAccount, RouteRejection<LoginError>, state.renderer);

impl From<SwitchError> for LoginError {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::CrossOrigin => Self::CrossSite,
            SwitchError::InvalidRequest => Self::InvalidRequest,
            SwitchError::MethodNotAllowed { allow } => Self::MethodNotAllowed { allow },
            SwitchError::Misconfigured => Self::Misconfigured,
            SwitchError::NoPendingLogin => Self::StateMismatch,
            SwitchError::Unavailable => Self::Unavailable,
        }
    }
}
