//! The connection to Redis, which all operations share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, RedisError,
    ServerErrorKind, TlsCertificates, Value, cmd, from_redis_value,
};
use arc_swap::ArcSwapOption;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::timeout;

use super::super::{KeyNamespace, StoreError};
use super::error::RedisStoreError;
use crate::util::single_flight::{Flight, SingleFlight};
use crate::util::telemetry;

/// After a failed attempt, others fail at once for this time.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// Attempts to connect that may be in progress at once.
const PARALLEL_ATTEMPTS: u32 = 6;
/// A connection to a cluster is not replaced earlier than this.
const CLUSTER_RETRY_AFTER: Duration = Duration::from_secs(5);

/// A connection that is replaced when it breaks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    servers: Servers,
    response_timeout: Duration,
    connect_timeout: Duration,
    /// Readers never wait for each other, nor for a new connection while there is one.
    current: ArcSwapOption<Open>,
    attempts: SingleFlight<(), Attempt>,
    failed: Mutex<Option<(Instant, Arc<RedisStoreError>)>>,
    is_down: AtomicBool,
}

/// The result of an attempt to connect.
type Attempt = Result<Arc<Open>, Arc<RedisStoreError>>;

/// Where the server is.
pub(super) enum Servers {
    Single(Box<Client>),
    Sentinel(Box<Sentinel>),
    Cluster(Box<ClusterClient>),
}

pub(super) struct Sentinel {
    pub(super) name: String,
    pub(super) sentinels: Vec<ConnectionInfo>,
    pub(super) server: SentinelNodeConnectionInfo,
    pub(super) certificates: Option<TlsCertificates>,
    /// The sentinel to ask first: another one in each attempt, as one may not respond.
    pub(super) next: AtomicUsize,
}

struct Open {
    connection: Connection,
    since: Instant,
}

#[derive(Clone)]
enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    async fn query(&mut self, cmd: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Node(node) => cmd.query_async(node).await,
            Self::Cluster(cluster) => cmd.query_async(cluster).await,
        }
    }
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
            is_down: AtomicBool::new(false),
        };
        shared.current.store(Some(Arc::new(shared.open(true).await?)));
        Ok(Self(Arc::new(shared)))
    }

    pub(super) async fn query<T: FromRedisValue>(
        &self,
        namespace: KeyNamespace,
        cmd: &Cmd,
    ) -> Result<T, StoreError> {
        let value = self.send(cmd).await.map_err(|failure| failure.into_error(namespace))?;
        from_redis_value(value).map_err(|error| StoreError::Unavailable(error.into()))
    }

    /// Returns `None` if Redis does not know the script.
    pub(super) async fn query_script<T: FromRedisValue>(
        &self,
        namespace: KeyNamespace,
        cmd: &Cmd,
    ) -> Result<Option<T>, StoreError> {
        match self.send(cmd).await {
            Ok(value) => from_redis_value(value)
                .map(Some)
                .map_err(|error| StoreError::Unavailable(error.into())),
            Err(failure) if failure.is_unknown_script() => Ok(None),
            Err(failure) => Err(failure.into_error(namespace)),
        }
    }

    async fn send(&self, cmd: &Cmd) -> Result<Value, Failure> {
        let sent = self.try_send(cmd).await;
        match &sent {
            Ok(_) => {
                if self.0.is_down.load(Ordering::Acquire)
                    && self.0.is_down.swap(false, Ordering::AcqRel)
                {
                    telemetry::shared_store_available();
                }
            }
            Err(failure) if failure.is_unknown_script() => {}
            Err(failure) => {
                let is_first = !self.0.is_down.swap(true, Ordering::AcqRel);
                telemetry::shared_store_failed(is_first, failure);
            }
        }
        sent
    }

    async fn try_send(&self, cmd: &Cmd) -> Result<Value, Failure> {
        let open = match self.0.current.load_full() {
            Some(open) => open,
            None => {
                self.reconnect(None)?.await.unwrap_or_else(canceled).map_err(Failure::Connect)?
            }
        };
        let mut connection = open.connection.clone();
        let response = timeout(self.0.response_timeout, connection.query(cmd)).await;
        let failure = match response {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Failure::Redis(error),
            Err(_) => Failure::NoResponse(self.0.response_timeout),
        };
        if failure.breaks_connection() {
            match connection {
                // Unless another operation has replaced it.
                Connection::Node(_) => drop(self.0.current.compare_and_swap(&open, None)),
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
        let failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, error)) = failed
            && at.elapsed() < RETRY_AFTER
        {
            return Err(Failure::Connect(error));
        }
        let shared = Arc::clone(&self.0);
        Ok(self.0.attempts.join((), || async move {
            // An attempt may have succeeded before this one began.
            let is_broken =
                |open: &Arc<Open>| broken.as_ref().is_some_and(|broken| Arc::ptr_eq(broken, open));
            if let Some(open) = shared.current.load_full().filter(|open| !is_broken(open)) {
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
        let is_connected = self.0.current.load().is_some();
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
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = match &self.servers {
            Servers::Single(client) => Connection::Node(
                client.get_multiplexed_async_connection_with_config(&config).await?,
            ),
            Servers::Sentinel(sentinel) => Connection::Node(
                sentinel
                    .server()
                    .await?
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?,
            ),
            Servers::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        };
        if check {
            let info = connection.query(&cmd("INFO")).await?;
            check_settings(&info, matches!(connection, Connection::Node(_)))?;
        }
        Ok(Open { connection, since: Instant::now() })
    }
}

fn canceled<T>() -> Result<T, Arc<RedisStoreError>> {
    Err(Arc::new(RedisStoreError::unreachable("the attempt to connect was canceled")))
}

impl Sentinel {
    /// Asks for the current server.
    async fn server(&self) -> Result<Client, RedisError> {
        let mut sentinels = self.sentinels.clone();
        let first = self.next.fetch_add(1, Ordering::Relaxed) % sentinels.len().max(1);
        sentinels.rotate_left(first);
        let server = Some(self.server.clone());
        let client =
            SentinelClient::build(sentinels, &self.name, server, SentinelServerType::Master)?
                .async_get_client()
                .await?;
        match &self.certificates {
            Some(certificates) => {
                let info = client.get_connection_info().clone();
                Client::build_with_tls(info, certificates.clone())
            }
            None => Ok(client),
        }
    }
}

/// Checks the response to `INFO`: of one server as text, of a cluster by node.
fn check_settings(info: &Value, is_single: bool) -> Result<(), RedisStoreError> {
    match info {
        Value::Map(nodes) => nodes.iter().try_for_each(|(_, info)| check_settings(info, is_single)),
        Value::Array(parts) => parts.iter().try_for_each(|info| check_settings(info, is_single)),
        Value::BulkString(text) => check_info(&String::from_utf8_lossy(text), is_single),
        Value::VerbatimString { text, .. } => check_info(text, is_single),
        // The address of a node.
        _ => Ok(()),
    }
}

fn check_info(info: &str, is_single: bool) -> Result<(), RedisStoreError> {
    let setting = |name: &str| {
        info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    };
    if let Some(version) = setting("redis_version") {
        let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (6, 2) {
            return Err(RedisStoreError::UnsupportedVersion { version: version.to_owned() });
        }
    }
    if is_single && setting("role") == Some("slave") {
        return Err(RedisStoreError::unreachable("the server is a replica, which rejects writes"));
    }
    match setting("maxmemory_policy") {
        Some("noeviction") | None => Ok(()),
        Some(policy) => Err(RedisStoreError::EvictionPolicy { policy: policy.to_owned() }),
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Connect(Arc<RedisStoreError>),
    #[error("Redis did not respond in {0:?}")]
    NoResponse(Duration),
    #[error(transparent)]
    Redis(RedisError),
}

impl Failure {
    fn is_unknown_script(&self) -> bool {
        self.is(ServerErrorKind::NoScript)
    }

    fn is(&self, kind: ServerErrorKind) -> bool {
        matches!(self, Self::Redis(error) if error.kind() == ErrorKind::Server(kind))
    }

    /// Whether the connection may be of no use any more. A former primary rejects writes.
    fn breaks_connection(&self) -> bool {
        match self {
            Self::Connect(_) => false,
            Self::NoResponse(_) => true,
            Self::Redis(error) => {
                error.is_io_error()
                    || error.is_unrecoverable_error()
                    || self.is(ServerErrorKind::ReadOnly)
                    || self.is(ServerErrorKind::MasterDown)
            }
        }
    }

    fn into_error(self, namespace: KeyNamespace) -> StoreError {
        match &self {
            Self::Redis(error) if error.code() == Some("OOM") => {
                StoreError::Full { namespace, max_bytes: None }
            }
            _ => StoreError::Unavailable(self.into()),
        }
    }
}
