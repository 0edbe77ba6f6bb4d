//! A shared store with injected failures, which records its keys and values.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::Notify;
use tower_scalekit::clock::Clock;
use tower_scalekit::shared_store::{
    KeyNamespace, LogCursor, LogPage, MemoryStore, SharedStore, StoreError, StoreFuture, StoreKey,
};

/// Clones share values and failures. The second field has what reads return if they never catch up.
#[derive(Clone)]
pub(crate) struct FlakyStore(Arc<Inner>, Option<Arc<HashMap<StoreKey, Bytes>>>, Arc<AtomicBool>);

struct Inner {
    store: MemoryStore,
    down: AtomicBool,
    /// Number of operations that fail.
    failing: AtomicUsize,
    /// Rejects values of this namespace.
    rejected: Mutex<Option<KeyNamespace>>,
    /// Reads do not find these values yet.
    hidden: Mutex<HashSet<StoreKey>>,
    seen: Mutex<HashMap<StoreKey, Bytes>>,
    keys: Mutex<HashSet<StoreKey>>,
    reads: AtomicUsize,
    writes: AtomicUsize,
    /// For the next operation.
    gate: Mutex<Option<Gate>>,
    /// For the next write of this namespace or append to a log of it, before it takes effect.
    write_gate: Mutex<Option<(KeyNamespace, Arc<Notify>)>>,
    /// The namespace whose reads fail, and how many do.
    failing_reads: Mutex<Option<(KeyNamespace, usize)>>,
    /// The value whose writes fail, and how many do.
    failing_puts: Mutex<Option<(&'static [u8], usize)>>,
    /// Runs other tasks before each operation.
    yields: AtomicBool,
    loses: Mutex<Loses>,
    /// There is always another page of a log.
    endless: AtomicBool,
    latency: Mutex<Duration>,
}

/// Writes that succeed without an effect, as if a failover had lost them.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Loses {
    Nothing,
    Logs,
    Everything,
}

#[derive(Clone, Copy)]
pub(crate) enum When {
    BeforeIt,
    AfterIt,
}

type Gate = (When, Arc<Notify>);

impl FlakyStore {
    pub(crate) fn new(clock: Clock) -> Self {
        let inner = Inner {
            store: MemoryStore::new(clock),
            down: AtomicBool::default(),
            failing: AtomicUsize::default(),
            rejected: Mutex::default(),
            hidden: Mutex::default(),
            seen: Mutex::default(),
            keys: Mutex::default(),
            reads: AtomicUsize::default(),
            writes: AtomicUsize::default(),
            gate: Mutex::default(),
            write_gate: Mutex::default(),
            failing_reads: Mutex::default(),
            failing_puts: Mutex::default(),
            yields: AtomicBool::default(),
            loses: Mutex::new(Loses::Nothing),
            endless: AtomicBool::default(),
            latency: Mutex::default(),
        };
        Self(Arc::new(inner), None, Arc::default())
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.0.down.store(down, Ordering::SeqCst);
    }

    /// The same store by a connection of its own, see [`set_cut_off`](Self::set_cut_off).
    pub(crate) fn other_connection(&self) -> Self {
        Self(Arc::clone(&self.0), None, Arc::default())
    }

    /// Makes the store unavailable to this connection and its clones.
    pub(crate) fn set_cut_off(&self, cut_off: bool) {
        self.2.store(cut_off, Ordering::SeqCst);
    }

    /// Makes the next operations fail.
    pub(crate) fn fail_next(&self, operations: usize) {
        self.0.failing.store(operations, Ordering::SeqCst);
    }

    /// Makes the next reads of values of this namespace fail.
    pub(crate) fn fail_reads(&self, namespace: KeyNamespace, number: usize) {
        *self.0.failing_reads.lock().unwrap() = Some((namespace, number));
    }

    /// Makes the next puts of this value fail.
    pub(crate) fn fail_puts(&self, value: &'static [u8], number: usize) {
        *self.0.failing_puts.lock().unwrap() = Some((value, number));
    }

    /// Runs other tasks before each operation.
    pub(crate) fn yield_before_each(&self) {
        self.0.yields.store(true, Ordering::SeqCst);
    }

    /// Delays the next operation, before or after it takes effect, until it is notified.
    pub(crate) fn hold_next(&self, when: When) -> Arc<Notify> {
        let go = Arc::<Notify>::default();
        *self.0.gate.lock().unwrap() = Some((when, Arc::clone(&go)));
        go
    }

    /// Delays the next write of this namespace, or append to a log of it, before it takes effect, until
    /// it is notified.
    pub(crate) fn hold_next_write(&self, namespace: KeyNamespace) -> Arc<Notify> {
        let go = Arc::<Notify>::default();
        *self.0.write_gate.lock().unwrap() = Some((namespace, Arc::clone(&go)));
        go
    }

    /// Lets each read of a log return all entries and another cursor.
    pub(crate) fn repeat_logs_endlessly(&self, endless: bool) {
        self.0.endless.store(endless, Ordering::SeqCst);
    }

    /// Delays each operation by this time.
    pub(crate) fn set_latency(&self, latency: Duration) {
        *self.0.latency.lock().unwrap() = latency;
    }

    /// Loses these writes from now on.
    pub(crate) fn lose(&self, writes: Loses) {
        *self.0.loses.lock().unwrap() = writes;
    }

    /// Rejects values of this namespace from now on.
    pub(crate) fn reject(&self, namespace: Option<KeyNamespace>) {
        *self.0.rejected.lock().unwrap() = namespace;
    }

    /// Lets reads of these keys find no value, as in a replica of the store that lags.
    pub(crate) fn hide(&self, keys: impl IntoIterator<Item = StoreKey>) {
        *self.0.hidden.lock().unwrap() = keys.into_iter().collect();
    }

    /// The latest value of each key that ever had one.
    pub(crate) fn seen(&self) -> HashMap<StoreKey, Bytes> {
        self.0.seen.lock().unwrap().clone()
    }

    /// The keys of all values and logs that were ever written.
    pub(crate) fn keys(&self) -> HashSet<StoreKey> {
        self.0.keys.lock().unwrap().clone()
    }

    /// Number of reads, and of writes and removals, since the last call.
    pub(crate) fn take_operations(&self) -> (usize, usize) {
        (self.0.reads.swap(0, Ordering::SeqCst), self.0.writes.swap(0, Ordering::SeqCst))
    }

    /// The same store, whose reads come from a replica of it that never catches up.
    pub(crate) fn stale(&self) -> Self {
        Self(Arc::clone(&self.0), Some(Arc::new(self.seen())), Arc::clone(&self.2))
    }

    fn is_rejected(&self, key: &StoreKey) -> bool {
        *self.0.rejected.lock().unwrap() == Some(key.namespace())
    }

    fn note(&self, key: &StoreKey, value: &Bytes) {
        self.0.writes.fetch_add(1, Ordering::SeqCst);
        self.0.seen.lock().unwrap().insert(key.clone(), value.clone());
        self.0.keys.lock().unwrap().insert(key.clone());
    }

    fn loses_values(&self) -> bool {
        *self.0.loses.lock().unwrap() == Loses::Everything
    }

    /// `lost` is the response to a write that is lost.
    fn pass_write<'a, T: Send + 'a>(
        &'a self,
        key: &StoreKey,
        lost: T,
        operation: impl FnOnce(&'a MemoryStore) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        if self.loses_values() {
            return std::future::ready(Ok(lost)).boxed();
        }
        let held = self.0.write_gate.lock().unwrap().take_if(|(held, _)| *held == key.namespace());
        let Some((_, go)) = held else { return self.pass(operation) };
        async move {
            go.notified().await;
            self.pass(operation).await
        }
        .boxed()
    }

    fn pass<'a, T: Send + 'a>(
        &'a self,
        operation: impl FnOnce(&'a MemoryStore) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        let one_less = |left: usize| left.checked_sub(1);
        let fails = self.0.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        let is_down = [&self.0.down, &self.2].into_iter().any(|down| down.load(Ordering::SeqCst));
        if fails.is_ok() || is_down {
            return std::future::ready(Err(unavailable())).boxed();
        }
        let latency = *self.0.latency.lock().unwrap();
        if self.0.yields.load(Ordering::SeqCst) || !latency.is_zero() {
            let store = &self.0.store;
            return async move {
                tokio::task::yield_now().await;
                if !latency.is_zero() {
                    tokio::time::sleep(latency).await;
                }
                operation(store).await
            }
            .boxed();
        }
        let gate = self.0.gate.lock().unwrap().take();
        let Some((when, go)) = gate else { return operation(&self.0.store) };
        async move {
            if matches!(when, When::BeforeIt) {
                go.notified().await;
            }
            // The memory store does its work when it is called.
            let done = operation(&self.0.store).await;
            if matches!(when, When::AfterIt) {
                go.notified().await;
            }
            done
        }
        .boxed()
    }
}

impl SharedStore for FlakyStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        if let Some(stale) = &self.1 {
            return std::future::ready(Ok(stale.get(key).cloned())).boxed();
        }
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        if self.0.hidden.lock().unwrap().contains(key) {
            return std::future::ready(Ok(None)).boxed();
        }
        if is_next(&self.0.failing_reads, |namespace| *namespace == key.namespace()) {
            return std::future::ready(Err(unavailable())).boxed();
        }
        self.pass(move |store| store.get(key))
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        if self.is_rejected(key) {
            return std::future::ready(Err(full(key))).boxed();
        }
        if is_next(&self.0.failing_puts, |failing| value == *failing) {
            return std::future::ready(Err(unavailable())).boxed();
        }
        self.note(key, &value);
        self.pass_write(key, (), move |store| store.put(key, value, ttl))
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        if self.is_rejected(key) {
            return std::future::ready(Err(full(key))).boxed();
        }
        self.note(key, &value);
        self.pass_write(key, true, move |store| store.put_if_absent(key, value, ttl))
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        if self.is_rejected(key) {
            return std::future::ready(Err(full(key))).boxed();
        }
        self.note(key, &value);
        self.pass_write(key, true, move |store| store.replace_if(key, expected, value, ttl))
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        self.0.writes.fetch_add(1, Ordering::SeqCst);
        if self.loses_values() {
            return std::future::ready(Ok(true)).boxed();
        }
        self.pass(move |store| store.remove_if(key, expected))
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        if self.is_rejected(log) {
            return std::future::ready(Err(full(log))).boxed();
        }
        self.0.keys.lock().unwrap().insert(log.clone());
        if *self.0.loses.lock().unwrap() != Loses::Nothing {
            return std::future::ready(Ok(())).boxed();
        }
        self.pass_write(log, (), move |store| store.append(log, entry, ttl))
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        if !self.0.endless.load(Ordering::SeqCst) {
            return self.pass(move |store| store.read_since(log, cursor));
        }
        let number = self.0.reads.fetch_add(1, Ordering::SeqCst);
        self.pass(move |store| {
            async move {
                let all = store.read_since(log, LogCursor::start()).await?;
                Ok(LogPage::new(all.entries, LogCursor::from_text(number.to_string())))
            }
            .boxed()
        })
    }
}

/// Whether one of so many operations is to fail. Counts it.
fn is_next<T>(failing: &Mutex<Option<(T, usize)>>, matches: impl FnOnce(&T) -> bool) -> bool {
    match &mut *failing.lock().unwrap() {
        Some((wanted, left)) if *left > 0 && matches(wanted) => {
            *left -= 1;
            true
        }
        _ => false,
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("disabled by the test".into())
}

fn full(key: &StoreKey) -> StoreError {
    StoreError::Full { namespace: key.namespace(), max_bytes: None }
}
