//! Completion of a login: the exchange of its code, the verification of its tokens, and its session.
//!
//! The types of a login, in order:
//!
//! | type | what is known | what is missing |
//! |---|---|---|
//! | [`LoginAttempt`] | this browser has started it | the response of the environment |
//! | [`ReturnedLogin`] | attempt and response | the tokens |
//! | [`ExchangedLogin`] | verified identity and tokens | the record of the session |
//! | [`SessionRecord`] | all that the session will have | the user's confirmation, the app's decision |
//! | [`UnconfirmedLogin`] | the record, and the page to return to | the user's confirmation |
//! | `VerifiedLogin` | identity and permissions, for the app's hook | the app's decision |
//! | [`LoginOutcome`] | the cookies of the session, or the page that asks the user | |
//! | [`RecentLogin`] | when it was completed, and its page | |
//!
//! [`Callback::identify`](super::Callback::identify) ends after the third one, with a
//! `CompletedLogin`.

use http::HeaderMap;

use super::LoginError;
use super::authorization_response::AuthorizationResponse;
use super::login_attempt::{LoginAttempt, LoginTrigger};
use crate::oauth::IdTokenHint;
use crate::revocation::RecordedPosition;
use crate::session::{
    Authentication, BeginSessionError, CompletionError, LoginOutcome, NewTokens, OtherRequest,
    RecentLogin, Session, SessionCookies, SessionRecord, SessionUnavailable, Sessions, SingleUse,
    StoredResult, SwitchError, UnconfirmedCredentials, UnconfirmedLogin, VerifiedIdentity,
};
use crate::token::{Grant, TokenError};
use crate::util::diagnosis::{CheckError as _, Shown};
use crate::util::shared_results::DedupKey;
use crate::util::telemetry;

/// A login that has returned from the environment.
#[derive(Clone)]
pub(super) struct ReturnedLogin {
    pub(super) sessions: Sessions,
    pub(super) authorization: AuthorizationResponse,
    pub(super) attempt: LoginAttempt,
}

/// The verified identity and tokens of a login, whose session has not begun.
pub(super) struct ExchangedLogin {
    pub(super) identity: VerifiedIdentity,
    pub(super) tokens: NewTokens,
    /// Position of the revocation counter before the exchange: later revocations apply to this
    /// login.
    position: RecordedPosition,
}

impl ReturnedLogin {
    /// Completes the login, or shares the result of a request of this browser, on any replica, that
    /// does or has just done so. It continues when the client disconnects: a second click aborts the
    /// first request in the browser only.
    pub(super) async fn complete_once(
        self,
        headers: &HeaderMap,
    ) -> Result<LoginOutcome, LoginError> {
        let (login, headers) = (self.clone(), headers.clone());
        let completed = self
            .sessions
            .logins()
            .run(self.dedup_key(), || async move { login.complete(&headers).await })
            .await;
        let outcome = match completed {
            Err(CompletionError::UsedByOther) => {
                self.result_of_other_request(Some(LoginOutcome::elsewhere())).await?
            }
            outcome => outcome?,
        };
        Ok(LoginOutcome {
            cookies: self.sessions.drop_cookies_of_ended_session(outcome.cookies).await,
            ..outcome
        })
    }

    /// Verifies the login for an app with its own sessions, or shares the result as
    /// [`complete_once`](Self::complete_once) does.
    pub(super) async fn identify_once(self) -> Result<(VerifiedIdentity, IdTokenHint), LoginError> {
        let login = self.clone();
        let identified = self
            .sessions
            .identified_logins()
            .run(self.dedup_key(), || async move { login.identify().await })
            .await;
        match identified {
            Err(CompletionError::UsedByOther) => self.result_of_other_request(None).await,
            identified => Ok(identified?),
        }
    }

    async fn identify(&self) -> Result<(VerifiedIdentity, IdTokenHint), CompletionError> {
        let ExchangedLogin { identity, tokens, .. } = self.claim_and_exchange().await?;
        let identity = identity.authenticated(self.authentication(&identity));
        let identified = (identity, tokens.id_token.into());
        self.single_use().complete(&identified).await;
        telemetry::login_completed();
        Ok(identified)
    }

    /// Waits for the request that has used the attempt, which may be on another replica, and returns
    /// its result: the browser may have dropped that response. `completed` is the result if it is
    /// not available.
    async fn result_of_other_request<T: StoredResult>(
        &self,
        completed: Option<T>,
    ) -> Result<T, LoginError> {
        match self.single_use().wait_until_completed().await {
            OtherRequest::Completed(result) => Ok(result),
            OtherRequest::CompletedMeanwhile => completed.ok_or(LoginError::StateMismatch),
            // A login that was completed before is not concurrent.
            OtherRequest::CompletedBefore | OtherRequest::Failed => Err(LoginError::StateMismatch),
            OtherRequest::Denied => Err(LoginError::LoginDenied),
            OtherRequest::Pending => Err(LoginError::InProgress),
        }
    }

    /// Exchanges the code for a session, or asks for confirmation first if it would replace another
    /// user's.
    async fn complete(&self, headers: &HeaderMap) -> Result<LoginOutcome, CompletionError> {
        // Before the exchange: a code works once, and is wasted if the browser's session cannot be
        // loaded.
        let current = match &self.authorization.code_or_error {
            Ok(_) => self
                .sessions
                .valid_session(headers)
                .await
                .map_err(|SessionUnavailable| LoginError::Unavailable)?,
            Err(_) => None,
        };
        let record = match self.take_kept_login().await? {
            Some(record) => record,
            None => self.new_record(headers).await?,
        };
        let outcome = self.begin(record.clone(), current, headers).await;
        match &outcome {
            Ok(outcome) => self.single_use().complete(outcome).await,
            // Without the login, whose code is spent, there is nothing to retry.
            Err(CompletionError::Rejected(LoginError::LoginHookUnavailable)) => {
                if !self.single_use().keep_login(&record).await {
                    return Err(LoginError::Interrupted.into());
                }
            }
            Err(CompletionError::Rejected(LoginError::LoginDenied)) => {
                self.single_use().deny().await
            }
            Err(_) => self.single_use().fail().await,
        }
        outcome
    }

    /// Returns the login that was kept because the app's hook was unavailable.
    async fn take_kept_login(&self) -> Result<Option<SessionRecord>, LoginError> {
        if !self.sessions.has_login_hook() || self.authorization.code_or_error.is_err() {
            return Ok(None);
        }
        // Its code is spent: without the store, the exchange might be repeated.
        self.single_use().take_kept_login().await.map_err(|error| {
            telemetry::internal_error("login_attempt", &error);
            LoginError::Unavailable
        })
    }

    /// Exchanges the code, and builds the record of the session.
    async fn new_record(&self, headers: &HeaderMap) -> Result<SessionRecord, CompletionError> {
        let ExchangedLogin { identity, tokens, position } = self.claim_and_exchange().await?;
        let authentication = self.authentication(&identity);
        match self.sessions.build_login_record(tokens, position, authentication, headers).await {
            Ok(record) => Ok(record),
            Err(error) => {
                self.single_use().fail().await;
                Err(BeginSessionError::from(error).into())
            }
        }
    }

    fn authentication(&self, identity: &VerifiedIdentity) -> Authentication {
        Authentication::of_login(
            identity.auth_time(),
            self.attempt.trigger == LoginTrigger::PromptLogin,
            self.sessions.now(),
        )
    }

    /// Begins the session of a verified login, or asks for confirmation first.
    async fn begin(
        &self,
        record: SessionRecord,
        current: Option<Session>,
        headers: &HeaderMap,
    ) -> Result<LoginOutcome, CompletionError> {
        let (sessions, page) = (&self.sessions, &self.attempt.return_to);
        if current.is_some_and(|current| Some(current.login_subject()) != record.login_subject()) {
            let login = UnconfirmedLogin {
                began_at: record.by_environment_clock(self.attempt.began_at),
                credentials: UnconfirmedCredentials::Tokens(Box::new(record)),
                return_to: page.clone(),
            };
            return sessions
                .ask_to_switch(login, sessions.switch_account_path(), headers)
                .await
                .map(|(page, cookies)| LoginOutcome {
                    cookies: SessionCookies::new(cookies),
                    confirmation: Some(page),
                })
                .map_err(|error| {
                    CompletionError::Rejected(match error {
                        // The code is spent.
                        SwitchError::Unavailable => LoginError::Interrupted,
                        error => error.into(),
                    })
                });
        }
        let environment_session = record.environment_session();
        let mut cookies = sessions.begin_login_session(record, headers).await?.into_values();
        let expired = sessions.drop_expired_logins(headers, environment_session).await;
        telemetry::login_completed();
        cookies.extend(RecentLogin::cookies(sessions, &self.attempt, page, headers));
        cookies.extend(expired);
        Ok(LoginOutcome { cookies: SessionCookies::new(cookies), confirmation: None })
    }

    /// Checks the response, claims the attempt, exchanges the code for tokens and verifies them.
    async fn claim_and_exchange(&self) -> Result<ExchangedLogin, CompletionError> {
        let scalekit = self.sessions.scalekit();
        // A response of another issuer indicates a mix-up attack (RFC 9207).
        let (issuer, ours) = (self.authorization.issuer.as_deref(), scalekit.environment_url());
        if !issuer.map_or(!self.sessions.requires_issuer(), |issuer| issuer == ours) {
            let found = Shown(issuer.unwrap_or("none"));
            return Err(LoginError::IssuerMismatch.logged("iss", Shown(ours), found).into());
        }
        let code = self
            .authorization
            .code_or_error
            .as_ref()
            .map_err(|error| LoginError::AuthorizationFailed { error: error.clone() })?;
        // A code works once: it is not spent for tokens that could not be verified.
        scalekit.remote_keys().ready().await.map_err(|_| LoginError::Unavailable)?;
        // First: the environment may issue tokens that are revoked before they arrive here.
        let position =
            self.sessions.revocation_position().await.map_err(|_| LoginError::Unavailable)?;
        // A second exchange would make the environment revoke the tokens of the first (RFC 6749,
        // section 4.1.2). `complete_once` and `identify_once` wait for the request that has claimed
        // the attempt.
        if !self.single_use().claim().await {
            return Err(CompletionError::UsedByOther);
        }
        let exchanged = self.exchange_and_verify(code, position).await;
        if exchanged.as_ref().is_err_and(LoginError::ends_attempt) {
            self.single_use().fail().await;
        }
        Ok(exchanged?)
    }

    /// Exchanges the code of an attempt that this request has claimed, and verifies the tokens.
    async fn exchange_and_verify(
        &self,
        code: &str,
        position: RecordedPosition,
    ) -> Result<ExchangedLogin, LoginError> {
        let scalekit = self.sessions.scalekit();
        // An attempt from an origin that the app does not have is not found.
        let redirect_uri =
            self.attempt.origin(&self.sessions).ok_or(LoginError::StateMismatch)?.redirect_uri();
        let verifier = self.attempt.verifier();
        let exchanged = scalekit.exchange_code(code, redirect_uri.as_str(), Some(&verifier)).await;
        let tokens = match exchanged.map_err(LoginError::from) {
            Ok(tokens) => tokens,
            Err(error) => {
                if !error.ends_attempt() {
                    self.single_use().release().await;
                }
                return Err(error);
            }
        };
        let nonce = self.attempt.nonce();
        let grant = Grant::AuthorizationCode { nonce: nonce.expose() };
        let verified = tokens.verify_for(scalekit, grant).await.map_err(token_rejected)?;
        let (Some(id_token), Some(id_token_claims)) = (tokens.id_token, verified.id_token) else {
            let (expected, found) = ("an ID token (scope openid)", "an access token only");
            return Err(token_rejected(TokenError::Malformed.logged("id_token", expected, found)));
        };
        Ok(ExchangedLogin {
            identity: VerifiedIdentity::new(id_token_claims.into_verified_claims(), position),
            tokens: NewTokens {
                principal: verified.principal,
                id_token,
                refresh_token: tokens.refresh_token,
                access_token: self.sessions.retained(&tokens.access_token).cloned(),
            },
            position,
        })
    }

    fn single_use(&self) -> SingleUse<'_> {
        self.attempt.single_use(&self.sessions, self.dedup_key())
    }

    /// Two requests with this key complete one login.
    fn dedup_key(&self) -> DedupKey {
        self.attempt.dedup_key(
            self.authorization.code_or_error.as_deref().unwrap_or_default(),
            self.authorization.issuer.as_deref().unwrap_or_default(),
        )
    }
}

fn token_rejected(error: TokenError) -> LoginError {
    match error {
        TokenError::KeysUnavailable => LoginError::Interrupted,
        error => LoginError::InvalidToken { error },
    }
}
