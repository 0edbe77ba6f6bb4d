//! A code or link that is sent twice, by a double click or in two tabs, is verified once: the
//! environment would refuse the second, and its answer is the one that the browser shows.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use time::OffsetDateTime;

use super::answer::PasswordlessFailure;
use super::attempt::Attempt;
use crate::api::passwordless::{SentMail, VerifiedEmail};
use crate::clock::Clock;
use crate::flight::Flights;

/// How long a verification can be used again by the attempt that it was made for. It bridges an
/// outage of the shared store too: the code is spent by then.
const REMEMBERED: Duration = Duration::from_secs(60);
/// No cookie is taken away there, so that a form in the history could be sent again.
const REMEMBERED_OF_PAGE: Duration = Duration::from_secs(10);
const MAX_REMEMBERED: usize = 4096;

type Verification = Result<VerifiedEmail, PasswordlessFailure>;
type Sending = Result<SentMail, PasswordlessFailure>;

/// What is being sent and verified in this process, and what was verified lately.
pub(super) struct Once {
    verifying: Flights<Key, Verification>,
    sending: Flights<Key, Sending>,
    verified: Verified,
}

/// Who verifies what. Whoever has another attempt, or another page, has another key: a link works
/// once for everybody else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    hash: [u8; 32],
    is_of_page: bool,
}

impl Key {
    pub(super) fn new(attempt: &Attempt, credential: &str) -> Self {
        let parts = [attempt.auth_request_id.expose(), attempt.state.expose(), credential];
        Self { hash: hash(parts), is_of_page: false }
    }

    /// Of a link that was asked for elsewhere, and the page that it shows here.
    pub(super) fn of_page(page: &str, link_token: &str) -> Self {
        Self { hash: hash(["", page, link_token]), is_of_page: true }
    }

    fn remembered(self) -> Duration {
        if self.is_of_page { REMEMBERED_OF_PAGE } else { REMEMBERED }
    }
}

fn hash(parts: [&str; 3]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, parts.join("\0").as_bytes()).as_ref());
    hash
}

impl Once {
    pub(super) fn new(clock: Clock) -> Self {
        let verified = Verified { clock, emails: Arc::default() };
        Self { verifying: Flights::new(), sending: Flights::new(), verified }
    }

    pub(super) async fn verify<F>(&self, key: Key, work: impl FnOnce() -> F) -> Verification
    where
        F: Future<Output = Verification> + Send + 'static,
    {
        let flight = self.verifying.join(key, || {
            let (verified, work) = (self.verified.clone(), work());
            async move {
                // Another one may have landed just now.
                if let Some(email) = verified.get(&key) {
                    return Ok(email);
                }
                let verification = work.await;
                if let Ok(email) = &verification {
                    verified.put(key, email.clone());
                }
                verification
            }
        });
        flight.await.unwrap_or(Err(PasswordlessFailure::Unavailable))
    }

    pub(super) async fn send<F>(&self, key: Key, work: impl FnOnce() -> F) -> Sending
    where
        F: Future<Output = Sending> + Send + 'static,
    {
        self.sending.join(key, work).await.unwrap_or(Err(PasswordlessFailure::Unavailable))
    }
}

#[derive(Clone)]
struct Verified {
    clock: Clock,
    emails: Arc<Mutex<HashMap<Key, (VerifiedEmail, OffsetDateTime)>>>,
}

impl Verified {
    fn get(&self, key: &Key) -> Option<VerifiedEmail> {
        let emails = self.emails.lock().unwrap_or_else(PoisonError::into_inner);
        let (email, until) = emails.get(key)?;
        (self.clock.now() < *until).then(|| email.clone())
    }

    fn put(&self, key: Key, email: VerifiedEmail) {
        let now = self.clock.now();
        let mut emails = self.emails.lock().unwrap_or_else(PoisonError::into_inner);
        emails.retain(|_, (_, until)| now < *until);
        if emails.len() < MAX_REMEMBERED {
            emails.insert(key, (email, now + key.remembered()));
        }
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}
