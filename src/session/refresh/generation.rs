//! The minimum generation that a session has reached, known for longer than the result of its
//! refresh. An older cookie therefore never spends its refresh token a second time, which the
//! environment could treat as theft and end the session of the newer cookie.

use crate::session::Sessions;
use crate::session::cookie::record::SessionRecord;
use crate::shared_store::{Change, KeyNamespace, StoreError, StoreKey};

/// How often an update is retried after a concurrent change.
const MAX_TRIES: usize = 4;
const CONTENDED: &str = "other replicas keep changing the session's generation";

impl Sessions {
    /// Records that a session has reached the generation of this record. Returns `false` if that
    /// was recorded before. A session in the shared store has its generation there.
    ///
    /// The recorded generation only grows: a lower one would allow a spent token to be spent again.
    pub(super) async fn mark_reached(&self, record: &SessionRecord) -> Result<bool, StoreError> {
        if record.is_stored() {
            return Ok(false);
        }
        let key = self.reached_key(record.id());
        self.store()
            .update(&key, self.store_ttl(record), MAX_TRIES, |seen| {
                Ok(match seen.and_then(decode) >= Some(record.generation()) {
                    true => Change::Keep(false),
                    false => Change::Set(record.generation().to_string().into(), true),
                })
            })
            .await
            .and_then(|raised| raised.ok_or_else(|| StoreError::Unavailable(CONTENDED.into())))
    }

    /// Whether a session is known to have reached a newer generation.
    pub(in crate::session) async fn has_reached_newer(
        &self,
        id: &str,
        generation: u32,
    ) -> Result<bool, StoreError> {
        let reached = self.store().get(&self.reached_key(id)).await?;
        Ok(reached.as_deref().and_then(decode) > Some(generation))
    }

    fn reached_key(&self, id: &str) -> StoreKey {
        self.store_key(KeyNamespace::Generation, id)
    }
}

fn decode(generation: &[u8]) -> Option<u32> {
    std::str::from_utf8(generation).ok()?.parse().ok()
}
