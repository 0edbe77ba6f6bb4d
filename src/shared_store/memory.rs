use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::ready;
use time::OffsetDateTime;

use super::{LogCursor, LogPage, Purpose, SharedStore, StoreError, StoreFuture, StoreKey};
use crate::clock::Clock;

/// [`SharedStore`] for an app of one process: state is gone when it ends.
///
/// Bounded per purpose; values past their lifetime make room for new ones.
pub struct MemoryStore {
    clock: Clock,
    bound: usize,
    shelves: Mutex<HashMap<Purpose, Shelf>>,
}

// By hand: the values are their owners' business.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// At most this many values, and as many log entries, for each purpose unless set otherwise.
    pub const DEFAULT_BOUND: usize = 100_000;

    /// An empty store whose lifetimes are judged by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::with_bound(clock, Self::DEFAULT_BOUND)
    }

    /// A store that keeps at most `bound` values, and as many log entries, for each purpose.
    #[must_use]
    pub fn with_bound(clock: Clock, bound: usize) -> Self {
        Self { clock, bound, shelves: Mutex::default() }
    }

    /// Runs one atomic step on the shelf of `key`. The step is short and never waits.
    fn on_shelf<T: Send + 'static>(
        &self,
        key: &StoreKey,
        step: impl FnOnce(&mut Shelf, OffsetDateTime) -> T,
    ) -> StoreFuture<'_, T> {
        ready(Ok(self.run(key, step))).boxed()
    }

    /// Like `on_shelf`, for a step that may find no room.
    fn on_shelf_with_room<T: Send + 'static>(
        &self,
        key: &StoreKey,
        step: impl FnOnce(&mut Shelf, OffsetDateTime, usize) -> Result<T, NoRoom>,
    ) -> StoreFuture<'_, T> {
        let done = self.run(key, |shelf, now| step(shelf, now, self.bound));
        ready(done.map_err(|NoRoom| StoreError::Full(key.purpose()))).boxed()
    }

    fn run<T>(&self, key: &StoreKey, step: impl FnOnce(&mut Shelf, OffsetDateTime) -> T) -> T {
        let now = self.clock.now();
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        step(shelves.entry(key.purpose()).or_default(), now)
    }
}

impl SharedStore for MemoryStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        self.on_shelf(key, |shelf, now| shelf.living(key, now).cloned())
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        self.on_shelf_with_room(key, |shelf, now, bound| {
            shelf.set(key, Lasting::new(value, now, ttl), now, bound)
        })
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        self.on_shelf_with_room(key, |shelf, now, bound| {
            if shelf.living(key, now).is_some() {
                return Ok(false);
            }
            shelf.set(key, Lasting::new(value, now, ttl), now, bound).map(|()| true)
        })
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        self.on_shelf_with_room(key, |shelf, now, bound| {
            if shelf.living(key, now) != Some(&expected) {
                return Ok(false);
            }
            shelf.set(key, Lasting::new(value, now, ttl), now, bound).map(|()| true)
        })
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        self.on_shelf(key, |shelf, now| {
            let found = shelf.living(key, now) == Some(&expected);
            if found {
                shelf.values.remove(key);
            }
            found
        })
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        self.on_shelf_with_room(log, |shelf, now, bound| {
            shelf.append(log, Lasting::new(entry, now, ttl), now, bound)
        })
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        self.on_shelf(log, |shelf, now| shelf.read_since(log, &cursor, now))
    }
}

/// Fewer values are not worth a sweep.
const MIN_SWEEP: usize = 64;

/// Values and logs of one purpose.
#[derive(Debug, Default)]
struct Shelf {
    values: HashMap<StoreKey, Lasting>,
    /// With so many values it is time to drop those past their lifetime.
    sweep_at: usize,
    logs: HashMap<StoreKey, Log>,
    log_entries: usize,
}

impl Shelf {
    fn living(&self, key: &StoreKey, now: OffsetDateTime) -> Option<&Bytes> {
        self.values.get(key).filter(|value| value.lives(now)).map(|value| &value.bytes)
    }

    fn set(
        &mut self,
        key: &StoreKey,
        value: Lasting,
        now: OffsetDateTime,
        bound: usize,
    ) -> Result<(), NoRoom> {
        if let Some(present) = self.values.get_mut(key) {
            *present = value;
            return Ok(());
        }
        // Twice what lived last time, so that a sweep costs each value a constant share of it.
        if self.values.len() >= self.sweep_at.min(bound) {
            self.values.retain(|_, value| value.lives(now));
            self.sweep_at = MIN_SWEEP.max(2 * self.values.len());
        }
        if self.values.len() >= bound {
            return Err(NoRoom);
        }
        self.values.insert(key.clone(), value);
        Ok(())
    }

    fn append(
        &mut self,
        name: &StoreKey,
        entry: Lasting,
        now: OffsetDateTime,
        bound: usize,
    ) -> Result<(), NoRoom> {
        if self.log_entries >= bound {
            self.log_entries = self.logs.values_mut().map(|log| log.drop_expired(now)).sum();
        }
        if self.log_entries >= bound {
            return Err(NoRoom);
        }
        self.logs.entry(name.clone()).or_default().entries.push_back(entry);
        self.log_entries += 1;
        Ok(())
    }

    fn read_since(&self, name: &StoreKey, cursor: &LogCursor, now: OffsetDateTime) -> LogPage {
        let Some(log) = self.logs.get(name) else {
            return LogPage::new(Vec::new(), cursor.clone());
        };
        let from = cursor.as_text().parse().unwrap_or(0_u64);
        let skip = usize::try_from(from.saturating_sub(log.dropped)).unwrap_or(usize::MAX);
        let entries = log.entries.iter().skip(skip).filter(|entry| entry.lives(now));
        let end = log.dropped.saturating_add(log.entries.len() as u64);
        LogPage::new(
            entries.map(|entry| entry.bytes.clone()).collect(),
            LogCursor::from_text(end.max(from).to_string()),
        )
    }
}

/// Entries in the order of their arrival; `dropped` of them are gone from the front.
#[derive(Debug, Default)]
struct Log {
    dropped: u64,
    entries: VecDeque<Lasting>,
}

impl Log {
    /// Drops what has expired at the front; returns how many entries are left.
    fn drop_expired(&mut self, now: OffsetDateTime) -> usize {
        while self.entries.front().is_some_and(|entry| !entry.lives(now)) {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.len()
    }
}

#[derive(Debug)]
struct Lasting {
    bytes: Bytes,
    until: OffsetDateTime,
}

impl Lasting {
    fn new(bytes: Bytes, now: OffsetDateTime, ttl: Duration) -> Self {
        let ttl = time::Duration::try_from(ttl).unwrap_or(time::Duration::MAX);
        Self { bytes, until: now.saturating_add(ttl) }
    }

    fn lives(&self, now: OffsetDateTime) -> bool {
        now < self.until
    }
}

struct NoRoom;

#[cfg(test)]
mod tests {
    use super::super::StoreScope;
    use super::*;
    use crate::clock::ManualClock;

    const MINUTE: Duration = Duration::from_secs(60);

    fn scoped(purpose: Purpose, id: &str) -> StoreKey {
        StoreScope::new(["test"]).key(purpose, id)
    }

    fn key(id: &str) -> StoreKey {
        scoped(Purpose::Refresh, id)
    }

    fn store(bound: usize) -> (ManualClock, MemoryStore) {
        let time = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        let store = MemoryStore::with_bound(time.clock(), bound);
        (time, store)
    }

    #[tokio::test]
    async fn a_lease_is_taken_once_handed_on_and_given_back() {
        let (_, store) = store(10);
        let (mine, yours) = (Bytes::from("mine"), Bytes::from("yours"));
        assert!(store.put_if_absent(&key("lease"), mine.clone(), MINUTE).await.unwrap());
        assert!(!store.put_if_absent(&key("lease"), yours.clone(), MINUTE).await.unwrap());
        assert!(!store.remove_if(&key("lease"), yours.clone()).await.unwrap());
        assert!(
            !store.replace_if(&key("lease"), yours.clone(), mine.clone(), MINUTE).await.unwrap()
        );
        assert!(store.replace_if(&key("lease"), mine, yours.clone(), MINUTE).await.unwrap());
        assert_eq!(store.get(&key("lease")).await.unwrap(), Some(yours.clone()));
        assert!(store.remove_if(&key("lease"), yours).await.unwrap());
        assert_eq!(store.get(&key("lease")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_value_past_its_lifetime_was_never_there() {
        let (time, store) = store(10);
        let value = Bytes::from("v");
        store.put(&key("k"), value.clone(), MINUTE).await.unwrap();
        time.advance(MINUTE);
        assert_eq!(store.get(&key("k")).await.unwrap(), None);
        assert!(!store.replace_if(&key("k"), value.clone(), value.clone(), MINUTE).await.unwrap());
        assert!(!store.remove_if(&key("k"), value.clone()).await.unwrap());
        assert!(store.put_if_absent(&key("k"), value, MINUTE).await.unwrap());
    }

    #[tokio::test]
    async fn a_full_purpose_refuses_forgets_nothing_and_starves_no_other() {
        let (time, store) = store(2);
        for id in ["a", "b"] {
            store.put(&key(id), Bytes::from("v"), MINUTE).await.unwrap();
        }
        let refused = store.put(&key("c"), Bytes::new(), MINUTE).await.unwrap_err();
        assert!(matches!(refused, StoreError::Full(Purpose::Refresh)));
        assert!(store.put_if_absent(&key("c"), Bytes::new(), MINUTE).await.is_err());
        store.put(&key("a"), Bytes::from("w"), MINUTE).await.unwrap();
        assert_eq!(store.get(&key("b")).await.unwrap(), Some(Bytes::from("v")));
        let other = scoped(Purpose::Launch, "c");
        assert!(store.put_if_absent(&other, Bytes::new(), MINUTE).await.unwrap());
        time.advance(MINUTE);
        store.put(&key("c"), Bytes::new(), MINUTE).await.unwrap();
    }

    #[tokio::test]
    async fn values_past_their_lifetime_do_not_pile_up() {
        let (time, store) = store(MemoryStore::DEFAULT_BOUND);
        for number in 0..10_000 {
            store.put(&key(&number.to_string()), Bytes::new(), MINUTE).await.unwrap();
            time.advance(Duration::from_secs(1));
        }
        let kept = store.run(&key("any"), |shelf, _| shelf.values.len());
        assert!(kept <= 2 * 64, "{kept}");
        assert!(store.get(&key("9999")).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_log_is_read_in_order_from_any_place() {
        let (time, store) = store(3);
        let log = scoped(Purpose::Revocation, "log");
        let empty = store.read_since(&log, LogCursor::start()).await.unwrap();
        assert!(empty.entries.is_empty());
        for entry in ["1", "2"] {
            store.append(&log, Bytes::from(entry), MINUTE).await.unwrap();
        }
        let first = store.read_since(&log, empty.next).await.unwrap();
        assert_eq!(first.entries, ["1", "2"]);
        time.advance(MINUTE / 2);
        store.append(&log, Bytes::from("3"), MINUTE).await.unwrap();
        let refused = store.append(&log, Bytes::from("4"), MINUTE).await.unwrap_err();
        assert!(matches!(refused, StoreError::Full(Purpose::Revocation)));
        time.advance(MINUTE / 2);
        store.append(&log, Bytes::from("4"), MINUTE).await.unwrap();
        let second = store.read_since(&log, first.next).await.unwrap();
        assert_eq!(second.entries, ["3", "4"]);
        assert!(store.read_since(&log, second.next).await.unwrap().entries.is_empty());
        assert_eq!(store.read_since(&log, LogCursor::start()).await.unwrap().entries, ["3", "4"]);
    }
}
