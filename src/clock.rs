//! The wall clock and the monotonic clock, of the system or of a test.
//!
//! The wall clock is compared with claims and with times that other machines or earlier processes
//! have written. Intervals are measured with the monotonic clock, because an administrator or NTP
//! can step the wall clock in either direction at any time.
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
use std::time::{Duration, Instant, UNIX_EPOCH};

use time::OffsetDateTime;

/// How far the clocks of an issuer and of this server may differ.
pub(crate) const ISSUER_SKEW: time::Duration = time::Duration::seconds(60);
/// How far the clocks of two replicas may differ.
pub(crate) const REPLICA_SKEW: time::Duration = time::Duration::seconds(60);

/// Source of the current time: the wall clock (UTC) and the monotonic clock.
///
/// Cheap to clone. Clones of a [`ManualClock`]'s clock advance together.
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

    /// The current time in UTC, without a calendar date, which costs more than the rest of a cached
    /// verification.
    pub(crate) fn unix_millis(&self) -> UnixMillis {
        match &self.0 {
            None => system_millis(),
            Some(time) => time.unix_millis(),
        }
    }

    /// The time since a fixed point in the past of this process. It never goes back, even if the
    /// wall clock is stepped.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            None => process_time(),
            Some(time) => time.monotonic(),
        }
    }
}

fn system_millis() -> UnixMillis {
    UnixMillis(match UNIX_EPOCH.elapsed() {
        Ok(elapsed) => i64::try_from(millis(elapsed)).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(millis(before.duration())).unwrap_or(i64::MAX),
    })
}

fn process_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// Controls a [`Clock`], for tests and for the sandbox.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<ManualTime>);

impl ManualClock {
    /// Creates a clock that stays at `start` until it is advanced.
    #[must_use]
    pub fn at(start: OffsetDateTime) -> Self {
        Self(Arc::new(ManualTime { start: Some(start), ..ManualTime::default() }))
    }

    /// Creates a clock that runs with the system's, ahead of it by the time that it was advanced.
    #[must_use]
    pub fn running() -> Self {
        Self(Arc::default())
    }

    /// Advances both clocks, in whole milliseconds.
    pub fn advance(&self, by: Duration) {
        self.0.advanced_millis.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Steps the wall clock, in whole milliseconds and in either direction. The monotonic clock
    /// does not change.
    pub fn step(&self, by: time::Duration) {
        let millis = by.whole_milliseconds().clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        self.0.stepped_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// The clock that this value controls.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Some(Arc::clone(&self.0)))
    }
}

/// Whole milliseconds of a duration, for atomic integers.
pub(crate) fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis().into())
}

/// Milliseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnixMillis(pub(crate) i64);

impl From<OffsetDateTime> for UnixMillis {
    fn from(time: OffsetDateTime) -> Self {
        Self(unix_millis(time))
    }
}

/// Milliseconds since 1970 (UTC).
pub(crate) fn unix_millis(time: OffsetDateTime) -> i64 {
    time.unix_timestamp().saturating_mul(1000).saturating_add(time.millisecond().into())
}

#[derive(Debug, Default)]
struct ManualTime {
    /// `None` if it runs with the system's clocks.
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

    fn unix_millis(&self) -> UnixMillis {
        if self.start.is_some() {
            return self.now().into();
        }
        UnixMillis(
            system_millis()
                .0
                .saturating_add_unsigned(self.advanced_millis.load(Ordering::SeqCst))
                .saturating_add(self.stepped_millis.load(Ordering::SeqCst)),
        )
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

    /// Steps of the wall clock, one for each event.
    const STEPS: [time::Duration; 5] = [
        time::Duration::ZERO,
        time::Duration::seconds(-3),
        time::Duration::seconds(60),
        time::Duration::hours(-2),
        time::Duration::hours(2),
    ];

    /// A clock whose wall clock is stepped whenever it advances. A test of intervals has the same
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

        /// A clock that is never stepped.
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
    fn a_manual_clock_moves_only_when_advanced() {
        let time = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        let clock = time.clock();
        assert_eq!(clock.now(), OffsetDateTime::UNIX_EPOCH);
        time.advance(Duration::from_millis(1500));
        assert_eq!(clock.clone().now().unix_timestamp_nanos(), 1_500_000_000);
        assert_eq!(clock.monotonic(), Duration::from_millis(1500));
    }

    #[test]
    fn both_forms_of_the_wall_clock_are_the_same_time() {
        let system = Clock::system();
        let (before, at, after) = (system.now(), system.unix_millis(), system.now());
        assert!((before.into()..=after.into()).contains(&at));
        let time = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        time.step(time::Duration::milliseconds(-1500));
        assert_eq!(time.clock().unix_millis(), UnixMillis(-1500));
        assert_eq!(millis(Duration::MAX), u64::MAX);
        assert_eq!(millis(Duration::from_micros(1_999_999)), 1999);
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
    fn advancing_past_the_latest_time_saturates() {
        let time = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        time.advance(Duration::MAX);
        assert!(time.clock().now() > OffsetDateTime::UNIX_EPOCH);
    }
}
