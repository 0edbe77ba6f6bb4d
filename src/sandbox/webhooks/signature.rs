//! Signatures of messages (Standard Webhooks): HMAC-SHA-256 over id, time and body.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::sandbox::keys::{hmac_sha256, random_bytes};
use crate::secret::SecretString;

/// What an endpoint checks signatures with.
#[derive(Clone)]
pub(super) struct Secret([u8; 32]);

impl Secret {
    pub(super) fn generate() -> Self {
        Self(random_bytes())
    }

    /// As an application is given it.
    pub(super) fn text(&self) -> SecretString {
        SecretString::from(format!("whsec_{}", STANDARD.encode(self.0)))
    }

    /// One entry of `webhook-signature`.
    pub(super) fn sign(&self, message_id: &str, timestamp: i64, body: &[u8]) -> String {
        let signed = [format!("{message_id}.{timestamp}.").as_bytes(), body].concat();
        format!("v1,{}", STANDARD.encode(hmac_sha256(&self.0, &signed)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}
