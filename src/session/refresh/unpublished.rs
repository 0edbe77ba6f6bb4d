//! Results of refreshes that the store does not accept. The refresh token is spent, so they contain the
//! session's only tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Duration;

use super::FlightId;
use super::backend::{ExchangeResult, RefreshBackend as _, Verification};
use super::entry::{RefreshEntry, SealedGeneration};
use super::exchange::RefreshedRecord;
use super::lease::{LEASE, LeaseValue};
use super::live_backend::LiveBackend;
use crate::session::{Session, Sessions};
use crate::shared_store::StoreError;
use crate::util::telemetry;

/// How many results are kept in this process, and for how long.
const MAX_UNPUBLISHED: usize = 10_000;
const MAX_UNPUBLISHED_TIME: Duration = Duration::from_secs(60 * 60);

/// A result that the store has not accepted yet.
type UnpublishedResult = Arc<Mutex<RefreshEntry>>;

/// The results that the store has not accepted yet, by the generation that was refreshed.
#[derive(Debug)]
pub(super) struct UnpublishedResults {
    results: Mutex<HashMap<FlightId, UnpublishedResult>>,
    permits: Arc<Semaphore>,
}

impl UnpublishedResults {
    pub(super) fn new() -> Self {
        Self { results: Mutex::default(), permits: Arc::new(Semaphore::new(MAX_UNPUBLISHED)) }
    }

    pub(super) fn get(&self, id: &FlightId) -> Option<RefreshEntry> {
        self.lock().get(id).map(current)
    }

    fn insert(&self, id: FlightId, result: &UnpublishedResult) {
        self.lock().insert(id, Arc::clone(result));
    }

    fn remove(&self, id: &FlightId, result: &UnpublishedResult) {
        let mut results = self.lock();
        if results.get(id).is_some_and(|known| Arc::ptr_eq(known, result)) {
            results.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FlightId, UnpublishedResult>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn current(result: &UnpublishedResult) -> RefreshEntry {
    result.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Sessions {
    /// Keeps a result until the store accepts it. The lease is extended meanwhile, so that other
    /// replicas do not spend the refresh token again. Beyond the limit of results, the lease
    /// expires.
    pub(super) fn keep_until_published(
        &self,
        session: &Session,
        result: RefreshEntry,
        lease: Bytes,
    ) {
        let Ok(permit) = Arc::clone(&self.inner.refreshes.unpublished.permits).try_acquire_owned()
        else {
            return telemetry::internal_error("session_refresh", &TooManyUnpublished);
        };
        let (sessions, session) = (self.clone(), session.clone());
        let (id, result) = (session.flight_id(), UnpublishedResult::new(Mutex::new(result)));
        self.inner.refreshes.unpublished.insert(id.clone(), &result);
        self.tasks().detach("result of a session refresh", async move {
            let (publishing, unpublished) = (sessions.clone(), Arc::clone(&result));
            sessions
                .tasks()
                .repeat_for(MAX_UNPUBLISHED_TIME, move || {
                    let (sessions, session) = (publishing.clone(), session.clone());
                    let (result, lease) = (Arc::clone(&unpublished), lease.clone());
                    async move {
                        LiveBackend::new(&sessions, &session).try_publish(&result, &lease).await
                    }
                })
                .await;
            sessions.inner.refreshes.unpublished.remove(&id, &result);
            drop(permit);
        });
    }
}

/// Returned when a result is not kept.
#[derive(Debug, thiserror::Error)]
#[error("too many results of refreshes wait for the shared store, so that one more is not kept")]
struct TooManyUnpublished;

impl LiveBackend<'_> {
    /// Publishes a result that the store did not accept before. Verifies its tokens first if
    /// necessary. Returns `false` if it must be retried.
    async fn try_publish(&self, unpublished: &UnpublishedResult, lease: &Bytes) -> bool {
        if self.publish(&current(unpublished), lease).await {
            return true;
        }
        let is_leased = self.extend(lease).await;
        let RefreshEntry::Unverified { base, tokens } = current(unpublished) else { return false };
        let exchanged = match self.verify(&tokens).await {
            Verification::Verified(refreshed) => Some(ExchangeResult::Refreshed(refreshed)),
            Verification::AccessTokenUnusable if is_leased => self.exchange(Some(&tokens)).await,
            _ => None,
        };
        let result = match exchanged {
            None => return false,
            Some(ExchangeResult::InvalidGrant) => return true,
            Some(ExchangeResult::Refreshed(RefreshedRecord { sealed, .. })) => {
                RefreshEntry::Newest(SealedGeneration::new(
                    base.generation.saturating_add(1),
                    sealed,
                ))
            }
            Some(ExchangeResult::Unverified(tokens)) => RefreshEntry::Unverified { base, tokens },
        };
        unpublished.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&result);
        let is_published = self.publish(&result, lease).await;
        if !is_published {
            self.extend(lease).await;
        }
        is_published
    }

    /// Publishes a result, unless the store has a later one, and releases the lease. Returns `false`
    /// if the store fails, or has changed meanwhile.
    async fn publish(&self, result: &RefreshEntry, lease: &Bytes) -> bool {
        let is_published = self.set_unless_newer(result).await.unwrap_or(false);
        if is_published {
            self.release(lease.clone()).await;
        }
        is_published
    }

    async fn set_unless_newer(&self, result: &RefreshEntry) -> Result<bool, StoreError> {
        let seen = self.read_entry().await?;
        match RefreshEntry::decode_seen(&seen)? {
            Some(there) if there.progress() >= result.progress() => Ok(true),
            _ => self.set_entry(seen, result).await,
        }
    }

    /// Extends a lease, or acquires it again. Returns whether this process has it.
    async fn extend(&self, lease: &Bytes) -> bool {
        self.try_extend(lease).await.unwrap_or(false)
    }

    async fn try_extend(&self, lease: &Bytes) -> Result<bool, StoreError> {
        for seen in [Some(lease.clone()), None] {
            if self.set_lease(seen, lease.clone(), LEASE).await? {
                return Ok(true);
            }
        }
        let seen = self.read_lease().await?;
        match seen.as_deref().and_then(LeaseValue::decode) {
            Some(other) if other.is_of_older_than(self.session.record().generation()) => {
                self.set_lease(seen, lease.clone(), LEASE).await
            }
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::fixtures::{builder, create};
    use crate::session::{LoadedSession, LocalSession, User};

    #[tokio::test]
    async fn the_number_of_results_that_wait_for_the_store_is_limited() {
        let sessions = builder().build().unwrap();
        let user = User { id: "usr_1".to_owned(), ..User::default() };
        let headers = create(&sessions, LocalSession::new(user).in_cookie()).await;
        let loaded = sessions.load(&headers).wait().await;
        let LoadedSession::Active(active) = loaded else { panic!("{loaded:?}") };
        for _ in 0..MAX_UNPUBLISHED + 1 {
            sessions.keep_until_published(&active.session, RefreshEntry::Ended, Bytes::new());
        }
        let unfinished = sessions.shutdown(Duration::ZERO).await.unwrap_err();
        assert_eq!(
            unfinished.iter().collect::<Vec<_>>(),
            [("result of a session refresh", MAX_UNPUBLISHED)]
        );
    }
}
