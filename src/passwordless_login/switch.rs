use bytes::Bytes;
use http::{Request, Response};

use super::PasswordlessLogin;
use super::rejection::PasswordlessFailure;
use crate::auth_routes::answering_service;
use crate::session::{SwitchError, SwitchStep, Switched, UnconfirmedIdentity};
use crate::util::telemetry;

/// Asks whether a verified login may replace the session of another user: `GET` and `POST
/// /passwordless/switch`. Made by [`PasswordlessLogin::switch`]; see
/// [`SwitchAccount`](crate::auth_routes::SwitchAccount), which has the same page and rules.
#[derive(Clone, Debug)]
pub struct Switch(pub(super) PasswordlessLogin);

impl Switch {
    async fn answer(&self, request: Request<()>) -> Response<Bytes> {
        match self.step(&request).await {
            Ok(response) => response,
            Err(failure) => self.0.refuse(failure, &request, None),
        }
    }

    async fn step(&self, request: &Request<()>) -> Result<Response<Bytes>, PasswordlessFailure> {
        let login = self.0.clone();
        let sessions = login.0.sessions.clone();
        let attempt = match sessions.switch_step(request, login.switch_path()).await? {
            SwitchStep::Respond(response) => return Ok(response),
            SwitchStep::Switch(attempt) => attempt,
        };
        let headers = request.headers().clone();
        let begin = async move |identity| match identity {
            UnconfirmedIdentity::Email(verified) => login.begin(verified, &headers).await,
            UnconfirmedIdentity::Tokens(_) => Err(PasswordlessFailure::AttemptUnknown),
        };
        let switched = sessions.switch(&self.0.0.switches, attempt, begin).await;
        match &switched {
            Ok(_) => telemetry::login_completed(),
            Err(failure) => telemetry::login_failed(failure.name(), None),
        }
        switched.map(Switched::into_response)
    }
}

answering_service!(Switch);

impl From<SwitchError> for PasswordlessFailure {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::CrossSite => Self::CrossSite,
            SwitchError::MalformedRequest => Self::MalformedRequest,
            SwitchError::MethodNotAllowed { allow } => Self::MethodNotAllowed { allow },
            SwitchError::Misconfigured => Self::Misconfigured,
            SwitchError::NoPendingLogin => Self::AttemptUnknown,
            SwitchError::Unavailable => Self::Unavailable,
        }
    }
}
