//! Deduplication of messages across replicas: claim, then complete or release.
//!
//! The value under a message's ID in the shared store is its state: `running` for at most the
//! processing lease, or the status of the response. A handler that fails removes its value, so that
//! the sender's next attempt is handled. If the process dies, the value expires.
//!
//! The key of a message is a hash of its ID and the endpoint's name, with a fingerprint of the
//! endpoint's secret. While the secret is rotated there are several, and the message is stored under
//! each: replicas that have only the older or only the newer secret find it too.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use tokio::runtime::Handle;

use super::WebhookSecret;
use crate::shared_store::{
    COMPLETED, KeyNamespace, StoreError, StoreKey, TimedStore, unique_owner,
};
use crate::util::hash::hash_parts;
use crate::util::tasks::Tasks;
use crate::util::telemetry;

/// How often the completion is attempted before the response: a message that is handled twice is worse
/// than a slow response.
const COMPLETION_TRIES: usize = 3;

/// How often the claim of a message can change during an attempt to complete it.
const MAX_CHANGES: usize = 3;

/// Name of the background tasks.
const FINISH: &str = "webhook completion";

/// Deduplicates messages.
#[derive(Clone)]
pub(super) struct Deduplicator {
    pub(super) store: TimedStore,
    pub(super) secrets: Arc<[WebhookSecret]>,
    pub(super) config: DedupConfig,
    pub(super) tasks: Tasks,
}

#[derive(Clone)]
pub(super) struct DedupConfig {
    /// Part of the keys, in addition to the endpoint's secret.
    pub(super) name: Arc<str>,
    /// How long a message counts as in progress. After that, another delivery is handled too.
    pub(super) lease: Duration,
    /// How long a completed message is retained.
    pub(super) retention: Duration,
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self {
            name: Arc::from(""),
            lease: Duration::from_secs(60),
            retention: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// State of a message.
pub(crate) enum Claim {
    /// It was unknown, and this request handles it.
    Acquired(Box<ClaimGuard>),
    /// It was completed with this status.
    Completed(StatusCode),
    /// Another request is handling it.
    InProgress,
}

impl Deduplicator {
    pub(super) async fn claim(self, id: String) -> Result<Claim, StoreError> {
        let id = URL_SAFE_NO_PAD.encode(hash_parts([&*self.config.name, &id]));
        // Created before the values, so that they are removed if this future is dropped.
        let mut guard = Box::new(ClaimGuard {
            keys: self
                .secrets
                .iter()
                .map(|secret| secret.scope.key(KeyNamespace::WebhookEvent, &id))
                .collect(),
            value: Bytes::from(format!("running {}", unique_owner())),
            deduplicator: self,
            is_settled: false,
        });
        for (index, key) in guard.keys.iter().enumerate() {
            if let Some(found) = guard.deduplicator.claim_key(key, &guard.value).await? {
                // Under the first key, nothing was claimed that the drop would have to release.
                guard.is_settled = index == 0;
                return Ok(found);
            }
        }
        Ok(Claim::Acquired(guard))
    }

    /// Claims a message under one key. Returns `None` if that succeeded, else the claim that was found.
    async fn claim_key(&self, key: &StoreKey, value: &Bytes) -> Result<Option<Claim>, StoreError> {
        // Tried again if the value expired in between.
        for _ in 0..2 {
            if self.store.put_if_absent(key, value.clone(), self.config.lease).await? {
                return Ok(None);
            }
            match self.store.get(key).await? {
                // The same secret is configured twice.
                Some(found) if found == value => return Ok(None),
                Some(found) => {
                    return Ok(Some(status_of(&found).map_or(Claim::InProgress, Claim::Completed)));
                }
                None => {}
            }
        }
        Ok(Some(Claim::InProgress))
    }
}

/// A message that is being handled. Dropping it releases it, unless it is finished.
pub(crate) struct ClaimGuard {
    deduplicator: Deduplicator,
    keys: Arc<[StoreKey]>,
    value: Bytes,
    /// Nothing is left to release.
    is_settled: bool,
}

impl ClaimGuard {
    /// Completes or releases it, by the handler's status: only success is retained. Continues when
    /// the sender disconnects.
    pub(super) async fn finish(mut self: Box<Self>, status: StatusCode) {
        self.is_settled = true;
        let finishing = self.deduplicator.tasks.clone().spawn(FINISH, async move {
            if status.is_success() {
                self.complete(status).await;
            } else {
                self.release().await;
            }
        });
        if let Err(panic) = finishing.await {
            telemetry::internal_error("webhook_finish", &panic);
        }
    }

    async fn complete(self: Box<Self>, status: StatusCode) {
        let done = Bytes::from(format!("{COMPLETED}{}", status.as_u16()));
        for _ in 0..COMPLETION_TRIES {
            match self.complete_values(&done).await {
                Ok(()) => return,
                Err(error) => telemetry::internal_error("webhook_complete", &error),
            }
        }
        let (tasks, guard) = (self.deduplicator.tasks.clone(), Arc::new(self));
        tasks.retry(FINISH, move || {
            let (guard, done) = (Arc::clone(&guard), done.clone());
            async move { guard.complete_values(&done).await.is_ok() }
        });
    }

    async fn complete_values(&self, done: &Bytes) -> Result<(), StoreError> {
        for key in self.keys.iter() {
            self.complete_under(key, done).await?;
        }
        Ok(())
    }

    async fn complete_under(&self, key: &StoreKey, done: &Bytes) -> Result<(), StoreError> {
        let mut running = Some(self.value.clone());
        for _ in 0..MAX_CHANGES {
            if self.replace_with_completed(key, running, done).await? {
                return Ok(());
            }
            // The handler took longer than its lease, and another request may have claimed the
            // message. Its result does not matter: this one is a success.
            running = self.deduplicator.store.get(key).await?;
            if running.as_deref().and_then(status_of).is_some() {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable("the claim of the message keeps changing".into()))
    }

    /// Writes `done` if the key still has this value, or still none. Returns whether it did.
    async fn replace_with_completed(
        &self,
        key: &StoreKey,
        running: Option<Bytes>,
        done: &Bytes,
    ) -> Result<bool, StoreError> {
        let (store, retention) = (&self.deduplicator.store, self.deduplicator.config.retention);
        match running {
            Some(running) => store.replace_if(key, running, done.clone(), retention).await,
            None => store.put_if_absent(key, done.clone(), retention).await,
        }
    }

    async fn release(&self) {
        for key in self.keys.iter() {
            if let Err(error) = self.deduplicator.store.remove_if(key, self.value.clone()).await {
                telemetry::internal_error("webhook_release", &error);
            }
        }
    }
}

impl Drop for ClaimGuard {
    /// The handler panicked, failed without a response, or was cancelled. Without a runtime the value
    /// expires.
    fn drop(&mut self) {
        if self.is_settled || Handle::try_current().is_err() {
            return;
        }
        let guard = Self {
            deduplicator: self.deduplicator.clone(),
            keys: Arc::clone(&self.keys),
            value: self.value.clone(),
            is_settled: true,
        };
        self.deduplicator.tasks.detach(FINISH, async move { guard.release().await });
    }
}

fn status_of(value: &[u8]) -> Option<StatusCode> {
    StatusCode::from_bytes(value.strip_prefix(COMPLETED.as_bytes())?).ok()
}
