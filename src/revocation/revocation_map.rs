//! Known revocations, and which of them are not in the log.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::TargetKey;
use super::ended::Ended;
use super::order::{Coverage, ProcessClock};

/// Identifies an entry. Each process has entries of its own, because its count orders them and the
/// sessions that it began: one with a later position does not cover all that another's covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RevocationKey {
    pub(super) key: TargetKey,
    pub(super) kind: RevocationKind,
    /// The process that made it. `None` if it covers sessions at any position.
    pub(super) process: Option<u32>,
}

impl RevocationKey {
    /// Returns the key of an entry that covers what was issued until this time, if it has one.
    pub(super) fn new(key: TargetKey, issued_until: Option<i64>, process: Option<u32>) -> Self {
        let kind = match issued_until {
            Some(_) => RevocationKind::ByIssueTime,
            None => RevocationKind::ByPosition,
        };
        Self { key, kind, process }
    }
}

/// Which of the sessions with its key an entry covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RevocationKind {
    /// Sessions that began at an earlier position.
    ByPosition,
    /// Sessions whose tokens the environment had issued by the time of its event.
    ByIssueTime,
}

/// A revocation.
#[derive(Clone, Copy)]
pub(super) struct Revocation {
    pub(super) coverage: Coverage,
    /// For [`RevocationKind::ByIssueTime`]: in seconds, inclusive.
    pub(super) issued_until: i64,
    /// For [`RevocationKind::ByPosition`]: when it was made, by the wall clock of that replica, in
    /// seconds.
    pub(super) revoked_at: i64,
    /// Monotonic time after which no covered session can be valid.
    pub(super) forget_at: Duration,
    pub(super) made_by: Option<ProcessClock>,
    /// Whether it is in the log.
    pub(super) is_published: bool,
}

impl Revocation {
    /// Returns the session that it ends if it ends one session, at any position.
    pub(super) fn single_session(&self, key: TargetKey) -> Option<Ended> {
        let Self { issued_until, forget_at, .. } = *self;
        (self.coverage == Coverage::Always).then_some(Ended { key, issued_until, forget_at })
    }

    /// Whether it has no position yet.
    pub(super) fn is_pending(&self) -> bool {
        self.coverage == Coverage::Pending
    }
}

/// Revocations by key, kind and process.
#[derive(Default)]
pub(super) struct RevocationMap {
    all: BTreeMap<RevocationKey, Revocation>,
    /// Those that are not in the log. Kept apart because each login publishes them, without a scan of
    /// the others.
    unpublished: BTreeSet<RevocationKey>,
    /// Those that the log had and may have lost: it is read from its start.
    unconfirmed: HashSet<RevocationKey>,
    /// Number of entries at which the expired ones are removed next.
    sweep_at: usize,
}

impl RevocationMap {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, key: &RevocationKey) -> Option<&Revocation> {
        self.all.get(key)
    }

    /// Returns the entries of a key, of either kind and all processes.
    pub(super) fn with_key(&self, key: TargetKey) -> impl Iterator<Item = &Revocation> {
        self.all
            .range(RevocationKey::new(key, None, None)..)
            .take_while(move |(one, _)| one.key == key)
            .map(|(_, entry)| entry)
    }

    pub(super) fn insert(&mut self, key: RevocationKey, entry: Revocation) {
        if entry.is_published {
            self.unpublished.remove(&key);
        } else {
            self.unpublished.insert(key);
        }
        self.all.insert(key, entry);
    }

    pub(super) fn remove(&mut self, key: &RevocationKey) {
        self.all.remove(key);
        self.unpublished.remove(key);
        self.unconfirmed.remove(key);
    }

    pub(super) fn remove_expired(&mut self, now: Duration) {
        self.all.retain(|_, entry| now < entry.forget_at);
        self.unpublished.retain(|key| self.all.contains_key(key));
    }

    /// Removes the expired ones when the map has grown by half since the last removal.
    pub(super) fn make_room(&mut self, now: Duration) {
        if self.all.len() >= self.sweep_at {
            self.remove_expired(now);
            self.sweep_at = self.all.len() + self.all.len() / 2 + 1;
        }
    }

    /// Records that the log lacks one of them.
    pub(super) fn mark_missing_in_log(&mut self, key: RevocationKey) {
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
    pub(super) fn mark_in_log(&mut self, key: &RevocationKey) {
        self.unconfirmed.remove(key);
    }

    /// Records that the log lacks those which are unconfirmed, if `is_lost` returns true.
    pub(super) fn mark_unconfirmed_missing(&mut self, is_lost: impl Fn(&RevocationKey) -> bool) {
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
    ) -> impl Iterator<Item = (RevocationKey, &Revocation)> {
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

    #[test]
    fn those_that_the_log_lacks_are_found_without_a_look_at_all() {
        let second = Duration::from_secs;
        let mut entries = RevocationMap::default();
        let key = |id: &str| RevocationKey::new(RevocationTarget::Record(id).key(), None, None);
        let entry = |is_published, seconds| Revocation {
            coverage: Coverage::Always,
            issued_until: i64::MAX,
            revoked_at: i64::MAX,
            forget_at: second(seconds),
            made_by: None,
            is_published,
        };
        let check = |entries: &RevocationMap, now: u64, expected: &[&str]| {
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
