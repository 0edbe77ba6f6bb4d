//! The operations of a refresh, which [`lease`](super::lease) puts in order.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::entry::RefreshEntry;
use crate::shared_store::StoreError;

/// Pause before the store is asked again: for a lease that another task holds, or after a failure.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The operations of a refresh. The implementation uses a store and a network; the tests use a
/// model in which every order of events is tried.
pub(super) trait RefreshBackend: Sync {
    /// A session with new tokens.
    type Refreshed: Clone + Send + Sync;

    /// Returns a session with new tokens as it was sealed for the store.
    fn sealed_result(refreshed: &Self::Refreshed) -> &str;

    /// Reads the entry.
    fn read_entry(&self) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;

    /// Sets the entry if it is still `seen`. Returns whether it did.
    fn set_entry(
        &self,
        seen: Option<Bytes>,
        entry: &RefreshEntry,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Sets the lease if it is still `seen`. Returns whether it did.
    fn set_lease(
        &self,
        seen: Option<Bytes>,
        lease: Bytes,
        ttl: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Reads the lease.
    fn read_lease(&self) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;

    /// Removes the lease if it is still this one. Retried later if the store is unavailable.
    fn release(&self, lease: Bytes) -> impl Future<Output = ()> + Send;

    /// Searches for a newer result in the stored session, and for a newer generation that
    /// [`mark_reached`](Self::mark_reached) has recorded.
    fn newer_elsewhere(&self) -> impl Future<Output = Result<StoredState, StoreError>> + Send;

    /// Whether the result of an exchange could be verified. Otherwise no token is spent.
    fn is_ready(&self) -> impl Future<Output = bool> + Send;

    /// Whether the lease could expire before the result of an exchange is published.
    fn is_lease_short(&self) -> bool;

    /// Spends the refresh token of the session, or that of unverified tokens. Returns `None` if the
    /// response is not definite.
    fn exchange(
        &self,
        unverified: Option<&str>,
    ) -> impl Future<Output = Option<ExchangeResult<Self::Refreshed>>> + Send;

    /// Verifies tokens that were received earlier.
    fn verify(&self, tokens: &str) -> impl Future<Output = Verification<Self::Refreshed>> + Send;

    /// Whether the token may be spent without a lease, because the store is unavailable.
    fn may_exchange_alone(&self) -> bool;

    /// Keeps a result that could not be published, publishes it later, and extends the lease until
    /// then.
    fn keep_unpublished(&self, result: RefreshEntry, lease: Bytes);

    /// Records that the session has reached this generation, so that the tokens of older ones are
    /// known to be spent for the rest of the session. Returns `false` if that was recorded before.
    fn mark_reached(
        &self,
        generation: u32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns the session itself, sealed for the store.
    fn sealed(&self) -> Option<String>;

    /// Waits for as long as a failure is remembered. Other requests wait for the same task.
    fn sleep_after_failure(&self) -> impl Future<Output = ()> + Send;

    /// Waits briefly for the result of another refresh. Returns `false` at the time limit.
    fn wait_for_holder(&self) -> impl Future<Output = bool> + Send;

    /// Waits briefly before the store is read again. Returns `false` after too many tries.
    fn wait_to_retry(&self) -> impl Future<Output = bool> + Send;
}

/// The result of the call to the token endpoint, if its response is definite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ExchangeResult<R = String> {
    /// `invalid_grant`.
    InvalidGrant,
    /// The session with its new tokens.
    Refreshed(R),
    /// New tokens that cannot be verified yet, sealed for the store.
    Unverified(String),
}

/// The result of verifying tokens that were received earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verification<R = String> {
    /// The tokens belong to another session, or cannot be read.
    Rejected,
    /// The access token has expired, or its key is unknown; the refresh token may be exchanged.
    AccessTokenUnusable,
    /// The keys are unreachable.
    Unavailable,
    /// The session with these tokens.
    Verified(R),
}

/// What the store has of the session besides its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoredState {
    /// A newer generation was presented, and its result is no longer kept.
    Superseded,
    /// It has ended.
    Ended,
    /// A newer state, sealed.
    Newer(String),
    /// No newer state.
    Same,
}
