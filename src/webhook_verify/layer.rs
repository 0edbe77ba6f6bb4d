use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::dedup::DedupConfig;
use super::signature::{Kind, TOLERANCE};
use super::{WebhookRejection, WebhookSecret, WebhookVerifyService};
use crate::clock::{Clock, REPLICA_SKEW};
use crate::middleware::body_limits::BodyLimits;
use crate::middleware::rejection::{Renderer, on_rejection};
use crate::shared_store::{SharedStore, TimedStore};
use crate::util::tasks::{Tasks, UnfinishedTasks};

/// Scalekit's events are a few kilobytes, unless a directory has long lists of attributes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

const MIN_LEASE: Duration = Duration::from_secs(10);

/// From the earliest time at which a timestamp is accepted to the latest, by the clocks of all replicas.
const MIN_RETENTION: Duration =
    Duration::from_secs(2 * TOLERANCE).saturating_add(REPLICA_SKEW.unsigned_abs());

/// Middleware that verifies signed webhooks. See the [module docs](crate::webhook_verify).
#[derive(Clone)]
#[must_use]
pub struct WebhookVerify {
    pub(super) kind: Kind,
    pub(super) secrets: Arc<[WebhookSecret]>,
    pub(super) clock: Clock,
    pub(super) limits: BodyLimits,
    pub(super) store: Option<TimedStore>,
    pub(super) dedup: DedupConfig,
    pub(super) tasks: Tasks,
    pub(super) renderer: Renderer<WebhookRejection>,
}

impl WebhookVerify {
    /// Requires webhooks that are signed with this secret.
    pub fn new(secret: WebhookSecret) -> Self {
        Self::of(Kind::Webhook, secret)
    }

    /// Requires interceptor requests, which are signed in the same way under other headers.
    /// Webhooks are rejected, even if they are signed with the same secret.
    pub fn interceptor(secret: WebhookSecret) -> Self {
        Self::of(Kind::Interceptor, secret)
    }

    fn of(kind: Kind, secret: WebhookSecret) -> Self {
        Self {
            kind,
            secrets: Arc::new([secret]),
            clock: Clock::system(),
            limits: BodyLimits::new().or_max_bytes(MAX_BODY_BYTES),
            store: None,
            dedup: DedupConfig::default(),
            tasks: Tasks::default(),
            renderer: Renderer::default(),
        }
    }

    /// Accepts a further secret, while the dashboard's is rotated. Keep the older one for as long
    /// as the sender retries: until then, a message that was completed under either secret is a
    /// duplicate under both.
    pub fn additional_secret(mut self, secret: WebhookSecret) -> Self {
        self.secrets = self.secrets.iter().cloned().chain([secret]).collect();
        self
    }

    /// Deduplicates deliveries across replicas through `store`. Has no effect on interceptor
    /// requests, each of which is handled.
    ///
    /// A duplicate of a message that got 2xx gets the same status without being handled. A
    /// duplicate of a message in progress gets 503. If the handler fails, panics or is cancelled,
    /// the next delivery is handled. The environment sends an event to all endpoints under one ID.
    /// Messages are kept apart by the endpoint's secret, so that endpoints, apps and environments
    /// can share a store.
    ///
    /// While the store is full, new messages are handled without deduplication, because no bound may
    /// block the deprovisioning of a user. The log line `webhook_not_deduplicated` and
    /// the counter `tower_scalekit_webhooks_not_deduplicated_total` report it.
    pub fn deduplicate(mut self, store: impl SharedStore) -> Self {
        self.store = Some(TimedStore::new(store));
        self
    }

    /// Sets a name that keeps the messages of this endpoint apart from those of another one with
    /// the same secret and the same store. Default: none, because endpoints in the dashboard have
    /// secrets of their own.
    pub fn endpoint_name(mut self, name: &str) -> Self {
        self.dedup.name = Arc::from(name);
        self
    }

    /// Sets how long a message counts as in progress. Default: 60 s. Minimum: 10 s, the time that senders
    /// wait for a response. After the lease, another delivery is handled too: because the process has
    /// died, or because the handler takes longer.
    pub fn processing_lease(mut self, time: Duration) -> Self {
        self.dedup.lease = time.max(MIN_LEASE);
        self
    }

    /// Sets how long processed message IDs are retained. Default: 24 hours. Less than 11 minutes
    /// counts as 11 minutes: until then, the timestamp of a message may be accepted, so that a copy
    /// could be handled again.
    pub fn retention(mut self, time: Duration) -> Self {
        self.dedup.retention = time.max(MIN_RETENTION);
        self
    }

    /// Waits until the store contains all completed messages: a message whose completion is not
    /// stored is handled again when the sender retries. Call it on any clone of the layer when the
    /// server has drained its connections. Without [`deduplicate`](Self::deduplicate) it returns at
    /// once.
    ///
    /// # Errors
    /// Returned when tasks are unfinished after `timeout`. Lists them.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), UnfinishedTasks> {
        self.tasks.shutdown(timeout).await
    }

    /// Sets size and time limits of bodies, and how much memory unfinished ones may hold. Default:
    /// those of [`BodyLimits`], with 1 MiB as the largest body. The signature is verified without
    /// yielding, and nothing is parsed before it is valid. The extractors of axum handlers parse more
    /// than 256 KiB on a thread for blocking work; [`WebhookEvent::from_extensions`] blocks the caller,
    /// for ten milliseconds or more for each MiB.
    ///
    /// [`WebhookEvent::from_extensions`]: crate::webhook::WebhookEvent::from_extensions
    pub fn body_limits(mut self, limits: BodyLimits) -> Self {
        self.limits = limits.or_max_bytes(MAX_BODY_BYTES);
        self
    }

    /// Sets the clock that timestamps are compared with. Default: the system's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

on_rejection!(WebhookVerify, WebhookRejection, renderer);

impl fmt::Debug for WebhookVerify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookVerify")
            .field("kind", &self.kind)
            .field("secrets", &self.secrets.len())
            .field("body_limits", &self.limits)
            .field("deduplicates", &self.store.is_some())
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for WebhookVerify {
    type Service = WebhookVerifyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WebhookVerifyService { inner, layer: self.clone() }
    }
}
