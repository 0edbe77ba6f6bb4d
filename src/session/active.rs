//! The active sessions of a user: listing them, and revoking one from another session.
//!
//! Sessions with tokens are listed and revoked through the environment's API. All sessions in the
//! shared store are in an index of their user there, which limits their number; only local ones are
//! listed from it.

use std::cmp::Reverse;

use futures::TryStreamExt as _;
use futures::future::{join_all, try_join_all};
use serde::Serialize;
use time::OffsetDateTime;

use super::store::Reference;
use super::{Session, SessionHandle, Sessions};
use crate::api::ApiError;
use crate::api::sessions::SessionDetails;
use crate::model::wire::timestamp;
use crate::model::{SessionDevice, SessionStatus};
use crate::shared_store::{Change, KeyNamespace, StoreError, StoreKey};
use crate::util::telemetry;

/// How often an index update is retried after a concurrent change by another login of the user.
const MAX_TRIES: usize = 16;

/// One of the sessions of a user. Returned by [`Sessions::active_sessions`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ActiveSession {
    /// Id of the session: the environment's (`ses_…`), or this crate's own for a local session.
    /// Pass it to [`Sessions::revoke_active_session`].
    pub id: String,
    /// When the user logged in (UTC).
    #[serde(serialize_with = "timestamp::serialize")]
    pub began_at: Option<OffsetDateTime>,
    /// When the session was last used (UTC), if known.
    #[serde(serialize_with = "timestamp::serialize")]
    pub last_active_at: Option<OffsetDateTime>,
    /// Where the user logged in, if known.
    pub device: Option<SessionDevice>,
    /// Whether it is the session of the current request.
    pub is_current: bool,
}

impl Sessions {
    /// Lists the sessions of this session's user, newest first.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower::{Service, ServiceExt};
    /// # use tower_scalekit::{RequireSession, Sandbox, Session, SessionSecret, Sessions};
    /// # let sandbox = Sandbox::new();
    /// # let sessions = Sessions::builder(sandbox.scalekit())
    /// #     .secret(SessionSecret::generate()?)
    /// #     .redirect_uri("https://app.example.com/auth/callback")
    /// #     .build()?;
    /// # for _ in 0..2 {
    /// #     let _ = sandbox.session_cookie(&sessions, "jane@acme.test").await;
    /// # }
    /// # let cookie = sandbox.session_cookie(&sessions, "jane@acme.test").await;
    /// # let inner = tower::service_fn(|request: http::Request<String>| async move {
    /// #     let session = Session::from_extensions(request.extensions());
    /// #     let mut response = http::Response::new(String::new());
    /// #     response.extensions_mut().insert(session);
    /// #     Ok::<_, std::convert::Infallible>(response)
    /// # });
    /// # let request = http::Request::get("/").header("cookie", cookie).body(String::new())?;
    /// # let layer = RequireSession::new(&sessions);
    /// # let response = tower_layer::Layer::layer(&layer, inner).oneshot(request).await?;
    /// # let session = response.extensions().get::<Option<Session>>().cloned().flatten().unwrap();
    /// // In a handler that takes a `Session`; the user is logged in three times.
    /// let mine = sessions.active_sessions(&session).await?;
    /// assert_eq!(mine.len(), 3);
    /// for other in mine.iter().filter(|one| !one.is_current) {
    ///     sessions.revoke_active_session(&session, &other.id).await?;
    /// }
    /// assert_eq!(sessions.active_sessions(&session).await?.len(), 1);
    /// # Ok(())
    /// # }
    /// # main().unwrap();
    /// # }
    /// ```
    ///
    /// Local sessions that are [in a cookie](super::LocalSession::in_cookie) are not listed.
    ///
    /// # Errors
    /// Returned when the environment's API fails, or the shared store for a local session.
    pub async fn active_sessions(
        &self,
        session: &Session,
    ) -> Result<Vec<ActiveSession>, ActiveSessionsError> {
        if session.is_local() {
            return self.active_local_sessions(session).await;
        }
        let mut active: Vec<ActiveSession> = self
            .scalekit()
            .api()
            .sessions()
            .list_for_user(session.principal().subject())
            .status(SessionStatus::Active)
            .stream()
            .map_ok(|one: SessionDetails| ActiveSession {
                is_current: session.principal().session_id() == Some(&*one.session_id),
                id: one.session_id,
                began_at: one.created_at,
                last_active_at: one.last_active_at,
                device: one.device,
            })
            .try_collect()
            .await?;
        active.sort_by_key(|one| Reverse(one.began_at));
        Ok(active)
    }

    /// Revokes one of the sessions of this session's user, by an id that
    /// [`active_sessions`](Self::active_sessions) returned. The session ends at the environment,
    /// and on every replica within two seconds. Continues when the client disconnects.
    ///
    /// # Errors
    /// [`ActiveSessionsError::NotFound`] for a session of another user. Other variants are returned
    /// when the environment's API or the shared store fails.
    pub async fn revoke_active_session(
        &self,
        session: &Session,
        id: &str,
    ) -> Result<(), ActiveSessionsError> {
        if session.is_local() {
            return self.revoke_local_session(session, id).await;
        }
        let (sessions, session, id) = (self.clone(), session.clone(), id.to_owned());
        self.tasks()
            .spawn("session end", async move {
                sessions.revoke_environment_session(&session, &id).await
            })
            .await
            .unwrap_or_else(|panic| Err(StoreError::Unavailable(panic.into()).into()))
    }

    async fn revoke_environment_session(
        &self,
        session: &Session,
        id: &str,
    ) -> Result<(), ActiveSessionsError> {
        let api = self.scalekit().api().sessions();
        let found = api.get(id).await.map_err(|error| match error {
            ApiError::NotFound(_) | ApiError::InvalidRequest(_) => ActiveSessionsError::NotFound,
            error => ActiveSessionsError::Api(error),
        })?;
        if found.user_id.as_deref() != Some(session.principal().subject()) {
            return Err(ActiveSessionsError::NotFound);
        }
        api.revoke(id).await?;
        Ok(self.revoke_session(id).await?)
    }

    /// Adds a session to the index of its user in the shared store, in place of the session that it
    /// replaces in its browser. Ends the oldest ones if there are too many.
    pub(super) async fn index(
        &self,
        session: &Session,
        replaced: Option<&str>,
    ) -> Result<(), IndexError> {
        let key = self.index_key(session.principal().subject());
        // The change reads other values, which `TimedStore::update` cannot.
        for _ in 0..MAX_TRIES {
            let seen = self.store().get(&key).await?;
            let mut all = indexed_in(seen.as_deref());
            all.retain(|one| replaced != Some(&*one.id));
            all.push(Reference::new(session.record(), self.now()));
            if all.len() > self.inner.max_sessions_per_user {
                all = self.valid_sessions(all).await?;
            }
            let excess = all.len().saturating_sub(self.inner.max_sessions_per_user);
            let entries = all.iter().map(Reference::to_index_item).collect::<Vec<_>>().join(" ");
            let ttl = self.longest_lifetime();
            if self.store().compare_and_set(&key, seen, entries.into(), ttl).await? {
                // They stay in the index: the next login removes those that have ended.
                return Ok(join_all(all.iter().take(excess).map(async |one| {
                    telemetry::session_over_limit();
                    self.end(&SessionHandle::stored(&one.id)).await
                }))
                .await
                .into_iter()
                .collect::<Result<(), _>>()?);
            }
        }
        Err(IndexError::Contended)
    }

    /// Counts a session that is about to be stored in its cookie.
    pub(super) async fn count_cookie_session(&self, user_id: &str) -> CookieQuota {
        let quota = self.try_count_in_cookies(user_id).await.unwrap_or_else(|error| {
            telemetry::internal_error("session_count", &error);
            CookieQuota::Within
        });
        if quota == CookieQuota::Exceeded && !self.inner.revocations.has_peers() {
            telemetry::session_kept_in_memory();
        }
        quota
    }

    async fn try_count_in_cookies(&self, user_id: &str) -> Result<CookieQuota, StoreError> {
        let lifetime = self.inner.lifetimes.absolute.whole_seconds().max(1);
        let period = self.now().unix_timestamp().div_euclid(lifetime);
        let name = format!("count in {period} of sessions of {user_id}");
        let key = self.store_key(KeyNamespace::Session, &name);
        self.store()
            .update(&key, self.longest_lifetime(), MAX_TRIES, |seen| {
                let count: usize = seen
                    .and_then(|count| std::str::from_utf8(count).ok()?.parse().ok())
                    .unwrap_or(0);
                Ok(if count >= self.inner.max_sessions_per_user {
                    Change::Keep(CookieQuota::Exceeded)
                } else {
                    Change::Set((count + 1).to_string().into(), CookieQuota::Within)
                })
            })
            .await
            // Under concurrent logins of the same user, at least some are counted.
            .map(|quota| quota.unwrap_or(CookieQuota::Within))
    }

    /// Returns those sessions that have not ended, or that the store may not have yet.
    async fn valid_sessions(&self, all: Vec<Reference>) -> Result<Vec<Reference>, StoreError> {
        let now = self.now();
        let values = try_join_all(all.iter().map(|one| self.stored_value(&one.id))).await?;
        let mut valid = Vec::new();
        for (one, value) in all.into_iter().zip(values) {
            let is_valid = match value {
                Some(value) => self
                    .open_stored(&one.id, &value)?
                    .filter(|stored| !stored.record.is_past_limits(self.inner.lifetimes, now))
                    .and_then(|stored| stored.record.into_session(self))
                    .is_some_and(|session| !self.inner.revocations.is_revoked(session.revocable())),
                None => self.may_lack(&one.id, one.sealed_at),
            };
            if is_valid {
                valid.push(one);
            }
        }
        Ok(valid)
    }

    async fn active_local_sessions(
        &self,
        session: &Session,
    ) -> Result<Vec<ActiveSession>, ActiveSessionsError> {
        let now = self.now();
        let all = self.indexed(session).await?;
        Ok(try_join_all(all.iter().rev().map(|one| self.read_stored(&one.id)))
            .await?
            .into_iter()
            .flatten()
            .map(|there| there.record)
            .filter(|record| record.is_local() && !record.is_past_limits(self.inner.lifetimes, now))
            .filter_map(|record| record.into_session(self))
            .filter(|one| !self.inner.revocations.is_revoked(one.revocable()))
            .map(|one| ActiveSession {
                id: one.record().id().to_owned(),
                began_at: Some(one.record().began_at()),
                last_active_at: None,
                device: None,
                is_current: one.record().id() == session.record().id(),
            })
            .collect())
    }

    async fn revoke_local_session(
        &self,
        session: &Session,
        id: &str,
    ) -> Result<(), ActiveSessionsError> {
        if !self.indexed(session).await?.iter().any(|mine| *mine.id == *id) {
            return Err(ActiveSessionsError::NotFound);
        }
        Ok(self.end(&SessionHandle::stored(id)).await?)
    }

    /// Returns the user's sessions in the shared store, oldest first.
    async fn indexed(&self, session: &Session) -> Result<Vec<Reference>, StoreError> {
        let key = self.index_key(session.principal().subject());
        Ok(indexed_in(self.store().get(&key).await?.as_deref()))
    }

    /// Returns the key of a user's index. Sessions of another redirect URI do not open here, so each
    /// has its own index. Entries contain no spaces, and neither do redirect URIs.
    fn index_key(&self, user_id: &str) -> StoreKey {
        let name = format!("sessions at {} of {user_id}", self.redirect_uri());
        self.store_key(KeyNamespace::Session, &name)
    }
}

fn indexed_in(value: Option<&[u8]>) -> Vec<Reference> {
    String::from_utf8_lossy(value.unwrap_or_default())
        .split_ascii_whitespace()
        .map(Reference::from_index_item)
        .collect()
}

/// Whether another session of a user may be stored in its cookie. All replicas retain the revocation
/// of such a session, so one user could fill their memory; a session in the store is simply removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CookieQuota {
    Within,
    /// The user has begun so many within the lifetime of a session that this one must be kept in the
    /// shared store.
    Exceeded,
}

/// Returned when a session could not be added to the index of its user.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error("other logins of the user keep changing the list of their sessions")]
    Contended,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returned when a user's sessions could not be listed or revoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActiveSessionsError {
    /// The environment's API returned an error or did not respond.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The session does not exist, or belongs to another user.
    #[error("the user has no such session")]
    NotFound,
    /// The shared store is unavailable.
    #[error(transparent)]
    Store(#[from] StoreError),
}
