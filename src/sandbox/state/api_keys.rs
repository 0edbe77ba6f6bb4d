//! API keys.

use std::collections::BTreeMap;
use std::fmt;

use time::OffsetDateTime;

use crate::sandbox::state::ids::{new_id, random_bytes};

/// A key that is valid or was.
#[derive(Clone)]
pub(crate) struct ApiKey {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) organization_id: String,
    pub(crate) user_id: Option<String>,
    pub(crate) custom_claims: BTreeMap<String, String>,
    pub(crate) description: Option<String>,
    pub(crate) expiry: Option<OffsetDateTime>,
    pub(crate) made_at: OffsetDateTime,
    pub(crate) is_invalid: bool,
}

impl ApiKey {
    pub(crate) fn new(organization_id: &str, now: OffsetDateTime) -> Self {
        Self {
            id: new_id("apit"),
            token: random_key(),
            organization_id: organization_id.to_owned(),
            user_id: None,
            custom_claims: BTreeMap::new(),
            description: None,
            expiry: None,
            made_at: now,
            is_invalid: false,
        }
    }

    pub(crate) fn is_valid(&self, now: OffsetDateTime) -> bool {
        !self.is_invalid && self.expiry.is_none_or(|expiry| now < expiry)
    }

    /// Whether a text names the key: the key itself, or its ID.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.id == name || self.token == name
    }

    pub(crate) fn suffix(&self) -> &str {
        self.token.get(self.token.len().saturating_sub(4)..).unwrap_or_default()
    }
}

// Manual impl: contains the key.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// "Base62 encoded", of 64 characters.
fn random_key() -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    [random_bytes(), random_bytes()]
        .as_flattened()
        .iter()
        .filter_map(|byte| DIGITS.get(usize::from(*byte) % DIGITS.len()))
        .map(|digit| char::from(*digit))
        .collect()
}
