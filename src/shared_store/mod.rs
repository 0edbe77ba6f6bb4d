//! State shared by all replicas of an app, behind one small trait.
//!
//! The store holds small byte values, always with a lifetime. [`MemoryStore`] is for a single
//! process, `RedisStore` (feature `redis`) for several.
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use tower_scalekit::clock::Clock;
//! use tower_scalekit::shared_store::{MemoryStore, KeyNamespace, SharedStore, StoreScope};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_scalekit::shared_store::StoreError> {
//! let store = MemoryStore::new(Clock::system());
//! let event = StoreScope::new(["my endpoint"]).key(KeyNamespace::WebhookEvent, "msg_1");
//! let minute = Duration::from_secs(60);
//! assert!(store.put_if_absent(&event, Bytes::from("running"), minute).await?);
//! assert!(!store.put_if_absent(&event, Bytes::from("running"), minute).await?);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "sandbox")]
#[cfg_attr(docsrs, doc(cfg(feature = "sandbox")))]
pub mod conformance;
mod memory;
mod outages;
#[cfg(feature = "redis")]
mod redis_store;
mod timed;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::future::BoxFuture;

pub use self::memory::MemoryStore;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis_store::{RedisStore, RedisStoreBuilder, RedisStoreError};
pub(crate) use self::timed::{Change, TimedStore, unique_owner};

use crate::util::hash::{base64_prefix, hash_parts};

/// State shared by all replicas.
///
/// Five operations on keys implement locks, leases and state machines; two on logs publish entries
/// to every replica. [`conformance`] checks an implementation
/// against the rules below, with the feature `sandbox`.
///
/// # Rules for implementations
///
/// - **Atomicity.** Each operation takes effect at once and as a whole, also against those of other
///   processes, and later reads by any process see it. A read from a replica that lags behind is not
///   enough. Operations on different keys are independent: none has two keys, so a cluster can
///   distribute them.
/// - **Errors.** An operation that fails may or may not have taken effect, as when a connection is
///   lost before the response. The library does not assume either. An implementation does not repeat
///   a comparison by itself: the second one would fail for the value that the first one wrote.
/// - **Time limit.** The library waits two seconds for an operation, then drops its future. A store
///   with a connection needs a shorter limit of its own, and replaces a connection that does not
///   respond.
/// - **Cancellation.** A future can be dropped at any time, before and after its operation takes
///   effect. Later operations must be unaffected, such as by a response that is read late.
/// - **Lifetimes.** They are measured by the engine's clock, from the time of the write, with a
///   precision of a second or less. Clocks of replicas differ, so no time of a replica is stored. An
///   expired value counts as absent in every operation. A write replaces the lifetime with the value;
///   a comparison that fails changes neither. A lifetime of zero ends at once; the longest is 800
///   days.
/// - **One history.** Keys of the namespace [`Revocation`](KeyNamespace::Revocation) with the same
///   scope are on the same shard of an engine that has several, so that a loss of its last writes
///   affects all of them from one time on.
/// - **No eviction.** An unexpired value is never evicted: the new one is rejected with
///   [`StoreError::Full`], because a lost lock, tombstone or message ID has wrong results. The only
///   exception are [webhook messages](KeyNamespace::WebhookEvent) whose value begins with `done ` and
///   was written more than 30 minutes ago.
/// - **Keys and values.** Values are any bytes, compared byte by byte, of up to 64 KiB; most have less
///   than 2 KB. IDs are text of up to 1 KB without NUL, compared byte by byte. They identify users,
///   sessions and messages, and some values name them: an engine that others can read should store a
///   keyed hash of the key, and sealed values.
/// - **Logs.** See [`read_since`](Self::read_since).
///
/// # Outages
///
/// The log lines `shared_store_unavailable` and `shared_store_available` report the first failure of
/// an operation, and the end of the outage: a success after a second without failures, of a write if
/// one has failed. The counter `tower_scalekit_shared_store_errors_total` counts all failures. What
/// fails because of it is counted (`tower_scalekit_internal_errors_total`), and logged at `DEBUG` only.
///
/// # Round trips
///
/// There is no operation on several keys, because no request reads several that are independent. A
/// request with a session in a cookie, or with a stored one that was read in the last five minutes,
/// has no operation. Otherwise each operation depends on the one before, as in a refresh. All
/// requests share a read of the revocation log each second. An engine that sends
/// concurrent operations in one packet over one connection saves what can be saved.
pub trait SharedStore: Send + Sync + 'static {
    /// Returns the value of `key`.
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>>;

    /// Sets `key`, replacing any value and its lifetime.
    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()>;

    /// Sets `key` if it has no value; returns whether it did.
    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool>;

    /// Sets `key` if its value is `expected`; returns whether it did.
    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool>;

    /// Removes `key` if its value is `expected`; returns whether it did.
    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool>;

    /// Appends an entry to a log, where it can be read for at least `ttl`, whatever the lifetimes of
    /// other entries.
    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()>;

    /// Returns the entries of a log after `cursor`, oldest first, and the cursor for the next call.
    ///
    /// A call may return fewer entries than there are, and should return no more than about 1000. At
    /// the end it returns none, and the cursor that was passed. A page that has none, because they
    /// cannot be read, and another cursor is not the end; it says how many were skipped
    /// ([`LogPage::unreadable`]).
    ///
    /// The library reads up to 1000 pages, for up to five seconds, then again after a second. Until it
    /// has reached the end, it rejects sessions with 503.
    ///
    /// Whoever reads from the start and continues with each cursor gets each entry once. In
    /// particular, no entry appears before the position of one that was returned: an SQL sequence,
    /// which assigns numbers before they are committed, requires a lock. The cursor of the newest entry
    /// stays valid when all entries expire; that of an older one can be lost with its entry, after its
    /// lifetime.
    ///
    /// A cursor whose entry the engine has lost is the start of the log, and the page says so
    /// ([`LogPage::cursor_lost`]): the library then publishes again what the log lacks. The engine
    /// loses entries with all of its state, or with its last writes, as in a failover to a replica
    /// that lags or a restore from a backup. It then assigns the same numbers to other entries, so a
    /// cursor needs more than a number, such as a random mark of the entry. The newest entry stays in
    /// the engine when it expires, because cursors refer to it. Entries that are returned again have no
    /// effect.
    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage>;
}

/// One store for several parts of an app.
impl<S: SharedStore + ?Sized> SharedStore for Arc<S> {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        (**self).get(key)
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        (**self).put(key, value, ttl)
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        (**self).put_if_absent(key, value, ttl)
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        (**self).replace_if(key, expected, value, ttl)
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        (**self).remove_if(key, expected)
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        (**self).append(log, entry, ttl)
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        (**self).read_since(log, cursor)
    }
}

/// Result of all store operations.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// How the value of a [webhook message](KeyNamespace::WebhookEvent) begins that was handled.
pub(crate) const COMPLETED: &str = "done ";

/// Longer IDs are hashed. With the scope, an ID has less than 1 KB.
const MAX_ID_BYTES: usize = 900;

/// Owner of keys in a shared store. Several apps, environments and endpoints can use one store:
/// keys of different scopes are always different.
///
/// Every [`StoreKey`] is created by a scope. Those of [`Sessions`](crate::Sessions) are scoped by
/// environment, client ID and [name](crate::session::SessionsBuilder::name), those of
/// [`WebhookVerify`](crate::WebhookVerify) by the endpoint's secret and
/// [name](crate::WebhookVerify::endpoint_name).
#[derive(Clone)]
pub struct StoreScope(Arc<str>);

impl StoreScope {
    /// Creates the scope of an owner, who is identified by all of the parts together.
    #[must_use]
    pub fn new<P: AsRef<[u8]>>(owner: impl IntoIterator<Item = P>) -> Self {
        Self(base64_prefix::<16>(&hash_parts(owner)).into())
    }

    /// Creates the key of a value. Keys of different namespaces are different, even with the same
    /// `id`. An `id` that not every engine can store, with a NUL or more than 900 bytes, is replaced by
    /// its hash (SHA-256).
    #[must_use]
    pub fn key(&self, namespace: KeyNamespace, id: &str) -> StoreKey {
        let id = if id.contains('\0') || id.len() > MAX_ID_BYTES {
            self.qualify(&format!("sha256:{}", URL_SAFE_NO_PAD.encode(hash_parts([id]))))
        } else {
            self.qualify(id)
        };
        StoreKey { namespace, id: id.into() }
    }

    /// Returns the name, prefixed with this scope.
    pub(crate) fn qualify(&self, name: &str) -> String {
        [&self.0, ".", name].concat()
    }
}

impl fmt::Debug for StoreScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreScope").field(&self.0).finish()
    }
}

/// Name of a value or a log: its namespace and ID. Created by [`StoreScope::key`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StoreKey {
    namespace: KeyNamespace,
    id: Box<str>,
}

impl StoreKey {
    /// The namespace of the value.
    #[must_use]
    pub fn namespace(&self) -> KeyNamespace {
        self.namespace
    }

    /// The ID of the value within its namespace, including the scope. May identify a user or a
    /// session: do not log it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreKey").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// The namespace of a value in the store. Stores bound the memory of each namespace separately, so that
/// a flood of one does not starve another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyNamespace {
    /// Pending and completed verifications of connected accounts; for seconds, their results.
    ConnectCallback,
    /// Names under which the users of directories were known, to end their sessions.
    DirectoryUser,
    /// Used proofs of [DPoP](crate::dpop).
    DpopProof,
    /// Minimum number of refreshes of a session.
    Generation,
    /// Used tokens of IdP-initiated logins.
    IdpInitiatedLogin,
    /// Used login attempts; for seconds, the results of logins.
    LoginAttempt,
    /// Used logout tokens.
    LogoutToken,
    /// Verified logins that wait for the user's confirmation.
    PendingLogin,
    /// Published results of token refreshes: one for each session that was refreshed, retained
    /// until the session ends if no browser confirms it.
    Refresh,
    /// Leases of token refreshes, for seconds.
    RefreshLease,
    /// The log that publishes revocations to replicas, and the counter that orders them.
    Revocation,
    /// Number of e-mails sent for logins by e-mail.
    SentEmail,
    /// Sessions stored on the server.
    Session,
    /// Names of sessions that have been created, to find out whether a revocation matches any.
    SessionMarker,
    /// Webhook messages in progress and completed.
    WebhookEvent,
    /// Number of wrong codes entered for logins by e-mail.
    WrongCode,
}

/// A position in a log. Opaque: only the store that created it interprets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogCursor(String);

impl LogCursor {
    /// The position before the first entry.
    #[must_use]
    pub fn start() -> Self {
        Self::default()
    }

    /// Creates a cursor from a store's own text.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The store's own text; empty at the start.
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

/// Entries of a log, and the cursor for the next call.
#[derive(Clone)]
#[non_exhaustive]
pub struct LogPage {
    /// Oldest first.
    pub entries: Vec<Bytes>,
    /// The cursor for the next [`SharedStore::read_since`].
    pub next: LogCursor,
    /// Whether the engine has lost the entry of the cursor that was passed, so that these entries are
    /// those from the start.
    pub cursor_lost: bool,
    /// How many entries the store could not read, such as those that were sealed with a secret that
    /// it does not have. They are not in `entries`.
    pub unreadable: usize,
}

// Manual impl: the entries may be confidential.
impl fmt::Debug for LogPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogPage")
            .field("entries", &self.entries.len())
            .field("next", &self.next)
            .field("cursor_lost", &self.cursor_lost)
            .field("unreadable", &self.unreadable)
            .finish()
    }
}

impl LogPage {
    /// Creates a page.
    #[must_use]
    pub fn new(entries: Vec<Bytes>, next: LogCursor) -> Self {
        Self { entries, next, cursor_lost: false, unreadable: 0 }
    }

    /// Creates the first page of a log that has lost the entry of the cursor.
    #[must_use]
    pub fn after_loss(entries: Vec<Bytes>, next: LogCursor) -> Self {
        Self { cursor_lost: true, ..Self::new(entries, next) }
    }
}

/// Returned when a store operation fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The capacity of this namespace is exhausted until values expire.
    #[error(
        "the capacity for {namespace:?} values is exhausted{}",
        max_bytes.map_or_else(String::new, |most| format!(
            ": all {most} bytes for that namespace are in use \
             (MemoryStore::with_max_bytes sets the bound)"
        ))
    )]
    Full {
        /// The namespace of the value.
        namespace: KeyNamespace,
        /// The bound of a [`MemoryStore`], in bytes.
        max_bytes: Option<usize>,
    },
    /// The store's server is unreachable or responded with an error.
    #[error("the shared store is unavailable: {0}")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
}

impl StoreError {
    /// The error for a value that this app has sealed, but in a format that it does not know: that of a
    /// newer version, during a deployment. It must neither count as absent nor be replaced.
    pub(crate) fn unknown_format() -> Self {
        Self::Unavailable("a value has the format of another version of tower-scalekit".into())
    }

    /// A stable code for traces.
    fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::Unavailable(_) => "unavailable",
        }
    }
}
