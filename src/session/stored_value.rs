//! The value of a session in the shared store: its sealed record, or a tombstone. The result of a
//! refresh is sealed alike.

use std::time::Duration;

use bytes::Bytes;

use super::cookie::record::SessionRecord;
use super::cookie::seal::SealingFailed;
use super::refresh::entry::TOMBSTONE_TTL;
use super::{Purpose, Sessions};
use crate::shared_store::{self, StoreError, StoreKey};

/// The tombstone: replaces a session that was ended, so that no late write restores it.
const TOMBSTONE: Bytes = Bytes::from_static(b"ended");

/// Added to the lifetime of stored values, so that a value written while the wall clock was ahead by
/// up to this much, such as by a wrong time zone, does not expire before its session.
pub(super) const MAX_CLOCK_ERROR: Duration = Duration::from_secs(24 * 60 * 60);

/// A session as stored.
pub(super) struct StoredRecord {
    pub(super) record: SessionRecord,
    /// Sealed with an older secret: to be resealed.
    pub(super) outdated_key: bool,
}

impl Sessions {
    /// Returns a session as stored. Returns `None` when it has ended, or is sealed with a secret
    /// that is no longer in use.
    pub(super) async fn read_stored(&self, id: &str) -> Result<Option<StoredRecord>, StoreError> {
        self.stored_value(id).await?.map_or(Ok(None), |value| self.open_stored(id, &value))
    }

    /// Returns the value of a session, which may be a tombstone.
    pub(super) async fn stored_value(&self, id: &str) -> Result<Option<Bytes>, StoreError> {
        self.store().get(&self.stored_key(id)).await
    }

    /// Replaces a session that has ended by a tombstone, for as long as a concurrent request may be
    /// about to replace the session. An absent value is not replaced.
    pub(super) async fn end_stored(&self, id: &str) -> Result<(), StoreError> {
        self.store().put(&self.stored_key(id), TOMBSTONE, TOMBSTONE_TTL).await
    }

    /// Opens the value of a session. Returns `None` for a tombstone, or if it is sealed with a secret
    /// that is no longer in use.
    pub(super) fn open_stored(
        &self,
        id: &str,
        value: &[u8],
    ) -> Result<Option<StoredRecord>, StoreError> {
        let Some(opened) = std::str::from_utf8(value)
            .ok()
            .and_then(|text| self.sealing_keys().open(Purpose::StoredSession, id, text))
        else {
            return Ok(None);
        };
        let record = SessionRecord::decode(&opened.content)
            .filter(|record| record.id() == id)
            .ok_or_else(StoreError::unknown_format)?;
        Ok(Some(StoredRecord { record, outdated_key: opened.outdated_key }))
    }

    /// Seals a session for the store. The value opens under the session's own ID only.
    pub(super) fn seal_stored(&self, record: &SessionRecord) -> Result<String, SealingFailed> {
        self.sealing_keys().seal(
            Purpose::StoredSession,
            record.id(),
            &record.encode().ok_or(SealingFailed)?,
        )
    }

    /// Opens a session that was [sealed for the store](Self::seal_stored), such as the result of a
    /// refresh.
    pub(super) fn open_sealed_record(&self, id: &str, text: &str) -> Option<SessionRecord> {
        Some(self.open_stored(id, text.as_bytes()).ok()??.record)
    }

    pub(super) fn stored_key(&self, id: &str) -> StoreKey {
        self.store_key(shared_store::KeyNamespace::Session, id)
    }

    /// How long the store keeps what belongs to a session: at least until it ends, even if the wall
    /// clock is ahead now and is corrected later, and never longer than a whole session.
    pub(super) fn store_ttl(&self, record: &SessionRecord) -> Duration {
        record
            .remaining(self.now())
            .unsigned_abs()
            .saturating_add(MAX_CLOCK_ERROR)
            .min(record.lifetime())
    }
}
