//! Revocation of bearer tokens, which are issued elsewhere and record no position.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Revocation, RevocationTarget, Revocations, TargetKey};
use crate::clock::ISSUER_SKEW;

impl Revocation {
    /// The latest issue time of the tokens that it covers, in seconds. The clocks of the environment
    /// and of the replica that revoked may differ; an event has the environment's own time.
    pub(super) fn covers_tokens_until(&self) -> i64 {
        self.issued_until.min(self.revoked_at.saturating_add(ISSUER_SKEW.whole_seconds()))
    }
}

/// The keys by which a token can be revoked.
#[derive(Debug)]
pub(crate) struct RevocableToken {
    keys: Box<[TargetKey]>,
    /// In seconds, by the clock of the issuer.
    issued_at: Option<i64>,
    /// The count of changes up to which it is known not to be revoked.
    checked: AtomicU64,
}

impl RevocableToken {
    pub(crate) fn new<'a>(
        targets: impl IntoIterator<Item = RevocationTarget<'a>>,
        issued_at: Option<i64>,
    ) -> Self {
        Self {
            keys: targets.into_iter().map(RevocationTarget::key).collect(),
            issued_at,
            checked: AtomicU64::new(0),
        }
    }
}

impl Revocations {
    /// Whether a token was revoked. Checked once for each new revocation.
    pub(crate) fn is_token_revoked(&self, token: &RevocableToken) -> bool {
        let change_count = self.change_count();
        if token.checked.load(Ordering::Acquire) == change_count {
            return false;
        }
        let known = self.state.known();
        let is_revoked = token.keys.iter().any(|key| known.covers_token(*key, token.issued_at));
        drop(known);
        if !is_revoked {
            token.checked.store(change_count, Ordering::Release);
        }
        is_revoked
    }
}
