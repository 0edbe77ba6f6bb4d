//! The sessions of a user: an index of those in the shared store, and a count of those in cookies.
//! Both limit how many sessions a user has.

use futures::future::{join_all, try_join_all};

use super::stored_session_ref::StoredSessionRef;
use super::{Session, SessionHandle, Sessions};
use crate::shared_store::{Change, KeyNamespace, StoreError, StoreKey};
use crate::util::telemetry;

/// How often an index update is retried after a concurrent change by another login of the user.
const MAX_TRIES: usize = 16;

impl Sessions {
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
            all.push(StoredSessionRef::new(session.record(), self.now()));
            if all.len() > self.inner.max_sessions_per_user {
                all = self.valid_sessions(all).await?;
            }
            let excess = all.len().saturating_sub(self.inner.max_sessions_per_user);
            let items =
                all.iter().map(StoredSessionRef::to_index_item).collect::<Vec<_>>().join(" ");
            let ttl = self.longest_lifetime();
            if self.store().compare_and_set(&key, seen, items.into(), ttl).await? {
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
    async fn valid_sessions(
        &self,
        all: Vec<StoredSessionRef>,
    ) -> Result<Vec<StoredSessionRef>, StoreError> {
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

    /// Returns the user's sessions in the shared store, oldest first.
    pub(super) async fn indexed(
        &self,
        session: &Session,
    ) -> Result<Vec<StoredSessionRef>, StoreError> {
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

fn indexed_in(value: Option<&[u8]>) -> Vec<StoredSessionRef> {
    String::from_utf8_lossy(value.unwrap_or_default())
        .split_ascii_whitespace()
        .map(StoredSessionRef::from_index_item)
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
