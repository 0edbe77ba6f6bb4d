//! Confirmation of logins that would replace the session of another user.
//!
//! A link on another site can start a login, and an identity provider that accepts everyone can
//! complete it. Without a confirmation, the browser would be logged in to an attacker's account,
//! and what the user does next would be stored there (login CSRF). The login is verified first. Its
//! tokens then stay sealed in the shared store, with the secret of the sessions, under a key from this
//! browser's cookie.
//!
//! If the user keeps the session, the session that the login has created at the environment is
//! revoked, because it would complete the next login of this browser. A session that existed before the
//! login is not revoked: other apps may use it.

mod confirmation;
mod pending;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

pub use self::confirmation::SwitchConfirmation;
use self::pending::{Claim, PendingLogin, PendingState};
pub(crate) use self::pending::{EmailLogin, UnconfirmedCredentials, UnconfirmedLogin};
use super::cookie::seal::SealingFailed;
use super::load::SessionUnavailable;
use super::short_lived_cookies::{decode_time, encode_time};
use super::single_use::MAX_WAIT;
use super::{
    Purpose, SHORT_LIVED_ID_BYTES, Session, SessionCookies, Sessions, ShortLivedCookie,
    ShortLivedCookieKind,
};
use crate::api::ApiError;
use crate::clock::unix_millis;
use crate::middleware::page;
use crate::middleware::route_response::redirect;
use crate::secret::{RandomSourceFailed, SecretString};
use crate::shared_store::{self, StoreError, StoreKey};
use crate::util::cache_control::{set_no_store, vary_on_cookie};
use crate::util::query::QueryParam;
use crate::util::return_to::ReturnTo;
use crate::util::shared_results::{DedupKey, SharedResults};
use crate::util::telemetry;

const LIFETIME: Duration = Duration::minutes(10);
/// A browser has fewer logins, even if callbacks at the same time have each stored one.
const MAX_READ: usize = 8 * SwitchAttempt::MAX;
const REVOKE_TIMEOUT: StdDuration = StdDuration::from_secs(5);

/// How long a login that was not confirmed in time is kept, to revoke its session at the
/// environment.
const PENDING_TTL: Duration = Duration::hours(1);
/// How many are removed at once: all that a browser can have.
const MAX_DROPPED: usize = SwitchAttempt::MAX;
/// Name of the background tasks.
const DROPPED_LOGIN: &str = "unconfirmed login";

/// A login that waits for confirmation, identified by this browser's cookie.
#[derive(Clone)]
pub(crate) struct SwitchAttempt {
    key: SecretString,
    began_at: OffsetDateTime,
}

impl SwitchAttempt {
    fn start(now: OffsetDateTime) -> Result<Self, RandomSourceFailed> {
        Ok(Self { key: SecretString::random::<32>()?, began_at: now })
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
        self.key.expose().get(..SHORT_LIVED_ID_BYTES).map(str::to_owned)
    }

    fn stored_at(&self) -> OffsetDateTime {
        self.began_at
    }

    fn ends_at(&self) -> OffsetDateTime {
        self.began_at.saturating_add(LIFETIME)
    }

    fn cookie_expires_at(&self) -> OffsetDateTime {
        self.began_at.saturating_add(PENDING_TTL)
    }

    /// `start, Unix seconds ‖ key`
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let key = self.key.expose().as_bytes();
        Some(Zeroizing::new([&encode_time(self.began_at)[..], key].concat()))
    }

    fn decode(_: &str, content: &[u8]) -> Option<Self> {
        let (began_at, key) = decode_time(content)?;
        Some(Self { key: std::str::from_utf8(key).ok()?.into(), began_at })
    }
}

/// Returned when a login was not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SwitchError {
    /// A page of another origin, which is not trusted, caused the request.
    CrossOrigin,
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
    /// `dropped` removes the cookies of expired logins.
    Switch {
        attempt: SwitchAttempt,
        dropped: Vec<HeaderValue>,
    },
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
    /// Redirects to the page of the login. `dropped` removes the cookies of expired logins.
    pub(crate) fn into_response(self, dropped: Vec<HeaderValue>) -> Response<Bytes> {
        let cookies = self.cookies.into_values().into_iter().chain(dropped);
        redirect(StatusCode::SEE_OTHER, self.return_to.as_str(), cookies)
    }
}

impl Sessions {
    /// Stores a login until it is confirmed. Returns the address of the confirmation page, and the
    /// `Set-Cookie` values that bind the login to this browser.
    pub(crate) async fn ask_to_switch(
        &self,
        mut login: UnconfirmedLogin,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(String, Vec<HeaderValue>), SwitchError> {
        let attempt = SwitchAttempt::start(self.now()).map_err(|_| SealingFailed)?;
        let id = attempt.id().ok_or(SealingFailed)?;
        let cookies =
            self.store_short_lived(&attempt, headers).ok_or(SwitchError::Misconfigured)?;
        login.began_at = self.first_began_at(&login, headers).await?;
        let sealed = self.sealing_keys().seal(
            Purpose::PendingLogin,
            attempt.key.expose(),
            &login.encode().ok_or(SealingFailed)?,
        )?;
        let excess = self.limit_pending_logins(&attempt, &login).await?;
        let stored = self
            .store()
            .put(&attempt.store_key(self), sealed.into(), PENDING_TTL.unsigned_abs())
            .await;
        // The list of the user has dropped the excess in any case; the browser keeps its cookies
        // without a response that removes them.
        let replaced = self
            .short_lived_with_expired(headers)
            .filter(|other| {
                self.short_lived_removal(other).is_some_and(|end| cookies.contains(&end))
            })
            .take(MAX_DROPPED)
            .filter(|_| stored.is_ok())
            .chain(excess)
            .collect();
        self.drop_in_background(replaced, headers, login.environment_session());
        stored?;
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
        if is_post && self.is_cross_origin(request) {
            return Err(SwitchError::CrossOrigin);
        }
        let headers = request.headers();
        let [id, action, shown] = ["attempt", "action", "session"]
            .map(|name| QueryParam::find(request.uri().query().unwrap_or_default(), name).single());
        let id = id.ok_or(SwitchError::InvalidRequest)?;
        let (attempt, end) = self.find_short_lived::<SwitchAttempt>(&id, headers);
        let dropped = self.drop_expired_logins(headers, None).await;
        let current = self.valid_session(headers).await?;
        let Some(attempt) = attempt else {
            // It was confirmed or declined before, for instance by a double click.
            current.ok_or(SwitchError::NoPendingLogin)?;
            let cookies = end.into_iter().chain(dropped);
            return Ok(SwitchStep::see_other(self.start_page().as_str(), cookies));
        };
        if !is_post {
            let host = self.origin_of(request).host_name();
            let mut page = self.confirmation_page(&attempt, current.as_ref(), path, host).await?;
            for cookie in dropped {
                page.headers_mut().append(header::SET_COOKIE, cookie);
            }
            return Ok(SwitchStep::Respond(page));
        }
        match action.as_deref() {
            Some("keep") => self.decline(attempt, headers, end.into_iter().chain(dropped)).await,
            Some("switch")
                if current.as_ref().is_none_or(|current| shown == Some(fingerprint(current))) =>
            {
                Ok(SwitchStep::Switch { attempt, dropped })
            }
            // The page was about another session than the one that would be replaced.
            Some("switch") => Ok(SwitchStep::see_other(&format!("{path}?attempt={id}"), dropped)),
            _ => Err(SwitchError::InvalidRequest),
        }
    }

    /// Begins the session of a login that the user has confirmed; once, even after a double click, on
    /// all replicas.
    pub(crate) async fn switch<E, F>(
        &self,
        switches: &SharedResults<Switched, E>,
        attempt: SwitchAttempt,
        begin: impl FnOnce(UnconfirmedCredentials) -> F + Send + 'static,
    ) -> Result<Switched, E>
    where
        E: From<SwitchError> + Clone + Send + Sync + 'static,
        F: Future<Output = Result<SessionCookies, E>> + Send,
    {
        let (sessions, key) = (self.clone(), DedupKey::new(&["switch", attempt.key.expose()]));
        let switched = switches
            .run(key, || async move {
                let PendingLogin { login, value, .. } =
                    match sessions.claim(&attempt, MAX_WAIT).await? {
                        Claim::Acquired(pending) => pending,
                        Claim::Completed(switched) => return Ok(switched),
                    };
                let UnconfirmedLogin { credentials, return_to, .. } = login;
                let cookies = begin(credentials).await.map(|cookies| {
                    let cookies = cookies.into_values().into_iter();
                    SessionCookies::new(cookies.chain(sessions.short_lived_removal(&attempt)))
                });
                sessions.finish(&attempt, value, cookies.as_ref().ok()).await;
                Ok(Switched { cookies: cookies?, return_to })
            })
            .await?;
        Ok(Switched {
            cookies: self.drop_cookies_of_ended_session(switched.cookies).await,
            ..switched
        })
    }

    async fn confirmation_page(
        &self,
        attempt: &SwitchAttempt,
        current: Option<&Session>,
        path: &str,
        host: &str,
    ) -> Result<Response<Bytes>, SwitchError> {
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
        Ok(response)
    }

    /// Removes a login, and ends its session at the environment. Continues when the client
    /// disconnects.
    async fn decline(
        &self,
        attempt: SwitchAttempt,
        headers: &HeaderMap,
        removals: impl Iterator<Item = HeaderValue>,
    ) -> Result<SwitchStep, SwitchError> {
        let (sessions, headers) = (self.clone(), headers.clone());
        let page = self
            .tasks()
            .spawn(DROPPED_LOGIN, async move {
                let spared = sessions
                    .sessions_in_use(std::slice::from_ref(&attempt), &headers, None)
                    .await?;
                let removed = sessions.remove_login(&attempt, MAX_WAIT).await?;
                if let Some(login) = &removed {
                    sessions.revoke_session_of(login, &spared).await;
                }
                Ok::<_, SwitchError>(removed.map(|login| login.return_to))
            })
            .await
            .map_err(|panic| StoreError::Unavailable(panic.into()))??;
        if page.is_some() {
            telemetry::login_failed("login_declined", None);
        }
        Ok(SwitchStep::see_other(page.as_ref().unwrap_or(self.start_page()).as_str(), removals))
    }

    /// Removes logins that were not confirmed in time. Returns the `Set-Cookie` values that remove
    /// their cookies. The browser keeps those of logins that could not be removed, so that its next
    /// requests try again with the cookies that it has then. Not called when a login starts, because
    /// it may continue the environment's session of one of them.
    pub(crate) async fn drop_expired_logins(
        &self,
        headers: &HeaderMap,
        spared: Option<String>,
    ) -> Vec<HeaderValue> {
        let now = self.now();
        let expired: Vec<_> = self
            .short_lived_with_expired(headers)
            .filter(|attempt: &SwitchAttempt| now >= attempt.ends_at())
            .take(MAX_DROPPED)
            .collect();
        if expired.is_empty() {
            return Vec::new();
        }
        let (sessions, headers) = (self.clone(), headers.clone());
        let dropped = self.tasks().spawn(DROPPED_LOGIN, async move {
            let dropped = sessions.drop_logins(&expired, &headers, spared).await;
            dropped
                .into_iter()
                .filter_map(|attempt| sessions.short_lived_removal(attempt))
                .collect()
        });
        dropped.await.unwrap_or_default()
    }

    /// Removes logins that no request may continue, in the background. Retried for a minute, unlike
    /// those that have expired: their browsers do not send them again.
    fn drop_in_background(
        &self,
        attempts: Vec<SwitchAttempt>,
        headers: &HeaderMap,
        spared: Option<String>,
    ) {
        if attempts.is_empty() {
            return;
        }
        let (sessions, request) = (self.clone(), Arc::new((attempts, headers.clone(), spared)));
        self.tasks().retry(DROPPED_LOGIN, move || {
            let (sessions, request) = (sessions.clone(), Arc::clone(&request));
            async move {
                let (attempts, headers, spared) = &*request;
                sessions.drop_logins(attempts, headers, spared.clone()).await.len()
                    == attempts.len()
            }
        });
    }

    /// Removes logins and revokes their sessions at the environment, except this one, that of the
    /// current session, and those of pending logins. Returns the logins that are gone.
    async fn drop_logins<'a>(
        &self,
        attempts: &'a [SwitchAttempt],
        headers: &HeaderMap,
        spared: Option<String>,
    ) -> Vec<&'a SwitchAttempt> {
        let Ok(spared) = self.sessions_in_use(attempts, headers, spared).await else {
            return Vec::new();
        };
        let spared = &spared;
        join_all(attempts.iter().map(async |attempt| {
            // Errors of the store are logged. A request that has claimed it may begin its session.
            if let Some(login) = self.remove_login(attempt, StdDuration::ZERO).await.ok()? {
                let (sessions, spared) = (self.clone(), spared.clone());
                self.tasks().detach(DROPPED_LOGIN, async move {
                    sessions.revoke_session_of(&login, &spared).await;
                });
            }
            Some(attempt)
        }))
        .await
        .into_iter()
        .flatten()
        .collect()
    }

    /// Returns the environment's sessions that the user of this browser has or may switch to. Fails if
    /// one of them cannot be read, because it may be that of a removed login.
    async fn sessions_in_use(
        &self,
        removed: &[SwitchAttempt],
        headers: &HeaderMap,
        further: Option<String>,
    ) -> Result<Vec<String>, SwitchError> {
        let current = self.valid_session(headers).await?;
        let mut in_use: Vec<String> = current
            .and_then(|current| current.record().environment_session())
            .into_iter()
            .chain(further)
            .collect();
        let now = self.now();
        let waiting = self.pending_logins(headers, |attempt| {
            now < attempt.ends_at() && removed.iter().all(|one| one.key != attempt.key)
        });
        in_use.extend(waiting.await?.iter().filter_map(UnconfirmedLogin::environment_session));
        Ok(in_use)
    }

    /// Returns when the first login of this browser began that waits with the same session at the
    /// environment: that session is spared until the last of them is dropped.
    async fn first_began_at(
        &self,
        login: &UnconfirmedLogin,
        headers: &HeaderMap,
    ) -> Result<Option<i64>, StoreError> {
        let Some(session) = login.environment_session() else { return Ok(login.began_at) };
        let waiting = self.pending_logins(headers, |_| true).await?;
        let same =
            waiting.iter().filter(|one| one.environment_session().as_ref() == Some(&session));
        Ok(same.filter_map(|one| one.began_at).chain(login.began_at).min())
    }

    /// Reads the logins of this browser's attempts that `includes` selects. A cookie may be sent
    /// repeatedly.
    async fn pending_logins(
        &self,
        headers: &HeaderMap,
        includes: impl Fn(&SwitchAttempt) -> bool,
    ) -> Result<Vec<UnconfirmedLogin>, StoreError> {
        let mut attempts: Vec<SwitchAttempt> = Vec::new();
        for attempt in self.short_lived_with_expired(headers).filter(includes) {
            if attempts.len() < MAX_READ && attempts.iter().all(|one| one.key != attempt.key) {
                attempts.push(attempt);
            }
        }
        let pending = try_join_all(attempts.iter().map(|attempt| self.pending_login(attempt)));
        Ok(pending.await?.into_iter().flatten().map(|pending| pending.login).collect())
    }

    /// Removes a login. Returns it, or `None` if it is already gone or completed. Waits up to `wait` for
    /// a request that has claimed it.
    async fn remove_login(
        &self,
        attempt: &SwitchAttempt,
        wait: StdDuration,
    ) -> Result<Option<UnconfirmedLogin>, SwitchError> {
        let PendingLogin { login, value, .. } = match self.claim(attempt, wait).await {
            Ok(Claim::Acquired(pending)) => pending,
            Ok(Claim::Completed(_)) | Err(SwitchError::NoPendingLogin) => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.store().remove_if(&attempt.store_key(self), value.clone()).await {
            Ok(true) => Ok(Some(login)),
            Ok(false) => Err(SwitchError::Unavailable),
            Err(error) => {
                // It may be removed nevertheless: then no later request knows of its session.
                if let Ok(None) = self.pending_login(attempt).await {
                    return Ok(Some(login));
                }
                self.finish(attempt, value, None).await;
                Err(error.into())
            }
        }
    }

    /// Revokes the session of a removed login at the environment, unless it is spared.
    async fn revoke_session_of(&self, login: &UnconfirmedLogin, spared: &[String]) {
        if let Some(id) = login.environment_session()
            && let Some(began_at) = login.began_at
            && !spared.contains(&id)
            && !self.revoke_if_created_since(began_at, &id).await
        {
            let sessions = self.clone();
            self.tasks().retry(DROPPED_LOGIN, move || {
                let (sessions, id) = (sessions.clone(), id.clone());
                async move { sessions.revoke_if_created_since(began_at, &id).await }
            });
        }
    }

    /// Revokes a session at the environment unless it was created before this time, in Unix
    /// milliseconds. Returns `false` if that is to be tried again.
    async fn revoke_if_created_since(&self, began_at: i64, id: &str) -> bool {
        let sessions = self.scalekit().api().sessions();
        let revoked = tokio::time::timeout(REVOKE_TIMEOUT, async {
            match sessions.get(id).await?.created_at {
                Some(created_at) if unix_millis(created_at) >= began_at => {
                    sessions.revoke(id).await.map(drop)
                }
                _ => Ok(()),
            }
        });
        match revoked.await {
            Ok(Ok(()) | Err(ApiError::NotFound(_))) => true,
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
