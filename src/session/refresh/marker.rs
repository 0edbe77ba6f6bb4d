//! The generation that a session has reached at least, known for longer than the result of its
//! refresh: so that a cookie from before spends no refresh token a second time, which the
//! environment could take for theft and end the session of the newer cookie.

use bytes::Bytes;

use super::super::Sessions;
use super::super::record::SessionRecord;
use crate::shared_store::{Purpose, StoreError, StoreKey, in_time};

impl Sessions {
    /// Notes that a session has reached the generation of this record; `false` if that was noted
    /// before. A session in the shared store has its generation there.
    pub(super) async fn mark_generation(&self, record: &SessionRecord) -> Result<bool, StoreError> {
        if record.is_stored()
            || self.marked_generation(record.id()).await? >= Some(record.generation())
        {
            return Ok(false);
        }
        let value = Bytes::from(record.generation().to_string());
        in_time(self.0.store.put(&self.marker_key(record.id()), value, self.left_of(record)))
            .await?;
        Ok(true)
    }

    /// Whether a session is known to have got beyond this generation.
    pub(in crate::session) async fn is_beyond(
        &self,
        id: &str,
        generation: u32,
    ) -> Result<bool, StoreError> {
        Ok(self.marked_generation(id).await? > Some(generation))
    }

    async fn marked_generation(&self, id: &str) -> Result<Option<u32>, StoreError> {
        let marked = in_time(self.0.store.get(&self.marker_key(id))).await?;
        Ok(marked.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()))
    }

    fn marker_key(&self, id: &str) -> StoreKey {
        self.store_key(Purpose::Generation, id)
    }
}
