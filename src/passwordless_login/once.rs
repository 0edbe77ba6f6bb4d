//! What is sent twice, by a double click or in two tabs, is done once: the environment would refuse
//! the second, and the answer to that is the one that the browser shows.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::answer::PasswordlessFailure;
use super::attempt::MailAttempt;
use crate::clock::Clock;
use crate::flight::Flights;

const MAX_REMEMBERED: usize = 4096;

/// What an attempt, or a page, asks of the environment. Whoever has another one has another key: a
/// link works once for everybody else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    hash: [u8; 32],
    remembered: Duration,
}

impl Key {
    /// A code or link that is verified. That it was bridges an outage of the shared store too: it
    /// is spent by then.
    pub(super) fn verification(attempt: &MailAttempt, credential: &str) -> Self {
        Self::new(["verify", &bound_to(attempt), credential], Duration::from_secs(60))
    }

    /// A link that was asked for elsewhere, and the page that it shows here. No cookie is taken away
    /// afterwards, so a form in the browser's history must soon be worth nothing.
    pub(super) fn of_page(page: &str, link_token: &str) -> Self {
        Self::new(["page", page, link_token], Duration::from_secs(10))
    }

    /// A mail that is sent once more. Nobody means to have two of them at the same time.
    pub(super) fn resend(attempt: &MailAttempt) -> Self {
        Self::new(["resend", &bound_to(attempt), ""], Duration::from_secs(5))
    }

    fn new(parts: [&str; 3], remembered: Duration) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, parts.join("\0").as_bytes()).as_ref());
        Self { hash, remembered }
    }
}

/// What only the browser that makes the attempt has.
fn bound_to(attempt: &MailAttempt) -> Zeroizing<String> {
    Zeroizing::new([attempt.auth_request_id.expose(), attempt.state.expose()].join("\0"))
}

/// Work that is under way in this process, and what lately came of it.
pub(super) struct Once<T: Clone> {
    running: Flights<Key, Result<T, PasswordlessFailure>>,
    done: Done<T>,
}

impl<T: Clone + Send + Sync + 'static> Once<T> {
    pub(super) fn new(clock: Clock) -> Self {
        Self { running: Flights::new(), done: Done { clock, results: Arc::default() } }
    }

    /// Joins the work, or starts it, unless it has just been done. A failure is told to those who
    /// are waiting, and not remembered.
    pub(super) async fn run<F>(
        &self,
        key: Key,
        work: impl FnOnce() -> F,
    ) -> Result<T, PasswordlessFailure>
    where
        F: Future<Output = Result<T, PasswordlessFailure>> + Send + 'static,
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
        flight.await.unwrap_or(Err(PasswordlessFailure::Unavailable))
    }
}

#[derive(Clone)]
struct Done<T> {
    clock: Clock,
    results: Arc<Mutex<HashMap<Key, (T, OffsetDateTime)>>>,
}

impl<T: Clone> Done<T> {
    fn get(&self, key: &Key) -> Option<T> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let (result, until) = results.get(key)?;
        (self.clock.now() < *until).then(|| result.clone())
    }

    fn put(&self, key: Key, result: T) {
        let now = self.clock.now();
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.retain(|_, (_, until)| now < *until);
        if results.len() < MAX_REMEMBERED {
            results.insert(key, (result, now + key.remembered));
        }
    }
}
