//! The minimum generation that a session has reached, known for longer than the result of its
//! refresh. An older cookie therefore never spends its refresh token a second time, which the
//! environment could treat as theft and end the session of the newer cookie.

use bytes::Bytes;

use crate::session::Sessions;
use crate::session::cookie::record::SessionRecord;
use crate::shared_store::{KeyNamespace, StoreError, StoreKey, with_timeout};

/// How often an update of the marker is retried after a concurrent change.
const MAX_TRIES: usize = 4;

impl Sessions {
    /// Records that a session has reached the generation of this record. Returns `false` if that
    /// was recorded before. A session in the shared store has its generation there.
    ///
    /// The marker only grows: a lower one would allow a spent token to be spent again.
    pub(super) async fn mark_generation(&self, record: &SessionRecord) -> Result<bool, StoreError> {
        if record.is_stored() {
            return Ok(false);
        }
        let key = self.marker_key(record.id());
        for _ in 0..MAX_TRIES {
            let seen = with_timeout(self.0.store.get(&key)).await?;
            if seen.as_deref().and_then(decode) >= Some(record.generation()) {
                return Ok(false);
            }
            let value = Bytes::from(record.generation().to_string());
            if self.compare_and_set(&key, seen, value, self.store_ttl(record)).await? {
                return Ok(true);
            }
        }
        Err(StoreError::Unavailable("other replicas keep changing the session's generation".into()))
    }

    /// Whether a session is known to be beyond this generation.
    pub(in crate::session) async fn is_beyond(
        &self,
        id: &str,
        generation: u32,
    ) -> Result<bool, StoreError> {
        let marked = with_timeout(self.0.store.get(&self.marker_key(id))).await?;
        Ok(marked.as_deref().and_then(decode) > Some(generation))
    }

    fn marker_key(&self, id: &str) -> StoreKey {
        self.store_key(KeyNamespace::Generation, id)
    }
}

fn decode(marker: &[u8]) -> Option<u32> {
    std::str::from_utf8(marker).ok()?.parse().ok()
}
