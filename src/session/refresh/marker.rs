//! How often a session was refreshed, known for longer than what came of it.
//!
//! A published result is forgotten after a minute. Whoever comes later with an older cookie must
//! not spend its token, which was spent, because the environment takes that for theft and ends the
//! session; and a response that took longer must not put an older cookie in place of a newer one.

use std::time::Duration;

use bytes::Bytes;

use super::super::Sessions;
use crate::shared_store::{Purpose, StoreError, StoreKey, in_time};

/// Longer than most access tokens live, and than most responses take.
const MEMORY: Duration = Duration::from_secs(60 * 60);

impl Sessions {
    /// Notes that a session has reached this generation.
    pub(super) async fn mark_generation(
        &self,
        id: &str,
        generation: u32,
    ) -> Result<(), StoreError> {
        let value = Bytes::from(generation.to_string());
        in_time(self.0.store.put(&self.marker_key(id), value, MEMORY)).await
    }

    /// Whether a session is known to have got beyond this generation.
    pub(in crate::session) async fn is_beyond(
        &self,
        id: &str,
        generation: u32,
    ) -> Result<bool, StoreError> {
        let marked = in_time(self.0.store.get(&self.marker_key(id))).await?;
        let marked = marked.and_then(|text| std::str::from_utf8(&text).ok()?.parse::<u32>().ok());
        Ok(marked.is_some_and(|marked| marked > generation))
    }

    fn marker_key(&self, id: &str) -> StoreKey {
        self.store_key(Purpose::Generation, id)
    }
}
