use std::error::Error as StdError;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::PasswordlessLogin;
use super::attempt::MailAttempt;
use super::form::Fields;
use super::link::is_link_token;
use super::rejection::PasswordlessFailure;
use super::service::passwordless_service;
use super::verify_credential::Credential;
use crate::secret::SecretString;
use crate::util::pasted;

/// Longer than any code.
const MAX_CODE_CHARS: usize = 32;

/// Takes what came by mail: `POST /passwordless/verify`. Made by [`PasswordlessLogin::verify`].
///
/// Fields: `code`, and the `attempt` that it is of, or else the newest of this browser; or the
/// fields of the page that [`Link`](super::Link) shows. Opens the session, ends the attempt, and
/// sends a browser to where the login began, or to `/` if that was elsewhere; a script is told
/// `{"return_to": "/path"}`. After a refusal the attempt goes on.
#[derive(Clone, Debug)]
pub struct Verify(pub(super) PasswordlessLogin);

impl Verify {
    async fn answer<B>(&self, request: &Request<()>, body: B) -> Response<Bytes>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let login = &self.0;
        let fields = match login.fields(request, body).await {
            Ok(fields) => fields,
            Err(failure) => return login.refuse(failure, request, None),
        };
        let id = fields.get("attempt");
        let attempt = MailAttempt::find(&login.0.sessions, request.headers(), id);
        match self.credential(&fields, attempt.clone()) {
            Ok(credential) => {
                let outcome = login.log_in(&credential, request.headers()).await;
                login.conclude(outcome, &credential, request)
            }
            Err(failure) => login.refuse(failure, request, attempt.as_ref()),
        }
    }

    /// What was sent; `attempt` is the one that is named, or else the newest.
    fn credential(
        &self,
        fields: &Fields,
        attempt: Option<MailAttempt>,
    ) -> Result<Credential, PasswordlessFailure> {
        let link_token = fields.get("link_token").map(pasted::unwrap_lines);
        match (fields.sent("code"), link_token) {
            (Some(code), None) => {
                let attempt = attempt.ok_or(PasswordlessFailure::AttemptUnknown)?;
                // What cannot be a code costs no try.
                let code = pasted::code(code, MAX_CODE_CHARS);
                let code = code.ok_or(PasswordlessFailure::CodeRefused)?.into();
                Ok(Credential::Code { code, attempt })
            }
            (None, Some(token)) if is_link_token(&token) => {
                let token = SecretString::from(token);
                if fields.get("attempt").is_some() {
                    let attempt = attempt.ok_or(PasswordlessFailure::AttemptUnknown)?;
                    return Ok(Credential::OwnLink { token, attempt });
                }
                if self.0.0.same_browser_only {
                    return Err(PasswordlessFailure::OtherBrowser);
                }
                let page = fields.get("page").ok_or(PasswordlessFailure::MalformedRequest)?;
                Ok(Credential::ForeignLink { token, page: SecretString::from(page) })
            }
            _ => Err(PasswordlessFailure::MalformedRequest),
        }
    }
}

passwordless_service!(Verify);
