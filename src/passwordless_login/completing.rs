//! From a code or a link to a session.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use serde_json::json;

use super::PasswordlessLogin;
use super::answer::{PasswordlessFailure, json, see_other};
use super::attempt::MailAttempt;
use super::mailing::unexpected;
use super::once::Key;
use crate::api::ErrorAnswer;
use crate::api::passwordless::{PasswordlessError, VerifiedEmail};
use crate::origin::is_shown;
use crate::secret::SecretString;
use crate::session::{BeginError, LocalSession, NotAdmitted, SessionCookies, User};
use crate::telemetry;

impl VerifiedEmail {
    /// A session of a user whose id is the address in small letters.
    pub fn session(&self) -> LocalSession {
        LocalSession::new(User {
            id: self.email.to_ascii_lowercase(),
            email: self.email.clone(),
            email_verified: true,
            ..User::default()
        })
    }
}

impl PasswordlessLogin {
    pub(super) async fn verify_code(
        &self,
        attempt: &MailAttempt,
        code: SecretString,
    ) -> Result<VerifiedEmail, PasswordlessFailure> {
        let key = Key::verification(attempt, code.expose());
        let api = self.0.sessions.scalekit().api().passwordless();
        let id = attempt.auth_request_id.clone();
        let work = || async move {
            let verified = api.verify_code(id.expose(), code.expose()).await;
            verified.map_err(|error| refused(error, PasswordlessFailure::CodeRefused))
        };
        let verified = self.0.verifying.run(key, work).await;
        let verified = verified.map_err(|failure| self.as_told_by_time(failure, attempt))?;
        match is_of(&verified, attempt) {
            true => Ok(verified),
            false => Err(state_refused()),
        }
    }

    /// Verifies a link in a browser that asked for one: which attempt it was, too.
    pub(super) async fn verify_own_link(
        &self,
        token: &SecretString,
        attempts: Vec<MailAttempt>,
    ) -> Result<(VerifiedEmail, MailAttempt), PasswordlessFailure> {
        for attempt in &attempts {
            let key = Key::verification(attempt, token.expose());
            let id = Some(attempt.auth_request_id.clone());
            match self.verify_link(Some(key), token, id).await {
                Ok(verified) => {
                    let mut attempts = attempts.into_iter();
                    let own = attempts.find(|attempt| is_of(&verified, attempt));
                    return own.map(|own| (verified, own)).ok_or_else(state_refused);
                }
                // It may be of another tab's attempt, or of another browser's.
                Err(PasswordlessFailure::LinkRefused) => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(PasswordlessFailure::LinkRefused)
    }

    /// Verifies a link that was asked for elsewhere; `page` is the secret of the page whose button
    /// was pressed.
    pub(super) async fn verify_foreign_link(
        &self,
        token: &SecretString,
        page: Option<&str>,
    ) -> Result<VerifiedEmail, PasswordlessFailure> {
        if self.0.same_browser_only {
            return Err(PasswordlessFailure::OtherBrowser);
        }
        let key = page.map(|page| Key::of_page(page, token.expose()));
        self.verify_link(key, token, None).await
    }

    async fn verify_link(
        &self,
        key: Option<Key>,
        token: &SecretString,
        auth_request_id: Option<SecretString>,
    ) -> Result<VerifiedEmail, PasswordlessFailure> {
        let api = self.0.sessions.scalekit().api().passwordless();
        let token = token.clone();
        let work = async move {
            let id = auth_request_id.as_ref().map(SecretString::expose);
            let verified = api.verify_link(token.expose(), id).await;
            verified.map_err(|error| refused(error, PasswordlessFailure::LinkRefused))
        };
        match key {
            Some(key) => self.0.verifying.run(key, || work).await,
            None => work.await,
        }
    }

    /// Opens the session of whoever has read the mail, in place of the one that the request came
    /// with, and sends them on.
    pub(super) async fn log_in(
        &self,
        verified: VerifiedEmail,
        attempt: Option<&MailAttempt>,
        request: &Request<()>,
    ) -> Response<Bytes> {
        let sessions = &self.0.sessions;
        let end_attempt = attempt.and_then(|attempt| sessions.end_attempt(attempt));
        // R5: the code is spent. A client that leaves does not stop what comes of it.
        let (login, headers) = (self.clone(), request.headers().clone());
        let beginning = tokio::spawn(async move { login.begin(verified, &headers).await });
        let begun = beginning.await.unwrap_or_else(|panic| {
            telemetry::internal_error("passwordless_login", &panic);
            Err(PasswordlessFailure::Misconfigured)
        });
        match begun {
            Ok(cookies) => {
                telemetry::login_completed();
                let target = attempt.map_or("/", |attempt| attempt.return_to.as_str());
                let cookies = cookies.into_values().into_iter().chain(end_attempt);
                match is_shown(request.headers()) {
                    true => see_other(target, cookies),
                    false => json(&json!({ "return_to": target }), cookies),
                }
            }
            Err(PasswordlessFailure::NotAdmitted) => {
                telemetry::login_failed(PasswordlessFailure::NotAdmitted.name(), None);
                self.refuse(PasswordlessFailure::NotAdmitted, request, attempt)
            }
            Err(failure) => self.refuse(failure, request, attempt),
        }
    }

    async fn begin(
        &self,
        verified: VerifiedEmail,
        headers: &HeaderMap,
    ) -> Result<SessionCookies, PasswordlessFailure> {
        let local = self.admitted(verified).await?;
        self.0.sessions.begin(local, headers).await.map_err(|error| {
            telemetry::internal_error("passwordless_login", &error);
            match error {
                BeginError::Store(_) => PasswordlessFailure::Unavailable,
                _ => PasswordlessFailure::Misconfigured,
            }
        })
    }

    async fn admitted(&self, verified: VerifiedEmail) -> Result<LocalSession, PasswordlessFailure> {
        let Some(admission) = &self.0.admission else { return Ok(verified.session()) };
        admission.ask(verified).await.map_err(|answer| {
            if let NotAdmitted::Refused = answer {
                return PasswordlessFailure::NotAdmitted;
            }
            telemetry::internal_error("admission", &answer);
            PasswordlessFailure::Unavailable
        })
    }

    /// What is refused after its time has expired, even if the environment does not say so.
    fn as_told_by_time(
        &self,
        failure: PasswordlessFailure,
        attempt: &MailAttempt,
    ) -> PasswordlessFailure {
        let now = self.0.sessions.scalekit().clock().now();
        match failure {
            PasswordlessFailure::CodeRefused if attempt.is_expired(now) => {
                PasswordlessFailure::Expired
            }
            failure => failure,
        }
    }
}

/// Whether the verification answers this very attempt; decided in constant time.
fn is_of(verified: &VerifiedEmail, attempt: &MailAttempt) -> bool {
    verified.state.as_ref().is_some_and(|state| *state == attempt.state)
}

fn state_refused() -> PasswordlessFailure {
    telemetry::login_failed(PasswordlessFailure::StateRefused.name(), None);
    PasswordlessFailure::StateRefused
}

/// Why a code or link is not accepted; `plainly` when the environment refuses it as such.
fn refused(error: PasswordlessError, plainly: PasswordlessFailure) -> PasswordlessFailure {
    let told = |failure: PasswordlessFailure, answer: &ErrorAnswer| {
        telemetry::login_failed(failure.name(), answer.error_code.as_deref());
        failure
    };
    match &error {
        PasswordlessError::Expired(answer) => told(PasswordlessFailure::Expired, answer),
        PasswordlessError::Refused(answer) => told(plainly, answer),
        PasswordlessError::TooManyAttempts(answer) => {
            told(PasswordlessFailure::TooManyAttempts, answer)
        }
        error => unexpected("passwordless_verify", error),
    }
}
