//! Each message once, whatever the sender and the replicas do: begin, then commit or abort.
//!
//! What is in the shared store under a message's id says how far it is: `running` for as long as a
//! handler may take, or the status that it was answered with. A handler that fails takes its mark
//! away, so that the sender's next try finds nothing; one that dies leaves it to run out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::secret::SecretString;
use crate::shared_store::{Purpose, SharedStore, StoreError, StoreKey, in_time};
use crate::telemetry;

/// How often a commit is tried: what is done twice is worse than what takes a little longer.
const COMMIT_TRIES: usize = 3;

/// Who has handled what.
#[derive(Clone)]
pub(super) struct Ledger {
    pub(super) store: Arc<dyn SharedStore>,
    /// Tells the messages of several endpoints apart.
    pub(super) name: Arc<str>,
    /// How long a handler may take.
    pub(super) lease: Duration,
    /// How long a message that was handled is known.
    pub(super) memory: Duration,
}

/// What is known of a message.
pub(super) enum Begun {
    /// Nothing: it is ours to handle.
    Ours(Box<Running>),
    /// It was handled, with this answer.
    Done(StatusCode),
    /// Somebody is at it.
    Running,
}

impl Ledger {
    pub(super) async fn begin(&self, id: &str) -> Result<Begun, StoreError> {
        let key = StoreKey::new(Purpose::WebhookEvent, format!("{} {id}", self.name));
        let mark = Bytes::from(format!("running {}", owner()));
        // Once more if what was there ran out in between.
        for _ in 0..2 {
            let begun = self.store.put_if_absent(&key, mark.clone(), self.lease);
            if in_time(begun).await? {
                let running = Running { ledger: self.clone(), key, mark, settled: false };
                return Ok(Begun::Ours(Box::new(running)));
            }
            match in_time(self.store.get(&key)).await?.as_deref().map(status_of) {
                Some(Some(status)) => return Ok(Begun::Done(status)),
                Some(None) => return Ok(Begun::Running),
                None => {}
            }
        }
        Ok(Begun::Running)
    }
}

/// A message that is being handled: aborted when it is dropped before it is settled.
pub(super) struct Running {
    ledger: Ledger,
    key: StoreKey,
    mark: Bytes,
    settled: bool,
}

impl Running {
    /// Settles it by how it was answered: only success is remembered.
    pub(super) async fn settle(mut self, status: StatusCode) {
        self.settled = true;
        if status.is_success() {
            self.commit(status).await;
        } else {
            self.abort().await;
        }
    }

    async fn commit(&self, status: StatusCode) {
        let done = Bytes::from(format!("done {}", status.as_u16()));
        for _ in 0..COMMIT_TRIES {
            let (store, memory) = (&self.ledger.store, self.ledger.memory);
            let replaced = store.replace_if(&self.key, self.mark.clone(), done.clone(), memory);
            match in_time(replaced).await {
                // If the mark has run out, somebody else may be at it by now, or be done.
                Ok(_) => return,
                Err(error) => telemetry::internal_error("webhook_commit", &error),
            }
        }
    }

    async fn abort(&self) {
        let removed = self.ledger.store.remove_if(&self.key, self.mark.clone());
        if let Err(error) = in_time(removed).await {
            telemetry::internal_error("webhook_abort", &error);
        }
    }
}

impl Drop for Running {
    /// The handler panicked, failed without an answer, or was cut off.
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let running = Self {
            ledger: self.ledger.clone(),
            key: self.key.clone(),
            mark: self.mark.clone(),
            settled: true,
        };
        // Without a runtime the mark runs out by itself.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { running.abort().await });
        }
    }
}

/// Unique in this process by the number, among replicas by the random part.
fn owner() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let random = SecretString::random::<9>();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{number}-{}", random.as_ref().map_or("", SecretString::expose))
}

fn status_of(value: &[u8]) -> Option<StatusCode> {
    StatusCode::from_bytes(value.strip_prefix(b"done ")?).ok()
}
