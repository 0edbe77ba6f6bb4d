//! The wall clock and the monotonic clock, of the system or of a test.
//!
//! The wall clock is compared with claims and with instants that other machines or an earlier
//! process have written. Everything else is an interval, and is measured with the monotonic clock:
//! an administrator or NTP can step the wall clock in either direction at any time.
//!
//! ```
//! use std::time::Duration;
//! use tower_scalekit::clock::ManualClock;
//!
//! let time = ManualClock::running();
//! let clock = time.clock();
//! let (before, started) = (clock.now(), clock.monotonic());
//! time.advance(Duration::from_secs(300));
//! assert!(clock.now() - before >= Duration::from_secs(300));
//! assert!(clock.monotonic() - started >= Duration::from_secs(300));
//!
//! // Only the wall clock can be stepped back.
//! time.step(time::Duration::hours(-1));
//! assert!(clock.now() < before);
//! assert!(clock.monotonic() - started >= Duration::from_secs(300));
//! ```

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use time::OffsetDateTime;

/// Source of the current time: the wall clock (UTC) and the monotonic clock.
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

    /// The time since a fixed point in the past of this process. It never goes back, whatever
    /// happens to the wall clock.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            None => process_time(),
            Some(time) => time.monotonic(),
        }
    }
}

fn process_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// Moves a [`Clock`]: for tests, and for the sandbox.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<ManualTime>);

impl ManualClock {
    /// A clock that stands still at `start` until it is advanced.
    #[must_use]
    pub fn at(start: OffsetDateTime) -> Self {
        Self(Arc::new(ManualTime { start: Some(start), ..ManualTime::default() }))
    }

    /// A clock that runs with the system's and is ahead of it by what it was advanced.
    #[must_use]
    pub fn running() -> Self {
        Self(Arc::default())
    }

    /// Lets time pass, in whole milliseconds: both clocks go forward.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.advanced_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Steps the wall clock, in whole milliseconds and in either direction. No time passes: the
    /// monotonic clock does not move.
    pub fn step(&self, by: time::Duration) {
        let millis = by.whole_milliseconds().clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        self.0.stepped_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// A clock that this one moves.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Some(Arc::clone(&self.0)))
    }
}

/// Milliseconds since 1970, UTC.
pub(crate) fn unix_millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

#[derive(Debug, Default)]
struct ManualTime {
    /// `None`: it runs with the system's clocks.
    start: Option<OffsetDateTime>,
    advanced_millis: AtomicU64,
    stepped_millis: AtomicI64,
}

impl ManualTime {
    fn now(&self) -> OffsetDateTime {
        let stepped = time::Duration::milliseconds(self.stepped_millis.load(Ordering::SeqCst));
        self.start
            .unwrap_or_else(OffsetDateTime::now_utc)
            .saturating_add(self.advanced().try_into().unwrap_or(time::Duration::MAX))
            .saturating_add(stepped)
    }

    fn monotonic(&self) -> Duration {
        let system = if self.start.is_none() { process_time() } else { Duration::ZERO };
        system.saturating_add(self.advanced())
    }

    fn advanced(&self) -> Duration {
        Duration::from_millis(self.advanced_millis.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Steps of the wall clock, each time that something happens.
    const STEPS: [time::Duration; 5] = [
        time::Duration::ZERO,
        time::Duration::seconds(-3),
        time::Duration::seconds(60),
        time::Duration::hours(-2),
        time::Duration::hours(2),
    ];

    /// A clock whose wall clock is stepped whenever time passes: a test of intervals has the same
    /// outcome with each.
    #[derive(Clone, Debug)]
    pub(crate) struct SteppedClock {
        time: ManualClock,
        pub(crate) step: time::Duration,
    }

    impl SteppedClock {
        pub(crate) fn each() -> impl Iterator<Item = Self> {
            STEPS.into_iter().map(|step| Self {
                time: ManualClock::at(OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000)),
                step,
            })
        }

        /// One that is never stepped.
        pub(crate) fn steady() -> Self {
            Self { time: ManualClock::at(OffsetDateTime::UNIX_EPOCH), step: time::Duration::ZERO }
        }

        pub(crate) fn advance(&self, by: Duration) {
            self.time.advance(by);
            self.time.step(self.step);
        }

        pub(crate) fn clock(&self) -> Clock {
            self.time.clock()
        }
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
        assert_eq!(clock.monotonic(), Duration::from_millis(1500));
    }

    #[test]
    fn a_step_moves_the_wall_clock_alone_in_either_direction() {
        let time = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        let clock = time.clock();
        time.step(time::Duration::seconds(-90));
        assert_eq!(clock.now().unix_timestamp(), -90);
        time.step(time::Duration::seconds(100));
        assert_eq!((clock.now().unix_timestamp(), clock.monotonic()), (10, Duration::ZERO));
    }

    #[test]
    fn advancing_past_the_end_of_time_stays_there() {
        let time = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        time.advance(Duration::MAX);
        assert!(time.clock().now() > OffsetDateTime::UNIX_EPOCH);
    }
}
