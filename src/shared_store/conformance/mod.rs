//! Checks that any [`SharedStore`] must pass, for the tests of its implementation.
//!
//! ```
//! use tower_scalekit::clock::ManualClock;
//! use tower_scalekit::shared_store::{MemoryStore, conformance};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), conformance::ConformanceError> {
//! let time = ManualClock::running();
//! let store = MemoryStore::new(time.clock());
//! // A store whose server has its own clock waits: `async |by| tokio::time::sleep(by).await`.
//! conformance::check(&store, async |by| time.advance(by)).await?;
//! # Ok(())
//! # }
//! ```

mod logs;
#[cfg(test)]
mod tests;
mod values;

use std::fmt::{self, Debug};
use std::time::Duration;

use bytes::Bytes;

use super::timed::with_timeout;
use super::{
    KeyNamespace, LogCursor, LogPage, SharedStore, StoreError, StoreFuture, StoreKey, StoreScope,
};
use crate::secret::SecretString;

/// Returns an error with all rules of [`SharedStore`] that `store` violates.
///
/// `wait` lets the given time pass by the clock of the store's engine. The checks use keys of a
/// random [`StoreScope`], so they can run on a store that has other values, and at the same time as
/// others. They write about 1500 small values with lifetimes of up to an hour.
///
/// # Errors
/// Returned when the store violates a rule.
pub async fn check(
    store: &impl SharedStore,
    wait: impl AsyncFn(Duration),
) -> Result<(), ConformanceError> {
    let subject = Subject::new(store)?;
    ConformanceError::from_checks([
        ("values are stored byte for byte", values::bytes(&subject).await),
        ("different keys have different values", values::keys(&subject).await),
        ("put_if_absent", values::put_if_absent(&subject).await),
        ("replace_if", values::replace_if(&subject).await),
        ("remove_if", values::remove_if(&subject).await),
        ("operations are atomic", values::atomic(&subject).await),
        ("operations can be canceled", values::canceled(&subject).await),
        ("logs return each entry once, in order", logs::order(&subject).await),
        ("logs are separate", logs::separate(&subject).await),
        ("no concurrent entry is skipped", logs::concurrent(&subject).await),
        ("lifetimes", values::lifetimes(&subject, &wait).await),
        ("lifetimes of log entries", logs::lifetimes(&subject, &wait).await),
    ])
}

/// Returns an error if a reader misses entries of a log after the store has lost its state.
///
/// `lose` removes everything from the store, as a restart without persistence does.
///
/// # Errors
/// Returned when the store violates the rule.
pub async fn check_loss(
    store: &impl SharedStore,
    lose: impl AsyncFnOnce(),
) -> Result<(), ConformanceError> {
    ConformanceError::from_checks([(
        "a lost position is the start of the log",
        logs::loss(&Subject::new(store)?, lose).await,
    )])
}

/// Returns an error if a reader misses entries of a log after the store has lost its last writes.
///
/// `save` keeps the state of the store, and `restore` returns to it, as a restore from a backup or a
/// failover to a replica that lags does.
///
/// # Errors
/// Returned when the store violates the rule.
pub async fn check_restore(
    store: &impl SharedStore,
    save: impl AsyncFnOnce(),
    restore: impl AsyncFnOnce(),
) -> Result<(), ConformanceError> {
    ConformanceError::from_checks([(
        "a position whose entry was lost is the start of the log",
        logs::restore(&Subject::new(store)?, save, restore).await,
    )])
}

/// Returned when a store violates rules of [`SharedStore`].
#[derive(Clone, Debug)]
pub struct ConformanceError {
    violations: Vec<Violation>,
}

impl ConformanceError {
    /// The violated rules; never empty.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Returns an error with the rules whose check failed.
    fn from_checks(checks: impl IntoIterator<Item = (&'static str, Checked)>) -> Result<(), Self> {
        let violations: Vec<_> = checks
            .into_iter()
            .filter_map(|(rule, checked)| Some(Violation { rule, found: checked.err()? }))
            .collect();
        if violations.is_empty() { Ok(()) } else { Err(Self { violations }) }
    }
}

impl fmt::Display for ConformanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Violation { rule, found }) in self.violations.iter().enumerate() {
            write!(f, "{}{rule}: {found}", if index > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConformanceError {}

/// A rule that a store violates.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What the store did.
    pub found: String,
}

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Has expired after [`PASSED`].
const SHORT: Duration = Duration::from_secs(1);
const PASSED: Duration = Duration::from_millis(1500);

/// The description of what a store did wrong.
type Checked<T = ()> = Result<T, String>;

/// The store under test. Operations have the timeout that the library gives them.
struct Subject<'a> {
    store: &'a dyn SharedStore,
    scope: StoreScope,
}

impl<'a> Subject<'a> {
    fn new(store: &'a dyn SharedStore) -> Result<Self, ConformanceError> {
        match SecretString::random::<16>() {
            Ok(run) => Ok(Self { store, scope: StoreScope::new(["conformance", run.expose()]) }),
            Err(error) => Err(ConformanceError {
                violations: vec![Violation { rule: "random scope", found: error.to_string() }],
            }),
        }
    }

    fn key(&self, id: &str) -> StoreKey {
        self.scope.key(KeyNamespace::Refresh, id)
    }

    fn keys<const N: usize>(&self, ids: [&str; N]) -> [StoreKey; N] {
        ids.map(|id| self.key(id))
    }

    async fn get(&self, key: &StoreKey) -> Checked<Option<Bytes>> {
        done("get", self.store.get(key)).await
    }

    async fn put(&self, key: &StoreKey, value: &[u8], ttl: Duration) -> Checked {
        done("put", self.store.put(key, Bytes::copy_from_slice(value), ttl)).await
    }

    async fn put_if_absent(&self, key: &StoreKey, value: &[u8], ttl: Duration) -> Checked<bool> {
        done("put_if_absent", self.store.put_if_absent(key, Bytes::copy_from_slice(value), ttl))
            .await
    }

    async fn replace_if(
        &self,
        key: &StoreKey,
        expected: &[u8],
        value: &[u8],
        ttl: Duration,
    ) -> Checked<bool> {
        let [expected, value] = [expected, value].map(Bytes::copy_from_slice);
        done("replace_if", self.store.replace_if(key, expected, value, ttl)).await
    }

    async fn remove_if(&self, key: &StoreKey, expected: &[u8]) -> Checked<bool> {
        done("remove_if", self.store.remove_if(key, Bytes::copy_from_slice(expected))).await
    }

    async fn append(&self, log: &StoreKey, entry: &[u8], ttl: Duration) -> Checked {
        done("append", self.store.append(log, Bytes::copy_from_slice(entry), ttl)).await
    }

    async fn read_since(&self, log: &StoreKey, cursor: LogCursor) -> Checked<LogPage> {
        done("read_since", self.store.read_since(log, cursor)).await
    }

    /// Compares the value of `key`, which `what` describes.
    async fn expect(&self, key: &StoreKey, value: Option<&[u8]>, what: &str) -> Checked {
        expect(self.get(key).await?.as_deref(), value, what)
    }
}

async fn done<T>(operation: &str, future: StoreFuture<'_, T>) -> Checked<T> {
    with_timeout(future).await.map_err(|error: StoreError| format!("{operation} failed: {error}"))
}

fn expect<T: PartialEq + Debug>(found: T, expected: T, what: &str) -> Checked {
    if found == expected {
        return Ok(());
    }
    let [found, expected] =
        [found, expected].map(|it| format!("{it:?}").chars().take(200).collect::<String>());
    Err(format!("{what}: {found} instead of {expected}"))
}
