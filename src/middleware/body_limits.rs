use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// Longer time limits are reduced to this one, because instants overflow.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);
const MIB: usize = 1024 * 1024;

/// Limits of the request bodies that a layer or a route reads: size, time and memory.
///
/// | limit | default | beyond it |
/// |---|---|---|
/// | [`max_bytes`](Self::max_bytes) | 1 MiB on webhook, interceptor and MCP routes, 16 KiB on routes that read forms | 413 |
/// | [`read_timeout`](Self::read_timeout) | 30 s for the whole body | 408; 503 with `Retry-After` on webhook and interceptor routes, whose senders may not retry after 4xx |
/// | [`idle_timeout`](Self::idle_timeout) | 10 s without a byte | as for the whole body |
/// | [`max_unfinished_bytes`](Self::max_unfinished_bytes) | 16 MiB for all unfinished bodies together | 503 with `Retry-After` for the oldest of them |
///
/// Time is measured with tokio's clock, from the first poll that returns `Pending`. The layers and
/// routes need a tokio runtime with the timer enabled.
///
/// # Memory
///
/// Memory is reserved as bytes arrive, never by `Content-Length`, and a body that arrives in one
/// piece is never counted. When the unfinished bodies exceed their bound, the oldest one is
/// dropped. A client that holds memory with bodies that never end loses it to later requests;
/// another body is dropped only if more than the whole bound arrives while it is being sent.
///
/// With the defaults, webhook routes hold at most 16 unfinished bodies of 1 MiB, or 4096 bodies of
/// 4 KiB. Limit the number of requests in the server. A finished body is verified at once: apart
/// from the unfinished ones, each thread holds at most one unverified body.
///
/// Clones share the bound: all services of one layer, all routes of one
/// [`Sessions`](crate::Sessions), and all layers that are configured with clones of one value.
///
/// ```
/// use std::time::Duration;
/// use tower_scalekit::middleware::BodyLimits;
/// use tower_scalekit::WebhookVerify;
/// use tower_scalekit::webhook_verify::WebhookSecret;
///
/// let secret = WebhookSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
/// let limits = BodyLimits::new().max_bytes(64 * 1024).read_timeout(Duration::from_secs(5));
/// let layer = WebhookVerify::new(secret).body_limits(limits);
/// # Ok::<(), tower_scalekit::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct BodyLimits {
    max_bytes: Option<usize>,
    pub(crate) read_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    unfinished: Arc<UnfinishedBodies>,
}

impl BodyLimits {
    /// Creates the default limits, with a memory bound of their own.
    pub fn new() -> Self {
        Self {
            max_bytes: None,
            read_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(10),
            unfinished: Arc::new(UnfinishedBodies::new(16 * MIB)),
        }
    }

    /// Sets the largest body, in bytes. Default: 1 MiB on webhook, interceptor and MCP routes,
    /// 16 KiB on routes that read forms.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the time for a whole body, at most a day. Default: 30 s.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout.min(MAX_TIME);
        self
    }

    /// Sets the longest time without a byte, at most a day. Default: 10 s.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout.min(MAX_TIME);
        self
    }

    /// Sets how many bytes all unfinished bodies may hold together. One body may always be as large
    /// as [`max_bytes`](Self::max_bytes). Default: 16 MiB.
    pub fn max_unfinished_bytes(mut self, bytes: usize) -> Self {
        self.unfinished = Arc::new(UnfinishedBodies::new(bytes));
        self
    }

    /// Sets the route's default size, unless a size is configured.
    pub(crate) fn or_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes.get_or_insert(bytes);
        self
    }

    pub(crate) fn max_size(&self) -> usize {
        self.max_bytes.unwrap_or(MIB)
    }

    /// Holds the bytes of an unfinished body until it is polled again.
    pub(crate) fn hold(&self, held: Option<HeldBody>, bytes: Vec<u8>, waker: &Waker) -> HeldBody {
        UnfinishedBodies::hold(
            &self.unfinished,
            held,
            UnfinishedBody { bytes, waker: waker.clone() },
            self.max_size(),
        )
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BodyLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyLimits")
            .field("max_bytes", &self.max_bytes)
            .field("read_timeout", &self.read_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_unfinished_bytes", &self.unfinished.max_bytes)
            .finish()
    }
}

/// The unfinished bodies, with the bytes that have arrived.
struct UnfinishedBodies {
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Total bytes of the bodies.
    bytes: usize,
    next_number: u64,
    /// By number, oldest first.
    bodies: BTreeMap<u64, UnfinishedBody>,
}

struct UnfinishedBody {
    bytes: Vec<u8>,
    waker: Waker,
}

impl UnfinishedBodies {
    fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a body, at its previous position if it had one, and drops the oldest ones until the
    /// rest fits.
    fn hold(
        all: &Arc<Self>,
        held: Option<HeldBody>,
        body: UnfinishedBody,
        max_body_bytes: usize,
    ) -> HeldBody {
        let mut evicted = Vec::new();
        let mut state = all.lock();
        let held = held.unwrap_or_else(|| {
            let number = state.next_number;
            state.next_number += 1;
            HeldBody { all: Arc::clone(all), number }
        });
        state.bytes += body.bytes.capacity();
        state.bodies.insert(held.number, body);
        while state.bytes > all.max_bytes.max(max_body_bytes) {
            let Some((_, oldest)) = state.bodies.pop_first() else { break };
            state.bytes -= oldest.bytes.capacity();
            evicted.push(oldest);
        }
        drop(state);
        for body in evicted {
            body.waker.wake();
        }
        held
    }
}

/// The entry of an unfinished body. Frees its bytes when it is dropped.
pub(crate) struct HeldBody {
    all: Arc<UnfinishedBodies>,
    number: u64,
}

impl HeldBody {
    /// Returns the bytes; `None` if they were dropped.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let mut state = self.all.lock();
        let UnfinishedBody { bytes, waker } = state.bodies.remove(&self.number)?;
        state.bytes -= bytes.capacity();
        drop(state);
        // A waker's drop may run foreign code that drops other bodies.
        drop(waker);
        Some(bytes)
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.take();
    }
}

#[cfg(test)]
impl BodyLimits {
    /// Bytes that unfinished bodies hold.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        self.unfinished.lock().bytes
    }
}
