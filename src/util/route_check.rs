//! Whether a route that responses refer to exists, and is reached.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// How many redirects to a route must not arrive before that is reported.
const UNREACHED_REDIRECTS: u32 = 3;
/// How long after the first of them it is reported: browsers that arrive together are on their way.
const UNREACHED_TIME: Duration = Duration::from_secs(10);

/// What this process knows of a route.
#[derive(Debug, Default)]
pub(crate) struct RouteCheck {
    exists: AtomicBool,
    is_reported: AtomicBool,
    is_reached: AtomicBool,
    redirects: AtomicU32,
    /// Monotonic time.
    first_redirect: OnceLock<Duration>,
}

impl RouteCheck {
    /// Records that the route was created.
    pub(crate) fn register(&self) {
        self.exists.store(true, Ordering::Relaxed);
    }

    /// Records that a request has arrived at the route.
    pub(crate) fn record_request(&self) {
        self.is_reached.store(true, Ordering::Relaxed);
    }

    /// Whether to report that the route was not created: once.
    pub(crate) fn report_missing(&self) -> bool {
        !self.exists.load(Ordering::Relaxed) && !self.is_reported.swap(true, Ordering::Relaxed)
    }

    /// Counts a redirect of a browser to the route. Whether to report that none of them arrives,
    /// although the route was created: once.
    pub(crate) fn report_unreached(&self, now: Duration) -> bool {
        if !self.exists.load(Ordering::Relaxed) || self.is_reached.load(Ordering::Relaxed) {
            return false;
        }
        let first = *self.first_redirect.get_or_init(|| now);
        self.redirects.fetch_add(1, Ordering::Relaxed) + 1 >= UNREACHED_REDIRECTS
            && now.saturating_sub(first) >= UNREACHED_TIME
            && !self.is_reported.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_does_not_exist_is_reported_once() {
        let route = RouteCheck::default();
        assert!(route.report_missing());
        assert!(!route.report_missing());
        let route = RouteCheck::default();
        route.register();
        assert!(!route.report_missing());
    }

    #[test]
    fn a_route_that_no_redirect_reaches_is_reported_once() {
        let reports = |route: &RouteCheck, seconds: u64| {
            let times = (0..9).map(|number| Duration::from_secs(number * seconds));
            times.filter(|now| route.report_unreached(*now)).count()
        };
        assert_eq!(reports(&RouteCheck::default(), 5), 0);
        let route = RouteCheck::default();
        route.register();
        assert_eq!(reports(&route, 0), 0, "they may still arrive");
        assert_eq!(reports(&route, 5), 1);
        assert_eq!(reports(&route, 5), 0);
        let route = RouteCheck::default();
        route.register();
        route.record_request();
        assert_eq!(reports(&route, 5), 0);
    }
}
