//! A verified login in the shared store, until the user has confirmed it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{PENDING_TTL, SwitchAttempt, SwitchError, Switched};
use crate::api::passwordless::VerifiedEmail;
use crate::clock::REPLICA_SKEW;
use crate::revocation::RecordedPosition;
use crate::session::cookie::record::SessionRecord;
use crate::session::single_use::{POLL_INTERVAL, StoredResult as _};
use crate::session::{Purpose, SessionCookies, Sessions, ShortLivedCookie as _};
use crate::shared_store::{Change, KeyNamespace, StoreError};
use crate::util::email::{fold_email, fold_user_id};
use crate::util::return_to::ReturnTo;
use crate::util::shared_results::RESULT_TTL;
use crate::util::telemetry;

/// To begin a session takes less, with its login hook. Longer than that by the difference of clocks:
/// after it, another request may begin the session.
const CLAIM_LEASE: time::Duration = time::Duration::seconds(60).saturating_add(REPLICA_SKEW);

/// How many logins of one user, of the last hour, wait at most.
const MAX_PER_USER: usize = 20;
/// How often a user's list of them is updated again after a concurrent change.
const MAX_TRIES: usize = 16;
const CONTENDED: &str = "other logins of the user keep changing the list of those that wait";

/// A verified login that would replace another user's session.
pub(crate) struct UnconfirmedLogin {
    /// When it began by the environment's clock, in Unix milliseconds: a session of the environment that
    /// was created before is not of this login.
    pub(crate) began_at: Option<i64>,
    pub(crate) credentials: UnconfirmedCredentials,
    pub(crate) return_to: ReturnTo,
}

/// What a login has proven, for the session that it begins.
pub(crate) enum UnconfirmedCredentials {
    Email(EmailLogin),
    /// A login at the environment, with its tokens.
    Tokens(Box<SessionRecord>),
}

/// A verified login by e-mail.
#[derive(Clone)]
pub(crate) struct EmailLogin {
    pub(crate) verified: VerifiedEmail,
    /// Position of the revocation counter before the login was verified.
    pub(crate) position: RecordedPosition,
}

/// The sealed form.
#[derive(Serialize, Deserialize)]
struct Content {
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    began_at: Option<i64>,
    #[serde(rename = "p")]
    return_to: String,
    #[serde(rename = "r")]
    record: Option<String>,
    #[serde(rename = "m")]
    email: Option<String>,
    #[serde(rename = "t")]
    template: Option<String>,
    #[serde(rename = "y")]
    passwordless_type: Option<String>,
    #[serde(rename = "o", default, skip_serializing_if = "RecordedPosition::is_unknown")]
    position: RecordedPosition,
}

impl UnconfirmedLogin {
    pub(super) fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let (began_at, return_to) = (self.began_at, self.return_to.as_str().to_owned());
        let content = match &self.credentials {
            UnconfirmedCredentials::Email(EmailLogin { verified, position }) => Content {
                began_at,
                return_to,
                record: None,
                email: Some(verified.email.clone()),
                template: verified.template.as_ref().map(ToString::to_string),
                passwordless_type: verified.passwordless_type.as_ref().map(ToString::to_string),
                position: *position,
            },
            UnconfirmedCredentials::Tokens(record) => Content {
                began_at,
                return_to,
                record: Some(URL_SAFE_NO_PAD.encode(record.encode()?)),
                email: None,
                template: None,
                passwordless_type: None,
                position: RecordedPosition::default(),
            },
        };
        serde_json::to_vec(&content).ok().map(Zeroizing::new)
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let content: Content = serde_json::from_slice(content).ok()?;
        let credentials = match (content.record, content.email) {
            (Some(record), None) => UnconfirmedCredentials::Tokens(Box::new(
                SessionRecord::decode(&URL_SAFE_NO_PAD.decode(record).ok()?)?,
            )),
            (None, Some(email)) => UnconfirmedCredentials::Email(EmailLogin {
                verified: VerifiedEmail {
                    email,
                    state: None,
                    template: content.template.as_deref().map(Into::into),
                    passwordless_type: content.passwordless_type.as_deref().map(Into::into),
                },
                position: content.position,
            }),
            _ => return None,
        };
        let return_to = ReturnTo::parse(&content.return_to)?;
        Some(Self { began_at: content.began_at, credentials, return_to })
    }

    /// Returns the ID of its session at the environment.
    pub(super) fn environment_session(&self) -> Option<String> {
        match &self.credentials {
            UnconfirmedCredentials::Email(_) => None,
            UnconfirmedCredentials::Tokens(record) => record.environment_session(),
        }
    }

    /// Returns what identifies the user.
    fn user(&self, sessions: &Sessions) -> String {
        match &self.credentials {
            UnconfirmedCredentials::Email(login) => fold_email(&login.verified.email),
            UnconfirmedCredentials::Tokens(record) => SessionRecord::clone(record)
                .into_session(sessions)
                .map(|session| fold_user_id(session.login_subject()))
                .unwrap_or_default(),
        }
    }

    /// Returns what the page calls the account.
    pub(super) fn account(&self, sessions: &Sessions) -> String {
        match &self.credentials {
            UnconfirmedCredentials::Email(login) => login.verified.email.clone(),
            UnconfirmedCredentials::Tokens(record) => SessionRecord::clone(record)
                .into_session(sessions)
                .map(|session| session.account_name().to_owned())
                .unwrap_or_default(),
        }
    }
}

/// What the user has decided about a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PendingState {
    Waiting,
    /// A request begins its session, until this time (Unix seconds) at the latest.
    Claimed(i64),
    /// Its session began a moment ago, with these sealed cookies.
    Completed(String),
}

/// The first byte of the stored value; none while the login waits. Sealed text does not begin with
/// it.
const CLAIMED: char = '!';
const COMPLETED: char = '=';

impl PendingState {
    fn with_text(&self, text: &str) -> String {
        match self {
            Self::Waiting => text.to_owned(),
            Self::Claimed(until) => format!("{CLAIMED}{until} {text}"),
            Self::Completed(cookies) => format!("{COMPLETED}{cookies} {text}"),
        }
    }

    fn split(value: &str) -> Option<(Self, &str)> {
        if let Some(completed) = value.strip_prefix(COMPLETED) {
            let (cookies, text) = completed.split_once(' ')?;
            return Some((Self::Completed(cookies.to_owned()), text));
        }
        let Some(claimed) = value.strip_prefix(CLAIMED) else {
            return Some((Self::Waiting, value));
        };
        let (until, text) = claimed.split_once(' ')?;
        Some((Self::Claimed(until.parse().ok()?), text))
    }
}

/// A login in the store.
pub(super) struct PendingLogin {
    pub(super) login: UnconfirmedLogin,
    pub(super) state: PendingState,
    /// As stored.
    pub(super) value: Bytes,
}

/// The right to decide on a login.
pub(super) enum Claim {
    /// This request begins its session, or drops it.
    Acquired(PendingLogin),
    /// A request on another replica began its session. The browser may have dropped that response.
    Completed(Switched),
}

impl Sessions {
    /// Adds a login to the last ones of its user. Returns those that are too many, which may still
    /// wait: one user could fill the store with logins in many browsers.
    pub(super) async fn limit_pending_logins(
        &self,
        attempt: &SwitchAttempt,
        login: &UnconfirmedLogin,
    ) -> Result<Vec<SwitchAttempt>, StoreError> {
        let key = self.store_key(KeyNamespace::PendingLogin, &format!("of {}", login.user(self)));
        self.store()
            .update(&key, PENDING_TTL.unsigned_abs(), MAX_TRIES, |seen| {
                let text = String::from_utf8_lossy(seen.unwrap_or_default());
                let mut keys: Vec<&str> = text.split_ascii_whitespace().collect();
                keys.push(attempt.key.expose());
                let excess = keys
                    .drain(..keys.len().saturating_sub(MAX_PER_USER))
                    .map(|key| SwitchAttempt { key: key.into(), ..attempt.clone() })
                    .collect();
                Ok(Change::Set(keys.join(" ").into(), excess))
            })
            .await
            .and_then(|excess| excess.ok_or_else(|| StoreError::Unavailable(CONTENDED.into())))
    }

    pub(super) async fn pending_login(
        &self,
        attempt: &SwitchAttempt,
    ) -> Result<Option<PendingLogin>, StoreError> {
        Ok(self.store().get(&attempt.store_key(self)).await?.and_then(|value| {
            let (state, text) = PendingState::split(std::str::from_utf8(&value).ok()?)?;
            let opened =
                self.sealing_keys().open(Purpose::PendingLogin, attempt.key.expose(), text)?;
            Some(PendingLogin { login: UnconfirmedLogin::decode(&opened.content)?, state, value })
        }))
    }

    /// Claims a login, or waits up to `wait` for the request on another replica that has claimed it.
    pub(super) async fn claim(
        &self,
        attempt: &SwitchAttempt,
        wait: Duration,
    ) -> Result<Claim, SwitchError> {
        let started = Instant::now();
        loop {
            let mut pending =
                self.pending_login(attempt).await?.ok_or(SwitchError::NoPendingLogin)?;
            let now = self.now();
            match &pending.state {
                PendingState::Completed(sealed) => {
                    let cookies =
                        self.completed_cookies(attempt, sealed).ok_or(SwitchError::Unavailable)?;
                    let return_to = pending.login.return_to;
                    return Ok(Claim::Completed(Switched { cookies, return_to }));
                }
                PendingState::Claimed(until) if now.unix_timestamp() < *until => {}
                // The request that has claimed it was interrupted.
                PendingState::Waiting | PendingState::Claimed(_) => {
                    let until = (now + CLAIM_LEASE).unix_timestamp();
                    let claimed = PendingState::Claimed(until);
                    match self.set_state(attempt, &pending.value, &claimed).await {
                        Ok(None) => {}
                        Ok(Some(value)) => {
                            pending.value = value;
                            return Ok(Claim::Acquired(pending));
                        }
                        Err(error) => {
                            telemetry::internal_error("switch_account", &error);
                            let stored = self.pending_login(attempt).await?;
                            // A store that accepts no more values blocks no login.
                            if stored.is_some_and(|stored| stored.value == pending.value) {
                                return Ok(Claim::Acquired(pending));
                            }
                        }
                    }
                }
            }
            if started.elapsed() >= wait {
                return Err(SwitchError::Unavailable);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Records the cookies of its session, for requests on other replicas; later, if the store is
    /// unavailable. After a failure, the user can try again. `claimed` is the value with which this
    /// request has claimed it: another request may have claimed or completed it since.
    pub(super) async fn finish(
        &self,
        attempt: &SwitchAttempt,
        claimed: Bytes,
        cookies: Option<&SessionCookies>,
    ) {
        let state = match cookies {
            Some(cookies) => PendingState::Completed(self.seal_cookies(attempt, cookies)),
            None => PendingState::Waiting,
        };
        let (sessions, attempt) = (self.clone(), attempt.clone());
        let finish = move || {
            let (sessions, attempt) = (sessions.clone(), attempt.clone());
            let (claimed, state) = (claimed.clone(), state.clone());
            async move {
                sessions
                    .set_state(&attempt, &claimed, &state)
                    .await
                    .inspect_err(|error| telemetry::internal_error("switch_account", error))
                    .is_ok()
            }
        };
        if !finish().await {
            self.tasks().retry("account switch", finish);
        }
    }

    /// Returns an empty text if the cookies cannot be sealed.
    fn seal_cookies(&self, attempt: &SwitchAttempt, cookies: &SessionCookies) -> String {
        let name = attempt.cookies_name();
        cookies
            .encode()
            .and_then(|text| self.sealing_keys().seal(Purpose::PendingLogin, &name, &text).ok())
            .unwrap_or_default()
    }

    fn completed_cookies(&self, attempt: &SwitchAttempt, sealed: &str) -> Option<SessionCookies> {
        let name = attempt.cookies_name();
        let opened = self.sealing_keys().open(Purpose::PendingLogin, &name, sealed)?;
        SessionCookies::decode(&opened.content)
    }

    /// Returns the stored value, or `None` if it is no longer `value`.
    async fn set_state(
        &self,
        attempt: &SwitchAttempt,
        value: &Bytes,
        state: &PendingState,
    ) -> Result<Option<Bytes>, StoreError> {
        let ttl = match state {
            PendingState::Completed(_) => RESULT_TTL,
            PendingState::Waiting | PendingState::Claimed(_) => {
                (attempt.cookie_expires_at() - self.now()).try_into().unwrap_or_default()
            }
        };
        let text = String::from_utf8_lossy(value);
        let text = PendingState::split(&text).map_or("", |(_, text)| text);
        let (key, next) = (attempt.store_key(self), Bytes::from(state.with_text(text)));
        let set = self.store().replace_if(&key, value.clone(), next.clone(), ttl);
        Ok(set.await?.then_some(next))
    }
}
