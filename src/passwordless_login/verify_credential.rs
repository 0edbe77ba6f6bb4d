//! From a code or link to a session.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::json;

use super::PasswordlessLogin;
use super::attempt::EmailAttempt;
use super::limits::Counted;
use super::rejection::{PasswordlessLoginError, json};
use super::send::unexpected;
use crate::api::ApiError;
use crate::api::passwordless::{PasswordlessError, VerifiedEmail};
use crate::middleware::route_rejection::RouteError as _;
use crate::middleware::route_response::redirect;
use crate::secret::SecretString;
use crate::session::{
    BeginSessionError, CreateSessionError, EmailLogin, HookFailure, LocalSession, LoginHook,
    LoginHookError, LoginOutcome, OtherRequest, SessionCookies, SessionUnavailable, SingleUse,
    UnconfirmedCredentials, UnconfirmedLogin, User,
};
use crate::shared_store::KeyNamespace;
use crate::util::email::fold_email;
use crate::util::fetch_metadata::wants_html;
use crate::util::return_to::ReturnTo;
use crate::util::shared_results::{DedupKey, RESULT_TTL};
use crate::util::telemetry;

/// How long a credential is claimed: longer than a verification and a login hook may take.
const MAX_LOGIN_TIME: Duration = Duration::from_secs(60);

impl VerifiedEmail {
    /// Creates a session whose user ID is the address in lower case.
    pub fn session(&self) -> LocalSession {
        LocalSession::new(User {
            id: subject(self),
            email: self.email.clone(),
            email_verified: true,
            ..User::default()
        })
    }
}

/// A code or link, and the browser it comes from.
#[derive(Clone)]
pub(super) enum Credential {
    Code {
        code: SecretString,
        attempt: EmailAttempt,
    },
    /// A link in the browser that requested it.
    OwnLink {
        token: SecretString,
        attempt: EmailAttempt,
    },
    /// A link in another browser, sent by the button of the page with this secret.
    ForeignLink {
        token: SecretString,
        page: SecretString,
    },
}

impl Credential {
    fn attempt(&self) -> Option<&EmailAttempt> {
        match self {
            Self::Code { attempt, .. } | Self::OwnLink { attempt, .. } => Some(attempt),
            Self::ForeignLink { .. } => None,
        }
    }

    /// Identifies the login for requests that may share it: the clicks of one browser.
    fn request_key(&self) -> DedupKey {
        match self {
            Self::Code { code, attempt } => of_attempt("code", attempt, code),
            Self::OwnLink { token, attempt } => of_attempt("own link", attempt, token),
            Self::ForeignLink { token, page } => {
                DedupKey::new(&["foreign link", page.expose(), token.expose()])
            }
        }
    }

    /// Identifies the credential for requests that may retry it, which are those that could use it
    /// before. A link that was accepted in its own browser is not valid in another one, because the
    /// environment may enforce the same browser.
    fn retry_key(&self) -> DedupKey {
        match self {
            Self::Code { .. } | Self::OwnLink { .. } => self.request_key(),
            Self::ForeignLink { token, .. } => DedupKey::new(&["link", token.expose()]),
        }
    }
}

fn of_attempt(kind: &str, attempt: &EmailAttempt, credential: &SecretString) -> DedupKey {
    let [auth_request_id, state] = attempt.secrets();
    DedupKey::new(&[kind, auth_request_id, state, credential.expose()])
}

impl PasswordlessLogin {
    /// Verifies the credential and begins the session of the verified address. It replaces the
    /// session of the request, unless that is another user's: then the user is asked first. Runs
    /// once, even if the browser repeats the request or disconnects.
    pub(super) async fn log_in(
        &self,
        credential: &Credential,
        headers: &HeaderMap,
    ) -> Result<LoginOutcome, PasswordlessLoginError> {
        let (login, credential, headers) = (self.clone(), credential.clone(), headers.clone());
        let outcome = self
            .inner
            .logins
            .run(credential.request_key(), || async move {
                login.verify_once(&credential, &headers).await
            })
            .await?;
        Ok(LoginOutcome {
            cookies: self.sessions().drop_cookies_of_ended_session(outcome.cookies).await,
            ..outcome
        })
    }

    /// Waits for a request on another replica that has the same credential, and shares its result,
    /// because the browser may have dropped that response. The environment would reject the second
    /// request.
    async fn verify_once(
        &self,
        credential: &Credential,
        headers: &HeaderMap,
    ) -> Result<LoginOutcome, PasswordlessLoginError> {
        let (sessions, name) = (self.sessions(), credential.request_key().to_text());
        let credential_use = SingleUse {
            sessions,
            key: sessions.store_key(KeyNamespace::LoginAttempt, &name),
            sealing_name: name,
            used_ttl: MAX_LOGIN_TIME,
            end_ttl: RESULT_TTL,
        };
        if !credential_use.claim().await {
            match credential_use.wait_until_completed().await {
                OtherRequest::Completed(outcome) => return Ok(outcome),
                OtherRequest::Denied => return Err(PasswordlessLoginError::LoginDenied),
                OtherRequest::Failed | OtherRequest::Pending if credential_use.claim().await => {}
                _ => return Err(PasswordlessLoginError::Unavailable),
            }
        }
        let outcome = self.verify_and_begin(credential, headers).await;
        match &outcome {
            Ok(outcome) => credential_use.complete(outcome).await,
            Err(PasswordlessLoginError::LoginDenied) => credential_use.deny().await,
            Err(_) => credential_use.release().await,
        }
        outcome
    }

    /// Redirects the user, or returns the error.
    pub(super) fn conclude(
        &self,
        outcome: Result<LoginOutcome, PasswordlessLoginError>,
        credential: &Credential,
        request: &Request<()>,
    ) -> Response<Bytes> {
        let attempt = credential.attempt();
        let LoginOutcome { cookies, confirmation } = match (outcome, credential) {
            (Ok(outcome), _) => outcome,
            (
                Err(error @ PasswordlessLoginError::Unavailable),
                Credential::OwnLink { token, .. } | Credential::ForeignLink { token, .. },
            ) => return self.reject_with_link(error, self.link_path(token, attempt), request),
            (Err(error), _) => return self.reject(error, request, attempt),
        };
        let cookies = cookies
            .into_values()
            .into_iter()
            .chain(attempt.and_then(|attempt| self.sessions().short_lived_removal(attempt)));
        let target = confirmation.as_deref().unwrap_or(self.return_to(credential).as_str());
        match wants_html(request.headers()) {
            true => redirect(StatusCode::SEE_OTHER, target, cookies),
            false => json(&json!({ "return_to": target }), cookies),
        }
    }

    /// Returns the page after the login.
    fn return_to<'a>(&'a self, credential: &'a Credential) -> &'a ReturnTo {
        match credential.attempt() {
            Some(attempt) => &attempt.return_to,
            None => self.sessions().start_page(),
        }
    }

    async fn verify_and_begin(
        &self,
        credential: &Credential,
        headers: &HeaderMap,
    ) -> Result<LoginOutcome, PasswordlessLoginError> {
        // First: a login that cannot be completed does not use the credential up.
        let current = self
            .sessions()
            .valid_session(headers)
            .await
            .map_err(|SessionUnavailable| PasswordlessLoginError::Unavailable)?;
        let login = match self.inner.unfinished.take(&credential.retry_key()) {
            Some(login) => login,
            None => EmailLogin {
                position: self
                    .sessions()
                    .revocation_position()
                    .await
                    .map_err(|_| PasswordlessLoginError::Unavailable)?,
                verified: self.verify_credential(credential).await?,
            },
        };
        let EmailLogin { verified, .. } = &login;
        if credential.attempt().is_some_and(|attempt| !is_for_attempt(verified, attempt)) {
            telemetry::login_failed(PasswordlessLoginError::StateMismatch.code(), None);
            return Err(PasswordlessLoginError::StateMismatch);
        }
        let outcome = if current.is_some_and(|current| current.login_subject() != subject(verified))
        {
            self.ask_to_switch(&login, credential, headers).await
        } else {
            self.begin(login.clone(), headers)
                .await
                .map(|cookies| LoginOutcome { cookies, confirmation: None })
        };
        match &outcome {
            Ok(LoginOutcome { confirmation: Some(_), .. }) => {}
            Ok(_) => telemetry::login_completed(),
            // The credential is used up, and the user should not need another e-mail.
            Err(PasswordlessLoginError::Unavailable) => {
                self.inner.unfinished.put(credential.retry_key(), login);
            }
            Err(error) => telemetry::login_failed(error.code(), None),
        }
        outcome
    }

    async fn ask_to_switch(
        &self,
        verified: &EmailLogin,
        credential: &Credential,
        headers: &HeaderMap,
    ) -> Result<LoginOutcome, PasswordlessLoginError> {
        let login = UnconfirmedLogin {
            began_at: None,
            credentials: UnconfirmedCredentials::Email(verified.clone()),
            return_to: self.return_to(credential).clone(),
        };
        let (confirmation, cookies) =
            self.sessions().ask_to_switch(login, self.switch_path(), headers).await?;
        Ok(LoginOutcome { cookies: SessionCookies::new(cookies), confirmation: Some(confirmation) })
    }

    async fn verify_credential(
        &self,
        credential: &Credential,
    ) -> Result<VerifiedEmail, PasswordlessLoginError> {
        match credential {
            Credential::Code { code, attempt } => self.verify_code(code, attempt).await,
            Credential::OwnLink { token, .. } | Credential::ForeignLink { token, .. } => {
                let id = credential.attempt().map(|attempt| attempt.auth_request_id.expose());
                self.api()
                    .verify_link(token.expose(), id)
                    .await
                    .map_err(|error| map_error(error, PasswordlessLoginError::InvalidLink))
            }
        }
    }

    /// Tries a code. It is counted as a wrong one first, so that concurrent requests do not bypass
    /// the limits.
    async fn verify_code(
        &self,
        code: &SecretString,
        attempt: &EmailAttempt,
    ) -> Result<VerifiedEmail, PasswordlessLoginError> {
        let counted = self
            .count_try(attempt)
            .await
            .inspect_err(|error| telemetry::login_failed(error.code(), None))?;
        let verified =
            self.api().verify_code(attempt.auth_request_id.expose(), code.expose()).await;
        // Errors in an unknown form are counted too: one may be the rejection of a code, and codes must
        // not be tried without a limit.
        if let Ok(_)
        | Err(PasswordlessError::Api(
            ApiError::Unavailable(_) | ApiError::RateLimited { .. },
        )) = &verified
        {
            self.subtract(counted).await;
        }
        verified.map_err(|error| map_error(error, PasswordlessLoginError::InvalidCode))
    }

    /// Counts a code, unless the attempt has expired. Without an e-mail, every code is wrong.
    async fn count_try(&self, attempt: &EmailAttempt) -> Result<Counted, PasswordlessLoginError> {
        if attempt.is_expired(self.sessions().now()) {
            return Err(PasswordlessLoginError::Expired);
        }
        let counted = self.count_code(attempt).await?;
        match attempt.is_delivered {
            true => Ok(counted),
            false => Err(PasswordlessLoginError::InvalidCode),
        }
    }

    pub(super) async fn begin(
        &self,
        login: EmailLogin,
        headers: &HeaderMap,
    ) -> Result<SessionCookies, PasswordlessLoginError> {
        let EmailLogin { verified, position } = login;
        let subject = subject(&verified);
        let session = verified.session().login_subject(&subject).revocation_position(position);
        let session = match &self.inner.login_hook {
            None => session,
            Some(login_hook) => {
                // Before the hook, which may store that the user has logged in.
                self.sessions().reject_revoked_login(session.clone()).await.map_err(begin_error)?;
                let decided = call_login_hook(login_hook, verified).await?;
                // The decided session may lack what was revoked meanwhile, such as the address.
                self.sessions().reject_revoked_login(session).await.map_err(begin_error)?;
                decided.login_subject(&subject).revocation_position(position)
            }
        };
        self.sessions().begin_local_session(session, headers).await.map_err(begin_error)
    }
}

async fn call_login_hook(
    login_hook: &LoginHook<VerifiedEmail, LocalSession>,
    verified: VerifiedEmail,
) -> Result<LocalSession, PasswordlessLoginError> {
    login_hook.call(verified).await.map_err(|error| {
        if let HookFailure::Rejected(LoginHookError::Denied) = error {
            return PasswordlessLoginError::LoginDenied;
        }
        telemetry::internal_error("login_hook", &error);
        match error {
            HookFailure::Rejected(_) => PasswordlessLoginError::Unavailable,
            HookFailure::Panicked => PasswordlessLoginError::Misconfigured,
        }
    })
}

fn begin_error(error: BeginSessionError) -> PasswordlessLoginError {
    if let BeginSessionError::Revoked = error {
        return PasswordlessLoginError::NoPendingLogin;
    }
    telemetry::internal_error("passwordless_login", &error);
    match error {
        BeginSessionError::Create(CreateSessionError::Store(_)) => {
            PasswordlessLoginError::Unavailable
        }
        _ => PasswordlessLoginError::Misconfigured,
    }
}

/// Returns what all logins by e-mail of a user have in common.
fn subject(verified: &VerifiedEmail) -> String {
    fold_email(&verified.email)
}

/// Whether the verification belongs to this attempt; compared in constant time.
fn is_for_attempt(verified: &VerifiedEmail, attempt: &EmailAttempt) -> bool {
    verified.state.as_ref().is_some_and(|state| *state == attempt.state)
}

/// Maps the reason why a code or link is not accepted; `rejection` when the environment
/// rejects it as such.
fn map_error(
    error: PasswordlessError,
    rejection: PasswordlessLoginError,
) -> PasswordlessLoginError {
    let (rejection, response) = match &error {
        PasswordlessError::Expired(response) => (PasswordlessLoginError::Expired, response),
        PasswordlessError::Rejected(response) => (rejection, response),
        PasswordlessError::TooManyAttempts(response) => {
            (PasswordlessLoginError::TooManyAttempts, response)
        }
        error => return unexpected("passwordless_verify", error),
    };
    telemetry::login_failed(rejection.code(), response.error_code.as_deref());
    rejection
}
