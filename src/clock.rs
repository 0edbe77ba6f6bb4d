//! What time it is, from the system or from a test.
//!
//! ```
//! use std::time::Duration;
//! use tower_scalekit::clock::ManualClock;
//!
//! let time = ManualClock::running();
//! let clock = time.clock();
//! let before = clock.now();
//! time.advance(Duration::from_secs(300));
//! assert!(clock.now() - before >= Duration::from_secs(300));
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;

/// Source of the current time (UTC), given to every part that judges an expiry.
///
/// Cloning is cheap; clones of a clock made by a [`ManualClock`] move together.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<ManualTime>>);

impl Clock {
    /// The operating system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// The current time in UTC.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        match &self.0 {
            None => OffsetDateTime::now_utc(),
            Some(time) => time.now(),
        }
    }
}

/// The hand that moves a [`Clock`]: for tests, and for the sandbox.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<ManualTime>);

impl ManualClock {
    /// A clock that stands still at `start` until it is advanced.
    #[must_use]
    pub fn at(start: OffsetDateTime) -> Self {
        Self(Arc::new(ManualTime { start: Some(start), advanced_millis: AtomicI64::new(0) }))
    }

    /// A clock that runs with the system's and is ahead of it by what it was advanced.
    #[must_use]
    pub fn running() -> Self {
        Self(Arc::new(ManualTime { start: None, advanced_millis: AtomicI64::new(0) }))
    }

    /// Moves all clocks of this hand forward, in whole milliseconds.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.advanced_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// A clock moved by this hand.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Some(Arc::clone(&self.0)))
    }
}

/// Milliseconds since 1970, UTC.
pub(crate) fn unix_millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

#[derive(Debug)]
struct ManualTime {
    start: Option<OffsetDateTime>,
    advanced_millis: AtomicI64,
}

impl ManualTime {
    fn now(&self) -> OffsetDateTime {
        let start = self.start.unwrap_or_else(OffsetDateTime::now_utc);
        let advanced = time::Duration::milliseconds(self.advanced_millis.load(Ordering::SeqCst));
        start.saturating_add(advanced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_clock_moves_only_when_advanced() {
        let time = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        let clock = time.clock();
        assert_eq!(clock.now(), OffsetDateTime::UNIX_EPOCH);
        time.advance(Duration::from_millis(1500));
        assert_eq!(clock.clone().now().unix_timestamp_nanos(), 1_500_000_000);
    }

    #[test]
    fn advancing_past_the_end_of_time_stays_there() {
        let time = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        time.advance(Duration::MAX);
        assert!(time.clock().now() > OffsetDateTime::UNIX_EPOCH);
    }
}
