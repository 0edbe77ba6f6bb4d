//! Sessions that are kept in the shared store: the cookie has only their id, sealed.
//!
//! What was read once is known from then on: what ends a session is told by the revocations, and a
//! renewal looks at the store before it spends anything.

use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

use super::record::SessionRecord;
use super::sealing::SealingFailed;
use super::{Known, Purpose, Session, Sessions};
use crate::flight::{Flight, Flights};
use crate::shared_store::{self, StoreError, StoreKey, in_time};
use crate::telemetry;
use crate::text_cache::TextCache;

/// In place of a session that was ended, so that nothing late brings it back.
const ENDED: Bytes = Bytes::from_static(b"ended");

/// Between reading a session and replacing it somebody else may be faster; so often.
const MAX_TRIES: usize = 4;

/// What this process knows of the sessions in the store.
#[derive(Debug)]
pub(super) struct StoredSessions {
    known: TextCache<Known>,
    loads: Flights<String, Loaded>,
    touches: Flights<String, ()>,
}

/// What the store says of a session.
#[derive(Clone, Debug)]
pub(crate) enum Loaded {
    Session(Session),
    /// It has ended, or was never there.
    Gone,
    /// The store does not answer.
    Unavailable,
}

impl StoredSessions {
    pub(super) fn new(capacity: usize) -> Self {
        Self { known: TextCache::new(capacity), loads: Flights::new(), touches: Flights::new() }
    }

    /// A session that was read before, seen through `read`.
    pub(super) fn known<T>(&self, id: &str, read: impl FnOnce(&Known) -> T) -> Option<T> {
        self.known.get(id, read)
    }

    pub(super) fn remember(&self, session: Session) {
        let id = session.record().id().to_owned();
        self.known.insert(&id, Known::new(session));
    }
}

impl Sessions {
    /// Reads a session from the store, once for all requests that want it at the same time.
    pub(super) fn load(&self, id: &str) -> Flight<Loaded> {
        let (sessions, key) = (self.clone(), id.to_owned());
        self.0.stored.loads.join(id.to_owned(), || async move { sessions.load_now(&key).await })
    }

    pub(super) async fn load_now(&self, id: &str) -> Loaded {
        match self.read_stored(id).await {
            Ok(Some((_, record))) => match record.into_session() {
                Some(session) => {
                    self.0.stored.remember(session.clone());
                    Loaded::Session(session)
                }
                None => Loaded::Gone,
            },
            Ok(None) => Loaded::Gone,
            Err(error) => {
                telemetry::internal_error("stored_session", &error);
                Loaded::Unavailable
            }
        }
    }

    /// Puts a session into the store that was never there.
    pub(super) async fn store_new(&self, record: &SessionRecord) -> Result<(), StoringError> {
        let text = self.seal_stored(record)?;
        let ttl = self.left_of(record);
        in_time(self.0.store.put(&Self::stored_key(record.id()), text.into(), ttl)).await?;
        Ok(())
    }

    /// Puts a session in place of an older state of it; says whether it did, which it does not if
    /// the session was ended meanwhile or is newer in the store.
    pub(super) async fn store_again(&self, record: &SessionRecord) -> Result<bool, StoringError> {
        let key = Self::stored_key(record.id());
        let text = Bytes::from(self.seal_stored(record)?);
        let ttl = self.left_of(record);
        for _ in 0..MAX_TRIES {
            let Some((there, current)) = self.read_stored(record.id()).await? else {
                return Ok(false);
            };
            if current.generation() > record.generation() {
                return Ok(false);
            }
            let replaced = self.0.store.replace_if(&key, there, text.clone(), ttl);
            if in_time(replaced).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes in the background that a session is in use.
    pub(super) fn touch_stored(&self, session: &Session, now: OffsetDateTime) {
        let (sessions, record) = (self.clone(), session.record().touch(self.0.lifetimes, now));
        let id = record.id().to_owned();
        drop(self.0.stored.touches.join(id, || async move {
            match sessions.store_again(&record).await {
                Ok(true) => {
                    if let Some(session) = record.into_session() {
                        sessions.0.stored.remember(session);
                    }
                }
                // Newer in the store, or gone from it.
                Ok(false) => {
                    sessions.load_now(record.id()).await;
                }
                Err(error) => telemetry::internal_error("stored_session", &error),
            }
        }));
    }

    /// Leaves a mark in place of a session that has ended.
    pub(super) async fn end_stored(&self, id: &str, left: Duration) -> Result<(), StoreError> {
        in_time(self.0.store.put(&Self::stored_key(id), ENDED, left)).await
    }

    /// A session as it stands in the store, and the very bytes; `None` when it has ended.
    pub(super) async fn read_stored(
        &self,
        id: &str,
    ) -> Result<Option<(Bytes, SessionRecord)>, StoreError> {
        let there = in_time(self.0.store.get(&Self::stored_key(id))).await?;
        Ok(there.and_then(|there| {
            let record = self.unseal_stored(id, std::str::from_utf8(&there).ok()?)?;
            Some((there, record))
        }))
    }

    /// Seals a session for the store, where it opens under its own id alone.
    pub(super) fn seal_stored(&self, record: &SessionRecord) -> Result<String, SealingFailed> {
        let content = record.encode().ok_or(SealingFailed)?;
        self.0.keys.seal(Purpose::StoredSession, record.id(), &content)
    }

    pub(super) fn unseal_stored(&self, id: &str, text: &str) -> Option<SessionRecord> {
        let unsealed = self.0.keys.open(Purpose::StoredSession, id, text)?;
        SessionRecord::decode(&unsealed.content).filter(|record| record.id() == id)
    }

    fn stored_key(id: &str) -> StoreKey {
        StoreKey::new(shared_store::Purpose::Session, id)
    }

    fn left_of(&self, record: &SessionRecord) -> Duration {
        record.remaining(self.0.scalekit.clock().now()).try_into().unwrap_or_default()
    }
}

/// A session could not be put into the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoringError {
    #[error(transparent)]
    Sealing(#[from] SealingFailed),
    #[error(transparent)]
    Store(#[from] StoreError),
}
