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
use crate::server::Redis;

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

/// Clones share the faults. Each replica has a [connection](Self::connect) of its own.
#[derive(Clone)]
pub(crate) struct Store {
    state: Arc<State>,
    connection: Arc<dyn SharedStore>,
}

type Replaced = Vec<(Instant, Option<Bytes>)>;

struct State {
    engine: Engine,
    /// Not that of a replica, which may stop before a late write.
    connection: Arc<dyn SharedStore>,
    runtime: Handle,
    fault: Mutex<Option<StoreFault>>,
    /// The values that were replaced while the store lags, oldest first.
    replaced: tokio::sync::Mutex<HashMap<StoreKey, Replaced>>,
    operations: AtomicU64,
}

enum Engine {
    Memory(Arc<MemoryStore>),
    Redis(Box<Redis>),
}

impl Store {
    /// A store in memory.
    pub(crate) fn in_memory(clock: Clock) -> Self {
        let memory = Arc::new(MemoryStore::new(clock));
        Self::new(Engine::Memory(Arc::clone(&memory)), memory)
    }

    /// A Redis server for this store. Prints a line and returns `None` if redis-server is not
    /// installed; in CI that is a failure.
    pub(crate) async fn in_redis() -> Option<Self> {
        let redis = Redis::start().await?;
        let connection = Arc::new(redis.store().await);
        Some(Self::new(Engine::Redis(Box::new(redis)), connection))
    }

    fn new(engine: Engine, connection: Arc<dyn SharedStore>) -> Self {
        let state = State {
            engine,
            connection: Arc::clone(&connection),
            runtime: Handle::current(),
            fault: Mutex::default(),
            replaced: tokio::sync::Mutex::default(),
            operations: AtomicU64::new(0),
        };
        Self { state: Arc::new(state), connection }
    }

    /// The store of a replica that starts, in its runtime.
    pub(crate) async fn connect(&self) -> Self {
        let connection = match &self.state.engine {
            Engine::Memory(_) => Arc::clone(&self.connection),
            Engine::Redis(redis) => Arc::new(redis.store().await),
        };
        Self { connection, ..self.clone() }
    }

    /// Memory in use, in bytes, and whether it is that of this process.
    pub(crate) async fn used_bytes(&self) -> (usize, bool) {
        match &self.state.engine {
            Engine::Memory(memory) => (memory.used_bytes(), true),
            Engine::Redis(redis) => {
                let report: String = redis.command(&["INFO", "memory"]).await;
                let used = report.lines().find_map(|line| line.strip_prefix("used_memory:"));
                (used.unwrap().trim().parse().unwrap(), false)
            }
        }
    }

    pub(crate) async fn set_fault(&self, fault: Option<StoreFault>) {
        *self.state.fault.lock().unwrap() = fault;
        self.state.replaced.lock().await.clear();
    }

    fn run<T: Send + 'static, F>(
        &self,
        operation: impl FnOnce(Arc<dyn SharedStore>) -> F + Send + 'static,
    ) -> StoreFuture<'static, T>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let fault = *self.state.fault.lock().unwrap();
        let number = self.state.operations.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::clone(&self.connection);
        match fault {
            Some(StoreFault::Fails) => ready(Err(failure())).boxed(),
            Some(StoreFault::LosesResponses) if number.is_multiple_of(2) => {
                async { operation(connection).await.and_then(|_| Err(failure())) }.boxed()
            }
            Some(StoreFault::Hangs(delay)) => {
                let connection = Arc::clone(&self.state.connection);
                let delay = delay.mul_f64(0.5 + (number * 7 % 17) as f64 / 32.0);
                let late = self.state.runtime.spawn(async move {
                    sleep(delay).await;
                    operation(connection).await
                });
                async { late.await.unwrap_or_else(|_| Err(failure())) }.boxed()
            }
            _ => async { operation(connection).await }.boxed(),
        }
    }

    /// Runs an operation that may set a value, and retains the previous one.
    fn write<T: Send + 'static, F>(
        &self,
        key: &StoreKey,
        operation: impl FnOnce(Arc<dyn SharedStore>, StoreKey) -> F + Send + 'static,
    ) -> StoreFuture<'static, T>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (state, key) = (Arc::clone(&self.state), key.clone());
        self.run(move |connection| async move {
            let fault = *state.fault.lock().unwrap();
            if fault == Some(StoreFault::IsFull) && key.namespace() == KeyNamespace::Refresh {
                return Err(StoreError::Full { namespace: key.namespace(), max_bytes: Some(0) });
            }
            if fault != Some(StoreFault::Lags) {
                return operation(connection, key).await;
            }
            let mut replaced = state.replaced.lock().await;
            let before = connection.get(&key).await?;
            replaced.entry(key.clone()).or_default().push((Instant::now(), before));
            operation(connection, key).await
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

impl State {
    /// The earlier value of a key, while the store lags.
    async fn replaced(&self, key: &StoreKey) -> Option<Option<Bytes>> {
        let replaced = self.replaced.lock().await;
        let mut writes = replaced.get(key).into_iter().flatten();
        writes.find(|(at, _)| at.elapsed() < LAG).map(|(_, before)| before.clone())
    }
}

impl SharedStore for Store {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        let (state, key) = (Arc::clone(&self.state), key.clone());
        self.run(move |connection| async move {
            match state.replaced(&key).await {
                Some(before) => Ok(before),
                None => connection.get(&key).await,
            }
        })
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        self.write(key, move |connection, key| async move {
            connection.put(&key, value, retention(ttl)).await
        })
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        self.write(key, move |connection, key| async move {
            connection.put_if_absent(&key, value, retention(ttl)).await
        })
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        self.write(key, move |connection, key| async move {
            connection.replace_if(&key, expected, value, retention(ttl)).await
        })
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        self.write(
            key,
            move |connection, key| async move { connection.remove_if(&key, expected).await },
        )
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        let (log, ttl) = (log.clone(), retention(ttl));
        if *self.state.fault.lock().unwrap() == Some(StoreFault::Lags) {
            let connection = Arc::clone(&self.state.connection);
            drop(self.state.runtime.spawn(async move {
                sleep(LAG).await;
                connection.append(&log, entry, ttl).await
            }));
            return ready(Ok(())).boxed();
        }
        self.run(move |connection| async move { connection.append(&log, entry, ttl).await })
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        let log = log.clone();
        self.run(move |connection| async move { connection.read_since(&log, cursor).await })
    }
}
