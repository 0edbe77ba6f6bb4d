//! The replicas' shared store, which survives them, and its faults.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::ready;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};
use tower_scalekit::clock::Clock;
use tower_scalekit::shared_store::{
    KeyNamespace, LogCursor, LogPage, MemoryStore, SharedStore, StoreError, StoreFuture, StoreKey,
};

use crate::app::SESSION_LIFETIME;

/// How far reads of a lagging store are behind its writes.
pub(crate) const LAG: Duration = Duration::from_millis(300);

/// Revocations are kept for a day longer than sessions, in case a wall clock is wrong. Here they
/// expire when no cookie is presented any more, so that the memory in use reaches a plateau.
const MAX_RETENTION: Duration = Duration::from_secs(2 * SESSION_LIFETIME.as_secs());
const DAYS: Duration = Duration::from_secs(2 * 24 * 60 * 60);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum StoreFault {
    /// Every operation fails, without an effect.
    Fails,
    /// Every operation takes up to this long, and at least half of it. It takes effect even if its
    /// caller no longer waits.
    Hangs(Duration),
    /// Every other operation seems to fail, but takes effect.
    LosesResponses,
    /// Results of refreshes are not accepted.
    IsFull,
    /// Reads return earlier values, and logs without their latest entries.
    Lags,
}

#[derive(Clone)]
pub(crate) struct Store(Arc<State>);

type Replaced = Vec<(Instant, Option<Bytes>)>;

struct State {
    memory: MemoryStore,
    fault: Mutex<Option<StoreFault>>,
    /// The values that were replaced while the store lags, oldest first.
    replaced: Mutex<HashMap<StoreKey, Replaced>>,
    operations: AtomicU64,
    /// Not that of a replica, which may stop before a late write.
    runtime: Handle,
}

impl Store {
    pub(crate) fn new(clock: Clock) -> Self {
        Self(Arc::new(State {
            memory: MemoryStore::new(clock),
            fault: Mutex::default(),
            replaced: Mutex::default(),
            operations: AtomicU64::new(0),
            runtime: Handle::current(),
        }))
    }

    /// Memory in use, in bytes.
    pub(crate) fn used_bytes(&self) -> usize {
        self.0.memory.used_bytes()
    }

    pub(crate) fn set_fault(&self, fault: Option<StoreFault>) {
        *self.0.fault.lock().unwrap() = fault;
        self.0.replaced.lock().unwrap().clear();
    }

    fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&State) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let fault = *self.0.fault.lock().unwrap();
        let number = self.0.operations.fetch_add(1, Ordering::Relaxed);
        match fault {
            Some(StoreFault::Fails) => ready(Err(failure())).boxed(),
            Some(StoreFault::LosesResponses) if number.is_multiple_of(2) => {
                ready(operation(&self.0).and_then(|_| Err(failure()))).boxed()
            }
            Some(StoreFault::Hangs(delay)) => {
                let state = Arc::clone(&self.0);
                let delay = delay.mul_f64(0.5 + (number * 7 % 17) as f64 / 32.0);
                let late = self.0.runtime.spawn(async move {
                    sleep(delay).await;
                    operation(&state)
                });
                async { late.await.unwrap_or_else(|_| Err(failure())) }.boxed()
            }
            _ => ready(operation(&self.0)).boxed(),
        }
    }

    /// Runs an operation that may set a value, and retains the previous one.
    fn write<T: Send + 'static>(
        &self,
        key: &StoreKey,
        operation: impl FnOnce(&State) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let key = key.clone();
        self.run(move |state| {
            let fault = *state.fault.lock().unwrap();
            if fault == Some(StoreFault::IsFull) && key.namespace() == KeyNamespace::Refresh {
                return Err(StoreError::Full { namespace: key.namespace(), max_bytes: Some(0) });
            }
            if fault != Some(StoreFault::Lags) {
                return operation(state);
            }
            let mut replaced = state.replaced.lock().unwrap();
            let before = now(state.memory.get(&key))?;
            replaced.entry(key).or_default().push((Instant::now(), before));
            operation(state)
        })
    }
}

/// How long a value is kept. The revocation counter outlives all sessions.
fn retention(ttl: Duration) -> Duration {
    if ttl < DAYS { ttl.min(MAX_RETENTION) } else { ttl }
}

fn failure() -> StoreError {
    StoreError::Unavailable("disturbance".into())
}

/// The operations of the memory store do not wait.
fn now<T>(operation: StoreFuture<'_, T>) -> Result<T, StoreError> {
    operation.now_or_never().unwrap()
}

impl State {
    fn get(&self, key: &StoreKey) -> Result<Option<Bytes>, StoreError> {
        let replaced = self.replaced.lock().unwrap();
        let mut writes = replaced.get(key).into_iter().flatten();
        match writes.find(|(at, _)| at.elapsed() < LAG) {
            Some((_, before)) => Ok(before.clone()),
            None => now(self.memory.get(key)),
        }
    }
}

impl SharedStore for Store {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        let key = key.clone();
        self.run(move |state| state.get(&key))
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        let (written, ttl) = (key.clone(), retention(ttl));
        self.write(key, move |state| now(state.memory.put(&written, value, ttl)))
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        let (written, ttl) = (key.clone(), retention(ttl));
        self.write(key, move |state| now(state.memory.put_if_absent(&written, value, ttl)))
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        let (written, ttl) = (key.clone(), retention(ttl));
        self.write(key, move |state| now(state.memory.replace_if(&written, expected, value, ttl)))
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        let written = key.clone();
        self.write(key, move |state| now(state.memory.remove_if(&written, expected)))
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        let (log, ttl) = (log.clone(), retention(ttl));
        if *self.0.fault.lock().unwrap() == Some(StoreFault::Lags) {
            let state = Arc::clone(&self.0);
            drop(self.0.runtime.spawn(async move {
                sleep(LAG).await;
                now(state.memory.append(&log, entry, ttl))
            }));
            return ready(Ok(())).boxed();
        }
        self.run(move |state| now(state.memory.append(&log, entry, ttl)))
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        let log = log.clone();
        self.run(move |state| now(state.memory.read_since(&log, cursor)))
    }
}
