mod shard;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::ready;

use self::shard::Shard;
use super::{KeyNamespace, LogCursor, LogPage, SharedStore, StoreError, StoreFuture, StoreKey};
use crate::clock::Clock;
use crate::util::telemetry;

/// Number of shards, which are locked, grow and expire independently.
const SHARDS: usize = 256;

/// Each write removes at most this many expired values from its own shard and from one other.
const EXPIRED_PER_WRITE: usize = 8;

/// A write at capacity removes at most this many values of its namespace from each shard.
const RECLAIMED_PER_SHARD: usize = 8;

/// Completed messages are retained for as long as their sender retries, even at capacity.
const RETRY_SCHEDULE: Duration = Duration::from_secs(30 * 60);

/// [`SharedStore`] for an app with one process. Its state is lost when the process ends.
///
/// The memory of each [`KeyNamespace`] is bounded. Expired values are removed in small steps. Without
/// room, a write returns [`StoreError::Full`], with two exceptions:
///
/// - Revocations are always accepted, because no bound may block deprovisioning.
/// - IDs of webhook messages that were completed more than 30 minutes ago, after which senders no
///   longer retry, make room for new ones. The counter `tower_scalekit_webhook_ids_dropped_total`
///   counts them.
///
/// When four fifths of a bound are in use, the log line `memory_store_nearly_full` and the gauge
/// `tower_scalekit_memory_store_nearly_full` report it.
pub struct MemoryStore {
    clock: Clock,
    max_bytes: usize,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    usage: [Usage; NAMESPACES],
    /// The shard that the next write also removes expired values from.
    next_swept: AtomicUsize,
}

const NAMESPACES: usize = 16;

/// Memory in use for a namespace.
#[derive(Default)]
struct Usage {
    bytes: AtomicUsize,
    is_nearly_full: AtomicBool,
}

// Manual impl: the values are secret.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

/// Enough for about 100,000 sessions of 2 KB, or 800,000 webhook messages.
const DEFAULT_MAX_BYTES: usize = 256 * 1024 * 1024;

impl MemoryStore {
    /// Creates an empty store that measures lifetimes with the monotonic clock of `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::with_max_bytes(clock, DEFAULT_MAX_BYTES)
    }

    /// Creates a store that uses at most about `max_bytes` of memory for each [`KeyNamespace`].
    #[must_use]
    pub fn with_max_bytes(clock: Clock, max_bytes: usize) -> Self {
        let hasher = RandomState::new();
        let incarnation = hasher.hash_one(SHARDS);
        Self {
            clock,
            max_bytes,
            hasher,
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(incarnation))).collect(),
            usage: Default::default(),
            next_swept: AtomicUsize::new(0),
        }
    }

    /// Memory in use, in bytes: the keys and values of all namespaces, and an estimate of what the
    /// store adds to each.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.usage.iter().map(|usage| usage.bytes.load(Ordering::Acquire)).sum()
    }

    fn read<T: Send + 'static>(
        &self,
        key: &StoreKey,
        step: impl FnOnce(&Shard, Duration) -> T,
    ) -> StoreFuture<'_, T> {
        let read = self.shard(key).map(|shard| step(&shard, self.clock.monotonic()));
        ready(read.ok_or_else(unreachable_shard)).boxed()
    }

    /// Sets a value if the present one allows it. Returns whether it did.
    fn set_if(
        &self,
        key: &StoreKey,
        value: Bytes,
        ttl: Duration,
        allows: impl Fn(Option<&Bytes>) -> bool,
    ) -> Result<bool, StoreError> {
        self.write(key, value, ttl, Shard::set, |shard, now| {
            allows(shard.unexpired(key, now)).then(|| shard.cost_of(key))
        })
    }

    /// Runs one atomic operation with the write it may contain. `replaced` returns the memory of
    /// what it replaces, or `None` if it does not write. Returns whether it wrote.
    fn write(
        &self,
        key: &StoreKey,
        bytes: Bytes,
        ttl: Duration,
        write: fn(&mut Shard, &StoreKey, Bytes, Duration, Duration),
        replaced: impl Fn(&Shard, Duration) -> Option<usize>,
    ) -> Result<bool, StoreError> {
        let (namespace, now) = (key.namespace(), self.clock.monotonic());
        self.sweep_next(now);
        for attempt in 0..2 {
            let mut shard = self.shard(key).ok_or_else(unreachable_shard)?;
            self.release_memory(shard.remove_expired(now, EXPIRED_PER_WRITE, None));
            let Some(before) = replaced(&shard, now) else { return Ok(false) };
            if self.reserve(namespace, before, Shard::cost(key, &bytes)) {
                write(&mut shard, key, bytes, now, ttl);
                return Ok(true);
            }
            drop(shard);
            if attempt == 0 {
                self.reclaim(namespace, now);
            }
        }
        Err(StoreError::Full { namespace, max_bytes: Some(self.max_bytes) })
    }

    fn shard(&self, key: &StoreKey) -> Option<MutexGuard<'_, Shard>> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        self.shard_at(self.hasher.hash_one(key) as usize)
    }

    fn shard_at(&self, number: usize) -> Option<MutexGuard<'_, Shard>> {
        Some(self.shards.get(number % SHARDS)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn usage(&self, namespace: KeyNamespace) -> Option<&Usage> {
        self.usage.get(namespace as usize)
    }

    /// Reserves memory for a value that replaces another; false if there is none left.
    fn reserve(&self, namespace: KeyNamespace, before: usize, after: usize) -> bool {
        let Some(usage) = self.usage(namespace) else { return true };
        let max = if namespace == KeyNamespace::Revocation { usize::MAX } else { self.max_bytes };
        let reserved = usage.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |bytes| {
            let total = bytes.saturating_sub(before).saturating_add(after);
            // Values that do not grow always fit.
            (after <= before || total <= max).then_some(total)
        });
        let bytes = usage.bytes.load(Ordering::Acquire);
        if bytes > self.max_bytes / 5 * 4 && !usage.is_nearly_full.swap(true, Ordering::AcqRel) {
            telemetry::memory_store_nearly_full(namespace, bytes, self.max_bytes);
        }
        reserved.is_ok()
    }

    /// Releases the memory of removed values.
    fn release_memory(&self, freed: impl IntoIterator<Item = (KeyNamespace, usize)>) {
        for (namespace, bytes) in freed {
            let Some(usage) = self.usage(namespace) else { continue };
            let before = usage.bytes.fetch_sub(bytes, Ordering::AcqRel);
            if before.saturating_sub(bytes) < self.max_bytes / 2
                && usage.is_nearly_full.load(Ordering::Acquire)
                && usage.is_nearly_full.swap(false, Ordering::AcqRel)
            {
                telemetry::memory_store_capacity_restored(namespace);
            }
        }
    }

    /// Removes a few expired values from one shard after another, so that shards without writes are
    /// cleaned too.
    fn sweep_next(&self, now: Duration) {
        self.remove_from(self.next_swept.fetch_add(1, Ordering::Relaxed), |shard| {
            shard.remove_expired(now, EXPIRED_PER_WRITE, None)
        });
    }

    /// Frees memory for a value of this namespace, in steps that lock one shard each.
    fn reclaim(&self, namespace: KeyNamespace, now: Duration) {
        let mut expired = 0;
        for number in 0..SHARDS {
            expired += self.remove_from(number, |shard| {
                shard.remove_expired(now, RECLAIMED_PER_SHARD, Some(namespace))
            });
        }
        if expired > 0 || namespace != KeyNamespace::WebhookEvent {
            return;
        }
        let Some(before) = now.checked_sub(RETRY_SCHEDULE) else { return };
        let start = self.next_swept.fetch_add(1, Ordering::Relaxed);
        for number in (0..SHARDS).map(|offset| start.wrapping_add(offset)) {
            let dropped =
                self.remove_from(number, |shard| shard.remove_handled(before, RECLAIMED_PER_SHARD));
            if dropped > 0 {
                return telemetry::webhook_ids_dropped(dropped);
            }
        }
    }

    /// Removes values from a shard. Returns how many.
    fn remove_from(
        &self,
        number: usize,
        remove: impl FnOnce(&mut Shard) -> Vec<(KeyNamespace, usize)>,
    ) -> usize {
        let freed = self.shard_at(number).map(|mut shard| remove(&mut shard)).unwrap_or_default();
        let count = freed.len();
        self.release_memory(freed);
        count
    }
}

/// The shard with this number, which is always in range.
fn unreachable_shard() -> StoreError {
    StoreError::Unavailable("the memory store has no such shard".into())
}

impl SharedStore for MemoryStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        self.read(key, |shard, now| shard.unexpired(key, now).cloned())
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        ready(self.set_if(key, value, ttl, |_| true).map(drop)).boxed()
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        ready(self.set_if(key, value, ttl, |present| present.is_none())).boxed()
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        ready(self.set_if(key, value, ttl, |present| present == Some(&expected))).boxed()
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        let now = self.clock.monotonic();
        let removed = self.shard(key).and_then(|mut shard| {
            let is_expected = shard.unexpired(key, now) == Some(&expected);
            if is_expected { shard.remove(key) } else { None }
        });
        self.release_memory(removed);
        ready(Ok(removed.is_some())).boxed()
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        ready(self.write(log, entry, ttl, Shard::append, |_, _| Some(0)).map(drop)).boxed()
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        self.read(log, |shard, now| shard.read_since(log, cursor, now))
    }
}
