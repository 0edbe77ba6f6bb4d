//! A store that fails as a test requires.

use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use futures::FutureExt as _;

use super::*;
use crate::clock::testing::SteppedClock;
use crate::shared_store::{LogPage, MemoryStore, SharedStore, StoreFuture};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fails {
    Not,
    Hangs,
    /// No failure, but other tasks run before each operation.
    Yields,
    /// No failure, but other tasks run after each operation takes effect.
    RespondsLate,
    Unavailable,
    /// The log is full.
    Full,
    /// Those of the next operations whose bit is set, with or without an effect.
    Some {
        bits: u32,
        have_effect: bool,
    },
    /// Entries of the log are lost after they were acknowledged.
    LosesEntries,
    /// Entries of the log get no response.
    AppendsHang,
    /// There is always another page.
    NeverEnds,
    /// The cursor does not move.
    RepeatsPages,
    /// Each page of the log takes a second.
    ReadsSlowly,
    /// The first page has no entries, because they cannot be read.
    SkipsFirstPage,
    /// Reads show no writes until [`TestStore::catch_up`].
    Lags,
}

/// A store that fails in one way at a time.
pub(super) struct TestStore {
    memory: Mutex<Arc<MemoryStore>>,
    fails: Mutex<Fails>,
    reads: AtomicUsize,
    late: Mutex<Late>,
}

/// What reads of a lagging store do not show.
#[derive(Default)]
struct Late {
    /// The values before the writes.
    before: HashMap<StoreKey, Option<Bytes>>,
    appended: Vec<(StoreKey, Bytes, Duration)>,
}

impl TestStore {
    pub(super) fn new(clock: &SteppedClock) -> Arc<Self> {
        Arc::new(Self {
            memory: Mutex::new(Arc::new(MemoryStore::new(clock.clock()))),
            fails: Mutex::new(Fails::Not),
            reads: AtomicUsize::new(0),
            late: Mutex::default(),
        })
    }

    pub(super) fn set(&self, fails: Fails) {
        *self.fails.lock().unwrap() = fails;
    }

    fn fails(&self) -> Fails {
        *self.fails.lock().unwrap()
    }

    pub(super) fn memory(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.memory.lock().unwrap())
    }

    /// Returns how often a log was read since the last call.
    pub(super) fn take_reads(&self) -> usize {
        self.reads.swap(0, Ordering::SeqCst)
    }

    /// Shows what was written while the store lagged.
    pub(super) async fn catch_up(&self) {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        for (log, entry, ttl) in late.appended {
            self.memory().append(&log, entry, ttl).await.unwrap();
        }
    }

    /// Lets reads show an earlier value until [`catch_up`](Self::catch_up).
    pub(super) fn show_earlier(&self, key: &StoreKey, value: Bytes) {
        self.late.lock().unwrap().before.insert(key.clone(), Some(value));
    }

    fn retain_before_write(&self, key: &StoreKey) {
        if self.fails() == Fails::Lags {
            self.late
                .lock()
                .unwrap()
                .before
                .entry(key.clone())
                .or_insert_with(|| self.memory().get(key).now_or_never().unwrap().unwrap());
        }
    }

    /// Returns the number of entries of a log.
    pub(super) async fn entries(&self, log: &StoreKey) -> usize {
        let (mut count, mut cursor) = (0, LogCursor::start());
        loop {
            let page = self.read_since(log, cursor).await.unwrap();
            if page.entries.is_empty() {
                return count;
            }
            count += page.entries.len();
            cursor = page.next;
        }
    }

    pub(super) fn lose_state(&self, clock: &SteppedClock) {
        self.restore(Arc::new(MemoryStore::new(clock.clock())));
    }

    /// Continues with a former state.
    pub(super) fn restore(&self, memory: Arc<MemoryStore>) {
        *self.memory.lock().unwrap() = memory;
    }

    /// Loses the log and keeps the counter, or returns to a former one.
    pub(super) async fn lose_log(&self, clock: &SteppedClock, counter: Option<Bytes>) {
        let key = StoreScope::new(["test"]).key(KeyNamespace::Revocation, "counter");
        let kept = self.get(&key).await.unwrap();
        self.lose_state(clock);
        self.put(&key, counter.or(kept).unwrap(), COUNTER_LIFETIME).await.unwrap();
    }

    fn call<'a, T: Send + 'static>(
        &'a self,
        call: impl FnOnce(Arc<MemoryStore>) -> StoreFuture<'static, T>,
    ) -> StoreFuture<'a, T> {
        let memory = self.memory();
        let mut fails = self.fails.lock().unwrap();
        match *fails {
            Fails::Some { bits, have_effect } => {
                *fails = Fails::Some { bits: bits >> 1, have_effect };
                if bits & 1 == 0 {
                    return call(memory);
                }
                let call = have_effect.then(|| call(memory));
                Box::pin(async move {
                    if let Some(call) = call {
                        drop(call.await);
                    }
                    Err(unavailable())
                })
            }
            Fails::Hangs => Box::pin(std::future::pending()),
            Fails::Unavailable => Box::pin(async { Err(unavailable()) }),
            Fails::Yields => {
                let call = call(memory);
                Box::pin(async {
                    tokio::task::yield_now().await;
                    call.await
                })
            }
            Fails::RespondsLate => {
                let call = call(memory);
                Box::pin(async {
                    let response = call.await;
                    tokio::task::yield_now().await;
                    response
                })
            }
            _ => call(memory),
        }
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("expected in this test".into())
}

impl SharedStore for TestStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        if let Some(before) = self.late.lock().unwrap().before.get(key).cloned() {
            return self.call(|_| Box::pin(async move { Ok(before) }));
        }
        let key = key.clone();
        self.call(|store| Box::pin(async move { store.get(&key).await }))
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        self.retain_before_write(key);
        let key = key.clone();
        self.call(|store| Box::pin(async move { store.put(&key, value, ttl).await }))
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        self.retain_before_write(key);
        let key = key.clone();
        self.call(|store| Box::pin(async move { store.put_if_absent(&key, value, ttl).await }))
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        self.retain_before_write(key);
        let key = key.clone();
        self.call(|store| {
            Box::pin(async move { store.replace_if(&key, expected, value, ttl).await })
        })
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        let key = key.clone();
        self.call(|store| Box::pin(async move { store.remove_if(&key, expected).await }))
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        match self.fails() {
            Fails::Full => Box::pin(async {
                Err(StoreError::Full { namespace: KeyNamespace::Revocation, max_bytes: None })
            }),
            Fails::LosesEntries => Box::pin(async { Ok(()) }),
            Fails::AppendsHang => Box::pin(std::future::pending()),
            Fails::Lags => {
                self.late.lock().unwrap().appended.push((log.clone(), entry, ttl));
                Box::pin(async { Ok(()) })
            }
            _ => {
                let log = log.clone();
                self.call(|store| Box::pin(async move { store.append(&log, entry, ttl).await }))
            }
        }
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        let fails = self.fails();
        let number = self.reads.fetch_add(1, Ordering::SeqCst);
        let log = log.clone();
        self.call(|store| {
            Box::pin(async move {
                match fails {
                    Fails::NeverEnds => {
                        let all = store.read_since(&log, LogCursor::start()).await?;
                        Ok(LogPage::new(all.entries, LogCursor::from_text(number.to_string())))
                    }
                    Fails::RepeatsPages => {
                        let all = store.read_since(&log, LogCursor::start()).await?;
                        Ok(LogPage::new(all.entries, cursor))
                    }
                    Fails::ReadsSlowly => {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        store.read_since(&log, cursor).await
                    }
                    Fails::SkipsFirstPage if cursor == LogCursor::start() => {
                        let first = store.read_since(&log, cursor).await?;
                        let mut page = LogPage::new(Vec::new(), first.next);
                        page.unreadable = first.entries.len();
                        Ok(page)
                    }
                    _ => store.read_since(&log, cursor).await,
                }
            })
        })
    }
}
