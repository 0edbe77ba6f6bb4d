use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;

use super::super::MemoryStore;
use super::*;
use crate::clock::ManualClock;

/// What a store does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    None,
    CancelMixesResponses,
    ComparesText,
    ExpiresLogWithLastEntry,
    ForgetsValues,
    HidesLoss,
    IgnoresCase,
    IgnoresLifetimes,
    IgnoresNamespaces,
    KeepsLostPositions,
    LateEntries,
    OverwritesPresent,
    ReadsBeforeWrites,
    RejectedExtendsLifetime,
    RemovesAny,
    RepeatsLastEntry,
    ReusesPositions,
    SkipsPages,
    StopsAtEmptyPage,
    TruncatesValues,
}

const MISTAKES: [(Mistake, &str); 19] = [
    (Mistake::CancelMixesResponses, "operations can be canceled"),
    (Mistake::ComparesText, "replace_if"),
    (Mistake::ExpiresLogWithLastEntry, "lifetimes of log entries"),
    (Mistake::ForgetsValues, "values are stored byte for byte"),
    (Mistake::HidesLoss, "a lost position is the start of the log"),
    (Mistake::IgnoresCase, "different keys have different values"),
    (Mistake::IgnoresLifetimes, "lifetimes"),
    (Mistake::IgnoresNamespaces, "different keys have different values"),
    (Mistake::KeepsLostPositions, "a lost position is the start of the log"),
    (Mistake::LateEntries, "no concurrent entry is skipped"),
    (Mistake::OverwritesPresent, "put_if_absent"),
    (Mistake::ReadsBeforeWrites, "operations are atomic"),
    (Mistake::RejectedExtendsLifetime, "lifetimes"),
    (Mistake::RemovesAny, "remove_if"),
    (Mistake::RepeatsLastEntry, "logs return each entry once, in order"),
    (Mistake::ReusesPositions, "a position whose entry was lost is the start of the log"),
    (Mistake::SkipsPages, "logs return each entry once, in order"),
    (Mistake::StopsAtEmptyPage, "logs return each entry once, in order"),
    (Mistake::TruncatesValues, "values are stored byte for byte"),
];

/// A memory store with one mistake.
struct Mistaken {
    mistake: Mistake,
    time: ManualClock,
    store: Mutex<Arc<MemoryStore>>,
    calls: AtomicUsize,
    /// The response to an operation that was canceled.
    late: Mutex<Option<Option<Bytes>>>,
    /// All log entries, and how many there were when the state was saved.
    appended: Mutex<Vec<(StoreKey, Bytes)>>,
    saved: AtomicUsize,
}

impl Mistaken {
    fn new(mistake: Mistake) -> Self {
        let time = ManualClock::running();
        let store = Mutex::new(Arc::new(MemoryStore::new(time.clock())));
        Self {
            mistake,
            time,
            store,
            calls: AtomicUsize::new(0),
            late: Mutex::default(),
            appended: Mutex::default(),
            saved: AtomicUsize::new(0),
        }
    }

    fn store(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.store.lock().unwrap())
    }

    fn lose(&self) {
        *self.store.lock().unwrap() = Arc::new(MemoryStore::new(self.time.clock()));
    }

    fn save(&self) {
        self.saved.store(self.appended.lock().unwrap().len(), Ordering::SeqCst);
    }

    async fn restore(&self) {
        self.lose();
        let mut appended = std::mem::take(&mut *self.appended.lock().unwrap());
        appended.truncate(self.saved.load(Ordering::SeqCst));
        for (log, entry) in appended {
            self.append(&log, entry, HOUR).await.unwrap();
        }
    }

    fn is(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }

    fn key(&self, key: &StoreKey) -> StoreKey {
        let mut key = key.clone();
        if self.is(Mistake::IgnoresCase) {
            key.id = key.id.to_lowercase().into();
        }
        if self.is(Mistake::IgnoresNamespaces) {
            key.namespace = KeyNamespace::Refresh;
        }
        key
    }

    fn ttl(&self, ttl: Duration) -> Duration {
        if self.is(Mistake::IgnoresLifetimes) { HOUR } else { ttl }
    }

    fn value(&self, value: Bytes) -> Bytes {
        let most = if self.is(Mistake::TruncatesValues) { 4096 } else { usize::MAX };
        value.slice(..value.len().min(most))
    }

    /// Compares first and writes later, or as text.
    async fn matches(&self, key: &StoreKey, expected: &Bytes) -> Result<bool, StoreError> {
        let seen = self.store().get(&self.key(key)).await?;
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(if self.is(Mistake::ComparesText) {
            seen.as_ref().map(text) == Some(text(expected))
        } else {
            seen.as_ref() == Some(expected)
        })
    }
}

/// Sets a value on drop, when the response of a canceled operation arrives.
struct Late<'a>(&'a Mistaken, Option<Option<Bytes>>);

impl Drop for Late<'_> {
    fn drop(&mut self) {
        if let Some(response) = self.1.take() {
            *self.0.late.lock().unwrap() = Some(response);
        }
    }
}

impl SharedStore for Mistaken {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        async move {
            if self.is(Mistake::ForgetsValues) && self.calls.fetch_add(1, Ordering::SeqCst) % 7 == 6
            {
                return Ok(None);
            }
            let value = self.store().get(&self.key(key)).await?;
            if !self.is(Mistake::CancelMixesResponses) {
                return Ok(value);
            }
            let late = self.late.lock().unwrap().take();
            let mut response = Late(self, Some(value.clone()));
            tokio::task::yield_now().await;
            response.1 = None;
            Ok(late.unwrap_or(value))
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        async move { self.store().put(&self.key(key), self.value(value), self.ttl(ttl)).await }
            .boxed()
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        async move {
            let (store, key, ttl) = (self.store(), self.key(key), self.ttl(ttl));
            let put = store.put_if_absent(&key, value.clone(), ttl).await?;
            if !put && self.is(Mistake::OverwritesPresent) {
                store.put(&key, value, ttl).await?;
            } else if !put && self.is(Mistake::RejectedExtendsLifetime) {
                let present = store.get(&key).await?.unwrap_or_default();
                store.put(&key, present, ttl).await?;
            }
            Ok(put)
        }
        .boxed()
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        async move {
            if !self.is(Mistake::ComparesText) && !self.is(Mistake::ReadsBeforeWrites) {
                let store = self.store();
                return store.replace_if(&self.key(key), expected, value, self.ttl(ttl)).await;
            }
            let matches = self.matches(key, &expected).await?;
            tokio::task::yield_now().await;
            if matches {
                self.put(key, value, ttl).await?;
            }
            Ok(matches)
        }
        .boxed()
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        async move {
            let (store, key) = (self.store(), self.key(key));
            let expected = match store.get(&key).await? {
                Some(any) if self.is(Mistake::RemovesAny) => any,
                _ => expected,
            };
            store.remove_if(&key, expected).await
        }
        .boxed()
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        async move {
            if self.is(Mistake::ExpiresLogWithLastEntry) {
                // As a key whose lifetime is that of the entry that was written last.
                self.store().put(&self.key(log), Bytes::from_static(b"there"), ttl).await?;
            }
            if self.is(Mistake::LateEntries) && self.calls.fetch_add(1, Ordering::SeqCst) % 5 == 4 {
                // The cursor of the next entry, which is visible first, skips this one.
                tokio::task::yield_now().await;
                return self.store().append(&self.key(log), Bytes::new(), ttl).await;
            }
            self.appended.lock().unwrap().push((log.clone(), entry.clone()));
            self.store().append(&self.key(log), entry, self.ttl(ttl)).await
        }
        .boxed()
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        async move {
            let log = self.key(log);
            let split = |cursor: &LogCursor| {
                let text = cursor.as_text().split_once(' ');
                text.map(|(store, number)| (store.to_owned(), number.parse::<u64>().unwrap()))
            };
            let mut passed = cursor.clone();
            if self.is(Mistake::ReusesPositions)
                && let Some((_, number)) = split(&cursor)
                && let Some((store, _)) =
                    split(&self.store().read_since(&log, LogCursor::start()).await?.next)
            {
                passed = LogCursor::from_text(format!("{store} {number}"));
            }
            let mut page = self.store().read_since(&log, passed).await?;
            let moved = |page: &LogPage, by: i64| {
                let (store, number) = split(&page.next).unwrap();
                LogCursor::from_text(format!("{store} {}", number.saturating_add_signed(by)))
            };
            match self.mistake {
                Mistake::ExpiresLogWithLastEntry if self.store().get(&log).await?.is_none() => {
                    page.entries.clear();
                }
                Mistake::KeepsLostPositions if page.cursor_lost => {
                    page = LogPage::after_loss(Vec::new(), cursor);
                }
                Mistake::HidesLoss => page.cursor_lost = false,
                Mistake::RepeatsLastEntry if page.entries.len() > 1 => {
                    page.next = moved(&page, -1);
                }
                Mistake::SkipsPages if page.entries.len() >= 1000 => {
                    page.next = moved(&page, 1);
                }
                Mistake::StopsAtEmptyPage if page.entries.len() >= 1000 => page.entries.clear(),
                _ => {}
            }
            Ok(page)
        }
        .boxed()
    }
}

/// The rules that a store with this mistake violates.
async fn violated(mistake: Mistake) -> Vec<Violation> {
    let store = Mistaken::new(mistake);
    let checked = check(&store, async |by| store.time.advance(by)).await;
    let lost = check_loss(&store, async || store.lose()).await;
    let restored = check_restore(&store, async || store.save(), async || store.restore().await);
    let errors = [checked, lost, restored.await].into_iter().filter_map(Result::err);
    errors.flat_map(|error| error.violations).collect()
}

#[tokio::test]
async fn a_store_without_mistakes_conforms() {
    assert_eq!(violated(Mistake::None).await, []);
    let time = ManualClock::running();
    let store = Arc::new(MemoryStore::new(time.clock()));
    check(&store, async |by| time.advance(by)).await.unwrap();
}

#[tokio::test]
async fn each_mistake_of_a_store_is_found() {
    for (mistake, rule) in MISTAKES {
        let violations = violated(mistake).await;
        let is_found = violations.iter().any(|violation| violation.rule == rule);
        assert!(is_found, "{mistake:?}: {violations:?}");
    }
}

#[tokio::test]
async fn an_error_lists_what_was_found() {
    let store = Mistaken::new(Mistake::RemovesAny);
    let error = check(&store, async |by| store.time.advance(by)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("remove_if: with [] expected instead of"), "{text}");
}
