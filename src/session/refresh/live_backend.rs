//! The operations of a refresh, with the shared store and the token endpoint.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::time::{Duration, Instant, sleep};

use super::backend::{ExchangeResult, POLL_INTERVAL, RefreshBackend, StoredState, Verification};
use super::entry::{RefreshEntry, TOMBSTONE_TTL};
use super::exchange::{self, RefreshedRecord};
use super::lease::{FAILURE_LIFETIME, LEASE};
use crate::session::{Session, Sessions};
use crate::shared_store::{KeyNamespace, StoreError, StoreKey};
use crate::util::telemetry;

/// How long a refresh waits for the holder of the lease.
const MAX_WAIT: Duration = Duration::from_secs(12);

/// Tries to publish a result while the lease lasts.
const MAX_RETRIES: u32 = 3;

/// An older lease is extended before a token is spent: what follows takes up to 17 s. For a
/// store-backed session, up to three tries to store it come before the publication. The lease may
/// then expire, and another refresh acquire it; `RefreshRun::overtaken` handles that.
const MAX_LEASE_AGE: Duration = Duration::from_secs(1);

/// [`RefreshBackend`] of one refresh.
pub(super) struct LiveBackend<'a> {
    pub(super) sessions: &'a Sessions,
    pub(super) session: &'a Session,
    key: StoreKey,
    lease_key: StoreKey,
    started: Instant,
    /// When the lease was acquired or extended.
    leased_at: Mutex<Instant>,
    retries: AtomicU32,
}

impl<'a> LiveBackend<'a> {
    pub(super) fn new(sessions: &'a Sessions, session: &'a Session) -> Self {
        let started = Instant::now();
        Self {
            sessions,
            session,
            key: sessions.refresh_entry_key(session.record().id()),
            lease_key: sessions.store_key(KeyNamespace::RefreshLease, session.record().id()),
            started,
            leased_at: Mutex::new(started),
            retries: AtomicU32::new(0),
        }
    }
}

impl RefreshBackend for LiveBackend<'_> {
    type Refreshed = RefreshedRecord;

    fn sealed_result(refreshed: &RefreshedRecord) -> &str {
        &refreshed.sealed
    }

    async fn read_entry(&self) -> Result<Option<Bytes>, StoreError> {
        self.sessions.store().get(&self.key).await
    }

    async fn set_entry(
        &self,
        seen: Option<Bytes>,
        entry: &RefreshEntry,
    ) -> Result<bool, StoreError> {
        let ttl = self.sessions.store_ttl(self.session.record());
        let ttl = match entry {
            // Afterwards the revocations decide: they are retained for as long as the session.
            RefreshEntry::Ended => TOMBSTONE_TTL,
            RefreshEntry::Newest(newest) if newest.presented => {
                ttl.min(self.sessions.inner.refresh_retention)
            }
            RefreshEntry::Newest(_) | RefreshEntry::Unverified { .. } => ttl,
        };
        self.sessions.store().compare_and_set(&self.key, seen, entry.encode(), ttl).await
    }

    async fn set_lease(
        &self,
        seen: Option<Bytes>,
        lease: Bytes,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let now = Instant::now();
        let is_set =
            self.sessions.store().compare_and_set(&self.lease_key, seen, lease, ttl).await?;
        if is_set && ttl == LEASE {
            *self.leased_at.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
        Ok(is_set)
    }

    async fn read_lease(&self) -> Result<Option<Bytes>, StoreError> {
        self.sessions.store().get(&self.lease_key).await
    }

    async fn release(&self, lease: Bytes) {
        let (store, key) = (self.sessions.store(), &self.lease_key);
        let Err(error) = store.remove_if(key, lease.clone()).await else { return };
        telemetry::internal_error("session_refresh", &error);
        // Beyond the limit, the lease expires.
        let Ok(permit) = Arc::clone(&self.sessions.inner.refreshes.releases).try_acquire_owned()
        else {
            return;
        };
        let (tasks, store, key) = (self.sessions.tasks().clone(), store.clone(), key.clone());
        self.sessions.tasks().detach("lease of a session refresh", async move {
            tasks
                .repeat_for(LEASE, move || {
                    let (store, key, lease) = (store.clone(), key.clone(), lease.clone());
                    async move { store.remove_if(&key, lease).await.is_ok() }
                })
                .await;
            drop(permit);
        });
    }

    fn may_exchange_alone(&self) -> bool {
        self.sessions.inner.refresh_during_outages
            && self.sessions.now() >= self.session.principal().expires_at()
    }

    fn keep_unpublished(&self, result: RefreshEntry, lease: Bytes) {
        self.sessions.keep_until_published(self.session, result, lease);
    }

    async fn mark_reached(&self, generation: u32) -> Result<bool, StoreError> {
        debug_assert_eq!(generation, self.session.record().generation());
        self.sessions.mark_reached(self.session.record()).await
    }

    fn sealed(&self) -> Option<String> {
        self.sessions.seal_stored(self.session.record()).ok()
    }

    async fn newer_elsewhere(&self) -> Result<StoredState, StoreError> {
        let record = self.session.record();
        if record.is_stored() {
            let (id, began_at) = (record.id(), record.began_at().unix_timestamp());
            let value = self.sessions.stored_value(id).await?;
            if value.is_none() && self.sessions.may_lack(id, Some(began_at)) {
                return Err(StoreError::Unavailable("it may not have the session yet".into()));
            }
            match value.map_or(Ok(None), |value| self.sessions.open_stored(id, &value))? {
                None => return Ok(StoredState::Ended),
                Some(stored) if stored.record.generation() > record.generation() => {
                    return Ok(match self.sessions.seal_stored(&stored.record) {
                        Ok(sealed) => StoredState::Newer(sealed),
                        Err(_) => StoredState::Superseded,
                    });
                }
                Some(_) => {}
            }
        }
        Ok(match self.sessions.has_reached_newer(record.id(), record.generation()).await? {
            true => StoredState::Superseded,
            false => StoredState::Same,
        })
    }

    async fn is_ready(&self) -> bool {
        self.sessions
            .scalekit()
            .remote_keys()
            .ready()
            .await
            .inspect_err(|error| telemetry::internal_error("session_refresh", error))
            .is_ok()
    }

    fn is_lease_short(&self) -> bool {
        self.leased_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > MAX_LEASE_AGE
    }

    async fn exchange(&self, unverified: Option<&str>) -> Option<ExchangeResult<RefreshedRecord>> {
        exchange::exchange(self.sessions, self.session, unverified).await
    }

    async fn verify(&self, tokens: &str) -> Verification<RefreshedRecord> {
        exchange::verify(self.sessions, self.session, tokens).await
    }

    async fn sleep_after_failure(&self) {
        sleep(FAILURE_LIFETIME).await;
    }

    async fn wait_to_retry(&self) -> bool {
        sleep(POLL_INTERVAL).await;
        self.retries.fetch_add(1, Ordering::Relaxed) < MAX_RETRIES
    }

    async fn wait_for_holder(&self) -> bool {
        sleep(POLL_INTERVAL).await;
        self.started.elapsed() < MAX_WAIT
    }
}
