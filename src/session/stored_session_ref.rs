//! What refers to a session in the shared store.

use std::sync::Arc;

use time::OffsetDateTime;

use super::cookie::record::SessionRecord;

/// Refers to a session in the shared store: the content of its cookie, and an item of its user's
/// index.
#[derive(Clone, Debug)]
pub(super) struct StoredSessionRef {
    pub(super) id: Arc<str>,
    /// A cached copy of an older generation is outdated.
    pub(super) generation: u32,
    /// In Unix seconds. Unknown in cookies of earlier releases.
    pub(super) sealed_at: Option<i64>,
}

impl StoredSessionRef {
    /// First byte; followed by the time of sealing (8 bytes), generation (4 bytes) and ID.
    const TAG: u8 = b'c';
    /// First byte in earlier releases; followed by generation and ID.
    const TAG_WITHOUT_TIME: u8 = b'r';

    pub(super) fn new(record: &SessionRecord, now: OffsetDateTime) -> Self {
        Self {
            id: record.id().into(),
            generation: record.generation(),
            sealed_at: Some(now.unix_timestamp()),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (generation, id) = (self.generation.to_be_bytes(), self.id.as_bytes());
        match self.sealed_at {
            Some(at) => [&[Self::TAG], &at.to_be_bytes()[..], &generation, id].concat(),
            None => [&[Self::TAG_WITHOUT_TIME], &generation[..], id].concat(),
        }
    }

    pub(super) fn decode(content: &[u8]) -> Option<Self> {
        let (tag, rest) = content.split_first()?;
        let (sealed_at, rest) = match *tag {
            Self::TAG => {
                let (at, rest) = rest.split_first_chunk()?;
                (Some(i64::from_be_bytes(*at)), rest)
            }
            Self::TAG_WITHOUT_TIME => (None, rest),
            _ => return None,
        };
        let (generation, id) = rest.split_first_chunk()?;
        let (id, generation) = (std::str::from_utf8(id).ok()?, u32::from_be_bytes(*generation));
        Some(Self { id: id.into(), generation, sealed_at })
    }

    /// Returns the item of the index: `ID:time`.
    pub(super) fn to_index_item(&self) -> String {
        match self.sealed_at {
            Some(at) => format!("{}:{at}", self.id),
            None => self.id.to_string(),
        }
    }

    /// Reads an item of the index. IDs contain no colon. Items of earlier releases have no time.
    pub(super) fn from_index_item(item: &str) -> Self {
        let (id, at) = item.split_once(':').unwrap_or((item, ""));
        Self { id: id.into(), generation: 0, sealed_at: at.parse().ok() }
    }
}
