//! Background tasks that outlive their request, and the wait for them at shutdown.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{Instrument as _, Span};

use super::spans;

/// How long a failed write is retried.
const MAX_RETRY_TIME: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Short against the time for which the environment still accepts a spent refresh token.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(5);
const SHUTDOWN_RETRY: Duration = Duration::from_millis(100);

/// The background tasks of one component. Clones share them.
///
/// `tokio_util`'s `TaskTracker` would be a further dependency, and counts tasks without names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    state: Arc<watch::Sender<State>>,
}

/// Receivers are notified of the shutdown, and when no task is running any more: otherwise, each
/// task would wake all that pause.
#[derive(Debug, Default)]
struct State {
    running: BTreeMap<&'static str, usize>,
    shutting_down: bool,
}

impl Tasks {
    /// Spawns a task that [`shutdown`](Self::shutdown) waits for, in the current span: its caller
    /// waits for it.
    pub(crate) fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.spawn_in(&Span::current(), name, task)
    }

    fn spawn_in<F>(&self, span: &Span, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.state.send_if_modified(|state| {
            *state.running.entry(name).or_default() += 1;
            false
        });
        let running = Running { tasks: self.clone(), name };
        tokio::spawn(
            async move {
                let _running = running;
                task.await
            }
            .instrument(span.clone()),
        )
    }

    /// Spawns a task that [`shutdown`](Self::shutdown) waits for, and whose result nothing else needs.
    /// It has a span of its own: that of the request ends with the request.
    pub(crate) fn detach<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        drop(self.spawn_in(&spans::background_task_span(name), name, task));
    }

    /// Spawns a task that repeats `attempt`, see [`repeat`](Self::repeat).
    pub(crate) fn retry<F>(&self, name: &'static str, attempt: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = bool> + Send,
    {
        self.detach(name, self.repeat(attempt));
    }

    /// Repeats `attempt` until it returns `true`, for about a minute, see
    /// [`repeat_for`](Self::repeat_for).
    pub(crate) fn repeat<F>(
        &self,
        attempt: impl FnMut() -> F + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        F: Future<Output = bool> + Send,
    {
        self.repeat_for(MAX_RETRY_TIME, attempt)
    }

    /// Repeats `attempt` until it returns `true`, for about `limit`. The intervals grow to a few
    /// seconds, and shrink to a fraction of a second at shutdown.
    pub(crate) fn repeat_for<F>(
        &self,
        limit: Duration,
        attempt: impl FnMut() -> F + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        F: Future<Output = bool> + Send,
    {
        self.repeat_at(FIRST_RETRY..=MAX_RETRY_INTERVAL, limit, attempt)
    }

    /// Repeats `attempt` until it returns `true`, at this interval, and faster at shutdown.
    pub(crate) fn repeat_every<F>(
        &self,
        interval: Duration,
        attempt: impl FnMut() -> F + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        F: Future<Output = bool> + Send,
    {
        self.repeat_at(interval..=interval, Duration::MAX, attempt)
    }

    /// The intervals are doubled from the first to the last one.
    fn repeat_at<F>(
        &self,
        intervals: RangeInclusive<Duration>,
        limit: Duration,
        mut attempt: impl FnMut() -> F + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        F: Future<Output = bool> + Send,
    {
        let tasks = self.clone();
        async move {
            let started = Instant::now();
            let (mut interval, longest) = intervals.into_inner();
            while started.elapsed() < limit {
                tasks.pause(interval).await;
                if attempt().await {
                    return;
                }
                interval = (interval * 2).min(longest);
            }
        }
    }

    /// Waits for this time, or for a fraction of a second at shutdown.
    pub(crate) async fn pause(&self, time: Duration) {
        let mut state = self.state.subscribe();
        let shutdown = async {
            drop(state.wait_for(|state| state.shutting_down).await);
            sleep(SHUTDOWN_RETRY).await;
        };
        drop(timeout(time, shutdown).await);
    }

    /// Waits until no task is running.
    pub(crate) async fn shutdown(&self, limit: Duration) -> Result<(), UnfinishedTasks> {
        self.state.send_modify(|state| state.shutting_down = true);
        let mut state = self.state.subscribe();
        match timeout(limit, state.wait_for(|state| state.running.is_empty())).await {
            Ok(_) => Ok(()),
            Err(_) => Err(UnfinishedTasks { running: self.state.borrow().running.clone() }),
        }
    }
}

/// Counts a task until it has finished, panicked or been dropped.
struct Running {
    tasks: Tasks,
    name: &'static str,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.state.send_if_modified(|state| {
            if let Some(count) = state.running.get_mut(self.name) {
                *count -= 1;
                if *count == 0 {
                    state.running.remove(self.name);
                }
            }
            state.running.is_empty()
        });
    }
}

/// Returned when background tasks are unfinished at the end of a `shutdown`. They keep running
/// until the runtime stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedTasks {
    running: BTreeMap<&'static str, usize>,
}

impl UnfinishedTasks {
    /// Names of the tasks, and how many of each are unfinished.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        self.running.iter().map(|(name, count)| (*name, *count))
    }
}

impl fmt::Display for UnfinishedTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unfinished at shutdown:")?;
        for (index, (name, count)) in self.iter().enumerate() {
            write!(f, "{} {count} {name}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnfinishedTasks {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use futures::future::pending;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_all_tasks_and_reports_the_unfinished() {
        let tasks = Tasks::default();
        assert_eq!(tasks.shutdown(Duration::ZERO).await, Ok(()));
        let (finish, finished) = oneshot::channel::<()>();
        drop(tasks.spawn("refresh", async { finished.await.unwrap() }));
        drop(tasks.spawn("panic", async { panic!("expected in this test") }));
        drop(tasks.spawn("refresh", async {}));
        let unfinished = tasks.shutdown(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(unfinished.iter().collect::<Vec<_>>(), [("refresh", 1)]);
        assert_eq!(unfinished.to_string(), "unfinished at shutdown: 1 refresh");
        finish.send(()).unwrap();
        assert_eq!(tasks.shutdown(Duration::from_secs(1)).await, Ok(()));
        tasks.spawn("endless", pending::<()>()).abort();
        assert_eq!(tasks.shutdown(Duration::from_secs(1)).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_wake_none_that_pause() {
        let tasks = Tasks::default();
        let wakes = Arc::<Wakes>::default();
        let waker = Waker::from(Arc::clone(&wakes));
        let mut pause = Box::pin(tasks.pause(MAX_RETRY_TIME));
        assert!(pause.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let paused = tasks.spawn("paused", pending::<()>());
        for _ in 0..100 {
            tasks.spawn("refresh", async {}).await.unwrap();
        }
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        paused.abort();
        assert_eq!(tasks.shutdown(Duration::from_secs(1)).await, Ok(()));
        assert!(wakes.0.load(Ordering::SeqCst) > 0);
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retries_stop_after_a_minute_and_hurry_at_shutdown() {
        let attempts = Arc::new(AtomicUsize::new(0));
        let retry = |tasks: &Tasks, succeeds_at: usize| {
            let attempts = Arc::clone(&attempts);
            tasks.retry("write", move || {
                let done = attempts.fetch_add(1, Ordering::SeqCst) + 1 >= succeeds_at;
                async move { done }
            });
        };
        let tasks = Tasks::default();
        retry(&tasks, usize::MAX);
        sleep(Duration::from_secs(120)).await;
        assert_eq!(attempts.swap(0, Ordering::SeqCst), 14);
        assert_eq!(tasks.shutdown(Duration::ZERO).await, Ok(()));

        let tasks = Tasks::default();
        retry(&tasks, 5);
        let started = Instant::now();
        assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, Ok(()));
        assert_eq!(attempts.load(Ordering::SeqCst), 5);
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
}
