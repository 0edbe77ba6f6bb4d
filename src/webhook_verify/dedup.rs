//! Deduplication of messages across replicas: reserve, then complete or release.
//!
//! The value under a message's ID in the shared store is its state: `running` for at most the
//! processing lease, or the status of the response. A handler that fails removes its value, so that
//! the sender's next attempt is handled. If the process dies, the value expires.
//!
//! The key of a message is a hash of its ID and the endpoint's name, with a fingerprint of the
//! endpoint's secret. While the secret is rotated there are several, and the message is stored under
//! each: replicas that have only the older or only the newer secret find it too.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Extensions, HeaderMap, Response, StatusCode};
use tokio::runtime::Handle;

use super::signature::Kind;
use super::{WebhookSecret, WebhookVerify};
use crate::middleware::response_future::OnResponse;
use crate::shared_store::{
    COMPLETED, KeyNamespace, StoreError, StoreKey, TimedStore, unique_owner,
};
use crate::util::hash::hash_parts;
use crate::util::tasks::Tasks;
use crate::util::telemetry;

/// How often the completion is attempted before the response: a message that is handled twice is worse
/// than a slow response.
const COMPLETION_TRIES: usize = 3;

/// How often the value of a message can change during an attempt to complete it.
const MAX_CHANGES: usize = 3;

/// Name of the background tasks.
const FINISH: &str = "webhook completion";

/// Deduplicates messages.
#[derive(Clone)]
pub(super) struct Deduplicator {
    store: TimedStore,
    secrets: Arc<[WebhookSecret]>,
    config: DedupConfig,
    tasks: Tasks,
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

/// Extension of a request: the keys under which its layers deduplicate its message.
#[derive(Clone)]
struct KeysOfLayers(Vec<StoreKey>);

/// State of a message when a request tries to reserve it.
pub(crate) enum MessageState {
    /// It was unknown: this request has reserved it, and handles it.
    Reserved(Box<Reservation>),
    /// It was completed with this status.
    Completed(StatusCode),
    /// Another request is handling it.
    InProgress,
    /// An outer layer deduplicates it.
    OfOuterLayer,
}

impl Deduplicator {
    /// The deduplicator of a layer for webhooks, if it has a store. Interceptor requests are not
    /// deduplicated.
    pub(super) fn of(layer: &WebhookVerify) -> Option<Self> {
        Some(Self {
            store: layer.store.clone().filter(|_| layer.kind == Kind::Webhook)?,
            secrets: Arc::clone(&layer.secrets),
            config: layer.dedup.clone(),
            tasks: layer.tasks.clone(),
        })
    }

    /// Reserves a message by its ID. `extensions` are those of its request.
    pub(super) fn reserve(
        self,
        id: &str,
        extensions: &mut Extensions,
    ) -> impl Future<Output = Result<MessageState, StoreError>> + Send + 'static {
        let id = URL_SAFE_NO_PAD.encode(hash_parts([&*self.config.name, id]));
        let keys: Arc<[_]> = self
            .secrets
            .iter()
            .map(|secret| secret.scope.key(KeyNamespace::WebhookEvent, &id))
            .collect();
        let known = extensions.get_or_insert_with(|| KeysOfLayers(Vec::new()));
        let is_of_outer_layer = keys.iter().any(|key| known.0.contains(key));
        known.0.extend(keys.iter().cloned());
        async move {
            if is_of_outer_layer {
                return Ok(MessageState::OfOuterLayer);
            }
            self.reserve_keys(keys).await
        }
    }

    async fn reserve_keys(self, keys: Arc<[StoreKey]>) -> Result<MessageState, StoreError> {
        // Created before the values, so that they are removed if this future is dropped.
        let mut reservation = Box::new(Reservation {
            keys,
            value: Bytes::from(format!("running {}", unique_owner())),
            deduplicator: self,
            is_settled: false,
        });
        for (index, key) in reservation.keys.iter().enumerate() {
            if let Some(found) =
                reservation.deduplicator.reserve_key(key, &reservation.value).await?
            {
                // Under the first key, nothing was reserved that the drop would have to release.
                reservation.is_settled = index == 0;
                return Ok(found);
            }
        }
        Ok(MessageState::Reserved(reservation))
    }

    /// Reserves a message under one key. Returns `None` if that succeeded, else the state that was
    /// found.
    async fn reserve_key(
        &self,
        key: &StoreKey,
        value: &Bytes,
    ) -> Result<Option<MessageState>, StoreError> {
        // Tried again if the value expired in between.
        for _ in 0..2 {
            if self.store.put_if_absent(key, value.clone(), self.config.lease).await? {
                return Ok(None);
            }
            match self.store.get(key).await? {
                // The same secret is configured twice.
                Some(found) if found == value => return Ok(None),
                Some(found) => {
                    return Ok(Some(
                        status_of(&found).map_or(MessageState::InProgress, MessageState::Completed),
                    ));
                }
                None => {}
            }
        }
        Ok(Some(MessageState::InProgress))
    }
}

/// A message that is being handled. Dropping it releases it, unless it is finished.
pub(crate) struct Reservation {
    deduplicator: Deduplicator,
    keys: Arc<[StoreKey]>,
    value: Bytes,
    /// Nothing is left to release.
    is_settled: bool,
}

impl Reservation {
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
        let (tasks, reservation) = (self.deduplicator.tasks.clone(), Arc::new(self));
        tasks.retry(FINISH, move || {
            let (reservation, done) = (Arc::clone(&reservation), done.clone());
            async move { reservation.complete_values(&done).await.is_ok() }
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
            // The handler took longer than its lease, and another request may have reserved the
            // message. Its result does not matter: this one is a success.
            running = self.deduplicator.store.get(key).await?;
            if running.as_deref().and_then(status_of).is_some() {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable("the value of the message keeps changing".into()))
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

impl Drop for Reservation {
    /// The handler panicked, failed without a response, or was cancelled. Without a runtime the value
    /// expires.
    fn drop(&mut self) {
        if self.is_settled || Handle::try_current().is_err() {
            return;
        }
        let reservation = Self {
            deduplicator: self.deduplicator.clone(),
            keys: Arc::clone(&self.keys),
            value: self.value.clone(),
            is_settled: true,
        };
        self.deduplicator.tasks.detach(FINISH, async move { reservation.release().await });
    }
}

/// Completes or releases the reservation of a message, by the status of the handler's response.
pub(crate) enum FinishReservation {
    None,
    /// By an outer layer.
    Outside,
    Due(Box<Reservation>),
    Started(BoxFuture<'static, ()>),
}

impl OnResponse for FinishReservation {
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        status: StatusCode,
        _: &mut HeaderMap,
    ) -> Poll<()> {
        *self = match mem::replace(self, Self::None) {
            Self::Due(reservation) => Self::Started(Box::pin(reservation.finish(status))),
            other => other,
        };
        match self {
            Self::Started(finish) => finish.as_mut().poll(cx),
            Self::None | Self::Outside | Self::Due(_) => Poll::Ready(()),
        }
    }
}

/// The response to a message that was completed before.
pub(super) fn duplicate_response(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

fn status_of(value: &[u8]) -> Option<StatusCode> {
    StatusCode::from_bytes(value.strip_prefix(COMPLETED.as_bytes())?).ok()
}
