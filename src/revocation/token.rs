//! Revocation of bearer tokens, which are issued elsewhere and record no position.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Entry, Key, RevocationTarget, Revocations};
use crate::clock::ISSUER_SKEW;

/// The latest issue time of the tokens that a revocation covers, in seconds. The clocks of the
/// environment and of the replica that revoked may differ; an event has the environment's own time.
pub(super) fn covered_until(entry: &Entry) -> i64 {
    entry.issued_until.min(entry.revoked_at.saturating_add(ISSUER_SKEW.whole_seconds()))
}

/// The keys by which a token can be revoked.
#[derive(Debug)]
pub(crate) struct RevocableToken {
    keys: Box<[Key]>,
    /// In seconds, by the clock of the issuer.
    issued_at: Option<i64>,
    /// The count of changes up to which it is known not to be revoked.
    checked: AtomicU64,
}

impl RevocableToken {
    pub(crate) fn new<'a>(
        names: impl IntoIterator<Item = RevocationTarget<'a>>,
        issued_at: Option<i64>,
    ) -> Self {
        let keys = names.into_iter().map(RevocationTarget::key).collect();
        Self { keys, issued_at, checked: AtomicU64::new(0) }
    }
}

impl Revocations {
    /// Whether a token was revoked. Checked once for each new revocation.
    pub(crate) fn is_token_revoked(&self, token: &RevocableToken) -> bool {
        let change_count = self.change_count();
        if token.checked.load(Ordering::Acquire) == change_count {
            return false;
        }
        let known = self.0.known();
        let is_revoked = token.keys.iter().any(|key| known.covers_token(key, token.issued_at));
        drop(known);
        if !is_revoked {
            token.checked.store(change_count, Ordering::Release);
        }
        is_revoked
    }
}
