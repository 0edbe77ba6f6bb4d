//! Results that concurrent requests share, such as those of a double click or of two tabs. Otherwise the
//! environment would reject the second one, and the browser would show that response.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Clock;
use crate::util::hash::hash_parts;
use crate::util::single_flight::SingleFlight;
use crate::util::tasks::Tasks;
use crate::util::telemetry;

const MAX_REMEMBERED: usize = 4096;

/// For how long a second click shares the session of the first. It is short, because a page in the
/// browser's history must not be usable later.
pub(crate) const RESULT_TTL: Duration = Duration::from_secs(10);

/// Identifies work, or its result, by values that are known only to those who may share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DedupKey([u8; 32]);

impl DedupKey {
    pub(crate) fn new(parts: &[&str]) -> Self {
        Self(hash_parts(parts))
    }

    pub(crate) fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// Work in progress in this process, and its recent results.
pub(crate) struct SharedResults<T: Clone, E: Clone> {
    running: SingleFlight<DedupKey, Result<T, E>>,
    done: TtlMap<T>,
    name: &'static str,
    interrupted: E,
}

impl<T, E> SharedResults<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// `name` is that of the work, among the `tasks` and in logs; `interrupted` is the error of work that
    /// panicked.
    pub(crate) fn new(
        clock: Clock,
        remembered: Duration,
        tasks: &Tasks,
        name: &'static str,
        interrupted: E,
    ) -> Self {
        Self {
            running: SingleFlight::tracked(tasks, name),
            done: TtlMap::new(clock, remembered),
            name,
            interrupted,
        }
    }

    /// Joins the work, or starts it, unless it has just completed. It continues when the client
    /// disconnects. An error is returned to all waiting requests, and not retained.
    pub(crate) async fn run<F>(&self, key: DedupKey, work: impl FnOnce() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let flight = self.running.join(key, || {
            let (done, work) = (self.done.clone(), work());
            async move {
                if let Some(result) = done.get(&key) {
                    return Ok(result);
                }
                let result = work.await?;
                done.put(key, result.clone());
                Ok(result)
            }
        });
        flight.await.unwrap_or_else(|| {
            telemetry::internal_error(
                self.name,
                &io::Error::other("the work panicked or was interrupted"),
            );
            Err(self.interrupted.clone())
        })
    }
}

/// Values that expire after some time.
#[derive(Clone)]
pub(crate) struct TtlMap<T> {
    clock: Clock,
    lifetime: Duration,
    /// With the monotonic time at which they expire.
    entries: Arc<Mutex<HashMap<DedupKey, (T, Duration)>>>,
}

impl<T> TtlMap<T> {
    pub(crate) fn new(clock: Clock, lifetime: Duration) -> Self {
        Self { clock, lifetime, entries: Arc::default() }
    }

    pub(crate) fn put(&self, key: DedupKey, value: T) {
        let now = self.clock.monotonic();
        let mut entries = self.lock();
        entries.retain(|_, (_, until)| now < *until);
        if entries.len() < MAX_REMEMBERED {
            entries.insert(key, (value, now.saturating_add(self.lifetime)));
        }
    }

    /// Removes and returns a value, so that only one caller gets it.
    pub(crate) fn take(&self, key: &DedupKey) -> Option<T> {
        let (value, until) = self.lock().remove(key)?;
        (self.clock.monotonic() < until).then_some(value)
    }

    fn get(&self, key: &DedupKey) -> Option<T>
    where
        T: Clone,
    {
        let entries = self.lock();
        let (value, until) = entries.get(key)?;
        (self.clock.monotonic() < *until).then(|| value.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DedupKey, (T, Duration)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
