//! The servers that the store connects to.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::SingleNodeRoutingInfo;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, Value, cmd,
};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use super::error::RedisStoreError;
use super::failure::is_rejected;

/// Waits between the attempts at a command that the nodes of a cluster reject.
const CLUSTER_RETRIES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
];

/// How the servers of each topology are reached.
pub(super) enum Servers {
    Single(Box<Client>),
    Sentinel(Box<Sentinel>),
    Cluster(Box<ClusterClient>),
}

impl Servers {
    /// Opens a connection. A server that is not a primary, or whose settings are not checked to be
    /// suitable, is an error.
    pub(super) async fn connect(&self, check: bool) -> Result<Connection, RedisStoreError> {
        let mut connection = match self {
            Self::Single(client) => Connection::Node(connection(client).await?),
            Self::Sentinel(sentinel) => return sentinel.connect(check).await,
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        };
        if check {
            connection.check_settings().await?;
        }
        Ok(connection)
    }
}

async fn connection(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    // The link has timeouts of its own.
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

#[derive(Clone)]
pub(super) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn query(&mut self, cmd: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Node(node) => cmd.query_async(node).await,
            Self::Cluster(cluster) => query_cluster(cluster, cmd).await,
        }
    }

    async fn check_settings(&mut self) -> Result<(), RedisStoreError> {
        check_settings(&self.query(&cmd("INFO")).await?, matches!(self, Self::Node(_)))
    }
}

/// Repeats a command only if a node has rejected it. Where the connection broke instead, the command
/// may have run, and a comparison would fail for the value that it wrote itself.
async fn query_cluster(cluster: &mut ClusterConnection, cmd: &Cmd) -> Result<Value, RedisError> {
    let mut waits = CLUSTER_RETRIES.into_iter();
    loop {
        let mut sent = cmd.query_async(cluster).await;
        if let Err(error) = &sent
            && error.kind() == ErrorKind::Server(ServerErrorKind::Ask)
            && let Some((host, port)) = error.redirect_node().and_then(|(to, _)| host_and_port(to))
        {
            sent = ask(cluster, cmd, host, port).await;
        }
        match (sent, waits.next()) {
            (Err(error), Some(wait)) if is_rejected(&error) => sleep(wait).await,
            (sent, _) => return sent,
        }
    }
}

/// Sends a command to the node that a slot is moving to.
async fn ask(
    cluster: &mut ClusterConnection,
    cmd: &Cmd,
    host: String,
    port: u16,
) -> Result<Value, RedisError> {
    let mut pipeline = ::redis::pipe();
    pipeline.cmd("ASKING").ignore().add_command(cmd.clone());
    let mut responses = cluster
        .route_pipeline(pipeline, 0, 2, SingleNodeRoutingInfo::ByAddress { host, port })
        .await?;
    responses.pop().unwrap_or(Value::Nil).extract_error()
}

fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

/// A server that Sentinel monitors.
pub(super) struct Sentinel {
    pub(super) name: String,
    pub(super) sentinels: Vec<Client>,
    /// User and password of the server.
    pub(super) server: RedisConnectionInfo,
    /// Whether the server has TLS.
    pub(super) is_tls: bool,
    pub(super) certificates: Option<TlsCertificates>,
    /// The time limit of one sentinel, and of the server that it names.
    pub(super) timeout: Duration,
}

impl Sentinel {
    /// Asks all sentinels at once: one that does not respond delays nothing, and the server that an
    /// outdated one names is not a primary.
    async fn connect(&self, check: bool) -> Result<Connection, RedisStoreError> {
        let mut attempts: FuturesUnordered<_> = self
            .sentinels
            .iter()
            .map(|sentinel| timeout(self.timeout, self.connect_by(sentinel, check)))
            .collect();
        let mut error = None;
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(failed)) => error = Some(failed),
                // It did not respond in time.
                Err(_) => {}
            }
        }
        Err(error.unwrap_or_else(|| {
            RedisStoreError::unreachable(format!("no sentinel led to it in {:?}", self.timeout))
        }))
    }

    /// Connects to the server that a sentinel names.
    async fn connect_by(
        &self,
        sentinel: &Client,
        check: bool,
    ) -> Result<Connection, RedisStoreError> {
        let address: Option<(String, u16)> = cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.name)
            .query_async(&mut connection(sentinel).await?)
            .await?;
        let Some((host, port)) = address else {
            return Err(RedisStoreError::unreachable(format!(
                "the sentinel monitors no server {:?}",
                self.name
            )));
        };
        let mut connection = Connection::Node(connection(&self.client(host, port)?).await?);
        if check {
            connection.check_settings().await?;
        }
        Ok(connection)
    }

    fn client(&self, host: String, port: u16) -> Result<Client, RedisError> {
        let address = match self.is_tls {
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        };
        let info = address.into_connection_info()?.set_redis_settings(self.server.clone());
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
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
    if let Some(version) = setting(info, "redis_version") {
        let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (6, 2) {
            return Err(RedisStoreError::UnsupportedVersion { version: version.to_owned() });
        }
    }
    if is_single && setting(info, "role") == Some("slave") {
        return Err(RedisStoreError::unreachable("the server is a replica, which rejects writes"));
    }
    match setting(info, "maxmemory_policy") {
        Some("noeviction") | None => Ok(()),
        Some(policy) => Err(RedisStoreError::EvictionPolicy { policy: policy.to_owned() }),
    }
}

fn setting<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}
