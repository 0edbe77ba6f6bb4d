//! The state of a session's refreshes in the shared store.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::shared_store::StoreError;

/// How long the tombstone of an ended session is kept, in its entry and in its stored value: longer
/// than a refresh that began before the end can take.
pub(in crate::session) const TOMBSTONE_TTL: Duration = Duration::from_secs(10 * 60);

/// The state of a session's refreshes in the store. What older versions must not ignore gets a new
/// variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(in crate::session) enum RefreshEntry {
    /// A tombstone: logged out, revoked, or rejected by the environment. Final.
    Ended,
    /// The result of the last refresh.
    Newest(SealedGeneration),
    /// The refresh token of `base` is spent. The tokens received for it are sealed for the store,
    /// and not verified yet.
    Unverified { base: SealedGeneration, tokens: String },
}

/// A session at a generation, sealed for the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::session) struct SealedGeneration {
    pub(in crate::session) generation: u32,
    #[serde(rename = "sealed")]
    pub(in crate::session) session: String,
    /// Whether a browser has sent the cookie of this generation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::session) presented: bool,
}

impl SealedGeneration {
    /// A session whose cookie no browser has sent yet.
    pub(super) fn new(generation: u32, session: String) -> Self {
        Self { generation, session, presented: false }
    }
}

impl RefreshEntry {
    pub(in crate::session) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes).map_err(|_| StoreError::unknown_format())
    }

    /// Decodes the entry as it was read from the store.
    pub(super) fn decode_seen(seen: &Option<Bytes>) -> Result<Option<Self>, StoreError> {
        seen.as_deref().map(Self::decode).transpose()
    }

    /// Returns the newest verified session.
    pub(in crate::session) fn newest_verified(self) -> Option<SealedGeneration> {
        match self {
            Self::Ended => None,
            Self::Newest(newest) => Some(newest),
            Self::Unverified { base, .. } => Some(base),
        }
    }

    /// Increases with each state of a session.
    pub(super) fn progress(&self) -> u64 {
        match self {
            Self::Ended => u64::MAX,
            Self::Newest(newest) => 2 * u64::from(newest.generation),
            Self::Unverified { base, .. } => 2 * u64::from(base.generation) + 1,
        }
    }
}
