use bytes::Bytes;
use http::{Request, Response};

use super::PasswordlessLogin;
use super::rejection::PasswordlessLoginError;
use crate::middleware::route::route;
use crate::middleware::route_rejection::RouteError as _;
use crate::session::{SwitchError, SwitchStep, UnconfirmedCredentials};
use crate::util::telemetry;

/// Asks the user before a login replaces the session of another user: `GET` and
/// `POST /passwordless/switch`. Returned by [`PasswordlessLogin::switch`]. See
/// [`SwitchAccount`](crate::auth_routes::SwitchAccount), which has the same page and rules.
#[derive(Clone, Debug)]
pub struct Switch {
    pub(super) login: PasswordlessLogin,
}

impl Switch {
    async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        match self.step(&request).await {
            Ok(response) => response,
            Err(failure) => self.login.reject(failure, &request, None),
        }
    }

    async fn step(&self, request: &Request<()>) -> Result<Response<Bytes>, PasswordlessLoginError> {
        let sessions = self.login.sessions();
        let (attempt, dropped) =
            match sessions.switch_step(request, self.login.switch_path()).await? {
                SwitchStep::Respond(response) => return Ok(response),
                SwitchStep::Switch { attempt, dropped } => (attempt, dropped),
            };
        let (login, headers) = (self.login.clone(), request.headers().clone());
        let switched = sessions
            .switch(&self.login.inner.switches, attempt, async move |credentials| match credentials
            {
                UnconfirmedCredentials::Email(verified) => {
                    login.begin(verified, &headers).await.inspect(|_| telemetry::login_completed())
                }
                UnconfirmedCredentials::Tokens(_) => Err(PasswordlessLoginError::NoPendingLogin),
            })
            .await;
        switched
            .inspect_err(|failure| telemetry::login_failed(failure.code(), None))
            .map(|switched| switched.into_response(dropped))
    }
}

route!(Switch.login);

impl From<SwitchError> for PasswordlessLoginError {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::CrossOrigin => Self::CrossSite,
            SwitchError::InvalidRequest => Self::InvalidRequest,
            SwitchError::MethodNotAllowed { allow } => Self::MethodNotAllowed { allow },
            SwitchError::Misconfigured => Self::Misconfigured,
            SwitchError::NoPendingLogin => Self::NoPendingLogin,
            SwitchError::Unavailable => Self::Unavailable,
        }
    }
}
