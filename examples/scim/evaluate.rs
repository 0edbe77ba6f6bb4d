//! Rules for conflicting data of a user from two sources, in any order of arrival.
//!
//! Events are ordered by their time, by the environment's clock. A listing is the current state, so
//! it outweighs everything known before the sync began, but not a later event: the page may be
//! older.

/// The stored state of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Time of the latest change in the row, in nanoseconds of Unix time, as are all times here.
    pub changed_at: i64,
    /// An event has deleted the user.
    pub deleted: bool,
    /// A full sync did not find the user: only later data restores them.
    pub gone_since: Option<i64>,
    /// The last sync that found the user, or that was running when an event changed them.
    pub seen_in: i64,
}

/// A full sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sync {
    /// 1 for the first one.
    pub number: i64,
    /// Events from this time on may contain users that its listing does not.
    pub since: i64,
}

/// Whether an event changes the row. Of events with the same time, the last one to arrive counts.
pub fn event_counts(known: Option<&Known>, happened_at: i64, deletes: bool) -> bool {
    known.is_none_or(|known| {
        let since = known.gone_since.filter(|_| !deletes).unwrap_or(i64::MIN);
        known.changed_at <= happened_at && since <= happened_at
    })
}

/// Whether a listing changes the row.
pub fn listing_counts(known: Option<&Known>, updated_at: Option<i64>, sync: Sync) -> bool {
    known.is_none_or(|known| match known.deleted {
        // Only data that is certainly newer than a deletion undoes it.
        true => updated_at.is_some_and(|at| known.changed_at < at),
        false => known.seen_in < sync.number || updated_at.is_some_and(|at| known.changed_at <= at),
    })
}

/// The value of [`Known::seen_in`] after an event: one from before the sync does not affect whether
/// the listing must contain the user.
pub fn seen_after_event(known: Option<&Known>, happened_at: i64, sync: Sync) -> i64 {
    let before = known.map_or(0, |known| known.seen_in);
    if sync.since <= happened_at { sync.number } else { before }
}

/// The same after a listing: another process may have started a later sync.
pub fn seen_after_listing(known: Option<&Known>, sync: Sync) -> i64 {
    known.map_or(0, |known| known.seen_in).max(sync.number)
}

/// Whether a complete sync shows that this user is gone.
pub fn is_gone(known: &Known, sync: Sync) -> bool {
    !known.deleted && known.seen_in < sync.number
}
