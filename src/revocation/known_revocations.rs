//! The revocations that a replica knows, and which sessions they cover.

use std::time::Duration;

use super::log::ReadStart;
use super::order::{Coverage, Position, ProcessClock};
use super::{
    APPEND_LAG, KnownRevocations, MAX_WITH_POSITION, RevocableSession, Revocation, RevocationKey,
    SWEEP_INTERVAL, TargetKey,
};
use crate::shared_store::LogCursor;

impl KnownRevocations {
    /// Whether a single session was ended.
    pub(super) fn has_ended(&self, key: &TargetKey, issued_at: Option<i64>) -> bool {
        self.ended.covers(key, issued_at) || self.lost.covers(key, issued_at)
    }

    /// Whether there is capacity for a logout with its position.
    pub(super) fn has_capacity(&mut self, now: Duration) -> bool {
        let is_full = self.revocations.len() >= MAX_WITH_POSITION;
        if is_full && self.swept_at.is_none_or(|at| at.saturating_add(SWEEP_INTERVAL) <= now) {
            self.revocations.remove_expired(now);
            self.swept_at = Some(now);
        }
        self.revocations.len() < MAX_WITH_POSITION
    }

    /// Whether one of a session's keys was revoked after it began.
    pub(super) fn covers(&self, key: TargetKey, session: &RevocableSession) -> bool {
        self.revocations
            .with_key(key)
            .any(|entry| self.epochs.covers(entry, session.position, session.issued_at))
    }

    /// Whether one of a token's keys was revoked after it was issued.
    pub(super) fn covers_token(&self, key: TargetKey, issued_at: Option<i64>) -> bool {
        self.has_ended(&key, issued_at)
            || self
                .revocations
                .with_key(key)
                .any(|entry| issued_at.is_none_or(|at| at <= entry.covers_tokens_until()))
    }

    /// Records that the store may have lost entries of the log: it is read from its start, and what
    /// it lacks is published again. Replicas that start meanwhile do not know it.
    pub(super) fn note_loss(&mut self) {
        self.cursor = LogCursor::start();
        self.losses += 1;
        self.is_rereading = true;
        self.revocations.mark_all_unconfirmed();
        self.lost.extend(std::mem::take(&mut self.ended));
        self.before_loss = self.position.max(self.before_loss);
    }

    /// Whether a position of the log is one that the store has assigned twice. What was revoked there
    /// may be later than sessions with higher positions.
    pub(super) fn is_reassigned(
        &self,
        key: &RevocationKey,
        made_by: Option<ProcessClock>,
        position: Position,
    ) -> bool {
        self.revocations.get(key).is_none_or(|known| known.made_by < made_by)
            && self
                .before_loss
                .is_some_and(|before| before.epoch == position.epoch && before >= position)
    }

    /// Records the end of a read of the log: entries that were appended before it and that it did
    /// not return are lost, except those that the store may be late to show.
    pub(super) fn confirm(&mut self, started: ReadStart, now: Duration) {
        self.before_loss = None;
        self.is_rereading = false;
        let appended = std::mem::take(&mut self.appended);
        self.revocations.mark_unconfirmed_missing(|key| !appended.contains_key(key));
        for (key, append) in appended {
            let may_be_late =
                started.at < append.at.saturating_add(APPEND_LAG) && append.at > self.checked_until;
            if append.after_read >= started.number || may_be_late {
                self.appended.insert(key, append);
            } else if let Some(ended) = append.entry.single_session(key.key) {
                self.ended.forget(&ended);
                self.lost.insert(ended, now);
            } else {
                self.revocations.mark_missing_in_log(key);
            }
        }
    }

    /// Extends what the revocations of a process cover. Returns whether they cover more than before.
    pub(super) fn merge(&mut self, key: RevocationKey, new: Revocation) -> bool {
        let Some(known) = self.revocations.get(&key) else {
            self.revocations.insert(key, new);
            return true;
        };
        // A later one of the same process covers all that an earlier one does.
        let is_newer = new.made_by > known.made_by;
        let mut merged = Revocation {
            issued_until: new.issued_until.max(known.issued_until),
            revoked_at: new.revoked_at.max(known.revoked_at),
            forget_at: new.forget_at.max(known.forget_at),
            is_published: false,
            ..if is_newer { new } else { *known }
        };
        // Another replica may have published the same.
        let is_same = new.coverage == merged.coverage && new.issued_until == merged.issued_until;
        merged.is_published = (known.is_published && (new.is_published || !is_newer))
            || (new.is_published && is_same);
        let covers_more = is_newer
            || merged.issued_until > known.issued_until
            || merged.revoked_at > known.revoked_at;
        self.revocations.insert(key, merged);
        if new.is_published && is_same {
            self.revocations.mark_in_log(&key);
        }
        covers_more
    }

    /// Returns the next position of this process's own counter.
    pub(super) fn advance_local(&mut self) -> Coverage {
        self.position = self.position.map(Position::next_local);
        self.position.map_or(Coverage::Always, Coverage::At)
    }

    /// Records a position in the log.
    pub(super) fn observe(&mut self, position: Position) {
        self.epochs.observe(position.epoch);
        if self.position.is_some_and(|known| known.epoch == position.epoch) {
            self.position = self.position.max(Some(position));
        }
    }

    /// Whether a position is of the counter that is known to be in use, if one is.
    pub(super) fn is_of_counter(&self, position: Position) -> bool {
        self.position.is_none_or(|known| known.epoch == position.epoch)
    }

    /// Records the counter's position, whose epoch is the newest. Returns the highest known one.
    pub(super) fn observe_counter(&mut self, position: Position) -> Position {
        if let Some(former) = self.position.filter(|known| known.epoch != position.epoch) {
            self.epochs.observe_replaced(former.epoch);
        }
        self.epochs.observe_newest(position.epoch);
        let highest = self
            .position
            .filter(|known| known.epoch == position.epoch)
            .map_or(position, |known| known.max(position));
        self.position = Some(highest);
        highest
    }
}

#[cfg(test)]
mod tests {
    use super::super::ended::Ended;
    use super::super::{Appended, RevocationTarget};
    use super::*;

    #[test]
    fn a_lost_end_of_a_session_does_not_replace_a_later_one_of_another_replica() {
        let seconds = Duration::from_secs;
        let key = RevocationTarget::EnvironmentSession("ses_1").key();
        let [lost, later] =
            [100, 200].map(|issued_until| Ended { key, issued_until, forget_at: seconds(3600) });
        let mut known = KnownRevocations::default();
        known.ended.insert(later, seconds(0));
        let append = Appended { entry: lost.entry(), after_read: 0, at: seconds(0) };
        known.appended.insert(lost.log_key(), append);
        known.confirm(ReadStart { number: 1, at: seconds(10) }, seconds(10));
        assert!(known.has_ended(&key, Some(100)) && known.has_ended(&key, Some(200)));
        assert!(!known.has_ended(&key, Some(201)) && !known.lost.is_empty());
    }
}
