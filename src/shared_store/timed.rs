use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::outages::{Operation, Outages};
use super::{LogCursor, LogPage, SharedStore, StoreError, StoreFuture, StoreKey};
use crate::readiness::ReadinessCheck;
use crate::secret::SecretString;
use crate::util::spans;

/// A request waits at most this long for the store.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// A store as the library uses it: each operation has a timeout, and outages are reported. Cheap to
/// clone.
#[derive(Clone)]
pub(crate) struct TimedStore {
    store: Arc<dyn SharedStore>,
    outages: Arc<Outages>,
}

impl TimedStore {
    pub(crate) fn new(store: impl SharedStore) -> Self {
        Self { store: Arc::new(store), outages: Arc::new(Outages::new()) }
    }

    async fn run<T>(
        &self,
        kind: Operation,
        name: &'static str,
        operation: StoreFuture<'_, T>,
    ) -> Result<T, StoreError> {
        let (span, started) = (spans::store_operation_span(name), Instant::now());
        let result = with_timeout(operation).instrument(span.clone()).await;
        spans::store_operation_finished(
            &span,
            result.as_ref().err().map(StoreError::code),
            name,
            started.elapsed(),
        );
        self.outages.record(kind, result)
    }

    pub(crate) fn readiness(&self) -> ReadinessCheck {
        self.outages.readiness()
    }

    /// Runs several operations with a time limit. To exceed it is a failure of the store.
    pub(crate) async fn within(
        &self,
        limit: Duration,
        operations: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        tokio::time::timeout(limit, operations).await.unwrap_or_else(|late| {
            self.outages.record(Operation::Write, Err(StoreError::Unavailable(late.into())))
        })
    }

    pub(crate) async fn get(&self, key: &StoreKey) -> Result<Option<Bytes>, StoreError> {
        self.run(Operation::Read, "get", self.store.get(key)).await
    }

    pub(crate) async fn put(
        &self,
        key: &StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.run(Operation::Write, "put", self.store.put(key, value, ttl)).await
    }

    pub(crate) async fn put_if_absent(
        &self,
        key: &StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.run(Operation::Write, "put_if_absent", self.store.put_if_absent(key, value, ttl)).await
    }

    pub(crate) async fn replace_if(
        &self,
        key: &StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.run(Operation::Write, "replace_if", self.store.replace_if(key, expected, value, ttl))
            .await
    }

    pub(crate) async fn remove_if(
        &self,
        key: &StoreKey,
        expected: Bytes,
    ) -> Result<bool, StoreError> {
        self.run(Operation::Write, "remove_if", self.store.remove_if(key, expected)).await
    }

    pub(crate) async fn append(
        &self,
        log: &StoreKey,
        entry: Bytes,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.run(Operation::Write, "append", self.store.append(log, entry, ttl)).await
    }

    pub(crate) async fn read_since(
        &self,
        log: &StoreKey,
        cursor: LogCursor,
    ) -> Result<LogPage, StoreError> {
        self.run(Operation::Read, "read_since", self.store.read_since(log, cursor)).await
    }

    /// Sets a value if it is still `seen`, where `None` is absent. Returns whether it did.
    pub(crate) async fn compare_and_set(
        &self,
        key: &StoreKey,
        seen: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        match seen {
            None => self.put_if_absent(key, value, ttl).await,
            Some(seen) => self.replace_if(key, seen, value, ttl).await,
        }
    }

    /// Changes a value atomically: reads it, and sets what `change` makes of it unless others have
    /// changed it meanwhile. Returns the result of `change`, or `None` if others did so each of
    /// `tries` times.
    pub(crate) async fn update<T, E: From<StoreError>>(
        &self,
        key: &StoreKey,
        ttl: Duration,
        tries: usize,
        mut change: impl FnMut(Option<&[u8]>) -> Result<Change<T>, E>,
    ) -> Result<Option<T>, E> {
        for _ in 0..tries {
            let seen = self.get(key).await?;
            match change(seen.as_deref())? {
                Change::Keep(result) => return Ok(Some(result)),
                Change::Set(value, result) => {
                    if self.compare_and_set(key, seen, value, ttl).await? {
                        return Ok(Some(result));
                    }
                }
                Change::Remove(result) => {
                    let is_removed = match seen {
                        None => true,
                        Some(seen) => self.remove_if(key, seen).await?,
                    };
                    if is_removed {
                        return Ok(Some(result));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// What [`TimedStore::update`] does with a value, and returns.
pub(crate) enum Change<T> {
    Keep(T),
    Set(Bytes, T),
    Remove(T),
}

/// Returns a name for who holds a lease or claim: unique in this process by the number, among
/// replicas by the random part.
pub(crate) fn unique_owner() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let random = SecretString::random::<9>();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{number}-{}", random.as_ref().map_or("", SecretString::expose))
}

/// Runs an operation of a store with the timeout.
pub(super) async fn with_timeout<T>(operation: StoreFuture<'_, T>) -> Result<T, StoreError> {
    tokio::time::timeout(TIMEOUT, operation)
        .await
        .unwrap_or_else(|late| Err(StoreError::Unavailable(late.into())))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::clock::Clock;
    use crate::shared_store::{KeyNamespace, MemoryStore, StoreScope};

    const TTL: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_update_starts_again_when_the_value_has_changed_meanwhile() {
        let store = TimedStore::new(MemoryStore::new(Clock::system()));
        let key = StoreScope::new(["test"]).key(KeyNamespace::Generation, "counter");
        // Another writer adds `a` after the first two reads.
        let mut others = 2;
        let append_b = |seen: Option<&[u8]>| {
            let value = seen.unwrap_or_default();
            if others > 0 {
                others -= 1;
                let put = store.put(&key, [value, b"a"].concat().into(), TTL);
                put.now_or_never().unwrap()?;
            }
            Ok::<_, StoreError>(Change::Set([value, b"b"].concat().into(), value.len()))
        };
        assert_eq!(store.update(&key, TTL, 3, append_b).await.unwrap(), Some(2));
        assert_eq!(store.get(&key).await.unwrap().unwrap(), "aab");
    }

    #[tokio::test]
    async fn an_update_gives_up_after_its_tries() {
        let store = TimedStore::new(MemoryStore::new(Clock::system()));
        let key = StoreScope::new(["test"]).key(KeyNamespace::Generation, "counter");
        let mut tries = 0;
        let contended = |_: Option<&[u8]>| {
            tries += 1;
            store.put(&key, vec![tries].into(), TTL).now_or_never().unwrap()?;
            Ok::<_, StoreError>(Change::Set(Bytes::new(), ()))
        };
        assert_eq!(store.update(&key, TTL, 3, contended).await.unwrap(), None);
        assert_eq!(store.get(&key).await.unwrap().unwrap(), [3].as_slice());

        let keep =
            |seen: Option<&[u8]>| Ok::<_, StoreError>(Change::Keep(seen.map(<[u8]>::to_vec)));
        assert_eq!(store.update(&key, TTL, 1, keep).await.unwrap(), Some(Some(vec![3])));
    }

    #[tokio::test]
    async fn an_update_removes_the_value_that_it_has_seen() {
        let store = TimedStore::new(MemoryStore::new(Clock::system()));
        let key = StoreScope::new(["test"]).key(KeyNamespace::Generation, "counter");
        store.put(&key, "a".into(), TTL).await.unwrap();
        // Another writer changes it after the first read.
        let mut seen_values = Vec::new();
        let remove = |seen: Option<&[u8]>| {
            seen_values.push(seen.map(<[u8]>::to_vec));
            if seen_values.len() == 1 {
                store.put(&key, "b".into(), TTL).now_or_never().unwrap()?;
            }
            Ok::<_, StoreError>(Change::Remove(()))
        };
        assert_eq!(store.update(&key, TTL, 3, remove).await.unwrap(), Some(()));
        assert_eq!(store.get(&key).await.unwrap(), None);
        let remove = |_: Option<&[u8]>| Ok::<_, StoreError>(Change::Remove(()));
        assert_eq!(store.update(&key, TTL, 1, remove).await.unwrap(), Some(()));
        assert_eq!(seen_values, [Some(b"a".to_vec()), Some(b"b".to_vec())]);
    }
}
