//! Whether a route that responses refer to exists, and is reached.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many redirects to a route must not arrive before that is reported.
const UNREACHED: u32 = 3;

/// What this process knows of a route.
#[derive(Debug, Default)]
pub(crate) struct RouteCheck {
    exists: AtomicBool,
    is_reported: AtomicBool,
    is_reached: AtomicBool,
    redirects: AtomicU32,
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

    /// Counts a redirect to the route. Whether to report that none of them arrives, although the
    /// route was created: once.
    pub(crate) fn report_unreached(&self) -> bool {
        self.exists.load(Ordering::Relaxed)
            && !self.is_reached.load(Ordering::Relaxed)
            && self.redirects.fetch_add(1, Ordering::Relaxed) + 1 == UNREACHED
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
        let reports = |route: &RouteCheck| (0..9).filter(|_| route.report_unreached()).count();
        assert_eq!(reports(&RouteCheck::default()), 0);
        let route = RouteCheck::default();
        route.register();
        assert_eq!(reports(&route), 1);
        let route = RouteCheck::default();
        route.register();
        route.record_request();
        assert_eq!(reports(&route), 0);
    }
}
