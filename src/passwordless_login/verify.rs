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
pub struct Verify {
    pub(super) login: PasswordlessLogin,
}

impl Verify {
    async fn respond<B>(&self, request: &Request<()>, body: B) -> Response<Bytes>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let login = &self.login;
        let (fields, attempt) = match login.fields_of_attempt(request, body).await {
            Ok(form) => form,
            Err(failure) => return login.reject(failure, request, None),
        };
        match self.credential(&fields, attempt.clone()) {
            Ok(credential) => login.conclude(
                login.log_in(&credential, request.headers()).await,
                &credential,
                request,
            ),
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
            (Some(code), None) => Ok(Credential::Code {
                attempt: attempt.ok_or(PasswordlessLoginError::NoPendingLogin)?,
                // A text that cannot be a code does not count as a try.
                code: pasted::code(code, MAX_CODE_CHARS)
                    .ok_or(PasswordlessLoginError::InvalidCode)?
                    .into(),
            }),
            (None, Some(token)) if !is_link_token(&token) => {
                Err(PasswordlessLoginError::InvalidRequest)
            }
            (None, Some(token)) if fields.get("attempt").is_some() => Ok(Credential::OwnLink {
                token: token.into(),
                attempt: attempt.ok_or(PasswordlessLoginError::NoPendingLogin)?,
            }),
            (None, Some(_)) if self.login.inner.same_browser_only => {
                Err(PasswordlessLoginError::BrowserMismatch)
            }
            (None, Some(token)) => Ok(Credential::ForeignLink {
                token: token.into(),
                page: fields.get("page").ok_or(PasswordlessLoginError::InvalidRequest)?.into(),
            }),
            (Some(_), Some(_)) | (None, None) => Err(PasswordlessLoginError::InvalidRequest),
        }
    }
}

route!(Verify.login reads body);
