use std::error::Error as StdError;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::PasswordlessLogin;
use super::answer::PasswordlessFailure;
use super::attempt::MailAttempt;
use super::link::is_link_token;
use super::service::passwordless_service;
use crate::secret::SecretString;

/// Longer than any code.
const MAX_CODE_BYTES: usize = 32;

/// Takes what came by mail: `POST /passwordless/verify`. Made by [`PasswordlessLogin::verify`].
///
/// Fields: `code`, and the `attempt` that it is of, or else the newest of this browser; or
/// `link_token`, from the page that [`Link`](super::Link) shows. Opens the session, ends the
/// attempt, and sends a browser to where the login began; a script is told
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
        match (fields.get("code"), fields.get("link_token")) {
            (Some(code), None) => self.code(code, fields.get("attempt"), request).await,
            (None, Some(token)) => self.link(token, fields.get("page"), request).await,
            _ => {
                let attempt = MailAttempt::find(&login.0.sessions, request.headers(), None);
                let failure = PasswordlessFailure::MalformedRequest;
                login.refuse(failure, request, attempt.as_ref())
            }
        }
    }

    async fn code(&self, code: &str, id: Option<&str>, request: &Request<()>) -> Response<Bytes> {
        let login = &self.0;
        let Some(attempt) = MailAttempt::find(&login.0.sessions, request.headers(), id) else {
            return login.refuse(PasswordlessFailure::AttemptUnknown, request, None);
        };
        let verified = match typed(code) {
            Some(code) => login.verify_code(&attempt, code).await,
            // What cannot be a code costs no attempt.
            None => Err(PasswordlessFailure::CodeRefused),
        };
        match verified {
            Ok(verified) => login.log_in(verified, Some(&attempt), request).await,
            Err(failure) => login.refuse(failure, request, Some(&attempt)),
        }
    }

    async fn link(
        &self,
        token: &str,
        page: Option<&str>,
        request: &Request<()>,
    ) -> Response<Bytes> {
        let login = &self.0;
        if !is_link_token(token) {
            return login.refuse(PasswordlessFailure::MalformedRequest, request, None);
        }
        let token = SecretString::from(token);
        let attempts = MailAttempt::all(&login.0.sessions, request.headers());
        if !attempts.is_empty() {
            match login.verify_own_link(&token, attempts).await {
                Ok((verified, attempt)) => {
                    return login.log_in(verified, Some(&attempt), request).await;
                }
                // It is none of this browser's.
                Err(PasswordlessFailure::LinkRefused) => {}
                Err(failure) => return login.refuse(failure, request, None),
            }
        }
        match login.verify_foreign_link(&token, page).await {
            Ok(verified) => login.log_in(verified, None, request).await,
            Err(failure) => login.refuse(failure, request, None),
        }
    }
}

passwordless_service!(Verify);

/// The code as it was meant: people put spaces and dashes into it.
fn typed(text: &str) -> Option<SecretString> {
    let code: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let fits = code.len() <= MAX_CODE_BYTES && code.bytes().all(|b| b.is_ascii_alphanumeric());
    (fits && !code.is_empty()).then(|| code.into())
}
