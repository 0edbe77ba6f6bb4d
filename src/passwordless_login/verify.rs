use std::error::Error as StdError;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::PasswordlessLogin;
use super::attempt::EmailAttempt;
use super::form::Fields;
use super::link::is_link_token;
use super::rejection::PasswordlessLoginError;
use super::verify_credential::Credential;
use crate::middleware::route::route;
use crate::secret::SecretString;
use crate::util::pasted;

/// Longer than any code.
const MAX_CODE_CHARS: usize = 32;

/// Verifies a code or link: `POST /passwordless/verify`. Returned by [`PasswordlessLogin::verify`].
///
/// Fields: `code`, and its `attempt` (default: the newest of this browser); or the fields of the
/// page that [`Link`](super::Link) shows. Begins the session, ends the attempt, and redirects a
/// browser to the page where the login began, or to `/` if it began in another browser. A script
/// gets `{"return_to": "/path"}`. After a rejection, the attempt continues.
#[derive(Clone, Debug)]
pub struct Verify(pub(super) PasswordlessLogin);

impl Verify {
    async fn respond<B>(&self, request: &Request<()>, body: B) -> Response<Bytes>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let login = &self.0;
        let (fields, attempt) = match login.fields_of_attempt(request, body).await {
            Ok(form) => form,
            Err(failure) => return login.reject(failure, request, None),
        };
        match self.credential(&fields, attempt.clone()) {
            Ok(credential) => {
                let outcome = login.log_in(&credential, request.headers()).await;
                login.conclude(outcome, &credential, request)
            }
            Err(failure) => login.reject(failure, request, attempt.as_ref()),
        }
    }

    /// Returns the credential; `attempt` is the one that the form names, or else the newest.
    fn credential(
        &self,
        fields: &Fields,
        attempt: Option<EmailAttempt>,
    ) -> Result<Credential, PasswordlessLoginError> {
        let link_token = fields.get("link_token").map(pasted::unwrap_lines);
        match (fields.sent("code"), link_token) {
            (Some(code), None) => {
                let attempt = attempt.ok_or(PasswordlessLoginError::NoPendingLogin)?;
                // A text that cannot be a code does not count as a try.
                let code = pasted::code(code, MAX_CODE_CHARS)
                    .ok_or(PasswordlessLoginError::InvalidCode)?
                    .into();
                Ok(Credential::Code { code, attempt })
            }
            (None, Some(token)) if is_link_token(&token) => {
                let token = SecretString::from(token);
                if fields.get("attempt").is_some() {
                    let attempt = attempt.ok_or(PasswordlessLoginError::NoPendingLogin)?;
                    return Ok(Credential::OwnLink { token, attempt });
                }
                if self.0.inner.same_browser_only {
                    return Err(PasswordlessLoginError::BrowserMismatch);
                }
                let page = fields.get("page").ok_or(PasswordlessLoginError::InvalidRequest)?;
                Ok(Credential::ForeignLink { token, page: SecretString::from(page) })
            }
            _ => Err(PasswordlessLoginError::InvalidRequest),
        }
    }
}

route!(Verify.0 reads body);
