//! Single flight: concurrent callers share one task, which continues when callers leave.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::Shared;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::tasks::Tasks;

/// Tasks in progress, by key.
#[derive(Debug)]
pub(crate) struct SingleFlight<K, V: Clone> {
    running: Arc<Mutex<HashMap<K, Flight<V>>>>,
    /// Counts the tasks for a shutdown, with their name.
    tracker: Option<(Tasks, &'static str)>,
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self { running: Arc::default(), tracker: None }
    }

    /// Creates tasks that a shutdown waits for.
    pub(crate) fn tracked(tasks: &Tasks, name: &'static str) -> Self {
        Self { running: Arc::default(), tracker: Some((tasks.clone(), name)) }
    }

    /// Joins the task of `key` if it is in progress.
    pub(crate) fn get(&self, key: &K) -> Option<Flight<V>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Starts the task of `key`, unless it is in progress.
    pub(crate) fn start<F>(&self, key: K, work: impl FnOnce() -> F)
    where
        F: Future<Output = V> + Send + 'static,
    {
        drop(self.join(key, work));
    }

    /// Joins the task of `key`, or starts it.
    ///
    /// The task is in the span of the caller that starts it.
    ///
    /// The task must publish its result to where later callers look *before* it ends: the next
    /// caller then starts a new task.
    pub(crate) fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = running.get(&key) {
            return flight.clone();
        }
        let (sender, receiver) = oneshot::channel();
        let flight = Flight(receiver.shared());
        running.insert(key.clone(), flight.clone());
        drop(running);

        let guard = RunningGuard { running: Arc::clone(&self.running), key };
        let work = work();
        let task = async move {
            let value = work.await;
            drop(guard);
            // All callers may have left.
            let _ = sender.send(value);
        };
        drop(match &self.tracker {
            Some((tasks, name)) => tasks.spawn(name, task),
            None => tokio::spawn(task.in_current_span()),
        });
        flight
    }
}

/// Removes the entry when the task has ended, panicked or been aborted.
struct RunningGuard<K: Eq + Hash, V: Clone> {
    running: Arc<Mutex<HashMap<K, Flight<V>>>>,
    key: K,
}

impl<K: Eq + Hash, V: Clone> Drop for RunningGuard<K, V> {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// A caller's handle: resolves to the result, or to `None` if the task panicked or was aborted.
#[derive(Clone, Debug)]
pub(crate) struct Flight<V: Clone>(Shared<oneshot::Receiver<V>>);

impl<V: Clone> Future for Flight<V> {
    type Output = Option<V>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<V>> {
        self.0.poll_unpin(cx).map(Result::ok)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn concurrent_callers_share_one_task_and_later_ones_start_another() {
        let flights = SingleFlight::<&str, usize>::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let work = || {
            let runs = Arc::clone(&runs);
            async move {
                tokio::task::yield_now().await;
                runs.fetch_add(1, Ordering::SeqCst)
            }
        };
        assert!(flights.get(&"key").is_none());
        let (one, two) = (flights.join("key", work), flights.join("key", work));
        let three = flights.get(&"key").unwrap();
        assert_eq!((one.await, two.await, three.await), (Some(0), Some(0), Some(0)));
        assert!(flights.get(&"key").is_none());
        assert_eq!(flights.join("key", work).await, Some(1));
    }

    #[tokio::test]
    async fn the_task_continues_when_its_only_caller_leaves() {
        let flights = SingleFlight::<&str, ()>::new();
        let (done, finished) = oneshot::channel();
        let caller = flights.join("key", || async move {
            tokio::task::yield_now().await;
            done.send("finished").unwrap();
        });
        drop(caller);
        assert_eq!(finished.await, Ok("finished"));
    }

    #[tokio::test]
    async fn a_panic_frees_the_key() {
        let flights = SingleFlight::<&str, usize>::new();
        assert_eq!(flights.join("key", || async { panic!("expected in this test") }).await, None);
        assert_eq!(flights.join("key", || async { 7 }).await, Some(7));
    }
}
