//! Sessions in the shared store: the cookie holds only their ID, sealed.
//!
//! A session that was read is cached for a while. The revocation log reports sessions that end
//! meanwhile, and a refresh reads the store before it spends a refresh token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;

use super::cookie::record::SessionRecord;
use super::cookie::seal::SealingFailed;
use super::refresh::entry::RefreshEntry;
use super::stored_session_ref::StoredSessionRef;
use super::stored_value::StoredRecord;
use super::{Session, Sessions};
use crate::clock::{Clock, millis};
use crate::shared_store::{Change, StoreError};
use crate::util::single_flight::{Flight, SingleFlight};
use crate::util::tasks::Tasks;
use crate::util::telemetry;
use crate::util::token_cache::TokenCache;

/// How often a replacement is retried after a concurrent change of the session.
const MAX_TRIES: usize = 4;

/// After this time, a session is read again.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);
/// While the store is unavailable, a read is retried after this time.
const READ_RETRY: Duration = Duration::from_secs(10);
/// A copy that is older than this is not used: the revocation of its session may have been dropped.
const MAX_AGE: Duration = Duration::from_secs(55 * 60);

/// A store may serve reads from a follower that lags by this much, and the clocks of two app replicas
/// may differ by as much. A value that is still missing this long after its cookie was sealed is
/// lost.
pub(super) const REPLICATION_LAG: Duration = Duration::from_secs(60);

/// A result that the store has missed is published within this time once it is available.
const PUBLICATION_TIME: Duration = Duration::from_secs(10);
/// How many sessions wait for that at once.
const MAX_BEHIND: usize = 256;

/// Cached sessions of the store.
#[derive(Debug)]
pub(super) struct SessionCache {
    clock: Clock,
    cache: TokenCache<CachedSession>,
    loads: SingleFlight<(Arc<str>, u32), Result<Option<Session>, StoreUnavailable>>,
    replacements: SingleFlight<(String, Replacement), ()>,
    /// Generations whose state the store lacks, by session, and when that was first seen.
    behind: TokenCache<(u32, Duration)>,
}

/// Why a stored session is replaced. A write of one kind does not stand in for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Replacement {
    /// The store has it in an older state, or sealed with an older secret.
    Newest,
    /// It was used.
    Use,
}

/// Whether a follower of the store may lack a value that was written at this time, in Unix seconds.
fn is_within_replication_lag(at: i64, now: OffsetDateTime) -> bool {
    now.unix_timestamp().abs_diff(at) < REPLICATION_LAG.as_secs()
}

/// A session that was read from the store. Times are monotonic.
#[derive(Debug)]
struct CachedSession {
    session: Session,
    read_at: Duration,
    /// In milliseconds.
    read_again_at: AtomicU64,
}

/// The store is unavailable, or until a minute after the cookie was sealed, does not have the session
/// or its newest state yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoreUnavailable;

impl SessionCache {
    pub(super) fn new(capacity: usize, clock: Clock, tasks: &Tasks) -> Self {
        Self {
            clock,
            cache: TokenCache::new(capacity),
            loads: SingleFlight::new(),
            replacements: SingleFlight::tracked(tasks, "session in the store"),
            behind: TokenCache::new(MAX_BEHIND),
        }
    }

    /// Returns a session that was loaded recently.
    pub(super) fn cached(&self, id: &str) -> Option<Session> {
        let now = millis(self.clock.monotonic());
        self.cache.get(id, |one| {
            (now < one.read_again_at.load(Ordering::Acquire)).then(|| one.session.clone())
        })?
    }

    /// Caches a session that the store has now.
    pub(super) fn remember(&self, session: Session) {
        let read_at = self.clock.monotonic();
        self.insert(session, read_at, millis(read_at.saturating_add(READ_AGAIN_AFTER)));
    }

    /// Replaces a cached session by the same one after its use, which the store does not know yet.
    fn remember_use(&self, session: Session) {
        let record = session.record();
        let cached = self.cache.get(record.id(), |one| {
            let is_older = one.session.record().generation() == record.generation()
                && record.is_used_after(one.session.record());
            is_older.then(|| (one.read_at, one.read_again_at.load(Ordering::Acquire)))
        });
        if let Some((read_at, read_again_at)) = cached.flatten() {
            self.insert(session, read_at, read_again_at);
        }
    }

    fn insert(&self, session: Session, read_at: Duration, read_again_at: u64) {
        let id = session.record().id().to_owned();
        let read_again_at = AtomicU64::new(read_again_at);
        self.cache.insert(&id, CachedSession { session, read_at, read_again_at });
    }

    /// Returns a record with the latest use that is known here.
    fn with_cached_use(&self, record: SessionRecord) -> SessionRecord {
        match self.cache.get(record.id(), |one| one.session.clone()) {
            Some(cached) => record.with_later_use(cached.record()),
            None => record,
        }
    }

    /// Notes when a generation was first missing in the store. Returns whether it may still be
    /// published.
    fn note_missing(&self, id: &str, generation: u32) -> bool {
        let now = self.clock.monotonic();
        match self.behind.get(id, |seen| *seen).filter(|(of, _)| *of == generation) {
            Some((_, first_seen)) => now.saturating_sub(first_seen) < PUBLICATION_TIME,
            None => {
                self.behind.insert(id, (generation, now));
                true
            }
        }
    }

    /// Returns a session that was loaded before, and notes when the store is to be read again.
    fn use_cached_during_outage(&self, id: &str) -> Option<Session> {
        let now = self.clock.monotonic();
        self.cache.get(id, |one| {
            let usable_until = one.read_at.saturating_add(MAX_AGE);
            let again = now.saturating_add(READ_RETRY).min(usable_until);
            one.read_again_at.store(millis(again), Ordering::Release);
            (now < usable_until).then(|| one.session.clone())
        })?
    }
}

impl Sessions {
    /// Loads a session of at least this generation from the store, once for all concurrent
    /// requests.
    pub(super) fn load_from_store_shared(
        &self,
        reference: &StoredSessionRef,
    ) -> Flight<Result<Option<Session>, StoreUnavailable>> {
        let (sessions, wanted) = (self.clone(), reference.clone());
        self.inner
            .session_cache
            .loads
            .join((Arc::clone(&reference.id), reference.generation), || async move {
                sessions.load_from_store(&wanted).await
            })
    }

    /// Loads a session from the store. Returns `None` if it has ended or never existed, or if the
    /// store has lost its newest state.
    pub(super) async fn load_from_store(
        &self,
        reference: &StoredSessionRef,
    ) -> Result<Option<Session>, StoreUnavailable> {
        match self.try_load(reference).await {
            Ok(Some(session)) => {
                let session = self.with_unwritten_use(session);
                self.inner.session_cache.remember(session.clone());
                Ok(Some(session))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                telemetry::internal_error("stored_session", &error);
                match self.inner.session_cache.use_cached_during_outage(&reference.id) {
                    Some(session)
                        if session.record().generation() >= reference.generation
                            && !self.is_expired(&session) =>
                    {
                        Ok(Some(session))
                    }
                    _ if matches!(error, LoadError::Behind) && self.note_lost(reference) => {
                        Ok(None)
                    }
                    _ => Err(StoreUnavailable),
                }
            }
        }
    }

    /// Returns a session with the latest use that is known here, and stores that if the store has
    /// missed it.
    fn with_unwritten_use(&self, session: Session) -> Session {
        let record = self
            .inner
            .session_cache
            .with_cached_use(session.record().clone())
            .with_current_idle_timeout(self.inner.lifetimes, self.now());
        if !record.is_used_after(session.record()) {
            return session;
        }
        self.replace_in_background(record.clone(), Replacement::Use);
        record.into_session(self).unwrap_or(session)
    }

    /// Notes that the store lacks the state of a cookie. Returns whether it will not arrive any more.
    fn note_lost(&self, reference: &StoredSessionRef) -> bool {
        !self.inner.session_cache.note_missing(&reference.id, reference.generation)
            && reference.sealed_at.is_none_or(|at| !is_within_replication_lag(at, self.now()))
    }

    async fn try_load(&self, reference: &StoredSessionRef) -> Result<Option<Session>, LoadError> {
        let (id, generation) = (&*reference.id, reference.generation);
        let Some(value) = self.stored_value(id).await? else {
            return match self.may_lack(id, reference.sealed_at) {
                true => Err(LoadError::Behind),
                false => Ok(None),
            };
        };
        let Some(StoredRecord { record, outdated_key }) = self.open_stored(id, &value)? else {
            return Ok(None);
        };
        if record.generation() >= generation {
            if outdated_key {
                // While the older secret is still available.
                self.replace_in_background(record.clone(), Replacement::Newest);
            }
            return Ok(record.into_session(self));
        }
        // The store was unavailable when the result should have been written.
        let record = self
            .read_refresh_entry(id)
            .await?
            .and_then(RefreshEntry::newest_verified)
            .and_then(|last| self.open_sealed_record(id, &last.session))
            .filter(|record| record.generation() >= generation)
            .ok_or(LoadError::Behind)?;
        self.replace_in_background(record.clone(), Replacement::Newest);
        Ok(record.into_session(self))
    }

    /// Whether the store may lack a session that has not ended and was stored at this time, in Unix
    /// seconds. An end in the revocation log is known even if the store lacks the session.
    pub(super) fn may_lack(&self, id: &str, stored_at: Option<i64>) -> bool {
        self.inner.revocations.has_peers()
            && stored_at.is_some_and(|at| is_within_replication_lag(at, self.now()))
            && !self.inner.revocations.is_record_id_revoked(id)
    }

    /// Retries storing a session that was refreshed.
    pub(super) fn retry_replace_older(&self, record: SessionRecord) {
        let sessions = self.clone();
        self.tasks().retry("refreshed session in the store", move || {
            let (sessions, record) = (sessions.clone(), record.clone());
            async move { sessions.replace_older(&record).await.is_ok() }
        });
    }

    /// Stores a new session.
    pub(super) async fn store_new(&self, record: &SessionRecord) -> Result<(), StoringError> {
        let (key, value) = (self.stored_key(record.id()), self.seal_stored(record)?.into());
        Ok(self.store().put(&key, value, self.store_ttl(record)).await?)
    }

    /// Replaces an older state of a session; the latest use of either is kept. Returns `false` if
    /// the session has ended, or is newer in the store.
    pub(super) async fn replace_older(&self, record: &SessionRecord) -> Result<bool, StoringError> {
        let key = self.stored_key(record.id());
        self.store()
            .update(&key, self.store_ttl(record), MAX_TRIES, |seen| {
                let Some(StoredRecord { record: there, outdated_key }) =
                    seen.map_or(Ok(None), |value| self.open_stored(record.id(), value))?
                else {
                    return Ok(Change::Keep(false));
                };
                let limited =
                    there.clone().with_current_idle_timeout(self.inner.lifetimes, self.now());
                let is_known = there.generation() == record.generation()
                    && !record.is_used_after(&there)
                    && !there.is_used_after(&limited);
                if there.generation() > record.generation() || (is_known && !outdated_key) {
                    return Ok(Change::Keep(false));
                }
                let newest = record.clone().with_later_use(&limited);
                Ok(Change::Set(self.seal_stored(&newest)?.into(), true))
            })
            .await
            .map(|replaced| replaced.unwrap_or(false))
    }

    /// Records in the background that a session is in use.
    pub(super) fn touch_stored(&self, session: &Session, now: OffsetDateTime) {
        self.replace_in_background(
            session.record().touch(self.inner.lifetimes, now),
            Replacement::Use,
        );
    }

    fn replace_in_background(&self, record: SessionRecord, replacement: Replacement) {
        let (sessions, id) = (self.clone(), record.id().to_owned());
        self.inner.session_cache.replacements.start((id, replacement), || async move {
            match sessions.replace_older(&record).await {
                Ok(true) => {
                    if let Some(session) =
                        sessions.inner.session_cache.with_cached_use(record).into_session(&sessions)
                    {
                        sessions.inner.session_cache.remember(session);
                    }
                }
                // Newer in the store, or no longer there.
                Ok(false) => {
                    if let Ok(Some(newer)) = sessions.read_stored(record.id()).await
                        && let Some(newer) = newer.record.into_session(&sessions)
                    {
                        sessions.inner.session_cache.remember(newer);
                    }
                }
                Err(error) => {
                    telemetry::internal_error("stored_session", &error);
                    // It is stored when the session is next loaded.
                    if replacement == Replacement::Use
                        && let Some(session) = record.into_session(&sessions)
                    {
                        sessions.inner.session_cache.remember_use(session);
                    }
                }
            }
        });
    }
}

/// Returned when a session could not be stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoringError {
    #[error(transparent)]
    Sealing(#[from] SealingFailed),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returned when a session could not be read from the store.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("the shared store has no state, or an older one, of a cookie's session")]
    Behind,
    #[error(transparent)]
    Store(#[from] StoreError),
}
