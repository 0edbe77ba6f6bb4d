//! Revocation of bearer tokens, which are issued elsewhere and record no position.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Entry, Key, Revocations, Revoked};

/// A revocation covers tokens that were issued up to so many seconds after it, because the clocks
/// of the environment and of the replica that revoked differ. That of an event has the environment's
/// own time.
const CLOCK_SKEW: i64 = 60;

/// The latest issue time of the tokens that a revocation covers, in seconds.
pub(super) fn covered_until(entry: &Entry) -> i64 {
    entry.issued_until.min(entry.revoked_at.saturating_add(CLOCK_SKEW))
}

/// The names by which a token can be revoked.
#[derive(Debug)]
pub(crate) struct RevocableToken {
    keys: Box<[Key]>,
    /// In seconds, by the clock of the issuer.
    issued_at: Option<i64>,
    /// The version of the revocations up to which it is known not to be revoked.
    checked: AtomicU64,
}

impl RevocableToken {
    pub(crate) fn new<'a>(
        names: impl IntoIterator<Item = Revoked<'a>>,
        issued_at: Option<i64>,
    ) -> Self {
        let keys = names.into_iter().map(Revoked::key).collect();
        Self { keys, issued_at, checked: AtomicU64::new(0) }
    }
}

impl Revocations {
    /// Whether a token was revoked. Checked once for each new revocation.
    pub(crate) fn is_token_revoked(&self, token: &RevocableToken) -> bool {
        let version = self.version();
        if token.checked.load(Ordering::Acquire) == version {
            return false;
        }
        let known = self.0.known();
        let is_revoked = token.keys.iter().any(|key| known.covers_token(key, token.issued_at));
        drop(known);
        if !is_revoked {
            token.checked.store(version, Ordering::Release);
        }
        is_revoked
    }
}
