//! Webhook endpoints and their secrets (Standard Webhooks: HMAC-SHA-256 over ID, time and body).

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;

use crate::sandbox::state::digest::hmac_sha256;
use crate::sandbox::state::ids::{new_id, random_bytes};
use crate::secret::SecretString;

/// An endpoint of the environment.
#[derive(Debug)]
pub(crate) struct EndpointData {
    pub(crate) id: String,
    pub(crate) url: String,
    secret: Secret,
    old_secrets: Vec<(Secret, OffsetDateTime)>,
    /// Locked during a delivery to the endpoint: messages are sent one after the other.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl EndpointData {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            id: new_id("ep"),
            url: url.to_owned(),
            secret: Secret::generate(),
            old_secrets: Vec::new(),
            turn: Arc::default(),
        }
    }

    pub(crate) fn secret(&self) -> SecretString {
        self.secret.text()
    }

    pub(crate) fn rotate(&mut self, fresh: Secret, old_until: OffsetDateTime) {
        self.old_secrets.push((std::mem::replace(&mut self.secret, fresh), old_until));
    }

    /// The value of `webhook-signature`: an entry for each secret, newest first.
    pub(crate) fn signatures(&self, message_id: &str, now: OffsetDateTime, body: &[u8]) -> String {
        let old = self.old_secrets.iter().rev().filter(|(_, until)| now < *until);
        std::iter::once(&self.secret)
            .chain(old.map(|(secret, _)| secret))
            .map(|secret| secret.sign(message_id, now.unix_timestamp(), body))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// A secret for signatures.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

impl Secret {
    pub(crate) fn generate() -> Self {
        Self(random_bytes())
    }

    /// As shown to the application.
    pub(crate) fn text(&self) -> SecretString {
        SecretString::from(format!("whsec_{}", STANDARD.encode(self.0)))
    }

    /// One entry of `webhook-signature`.
    pub(crate) fn sign(&self, message_id: &str, timestamp: i64, body: &[u8]) -> String {
        let signed = [format!("{message_id}.{timestamp}.").as_bytes(), body].concat();
        format!("v1,{}", STANDARD.encode(hmac_sha256(&self.0, &signed)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}
