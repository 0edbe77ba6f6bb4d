//! Reports outages of a store: two lines for each, whatever the number of operations that fail.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::StoreError;
use crate::clock::millis;
use crate::readiness::ReadinessCheck;
use crate::util::logged_outage::LoggedOutage;
use crate::util::telemetry;

/// An outage ends when this time has passed without a failure.
const RECOVERY: Duration = Duration::from_secs(1);

/// Whether a store is available.
pub(super) struct Outages {
    started: Instant,
    /// When an operation last failed, in milliseconds since the start; zero while it is available.
    failed_at: AtomicU64,
    writes_fail: AtomicBool,
    /// When an operation last succeeded; zero if none has.
    succeeded_at: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
}

/// What the result of an operation changes.
#[derive(Debug, PartialEq, Eq)]
enum Transition {
    Begins,
    Ends,
}

impl Outages {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            failed_at: AtomicU64::new(0),
            writes_fail: AtomicBool::new(false),
            succeeded_at: AtomicU64::new(0),
        }
    }

    /// Counts a failed operation, and logs the begin or end of an outage. Marks the error, so that
    /// requests that fail for it are not logged as further errors.
    pub(super) fn record<T>(
        &self,
        operation: Operation,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transition = self.observe(operation, result.is_ok());
        match &result {
            Err(error) => {
                telemetry::shared_store_failed(transition == Some(Transition::Begins), error);
            }
            Ok(_) if transition == Some(Transition::Ends) => telemetry::shared_store_available(),
            Ok(_) => {}
        }
        result.map_err(|error| match error {
            StoreError::Unavailable(source) => {
                StoreError::Unavailable(Box::new(LoggedOutage(source)))
            }
            full @ StoreError::Full { .. } => full,
        })
    }

    /// Whether the store is available, and when it last was.
    pub(super) fn readiness(&self) -> ReadinessCheck {
        let succeeded_at = self.succeeded_at.load(Ordering::Acquire);
        ReadinessCheck {
            is_ok: succeeded_at > 0 && self.failed_at.load(Ordering::Acquire) == 0,
            age: (succeeded_at > 0)
                .then(|| Duration::from_millis(self.now().saturating_sub(succeeded_at))),
        }
    }

    fn observe(&self, operation: Operation, succeeded: bool) -> Option<Transition> {
        let is_write = operation == Operation::Write;
        if !succeeded {
            self.writes_fail.fetch_or(is_write, Ordering::AcqRel);
            let before = self.failed_at.swap(self.now(), Ordering::AcqRel);
            return (before == 0).then_some(Transition::Begins);
        }
        self.succeeded_at.store(self.now(), Ordering::Release);
        let failed_at = self.failed_at.load(Ordering::Acquire);
        if failed_at == 0 {
            return None;
        }
        // A server whose memory is full rejects writes, and serves reads.
        if is_write {
            self.writes_fail.store(false, Ordering::Release);
        } else if self.writes_fail.load(Ordering::Acquire) {
            return None;
        }
        let is_over = self.now().saturating_sub(failed_at) >= millis(RECOVERY)
            && self
                .failed_at
                .compare_exchange(failed_at, 0, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        is_over.then_some(Transition::Ends)
    }

    fn now(&self) -> u64 {
        millis(self.started.elapsed()).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::Operation::{Read, Write};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_begins_once_and_ends_after_a_second_without_failures() {
        let outages = Outages::new();
        assert_eq!(outages.observe(Read, true), None);
        assert_eq!(outages.observe(Read, false), Some(Transition::Begins));
        for _ in 0..5 {
            advance(Duration::from_millis(900)).await;
            assert_eq!(outages.observe(Read, true), None);
            assert_eq!(outages.observe(Read, false), None);
        }
        advance(RECOVERY).await;
        assert_eq!(outages.observe(Read, true), Some(Transition::Ends));
        assert_eq!(outages.observe(Read, true), None);
        assert_eq!(outages.observe(Read, false), Some(Transition::Begins));
    }

    #[tokio::test(start_paused = true)]
    async fn reads_do_not_end_an_outage_of_writes() {
        let outages = Outages::new();
        assert_eq!(outages.observe(Write, false), Some(Transition::Begins));
        advance(RECOVERY * 10).await;
        assert_eq!(outages.observe(Read, true), None);
        assert_eq!(outages.observe(Write, false), None);
        advance(RECOVERY).await;
        assert_eq!(outages.observe(Write, true), Some(Transition::Ends));
    }
}
