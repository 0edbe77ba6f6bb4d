use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use url::Url;

use super::ConnectAccount;
use super::answer::ConnectFailure;
use super::attempt::ConnectAttempt;
use crate::api::ApiError;
use crate::auth_routes::{answering_service, redirect};
use crate::oauth::is_error_code;
use crate::query::Parameter;
use crate::session::Session;
use crate::telemetry;

/// What users come back to: `GET`. Made by [`ConnectAccount::verify`], behind
/// [`RequireSession`](crate::RequireSession).
///
/// Activates the account only if the return answers an attempt of this very browser and the person
/// who is logged in is who began it. Ends the attempt in any case, unless the environment does not
/// answer.
#[derive(Clone, Debug)]
pub struct VerifyUser(pub(super) ConnectAccount);

impl VerifyUser {
    async fn answer(&self, request: Request<()>) -> Response<Bytes> {
        let (state, returned) = Returned::read(&request);
        let (attempt, end_attempt) = match &state {
            Some(state) => ConnectAttempt::find(&self.0, request.headers(), state),
            None => (None, None),
        };
        let verified = match (returned, &attempt) {
            (Ok(returned), Some(attempt)) => self.verify(&returned, attempt, &request).await,
            (Ok(_), None) => Err(ConnectFailure::AttemptUnknown),
            (Err(failure), _) => Err(failure),
        };
        match verified {
            Ok(target) => {
                telemetry::account_connected();
                let target = target.as_ref().map_or(self.0.0.start_page.as_str(), Url::as_str);
                redirect(StatusCode::SEE_OTHER, target, end_attempt)
            }
            Err(failure) => self.0.refuse(failure, &request, end_attempt),
        }
    }

    async fn verify(
        &self,
        returned: &Returned,
        attempt: &ConnectAttempt,
        request: &Request<()>,
    ) -> Result<Option<Url>, ConnectFailure> {
        let session = request.extensions().get::<Session>();
        let session = session.ok_or(ConnectFailure::Misconfigured)?;
        let identifier = self.0.identifier(session);
        if !attempt.is_of(&self.0, session, &identifier) {
            return Err(ConnectFailure::OtherPerson);
        }
        let verified = self.0.accounts().verify_user(&returned.auth_request_id, &identifier).await;
        verified.map_err(|error| match error {
            ApiError::Forbidden(_) => ConnectFailure::OtherPerson,
            ApiError::InvalidRequest(_) | ApiError::NotFound(_) => ConnectFailure::NothingToVerify,
            error => ConnectFailure::of_api(&error),
        })
    }
}

answering_service!(VerifyUser);

/// What the environment sends back in the address.
struct Returned {
    auth_request_id: String,
}

impl Returned {
    /// The `state` (of several the first), and what came with it: an address that is not in order
    /// ends its attempt too.
    fn read(request: &Request<()>) -> (Option<String>, Result<Self, ConnectFailure>) {
        if request.method() != Method::GET {
            return (None, Err(ConnectFailure::MethodNotAllowed { allow: "GET" }));
        }
        let query = request.uri().query().unwrap_or_default();
        let parameters =
            ["auth_request_id", "state", "error"].map(|name| Parameter::of(query, name));
        let is_repeated = parameters.iter().any(|parameter| parameter.is_repeated);
        let [auth_request_id, state, error] = parameters.map(|parameter| parameter.first);
        let returned = match (auth_request_id, &state, error) {
            _ if is_repeated => Err(ConnectFailure::MalformedRequest),
            (_, _, Some(code)) => {
                let code = Some(code).filter(|code| is_error_code(code));
                Err(ConnectFailure::NotAllowed { code })
            }
            (Some(auth_request_id), Some(_), None) if !auth_request_id.is_empty() => {
                Ok(Self { auth_request_id })
            }
            _ => Err(ConnectFailure::MalformedRequest),
        };
        (state, returned)
    }
}
