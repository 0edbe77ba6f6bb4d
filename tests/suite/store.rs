//! A shared store that can be made to fail, and that shows what it was given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use tower_scalekit::clock::Clock;
use tower_scalekit::shared_store::{
    LogCursor, LogPage, MemoryStore, SharedStore, StoreError, StoreFuture, StoreKey,
};

#[derive(Clone)]
pub(crate) struct FlakyStore(Arc<Inner>);

struct Inner {
    store: MemoryStore,
    down: AtomicBool,
    seen: Mutex<HashMap<StoreKey, Bytes>>,
}

impl FlakyStore {
    pub(crate) fn new(clock: Clock) -> Self {
        let (store, down, seen) =
            (MemoryStore::new(clock), AtomicBool::default(), Mutex::default());
        Self(Arc::new(Inner { store, down, seen }))
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.0.down.store(down, Ordering::SeqCst);
    }

    /// The newest value under each key that ever had one.
    pub(crate) fn seen(&self) -> HashMap<StoreKey, Bytes> {
        self.0.seen.lock().unwrap().clone()
    }

    fn note(&self, key: &StoreKey, value: &Bytes) {
        self.0.seen.lock().unwrap().insert(key.clone(), value.clone());
    }

    fn pass<'a, T: Send + 'a>(
        &'a self,
        operation: impl FnOnce(&'a MemoryStore) -> StoreFuture<'a, T>,
    ) -> StoreFuture<'a, T> {
        if self.0.down.load(Ordering::SeqCst) {
            let refused = Err(StoreError::Unavailable("switched off by the test".into()));
            return std::future::ready(refused).boxed();
        }
        operation(&self.0.store)
    }
}

impl SharedStore for FlakyStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        self.pass(|store| store.get(key))
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        self.note(key, &value);
        self.pass(|store| store.put(key, value, ttl))
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        self.note(key, &value);
        self.pass(|store| store.put_if_absent(key, value, ttl))
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        self.note(key, &value);
        self.pass(|store| store.replace_if(key, expected, value, ttl))
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        self.pass(|store| store.remove_if(key, expected))
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        self.pass(|store| store.append(log, entry, ttl))
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        self.pass(|store| store.read_since(log, cursor))
    }
}
