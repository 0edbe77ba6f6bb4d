//! Confirmation of logins that would replace the session of another user.
//!
//! A link on another site can start a login, and an identity provider that accepts everyone can
//! complete it. Without a confirmation, the browser would be logged in to an attacker's account,
//! and what the user does next would be stored there (login CSRF). The login is verified first. Its
//! tokens then stay sealed in the shared store, under a key that is only in this browser's cookie.

mod confirmation;
mod pending;

use std::future::Future;
use std::time::Duration as StdDuration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

pub use self::confirmation::SwitchConfirmation;
use self::pending::{Claim, PendingLogin, PendingState};
pub(crate) use self::pending::{EmailLogin, UnconfirmedIdentity, UnconfirmedLogin};
use super::cookie::seal::SealingFailed;
use super::load::SessionUnavailable;
use super::short_lived_cookies::{decode_time, encode_time};
use super::{
    ATTEMPT_ID_BYTES, Purpose, Session, SessionCookies, Sessions, ShortLivedCookie,
    ShortLivedCookieKind,
};
use crate::api::ApiError;
use crate::middleware::page;
use crate::middleware::route_response::redirect;
use crate::secret::{RandomSourceFailed, SecretString};
use crate::shared_store::{self, StoreError, StoreKey};
use crate::util::cache_control::{set_no_store, vary_on_cookie};
use crate::util::query::QueryParam;
use crate::util::request_dedup::{Key, SharedResults};
use crate::util::return_to::ReturnTo;
use crate::util::telemetry;

const LIFETIME: Duration = Duration::minutes(10);
const REVOKE_TIMEOUT: StdDuration = StdDuration::from_secs(5);

/// How long a login that was not confirmed in time is kept, to revoke its session at the
/// environment.
const PENDING_TTL: Duration = Duration::hours(1);
/// How many are removed at once.
const MAX_DROPPED: usize = 4;
/// Name of the background tasks.
const DROPPED_LOGIN: &str = "unconfirmed login";

/// A login that waits for confirmation, identified by this browser's cookie.
#[derive(Clone)]
pub(crate) struct SwitchAttempt {
    key: SecretString,
    started_at: OffsetDateTime,
}

impl SwitchAttempt {
    fn start(now: OffsetDateTime) -> Result<Self, RandomSourceFailed> {
        Ok(Self { key: SecretString::random::<32>()?, started_at: now })
    }

    /// The sealing name of its session's cookies.
    fn cookies_name(&self) -> String {
        format!("cookies {}", self.key.expose())
    }

    fn store_key(&self, sessions: &Sessions) -> StoreKey {
        sessions.store_key(shared_store::KeyNamespace::PendingLogin, self.key.expose())
    }
}

impl ShortLivedCookie for SwitchAttempt {
    const KIND: ShortLivedCookieKind = ShortLivedCookieKind::SwitchAccount;

    fn id(&self) -> Option<String> {
        self.key.expose().get(..ATTEMPT_ID_BYTES).map(str::to_owned)
    }

    fn began_at(&self) -> OffsetDateTime {
        self.started_at
    }

    fn ends_at(&self) -> OffsetDateTime {
        self.started_at.saturating_add(LIFETIME)
    }

    fn cookie_expires_at(&self) -> OffsetDateTime {
        self.started_at.saturating_add(PENDING_TTL)
    }

    /// `start, Unix seconds ‖ key`
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let key = self.key.expose().as_bytes();
        Some(Zeroizing::new([&encode_time(self.started_at)[..], key].concat()))
    }

    fn decode(_: &str, content: &[u8]) -> Option<Self> {
        let (started_at, key) = decode_time(content)?;
        Some(Self { key: std::str::from_utf8(key).ok()?.into(), started_at })
    }
}

/// Returned when a login was not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SwitchError {
    /// A page of another site caused the request.
    CrossSite,
    InvalidRequest,
    MethodNotAllowed {
        allow: &'static str,
    },
    Misconfigured,
    /// No such login waits in this browser, or no longer.
    NoPendingLogin,
    /// The shared store is unavailable.
    Unavailable,
}

impl From<StoreError> for SwitchError {
    fn from(error: StoreError) -> Self {
        telemetry::internal_error("switch_account", &error);
        Self::Unavailable
    }
}

impl From<SessionUnavailable> for SwitchError {
    fn from(_: SessionUnavailable) -> Self {
        Self::Unavailable
    }
}

impl From<SealingFailed> for SwitchError {
    fn from(error: SealingFailed) -> Self {
        telemetry::internal_error("switch_account", &error);
        Self::Misconfigured
    }
}

/// The result of a request to the confirmation page.
pub(crate) enum SwitchStep {
    Respond(Response<Bytes>),
    Switch(SwitchAttempt),
}

impl SwitchStep {
    fn see_other(location: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Self {
        Self::Respond(redirect(StatusCode::SEE_OTHER, location, cookies))
    }
}

/// A login that was confirmed.
#[derive(Clone)]
pub(crate) struct Switched {
    cookies: SessionCookies,
    return_to: ReturnTo,
}

impl Switched {
    pub(crate) fn into_response(self) -> Response<Bytes> {
        redirect(StatusCode::SEE_OTHER, self.return_to.as_str(), self.cookies.into_values())
    }
}

impl Sessions {
    /// Stores a login until it is confirmed. Returns the address of the confirmation page, and the
    /// `Set-Cookie` values that bind the login to this browser.
    pub(crate) async fn ask_to_switch(
        &self,
        login: &UnconfirmedLogin,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(String, Vec<HeaderValue>), SwitchError> {
        let attempt = SwitchAttempt::start(self.now()).map_err(|_| SealingFailed)?;
        let id = attempt.id().ok_or(SealingFailed)?;
        let cookies = self.store_attempt(&attempt, headers).ok_or(SwitchError::Misconfigured)?;
        let sealed = self.sealing_keys().seal(
            Purpose::PendingLogin,
            attempt.key.expose(),
            &login.encode().ok_or(SealingFailed)?,
        )?;
        let excess = self.limit_pending_logins(&attempt, login).await?;
        self.store()
            .put(&attempt.store_key(self), sealed.into(), PENDING_TTL.unsigned_abs())
            .await?;
        let replaced = self
            .attempts_with_expired(headers)
            .filter(|other| self.attempt_removal(other).is_some_and(|end| cookies.contains(&end)))
            .take(MAX_DROPPED)
            .chain(excess)
            .collect();
        self.drop_in_background(replaced, headers, login.environment_session());
        Ok((format!("{path}?attempt={id}"), cookies))
    }

    /// Shows the page, or carries out the user's decision.
    pub(crate) async fn switch_step(
        &self,
        request: &Request<()>,
        path: &str,
    ) -> Result<SwitchStep, SwitchError> {
        let is_post = request.method() == Method::POST;
        if !is_post && request.method() != Method::GET && request.method() != Method::HEAD {
            return Err(SwitchError::MethodNotAllowed { allow: "GET, HEAD, POST" });
        }
        if is_post && self.is_cross_site(request) {
            return Err(SwitchError::CrossSite);
        }
        let headers = request.headers();
        let [id, action, shown] = ["attempt", "action", "session"]
            .map(|name| QueryParam::find(request.uri().query().unwrap_or_default(), name).single());
        let id = id.ok_or(SwitchError::InvalidRequest)?;
        let (attempt, end) = self.attempt::<SwitchAttempt>(&id, headers);
        // It may become the browser's session while the expired ones are removed.
        let spared = match &attempt {
            Some(attempt) => self
                .pending_login(attempt)
                .await?
                .and_then(|pending| pending.login.environment_session()),
            None => None,
        };
        let ended = self.drop_expired_logins(headers, spared);
        let current = self.valid_session(headers).await?;
        let Some(attempt) = attempt else {
            // It was confirmed or declined before, for instance by a double click.
            current.ok_or(SwitchError::NoPendingLogin)?;
            let cookies = end.into_iter().chain(ended);
            return Ok(SwitchStep::see_other(self.start_page().as_str(), cookies));
        };
        if !is_post {
            let host = self.origin_of(request).host_name();
            return self.confirmation_page(&attempt, current.as_ref(), path, host).await;
        }
        match action.as_deref() {
            Some("keep") => self.decline(&attempt, current.as_ref(), end).await,
            Some("switch")
                if current.as_ref().is_none_or(|current| shown == Some(fingerprint(current))) =>
            {
                Ok(SwitchStep::Switch(attempt))
            }
            // The page was about another session than the one that would be replaced.
            Some("switch") => Ok(SwitchStep::see_other(&format!("{path}?attempt={id}"), [])),
            _ => Err(SwitchError::InvalidRequest),
        }
    }

    /// Begins the session of a login that the user has confirmed; once, even after a double click, on
    /// all replicas.
    pub(crate) async fn switch<E, F>(
        &self,
        switches: &SharedResults<Switched, E>,
        attempt: SwitchAttempt,
        begin: impl FnOnce(UnconfirmedIdentity) -> F + Send + 'static,
    ) -> Result<Switched, E>
    where
        E: From<SwitchError> + Clone + Send + Sync + 'static,
        F: Future<Output = Result<SessionCookies, E>> + Send,
    {
        let (sessions, key) = (self.clone(), Key::new(&["switch", attempt.key.expose()]));
        let switched = switches
            .run(key, || async move {
                let PendingLogin { login, value, .. } = match sessions.claim(&attempt).await? {
                    Claim::Acquired(pending) => pending,
                    Claim::Completed(switched) => return Ok(switched),
                };
                let UnconfirmedLogin { identity, return_to } = login;
                let cookies = begin(identity).await.map(|cookies| {
                    let cookies = cookies.into_values().into_iter();
                    SessionCookies::new(cookies.chain(sessions.attempt_removal(&attempt)))
                });
                sessions.finish(&attempt, value, cookies.as_ref().ok()).await;
                Ok(Switched { cookies: cookies?, return_to })
            })
            .await?;
        Ok(Switched { cookies: self.unless_ended(switched.cookies).await, ..switched })
    }

    async fn confirmation_page(
        &self,
        attempt: &SwitchAttempt,
        current: Option<&Session>,
        path: &str,
        host: &str,
    ) -> Result<SwitchStep, SwitchError> {
        let login = self
            .pending_login(attempt)
            .await?
            .filter(|pending| !matches!(pending.state, PendingState::Completed(_)))
            .ok_or(SwitchError::NoPendingLogin)?
            .login;
        let id = attempt.id().ok_or(SealingFailed)?;
        let confirmation = SwitchConfirmation {
            host: host.to_owned(),
            current_account: current.map(|current| current.account_name().to_owned()),
            new_account: login.account(self),
            action: format!(
                "{path}?attempt={id}&session={}&action=",
                current.map(fingerprint).unwrap_or_default()
            ),
        };
        let html = match &self.inner.switch_account_page {
            Some(page) => page(&confirmation),
            None => confirmation.page(),
        };
        let mut response = Response::new(Bytes::new());
        page::show(&mut response, html);
        set_no_store(response.headers_mut());
        vary_on_cookie(response.headers_mut());
        Ok(SwitchStep::Respond(response))
    }

    /// Removes a login, and ends its session at the environment. Continues when the client
    /// disconnects.
    async fn decline(
        &self,
        attempt: &SwitchAttempt,
        current: Option<&Session>,
        end: Option<HeaderValue>,
    ) -> Result<SwitchStep, SwitchError> {
        let spared: Vec<String> = current
            .and_then(|current| current.record().environment_session())
            .into_iter()
            .collect();
        let (sessions, attempt) = (self.clone(), attempt.clone());
        let page = self
            .tasks()
            .spawn(DROPPED_LOGIN, async move { sessions.drop_login(&attempt, &spared).await })
            .await
            .map_err(|panic| StoreError::Unavailable(panic.into()))??;
        if page.is_some() {
            telemetry::login_failed("login_declined", None);
        }
        Ok(SwitchStep::see_other(page.as_ref().unwrap_or(self.start_page()).as_str(), end))
    }

    /// Removes logins that were not confirmed in time. Returns the `Set-Cookie` values that remove
    /// their cookies. Not called when a login starts, because it may continue the environment's
    /// session of one of them.
    pub(crate) fn drop_expired_logins(
        &self,
        headers: &HeaderMap,
        spared: Option<String>,
    ) -> Vec<HeaderValue> {
        let now = self.now();
        let expired: Vec<_> = self
            .attempts_with_expired(headers)
            .filter(|attempt: &SwitchAttempt| now >= attempt.ends_at())
            .take(MAX_DROPPED)
            .collect();
        let removals = expired.iter().filter_map(|attempt| self.attempt_removal(attempt)).collect();
        self.drop_in_background(expired, headers, spared);
        removals
    }

    /// Removes logins, but keeps this session at the environment, that of the current session, and those
    /// of pending logins.
    fn drop_in_background(
        &self,
        attempts: Vec<SwitchAttempt>,
        headers: &HeaderMap,
        spared: Option<String>,
    ) {
        if attempts.is_empty() {
            return;
        }
        let (sessions, headers) = (self.clone(), headers.clone());
        self.tasks().detach(DROPPED_LOGIN, async move {
            let mut spared: Vec<String> = spared.into_iter().collect();
            match sessions.valid_session(&headers).await {
                Ok(current) => spared
                    .extend(current.and_then(|current| current.record().environment_session())),
                // Its session at the environment may be that of one that would be revoked.
                Err(SessionUnavailable) => return,
            }
            for waiting in sessions.attempts::<SwitchAttempt>(&headers) {
                if attempts.iter().any(|one| one.key == waiting.key) {
                    continue;
                }
                match sessions.pending_login(&waiting).await {
                    Ok(Some(pending)) => spared.extend(pending.login.environment_session()),
                    Ok(None) => {}
                    // It may have the environment's session of one that would be revoked.
                    Err(error) => return telemetry::internal_error("switch_account", &error),
                }
            }
            for attempt in attempts {
                // Errors of the store are logged.
                drop(sessions.drop_login(&attempt, &spared).await);
            }
        });
    }

    /// Removes a login, and revokes its session at the environment unless that is kept. Returns the
    /// page that it was to end at; `None` if the login is already gone or completed.
    async fn drop_login(
        &self,
        attempt: &SwitchAttempt,
        spared: &[String],
    ) -> Result<Option<ReturnTo>, SwitchError> {
        let PendingLogin { login, value, .. } = match self.claim(attempt).await {
            Ok(Claim::Acquired(pending)) => pending,
            Ok(Claim::Completed(_)) | Err(SwitchError::NoPendingLogin) => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.store().remove_if(&attempt.store_key(self), value.clone()).await {
            Ok(true) => {}
            Ok(false) => return Err(SwitchError::Unavailable),
            Err(error) => {
                self.finish(attempt, value, None).await;
                return Err(error.into());
            }
        }
        if let Some(id) = login.environment_session()
            && !spared.contains(&id)
            && !self.revoke_at_environment(&id).await
        {
            let sessions = self.clone();
            self.tasks().retry(DROPPED_LOGIN, move || {
                let (sessions, id) = (sessions.clone(), id.clone());
                async move { sessions.revoke_at_environment(&id).await }
            });
        }
        Ok(Some(login.return_to))
    }

    /// Returns `false` if the environment's session may not have ended.
    async fn revoke_at_environment(&self, id: &str) -> bool {
        let sessions = self.scalekit().api().sessions();
        match tokio::time::timeout(REVOKE_TIMEOUT, sessions.revoke(id)).await {
            Ok(Ok(_) | Err(ApiError::NotFound(_))) => true,
            Ok(Err(error)) => {
                telemetry::internal_error("switch_account", &error);
                false
            }
            Err(late) => {
                telemetry::internal_error("switch_account", &late);
                false
            }
        }
    }
}

/// Distinguishes the session that a page has shown from others, without revealing its ID.
fn fingerprint(session: &Session) -> String {
    let hash = digest(&SHA256, format!("shown session\0{}", session.record().id()).as_bytes());
    URL_SAFE_NO_PAD.encode(hash.as_ref().get(..12).unwrap_or_default())
}
