//! Single sessions that were ended. They are by far the most frequent revocations, and any user can
//! cause them, so they are stored compactly and removed in sets.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::order::Coverage;
use super::{Revocation, RevocationKey, TargetKey};

/// A session is retained for up to this fraction of its lifetime longer than needed.
const FRACTION: u64 = 64;

/// A single session that was ended.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    pub(super) key: TargetKey,
    /// The latest issue time of the tokens that it covers, in seconds; `i64::MAX` covers all.
    pub(super) issued_until: i64,
    /// Monotonic time.
    pub(super) forget_at: Duration,
}

impl Ended {
    /// Returns the key of its entry in the log.
    pub(super) fn log_key(&self) -> RevocationKey {
        RevocationKey::new(
            self.key,
            Some(self.issued_until).filter(|until| *until < i64::MAX),
            None,
        )
    }

    /// Returns its entry in the log.
    pub(super) fn entry(&self) -> Revocation {
        Revocation {
            coverage: Coverage::Always,
            issued_until: self.issued_until,
            revoked_at: i64::MAX,
            forget_at: self.forget_at,
            made_by: None,
            is_published: true,
        }
    }
}

/// Single sessions that were ended.
#[derive(Default)]
pub(super) struct EndedSessions {
    /// Sets of sessions, by the second of the monotonic clock at which they are removed.
    by_end: BTreeMap<u64, HashMap<TargetKey, i64>>,
}

impl EndedSessions {
    /// Adds a session. Returns `false` if it is already covered.
    pub(super) fn insert(&mut self, ended: Ended, now: Duration) -> bool {
        while let Some(first) = self.by_end.first_entry()
            && *first.key() <= now.as_secs()
        {
            first.remove();
        }
        // A replica reads its own entries too.
        if self.by_end.range(ended.forget_at.as_secs()..).any(|(_, sessions)| {
            sessions.get(&ended.key).is_some_and(|until| *until >= ended.issued_until)
        }) {
            return false;
        }
        let left = ended.forget_at.saturating_sub(now).as_secs();
        let step = (left / FRACTION).checked_next_power_of_two().unwrap_or(1);
        let end = (ended.forget_at.as_secs() / step).saturating_add(1).saturating_mul(step);
        let is_new = !self.covers(&ended.key, Some(ended.issued_until));
        self.add(end, ended.key, ended.issued_until);
        is_new
    }

    /// Whether a session with tokens that were issued then has ended.
    pub(super) fn covers(&self, key: &TargetKey, issued_at: Option<i64>) -> bool {
        self.by_end
            .values()
            .filter_map(|sessions| sessions.get(key))
            .any(|until| issued_at.is_none_or(|issued_at| issued_at <= *until))
    }

    /// Adds all of another set.
    pub(super) fn extend(&mut self, other: Self) {
        for (end, sessions) in other.by_end {
            for (key, issued_until) in sessions {
                self.add(end, key, issued_until);
            }
        }
    }

    fn add(&mut self, end: u64, key: TargetKey, issued_until: i64) {
        let until = self.by_end.entry(end).or_default().entry(key).or_insert(issued_until);
        *until = issued_until.max(*until);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_end.is_empty()
    }

    /// Returns up to `max` sessions.
    pub(super) fn first(&self, max: usize) -> Vec<Ended> {
        self.by_end
            .iter()
            .flat_map(|(end, sessions)| {
                sessions.iter().map(|(key, issued_until)| Ended {
                    key: *key,
                    issued_until: *issued_until,
                    forget_at: Duration::from_secs(*end),
                })
            })
            .take(max)
            .collect()
    }

    /// Removes a session that [`first`](Self::first) has returned.
    pub(super) fn remove(&mut self, ended: &Ended) {
        let end = ended.forget_at.as_secs();
        let Some(sessions) = self.by_end.get_mut(&end) else { return };
        sessions.remove(&ended.key);
        if sessions.is_empty() {
            self.by_end.remove(&end);
        }
    }

    /// Removes a session, unless it has also ended with tokens that were issued later.
    pub(super) fn forget(&mut self, ended: &Ended) {
        self.by_end.retain(|_, sessions| {
            if sessions.get(&ended.key).is_some_and(|until| *until <= ended.issued_until) {
                sessions.remove(&ended.key);
            }
            !sessions.is_empty()
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_end.values().map(HashMap::len).sum()
    }
}
