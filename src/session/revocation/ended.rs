//! Single sessions that were ended. They are by far the most frequent revocations, and any user can
//! cause them, so they are stored compactly and removed in sets.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::Key;

/// A session is retained for up to this fraction of its lifetime longer than needed.
const FRACTION: u64 = 64;

/// Sets of sessions, by the second of the monotonic clock at which they are removed.
#[derive(Default)]
pub(super) struct EndedSessions(BTreeMap<u64, HashSet<Key>>);

impl EndedSessions {
    /// Adds a session. Returns `false` if it is already present.
    pub(super) fn insert(&mut self, key: Key, forget_at: Duration, now: Duration) -> bool {
        while let Some(first) = self.0.first_entry()
            && *first.key() <= now.as_secs()
        {
            first.remove();
        }
        let left = forget_at.saturating_sub(now).as_secs();
        let step = (left / FRACTION).checked_next_power_of_two().unwrap_or(1);
        let end = (forget_at.as_secs() / step).saturating_add(1).saturating_mul(step);
        let is_new = !self.contains(&key);
        self.0.entry(end).or_default().insert(key);
        is_new
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.0.values().any(|ended| ended.contains(key))
    }

    /// Adds all of another set.
    pub(super) fn extend(&mut self, other: Self) {
        for (end, keys) in other.0 {
            self.0.entry(end).or_default().extend(keys);
        }
    }

    /// Returns up to `max` sessions, and when they are removed.
    pub(super) fn first(&self, max: usize) -> Vec<(Key, Duration)> {
        let all = self.0.iter().flat_map(|(end, keys)| keys.iter().map(|key| (*key, *end)));
        all.take(max).map(|(key, end)| (key, Duration::from_secs(end))).collect()
    }

    pub(super) fn remove(&mut self, key: &Key, forget_at: Duration) {
        let end = forget_at.as_secs();
        let Some(keys) = self.0.get_mut(&end) else { return };
        keys.remove(key);
        if keys.is_empty() {
            self.0.remove(&end);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.values().map(HashSet::len).sum()
    }
}
