//! The revocations that a replica knows, and which sessions they cover.

use std::time::Duration;

use super::order::{Place, Position};
use super::{Entry, Key, KnownRevocations, MAX_WITH_POSITION, Revocable, SWEEP_INTERVAL, Scope};

impl KnownRevocations {
    /// Whether a single session was ended.
    pub(super) fn has_ended(&self, key: &Key, issued_at: Option<i64>) -> bool {
        self.ended.covers(key, issued_at) || self.lost.covers(key, issued_at)
    }

    /// Whether there is capacity for a logout with its position.
    pub(super) fn has_capacity(&mut self, now: Duration) -> bool {
        let is_full = self.entries.len() >= MAX_WITH_POSITION;
        if is_full && self.swept_at.is_none_or(|at| at.saturating_add(SWEEP_INTERVAL) <= now) {
            self.entries.retain(|_, entry| now < entry.forget_at);
            self.swept_at = Some(now);
        }
        self.entries.len() < MAX_WITH_POSITION
    }

    pub(super) fn covers(&self, key: Key, session: &Revocable, process: u32) -> bool {
        let covers = |scope: Scope| {
            let Some(entry) = self.entries.get(&(key, scope)) else { return false };
            if session.issued_at.is_some_and(|issued_at| issued_at > entry.issued_until) {
                return false;
            }
            let made_here = session.position.in_process.filter(|(made_by, _)| *made_by == process);
            match (entry.place, entry.made_here.zip(made_here)) {
                (Place::Always, _) => true,
                (_, Some((number, (_, recorded)))) => number > recorded,
                (place, None) => self.epochs.is_after(place, session.position.position),
            }
        };
        covers(Scope::All) || covers(Scope::IssuedBefore)
    }

    /// Extends what a revocation covers. Returns whether it covers more than before.
    pub(super) fn learn(&mut self, key: (Key, Scope), new: Entry) -> bool {
        let Some(known) = self.entries.get(&key) else {
            self.entries.insert(key, new);
            return true;
        };
        // A repeated revocation must be published again.
        let is_newer = matches!((new.place, known.place), (Place::Pending, Place::At(_)))
            || self.epochs.is_later(new.place, known.place)
            || (new.place == Place::Pending && known.place == Place::Pending);
        let mut merged = Entry {
            issued_until: new.issued_until.max(known.issued_until),
            forget_at: new.forget_at.max(known.forget_at),
            is_published: false,
            ..if is_newer { new } else { *known }
        };
        // Another replica may have published the same.
        let is_same = new.place == merged.place && new.issued_until == merged.issued_until;
        merged.is_published = (known.is_published && (new.is_published || !is_newer))
            || (new.is_published && is_same);
        let covers_more = is_newer || merged.issued_until > known.issued_until;
        self.entries.insert(key, merged);
        covers_more
    }

    /// Returns the next position of this process's own counter.
    pub(super) fn advance(&mut self) -> Place {
        self.position = self.position.map(Position::next);
        self.position.map_or(Place::Always, Place::At)
    }

    /// Records a position in the log.
    pub(super) fn observe(&mut self, position: Position) {
        self.epochs.observe(position.epoch);
        if self.position.is_some_and(|known| known.epoch == position.epoch) {
            self.position = self.position.max(Some(position));
        }
    }

    /// Records the counter's position, whose epoch is the newest. Returns the highest known one.
    pub(super) fn observe_counter(&mut self, position: Position) -> Position {
        self.epochs.observe_newest(position.epoch);
        let same_epoch = self.position.filter(|known| known.epoch == position.epoch);
        let highest = same_epoch.map_or(position, |known| known.max(position));
        self.position = Some(highest);
        highest
    }
}
