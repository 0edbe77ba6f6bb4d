use bytes::Bytes;
use http::{Request, Response};

use super::PasswordlessLogin;
use super::rejection::PasswordlessLoginError;
use crate::middleware::route::route;
use crate::middleware::route_rejection::RouteError as _;
use crate::session::{SwitchError, SwitchStep, Switched, UnconfirmedIdentity};
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
        let attempt = match sessions.switch_step(request, self.login.switch_path()).await? {
            SwitchStep::Respond(response) => return Ok(response),
            SwitchStep::Switch(attempt) => attempt,
        };
        let (login, headers) = (self.login.clone(), request.headers().clone());
        let switched = sessions
            .switch(&self.login.inner.switches, attempt, async move |identity| match identity {
                UnconfirmedIdentity::Email(verified) => login.begin(verified, &headers).await,
                UnconfirmedIdentity::Tokens(_) => Err(PasswordlessLoginError::NoPendingLogin),
            })
            .await;
        match &switched {
            Ok(_) => telemetry::login_completed(),
            Err(failure) => telemetry::login_failed(failure.code(), None),
        }
        switched.map(Switched::into_response)
    }
}

route!(Switch.login);

impl From<SwitchError> for PasswordlessLoginError {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::CrossSite => Self::CrossSite,
            SwitchError::InvalidRequest => Self::InvalidRequest,
            SwitchError::MethodNotAllowed { allow } => Self::MethodNotAllowed { allow },
            SwitchError::Misconfigured => Self::Misconfigured,
            SwitchError::NoPendingLogin => Self::NoPendingLogin,
            SwitchError::Unavailable => Self::Unavailable,
        }
    }
}
