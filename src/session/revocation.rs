//! Sessions that were ended before their time, by whoever and on whichever replica.
//!
//! A revocation names a session, a person or an organization. Here it takes effect at once; other
//! replicas read it from a log in the shared store, at most [`MAX_AGE`] later. A request pays for
//! this only when something was revoked since its session was last looked at.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::clock::unix_millis;
use crate::flight::{Flight, Flights};
use crate::shared_store::{
    LogCursor, Purpose, SharedStore, StoreError, StoreKey, StoreScope, in_time,
};
use crate::telemetry;

/// How old the news may be that a request is judged by.
const MAX_AGE: Duration = Duration::seconds(2);
/// From this age on they are fetched in the background.
const RENEW_AGE: Duration = Duration::seconds(1);

/// Whose sessions are ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Revoked<'a> {
    /// A session at the environment (`ses_…`), as far as it began here before: the environment
    /// may log the person in again under the same id.
    EnvironmentSession(&'a str),
    /// Sessions in an organization that began before.
    Organization(&'a str),
    /// Sessions that began before, of whoever has this e-mail address in that organization: a
    /// directory's names for a person.
    OrganizationEmail(&'a str, &'a str),
    /// Sessions of a person in an organization that began before.
    OrganizationUser(&'a str, &'a str),
    /// One session, by our own id.
    Session(&'a str),
    /// Sessions of a person that began before.
    User(&'a str),
}

impl Revoked<'_> {
    fn key(self) -> Key {
        let (kind, id) = match self {
            Self::EnvironmentSession(id) => ("environment session", id),
            Self::Organization(id) => ("organization", id),
            Self::OrganizationEmail(organization, email) => {
                let email = email.to_lowercase();
                return Key::of("e-mail in organization", &format!("{organization}\0{email}"));
            }
            Self::OrganizationUser(organization, user) => {
                return Key::of("user in organization", &format!("{organization}\0{user}"));
            }
            Self::Session(id) => ("session", id),
            Self::User(id) => ("user", id),
        };
        Key::of(kind, id)
    }

    /// Our own id is never used again; all else may begin new sessions.
    fn is_for_good(self) -> bool {
        matches!(self, Self::Session(_))
    }
}

/// What can be revoked, by a hash: of the same size for all, and no name of anybody.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key([u8; 16]);

impl Key {
    fn of(kind: &str, id: &str) -> Self {
        let mut key = [0; 16];
        let hash = digest(&SHA256, format!("{kind}\0{id}").as_bytes());
        key.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        Self(key)
    }
}

/// By what a session can be revoked, and since when it exists.
pub(super) struct Revocable {
    keys: Vec<Key>,
    began_at: i64,
}

impl Revocable {
    pub(super) fn new<'a>(
        names: impl IntoIterator<Item = Revoked<'a>>,
        began_at: OffsetDateTime,
    ) -> Self {
        let keys = names.into_iter().map(Revoked::key).collect();
        Self { keys, began_at: unix_millis(began_at) }
    }
}

/// Everything that was revoked, as far as this replica knows.
#[derive(Clone)]
pub(crate) struct Revocations(Arc<State>);

struct State {
    store: Arc<dyn SharedStore>,
    log: StoreKey,
    clock: crate::clock::Clock,
    /// Whether there can be news from elsewhere.
    has_peers: bool,
    known: Mutex<HashMap<Key, Entry>>,
    /// Grows with each revocation, so that "nothing new" costs one load.
    version: AtomicU64,
    cursor: Mutex<LogCursor>,
    /// Unix milliseconds.
    read_at: AtomicI64,
    reads: Flights<(), ()>,
}

/// As it stands in the log.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    key: Key,
    /// Sessions that began until then are ended; Unix milliseconds.
    began_until: i64,
    /// When no such session can be alive any more; Unix milliseconds.
    forget_at: i64,
    /// Whether it stands in the log.
    #[serde(skip)]
    told: bool,
}

impl Revocations {
    pub(super) fn new(
        store: Arc<dyn SharedStore>,
        scope: &StoreScope,
        clock: crate::clock::Clock,
        has_peers: bool,
    ) -> Self {
        Self(Arc::new(State {
            store,
            log: scope.key(Purpose::Revocation, "log"),
            clock,
            has_peers,
            known: Mutex::default(),
            version: AtomicU64::new(1),
            cursor: Mutex::default(),
            read_at: AtomicI64::new(i64::MIN),
            reads: Flights::new(),
        }))
    }

    /// Ends sessions here at once, and tells the other replicas.
    pub(super) async fn revoke(
        &self,
        revoked: Revoked<'_>,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        self.revoke_begun_until(self.0.clock.now(), revoked, lifetime).await
    }

    /// The same for sessions that began until then; a session of our own is ended for good.
    pub(super) async fn revoke_begun_until(
        &self,
        begun_until: OffsetDateTime,
        revoked: Revoked<'_>,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let entry = Entry {
            key: revoked.key(),
            began_until: if revoked.is_for_good() { i64::MAX } else { unix_millis(begun_until) },
            forget_at: unix_millis(now.saturating_add(lifetime)),
            told: false,
        };
        let key = entry.key.clone();
        self.0.learn(entry, now);
        if self.0.has_peers { self.0.tell(&key, now).await } else { Ok(()) }
    }

    /// Changes when anything was revoked.
    pub(super) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    pub(super) fn covers(&self, session: &Revocable) -> bool {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let revoked =
            |key| known.get(key).is_some_and(|entry: &Entry| session.began_at <= entry.began_until);
        session.keys.iter().any(revoked)
    }

    /// What to wait for before a request can be judged; most often nothing.
    pub(super) fn news(&self) -> Option<Flight<()>> {
        if !self.0.has_peers {
            return None;
        }
        let age =
            unix_millis(self.0.clock.now()).saturating_sub(self.0.read_at.load(Ordering::Acquire));
        let age = Duration::milliseconds(age);
        if age < RENEW_AGE {
            return None;
        }
        let state = Arc::clone(&self.0);
        let read = self.0.reads.join((), || async move { state.read().await });
        (age >= MAX_AGE).then_some(read)
    }
}

impl State {
    /// Tells the other replicas, unless they were told already: ending what has ended does not fill
    /// the log.
    async fn tell(&self, key: &Key, now: OffsetDateTime) -> Result<(), StoreError> {
        let entry = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(key).filter(|entry| !entry.told).cloned()
        };
        let Some(entry) = entry else { return Ok(()) };
        let left = Duration::milliseconds(entry.forget_at.saturating_sub(unix_millis(now)));
        let text = Bytes::from(serde_json::to_vec(&entry).unwrap_or_default());
        let left = left.try_into().unwrap_or_default();
        in_time(self.store.append(&self.log, text, left)).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = known.get_mut(key).filter(|one| one.began_until == entry.began_until) {
            told.told = true;
        }
        Ok(())
    }

    /// Tells what could not be told while the store was out of reach.
    async fn tell_again(&self, now: OffsetDateTime) -> Result<(), StoreError> {
        let untold: Vec<Key> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let untold = known.iter().filter(|(_, entry)| !entry.told);
            untold.map(|(key, _)| key.clone()).collect()
        };
        for key in untold {
            self.tell(&key, now).await?;
        }
        Ok(())
    }

    /// Takes note of a revocation, unless it ends nothing that was not ended before.
    fn learn(&self, entry: Entry, now: OffsetDateTime) {
        let now = unix_millis(now);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == known.capacity() {
            known.retain(|_, entry| now < entry.forget_at);
        }
        let began_until = known.get(&entry.key).map_or(i64::MIN, |known| known.began_until);
        if entry.began_until > began_until {
            known.insert(entry.key.clone(), entry);
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Reads what other replicas have revoked. When the store is out of reach, what is known stands.
    async fn read(&self) {
        let started = self.clock.now();
        if let Err(error) = self.tell_again(started).await {
            telemetry::internal_error("revocation_log", &error);
        }
        loop {
            let cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let page = match in_time(self.store.read_since(&self.log, cursor)).await {
                Ok(page) => page,
                Err(error) => {
                    telemetry::internal_error("revocation_log", &error);
                    break;
                }
            };
            let now = self.clock.now();
            for text in &page.entries {
                if let Ok(entry) = serde_json::from_slice::<Entry>(text) {
                    self.learn(Entry { told: true, ..entry }, now);
                }
            }
            *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = page.next;
            if page.entries.is_empty() {
                break;
            }
        }
        // However slow the store was, or whether it answered: what is known now is judged by.
        let recent = self.clock.now().saturating_sub(RENEW_AGE);
        self.read_at.store(unix_millis(started.max(recent)), Ordering::Release);
    }
}

impl std::fmt::Debug for Revocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocations").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::shared_store::MemoryStore;

    const HOUR: Duration = Duration::HOUR;

    fn scope() -> StoreScope {
        StoreScope::new(["test"])
    }

    fn replicas() -> (ManualClock, [Revocations; 2]) {
        let time = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        let store: Arc<dyn SharedStore> = Arc::new(MemoryStore::new(time.clock()));
        let replica = || Revocations::new(Arc::clone(&store), &scope(), time.clock(), true);
        (time.clone(), [replica(), replica()])
    }

    fn session(id: &str, began_at: i64) -> Revocable {
        let names = [Revoked::Session(id), Revoked::User("usr_1"), Revoked::Organization("org_1")];
        Revocable::new(names, OffsetDateTime::UNIX_EPOCH + Duration::seconds(began_at))
    }

    #[tokio::test]
    async fn a_revocation_counts_here_at_once_and_elsewhere_within_two_seconds() {
        let (time, [here, there]) = replicas();
        there.news().expect("nothing was read yet").await;
        let before = (here.version(), there.version());
        here.revoke(Revoked::Session("one"), HOUR).await.unwrap();
        assert!(here.covers(&session("one", 0)) && !here.covers(&session("two", 0)));
        assert!(here.version() > before.0);

        time.advance(std::time::Duration::from_millis(1999));
        assert!(there.news().is_none(), "read in the background");
        time.advance(std::time::Duration::from_millis(2000));
        there.news().expect("too old to judge by").await;
        assert!(there.covers(&session("one", 0)) && there.version() > before.1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_delays_a_request_once_and_what_it_missed_is_told_again() {
        struct Flaky {
            store: MemoryStore,
            hangs: std::sync::atomic::AtomicBool,
        }
        macro_rules! pass {
            ($self:ident, $call:expr) => {
                if $self.hangs.load(Ordering::SeqCst) {
                    Box::pin(std::future::pending())
                } else {
                    $call
                }
            };
        }
        use crate::shared_store::{LogPage, StoreFuture};
        impl SharedStore for Flaky {
            fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
                pass!(self, self.store.get(key))
            }
            fn put<'a>(
                &'a self,
                key: &'a StoreKey,
                value: Bytes,
                ttl: std::time::Duration,
            ) -> StoreFuture<'a, ()> {
                pass!(self, self.store.put(key, value, ttl))
            }
            fn put_if_absent<'a>(
                &'a self,
                key: &'a StoreKey,
                value: Bytes,
                ttl: std::time::Duration,
            ) -> StoreFuture<'a, bool> {
                pass!(self, self.store.put_if_absent(key, value, ttl))
            }
            fn replace_if<'a>(
                &'a self,
                key: &'a StoreKey,
                expected: Bytes,
                value: Bytes,
                ttl: std::time::Duration,
            ) -> StoreFuture<'a, bool> {
                pass!(self, self.store.replace_if(key, expected, value, ttl))
            }
            fn remove_if<'a>(
                &'a self,
                key: &'a StoreKey,
                expected: Bytes,
            ) -> StoreFuture<'a, bool> {
                pass!(self, self.store.remove_if(key, expected))
            }
            fn append<'a>(
                &'a self,
                log: &'a StoreKey,
                entry: Bytes,
                ttl: std::time::Duration,
            ) -> StoreFuture<'a, ()> {
                pass!(self, self.store.append(log, entry, ttl))
            }
            fn read_since<'a>(
                &'a self,
                log: &'a StoreKey,
                cursor: LogCursor,
            ) -> StoreFuture<'a, LogPage> {
                pass!(self, self.store.read_since(log, cursor))
            }
        }
        let time = ManualClock::at(OffsetDateTime::UNIX_EPOCH + HOUR);
        let store = MemoryStore::new(time.clock());
        let store = Arc::new(Flaky { store, hangs: true.into() });
        let replica = || Revocations::new(Arc::clone(&store) as _, &scope(), time.clock(), true);
        let (here, there) = (replica(), replica());

        let read = there.news().expect("nothing was read yet");
        // The clock goes on while the store hangs.
        time.advance(std::time::Duration::from_secs(30));
        read.await;
        assert!(there.news().is_none(), "what is known is judged by");

        assert!(here.revoke(Revoked::User("usr_1"), HOUR).await.is_err());
        store.hangs.store(false, Ordering::SeqCst);
        time.advance(std::time::Duration::from_secs(2));
        here.news().expect("too old to judge by").await;
        time.advance(std::time::Duration::from_secs(2));
        there.news().expect("too old to judge by").await;
        assert!(there.covers(&session("one", 0)));
    }

    #[tokio::test]
    async fn persons_and_organizations_may_come_back() {
        let (time, [here, _]) = replicas();
        time.advance(std::time::Duration::from_secs(100));
        here.revoke(Revoked::User("usr_1"), HOUR).await.unwrap();
        assert!(here.covers(&session("one", 100)) && !here.covers(&session("one", 101)));
        assert!(
            !here.covers(&Revocable::new(
                [Revoked::Organization("usr_1")],
                OffsetDateTime::UNIX_EPOCH
            ))
        );
        time.advance(std::time::Duration::from_secs(100));
        here.revoke(Revoked::Organization("org_1"), HOUR).await.unwrap();
        assert!(here.covers(&session("one", 200)) && !here.covers(&session("one", 201)));
    }

    #[tokio::test]
    async fn what_cannot_matter_any_more_is_forgotten() {
        let (time, [here, _]) = replicas();
        for number in 0..1000 {
            here.revoke(Revoked::Session(&number.to_string()), Duration::SECOND).await.unwrap();
            time.advance(std::time::Duration::from_millis(500));
        }
        assert!(here.0.known.lock().unwrap().len() < 10);
    }
}
