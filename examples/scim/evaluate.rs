//! What counts when two sources tell different things about a person, in whatever order they come.
//!
//! Events are judged by when they happened, by the environment's clock. A listing tells how things
//! stand at the moment, so it outweighs whatever was known before the sync began, but not an event
//! that has come meanwhile: the page may be older than that.

/// What the table knows about a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// When the newest change that is in the row happened. Nanoseconds of Unix time, as all times
    /// here.
    pub changed_at: i64,
    /// An event has told of their deletion.
    pub deleted: bool,
    /// A full sync did not find them: nothing older than this brings them back.
    pub gone_since: Option<i64>,
    /// The last sync that has found them, or that was begun when an event changed them.
    pub seen_in: i64,
}

/// A full sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sync {
    /// 1 for the first one.
    pub number: i64,
    /// Events from then on may tell of what its listing does not have.
    pub since: i64,
}

/// Whether an event changes the row. One of the same time does: the later one is as good.
pub fn event_counts(known: Option<&Known>, happened_at: i64, deletes: bool) -> bool {
    known.is_none_or(|known| {
        let since = known.gone_since.filter(|_| !deletes).unwrap_or(i64::MIN);
        known.changed_at <= happened_at && since <= happened_at
    })
}

/// Whether what a listing says changes the row.
pub fn listing_counts(known: Option<&Known>, updated_at: Option<i64>, sync: Sync) -> bool {
    known.is_none_or(|known| match known.deleted {
        // Only what certainly happened after a deletion undoes it.
        true => updated_at.is_some_and(|at| known.changed_at < at),
        false => known.seen_in < sync.number || updated_at.is_some_and(|at| known.changed_at <= at),
    })
}

/// What an event leaves in [`Known::seen_in`]: one that happened before the sync says nothing about
/// whether the listing should have this person.
pub fn seen_after_event(known: Option<&Known>, happened_at: i64, sync: Sync) -> i64 {
    let before = known.map_or(0, |known| known.seen_in);
    if sync.since <= happened_at { sync.number } else { before }
}

/// What a listing leaves there: another process may have begun a later sync.
pub fn seen_after_listing(known: Option<&Known>, sync: Sync) -> i64 {
    known.map_or(0, |known| known.seen_in).max(sync.number)
}

/// Whether a sync that is complete says that this person is gone.
pub fn is_gone(known: &Known, sync: Sync) -> bool {
    !known.deleted && known.seen_in < sync.number
}
