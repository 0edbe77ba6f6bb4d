//! Known revocations, and which of them are not in the log.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::{Entry, EntryKind, Key};

/// Revocations by key and kind.
#[derive(Default)]
pub(super) struct Entries {
    all: HashMap<(Key, EntryKind), Entry>,
    /// Those that are not in the log. Kept apart because each login publishes them, without a scan of
    /// the others.
    unpublished: BTreeSet<(Key, EntryKind)>,
    /// Those that the log had and may have lost: it is read from its start.
    unconfirmed: HashSet<(Key, EntryKind)>,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, key: &(Key, EntryKind)) -> Option<&Entry> {
        self.all.get(key)
    }

    /// Returns the entries of a key, of either kind.
    pub(super) fn with_key(&self, key: Key) -> impl Iterator<Item = &Entry> {
        [EntryKind::ByPosition, EntryKind::ByIssueTime]
            .into_iter()
            .filter_map(move |kind| self.all.get(&(key, kind)))
    }

    pub(super) fn insert(&mut self, key: (Key, EntryKind), entry: Entry) {
        if entry.is_published {
            self.unpublished.remove(&key);
        } else {
            self.unpublished.insert(key);
        }
        self.all.insert(key, entry);
    }

    pub(super) fn remove(&mut self, key: &(Key, EntryKind)) {
        self.all.remove(key);
        self.unpublished.remove(key);
        self.unconfirmed.remove(key);
    }

    pub(super) fn remove_expired(&mut self, now: Duration) {
        self.all.retain(|_, entry| now < entry.forget_at);
        self.unpublished.retain(|key| self.all.contains_key(key));
    }

    /// Removes the expired ones before there are more than fit into the memory in use.
    pub(super) fn make_room(&mut self, now: Duration) {
        if self.all.len() == self.all.capacity() {
            self.remove_expired(now);
            // Otherwise, each further one would scan all of them.
            self.all.reserve(self.all.len() / 2 + 1);
        }
    }

    /// Records that the log lacks one of them.
    pub(super) fn mark_missing_in_log(&mut self, key: (Key, EntryKind)) {
        if let Some(entry) = self.all.get_mut(&key) {
            entry.is_published = false;
            self.unpublished.insert(key);
        }
    }

    /// Records that the log may lack any of them.
    pub(super) fn mark_all_unconfirmed(&mut self) {
        self.unconfirmed =
            self.all.iter().filter(|(_, entry)| entry.is_published).map(|(key, _)| *key).collect();
    }

    /// Records that the log has one of them.
    pub(super) fn mark_in_log(&mut self, key: &(Key, EntryKind)) {
        self.unconfirmed.remove(key);
    }

    /// Records that the log lacks those which are unconfirmed, if `is_lost` returns true.
    pub(super) fn mark_unconfirmed_missing(&mut self, is_lost: impl Fn(&(Key, EntryKind)) -> bool) {
        for key in std::mem::take(&mut self.unconfirmed) {
            if is_lost(&key) {
                self.mark_missing_in_log(key);
            }
        }
    }

    /// Returns those that must be published.
    pub(super) fn unpublished(
        &self,
        now: Duration,
    ) -> impl Iterator<Item = ((Key, EntryKind), &Entry)> {
        self.unpublished
            .iter()
            .filter_map(|key| Some((*key, self.all.get(key)?)))
            .filter(move |(_, entry)| now < entry.forget_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::RevocationTarget;
    use crate::revocation::order::Coverage;

    #[test]
    fn those_that_the_log_lacks_are_found_without_a_look_at_all() {
        let second = Duration::from_secs;
        let mut entries = Entries::default();
        let key = |id: &str| (RevocationTarget::Session(id).key(), EntryKind::ByPosition);
        let entry = |is_published, seconds| Entry {
            coverage: Coverage::Always,
            issued_until: i64::MAX,
            revoked_at: i64::MAX,
            forget_at: second(seconds),
            made_by: None,
            is_published,
        };
        let check = |entries: &Entries, now: u64, expected: &[&str]| {
            let found: BTreeSet<_> = entries.unpublished(second(now)).map(|(key, _)| key).collect();
            assert!(found == expected.iter().map(|id| key(id)).collect());
            let of_all = entries.all.iter().filter(|(_, entry)| !entry.is_published);
            assert!(of_all.map(|(key, _)| *key).collect::<BTreeSet<_>>() == entries.unpublished);
        };
        for (id, is_published) in [("a", false), ("b", true), ("c", false), ("d", true)] {
            entries.insert(key(id), entry(is_published, 10));
        }
        check(&entries, 0, &["a", "c"]);
        entries.insert(key("a"), entry(true, 10));
        entries.remove(&key("c"));
        check(&entries, 0, &[]);
        entries.insert(key("b"), entry(false, 20));
        entries.mark_missing_in_log(key("d"));
        entries.mark_missing_in_log(key("unknown"));
        check(&entries, 0, &["b", "d"]);
        check(&entries, 10, &["b"]);
        entries.remove_expired(second(10));
        check(&entries, 10, &["b"]);
        for id in ["e", "f", "g"] {
            entries.insert(key(id), entry(true, 30));
        }
        entries.mark_all_unconfirmed();
        check(&entries, 10, &["b"]);
        entries.mark_in_log(&key("f"));
        entries.mark_unconfirmed_missing(|one| *one != key("g"));
        check(&entries, 10, &["b", "e"]);
        entries.mark_unconfirmed_missing(|_| true);
        check(&entries, 10, &["b", "e"]);
        assert_eq!(entries.len(), 4);
    }
}
