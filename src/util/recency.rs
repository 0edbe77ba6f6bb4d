//! Whether a time of another clock is recent: when a user has authenticated, or a session began.

use time::{Duration, OffsetDateTime};

use crate::clock::ISSUER_SKEW;

/// The shortest limit that can be checked, because the clocks of replicas may differ by as much.
pub(crate) const MIN_RECENCY: std::time::Duration = std::time::Duration::from_secs(60);

/// Whether `at` is at most `within` ago. A time that is further ahead than clocks may differ is not:
/// it says nothing about how long ago it was.
pub(crate) fn is_recent(
    at: OffsetDateTime,
    within: std::time::Duration,
    now: OffsetDateTime,
) -> bool {
    let age = now - at;
    -ISSUER_SKEW <= age && age <= saturating(within)
}

/// Whether `at` is at most `within` ago, or ahead by any time.
pub(crate) fn is_recent_or_ahead(
    at: OffsetDateTime,
    within: std::time::Duration,
    now: OffsetDateTime,
) -> bool {
    now - at <= saturating(within)
}

fn saturating(duration: std::time::Duration) -> Duration {
    duration.try_into().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_recent_within_the_limit_and_the_skew_of_clocks() {
        let now = OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap();
        let within = std::time::Duration::from_secs(300);
        for (age, recent, recent_or_ahead) in [
            (0, true, true),
            (300, true, true),
            (301, false, false),
            (-60, true, true),
            (-61, false, true),
            (-100_000, false, true),
        ] {
            let at = now - Duration::seconds(age);
            assert_eq!(is_recent(at, within, now), recent, "{age}");
            assert_eq!(is_recent_or_ahead(at, within, now), recent_or_ahead, "{age}");
        }
        assert!(is_recent(OffsetDateTime::UNIX_EPOCH, std::time::Duration::MAX, now));
    }
}
