//! Cookies of refreshed sessions that a browser has sent back. From then on, the result of the refresh
//! is kept for a limited time only, and the generation alone for the rest of the session.

use super::backend::RefreshBackend;
use super::entry::{RefreshEntry, SealedGeneration};
use super::live_backend::LiveBackend;
use crate::session::{Session, Sessions};
use crate::shared_store::StoreError;
use crate::util::telemetry;

impl Sessions {
    /// Records in the background that a browser has sent the cookie of this session, which was
    /// refreshed.
    pub(in crate::session) fn record_presented(&self, session: &Session) {
        let (sessions, session) = (self.clone(), session.clone());
        self.tasks().detach("session cookie confirmed", async move {
            let backend = LiveBackend::new(&sessions, &session);
            if let Err(error) = record_presented(&backend, session.record().generation()).await {
                telemetry::internal_error("session_refresh", &error);
            }
        });
    }
}

/// Records that a browser has sent the cookie of this generation.
pub(super) async fn record_presented(
    backend: &impl RefreshBackend,
    generation: u32,
) -> Result<(), StoreError> {
    let seen = backend.read_entry().await?;
    let current = match RefreshEntry::decode_seen(&seen)? {
        Some(RefreshEntry::Ended) => return Ok(()),
        Some(RefreshEntry::Newest(newest)) if newest.generation > generation => return Ok(()),
        Some(RefreshEntry::Newest(current)) if current.generation == generation => {
            if current.presented {
                return Ok(());
            }
            Some(current)
        }
        Some(RefreshEntry::Unverified { base, .. }) if base.generation >= generation => {
            return Ok(());
        }
        // The result was verified, but could not be published.
        Some(RefreshEntry::Newest(_) | RefreshEntry::Unverified { .. }) | None => None,
    };
    // First: when the result expires, the older tokens must be known to be spent.
    let is_new = backend.mark_reached(generation).await?;
    let sealed = match current {
        Some(current) => Some(current.session),
        // The result could not be published.
        None if is_new => backend.sealed(),
        // The result has expired.
        None => None,
    };
    if let Some(sealed) = sealed {
        let presented =
            SealedGeneration { presented: true, ..SealedGeneration::new(generation, sealed) };
        backend.set_entry(seen, &RefreshEntry::Newest(presented)).await?;
    }
    Ok(())
}
