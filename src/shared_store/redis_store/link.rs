//! The connection to Redis, which all operations share.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, Value, from_redis_value};
use arc_swap::ArcSwapOption;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::{KeyNamespace, StoreError};
use super::error::RedisStoreError;
use super::failure::Failure;
use super::servers::{Connection, Servers};
use crate::util::single_flight::{Flight, SingleFlight};

/// After a failed attempt, others fail at once for this time.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// Attempts to connect that may be in progress at once.
const PARALLEL_ATTEMPTS: u32 = 6;
/// A connection to a cluster is not replaced earlier than this.
const CLUSTER_RETRY_AFTER: Duration = Duration::from_secs(5);

/// A connection that is replaced when it breaks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    servers: Servers,
    response_timeout: Duration,
    connect_timeout: Duration,
    /// Readers never wait for each other, nor for a new connection while there is one.
    current: ArcSwapOption<Open>,
    attempts: SingleFlight<(), Attempt>,
    failed: Mutex<Option<(Instant, Arc<RedisStoreError>)>>,
}

/// The result of an attempt to connect.
type Attempt = Result<Arc<Open>, Arc<RedisStoreError>>;

struct Open {
    connection: Connection,
    since: Instant,
}

impl Link {
    /// Connects for the first time.
    pub(super) async fn connect(
        servers: Servers,
        response_timeout: Duration,
        connect_timeout: Duration,
    ) -> Result<Self, RedisStoreError> {
        let shared = Shared {
            servers,
            response_timeout,
            connect_timeout,
            current: ArcSwapOption::empty(),
            attempts: SingleFlight::new(),
            failed: Mutex::default(),
        };
        shared.current.store(Some(Arc::new(shared.open(true).await?)));
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(super) async fn query<T: FromRedisValue>(
        &self,
        namespace: KeyNamespace,
        cmd: &Cmd,
    ) -> Result<T, StoreError> {
        parse(self.send(cmd).await.map_err(|failure| failure.into_error(namespace))?)
    }

    /// Returns `None` if Redis does not know the script.
    pub(super) async fn query_script<T: FromRedisValue>(
        &self,
        namespace: KeyNamespace,
        cmd: &Cmd,
    ) -> Result<Option<T>, StoreError> {
        match self.send(cmd).await {
            Ok(value) => parse(value).map(Some),
            Err(failure) if failure.is_unknown_script() => Ok(None),
            Err(failure) => Err(failure.into_error(namespace)),
        }
    }

    async fn send(&self, cmd: &Cmd) -> Result<Value, Failure> {
        let limit = self.shared.response_timeout;
        let deadline = Instant::now() + limit;
        let open = match self.shared.current.load_full() {
            Some(open) => open,
            // The attempt continues for later operations.
            None => timeout_at(deadline, self.reconnect(None)?)
                .await
                .map_err(|_| Failure::NoConnection(limit))?
                .unwrap_or_else(canceled)
                .map_err(Failure::Connect)?,
        };
        let mut connection = open.connection.clone();
        let failure = match timeout_at(deadline, connection.query(cmd)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Failure::Redis(error),
            Err(_) => Failure::NoResponse(limit),
        };
        if failure.requires_reconnect() {
            match connection {
                // Unless another operation has replaced it.
                Connection::Node(_) => drop(self.shared.current.compare_and_swap(&open, None)),
                // Other nodes may be available.
                Connection::Cluster(_) if open.since.elapsed() > CLUSTER_RETRY_AFTER => {
                    drop(self.reconnect(Some(open)));
                }
                Connection::Cluster(_) => {}
            }
        }
        Err(failure)
    }

    /// Joins the attempt to connect that is in progress, or starts one.
    fn reconnect(&self, broken: Option<Arc<Open>>) -> Result<Flight<Attempt>, Failure> {
        let failed = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, error)) = failed
            && at.elapsed() < RETRY_AFTER
        {
            return Err(Failure::Connect(error));
        }
        let shared = Arc::clone(&self.shared);
        Ok(self.shared.attempts.join((), || async move {
            // An attempt may have succeeded before this one began.
            if let Some(open) = shared.current.load_full()
                && broken.is_none_or(|broken| !Arc::ptr_eq(&broken, &open))
            {
                return Ok(open);
            }
            // A cluster can be used without the node that does not respond to the check.
            let is_first = shared.current.load().is_none();
            let opened = shared.open(is_first).await.map(Arc::new).map_err(Arc::new);
            let mut failed = shared.failed.lock().unwrap_or_else(PoisonError::into_inner);
            match &opened {
                Ok(open) => {
                    *failed = None;
                    shared.current.store(Some(Arc::clone(open)));
                }
                Err(error) => *failed = Some((Instant::now(), Arc::clone(error))),
            }
            drop(failed);
            opened
        }))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_connected = self.shared.current.load().is_some();
        f.debug_struct("Link").field("is_connected", &is_connected).finish_non_exhaustive()
    }
}

impl Shared {
    /// Opens a connection, and checks the settings of its servers. An attempt that began during an
    /// outage may hang after its end: until one succeeds or fails, others begin beside it.
    async fn open(&self, check: bool) -> Result<Open, RedisStoreError> {
        let interval = match &self.servers {
            // Its nodes have time limits of their own.
            Servers::Cluster(_) => self.connect_timeout,
            Servers::Single(_) | Servers::Sentinel(_) => self.connect_timeout / PARALLEL_ATTEMPTS,
        };
        let first_result = async {
            let mut attempts = FuturesUnordered::new();
            loop {
                attempts.push(self.try_open(check));
                if let Ok(Some(opened)) = timeout(interval, attempts.next()).await {
                    return opened;
                }
            }
        };
        timeout(self.connect_timeout, first_result).await.unwrap_or_else(|_| {
            Err(RedisStoreError::unreachable(format!("no response in {:?}", self.connect_timeout)))
        })
    }

    async fn try_open(&self, check: bool) -> Result<Open, RedisStoreError> {
        let connection = self.servers.connect(check).await?;
        Ok(Open { connection, since: Instant::now() })
    }
}

fn parse<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    from_redis_value(value).map_err(|error| StoreError::Unavailable(error.into()))
}

fn canceled<T>() -> Result<T, Arc<RedisStoreError>> {
    Err(Arc::new(RedisStoreError::unreachable("the attempt to connect was canceled")))
}
