//! SHA-256 and HMAC.

use aws_lc_rs::{digest, hmac};

/// HMAC-SHA-256, for tokens that claim HS256 and for webhooks.
pub(crate) fn hmac_sha256(secret: &[u8], input: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input).as_ref().to_vec()
}

pub(crate) fn sha256(input: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, input)
}
