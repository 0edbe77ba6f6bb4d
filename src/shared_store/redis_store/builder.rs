use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::cluster::ClusterClient;
use ::redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo,
    TlsCertificates,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio::sync::Semaphore;

use super::super::timed::TIMEOUT;
use super::error::RedisStoreError;
use super::link::Link;
use super::sealing::Sealer;
use super::servers::{Sentinel, Servers};
use super::{MAX_RESEALING, RedisStore, Scripts};
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::secret::SecretString;
use crate::session_secret::SessionSecret;
use crate::util::tasks::Tasks;

/// An operation that the library drops first replaces no connection.
const MAX_RESPONSE_TIMEOUT: Duration = TIMEOUT.saturating_sub(Duration::from_millis(200));

/// Builds a [`RedisStore`].
#[derive(Clone)]
#[must_use = "a store exists once `connect` returns"]
pub struct RedisStoreBuilder {
    topology: Topology,
    urls: Vec<SecretString>,
    secret: SessionSecret,
    previous_secrets: Vec<SessionSecret>,
    key_name_secret: Option<SessionSecret>,
    key_prefix: String,
    credentials: Option<(String, SecretString)>,
    root_certificates: Option<Vec<u8>>,
    response_timeout: Duration,
    connect_timeout: Duration,
}

#[derive(Clone)]
enum Topology {
    Single,
    Sentinel { name: String },
    Cluster,
}

impl RedisStoreBuilder {
    pub(super) fn single(url: &str, secret: SessionSecret) -> Self {
        Self::new(Topology::Single, [url], secret)
    }

    pub(super) fn sentinel<U: AsRef<str>>(
        name: &str,
        sentinels: impl IntoIterator<Item = U>,
        secret: SessionSecret,
    ) -> Self {
        Self::new(Topology::Sentinel { name: name.to_owned() }, sentinels, secret)
    }

    pub(super) fn cluster<U: AsRef<str>>(
        nodes: impl IntoIterator<Item = U>,
        secret: SessionSecret,
    ) -> Self {
        Self::new(Topology::Cluster, nodes, secret)
    }

    fn new<U: AsRef<str>>(
        topology: Topology,
        urls: impl IntoIterator<Item = U>,
        secret: SessionSecret,
    ) -> Self {
        Self {
            topology,
            urls: urls.into_iter().map(|url| url.as_ref().into()).collect(),
            secret,
            previous_secrets: Vec::new(),
            key_name_secret: None,
            key_prefix: "scalekit:".to_owned(),
            credentials: None,
            root_certificates: None,
            response_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(3),
        }
    }

    /// Adds a secret with which values may be sealed. Values are sealed again with the current secret
    /// after they are read. Default: none. Requires [`key_name_secret`](Self::key_name_secret), because
    /// key names must not change with the secret.
    ///
    /// To rotate the secret, deploy the new one as previous secret on all replicas, then swap the two.
    /// Remove the former one here when all sessions of that time have ended.
    pub fn previous_secret(mut self, secret: SessionSecret) -> Self {
        self.previous_secrets.push(secret);
        self
    }

    /// Sets the secret from which the names of keys are derived. Default: the current secret.
    ///
    /// It does not rotate: with another one, the store is empty, and replicas that use different ones
    /// share neither leases nor revocations. An app that has set none passes its first secret, and
    /// keeps it here after every rotation. Whoever has it and can read Redis can
    /// find out whether a key with a given ID exists.
    pub fn key_name_secret(mut self, secret: SessionSecret) -> Self {
        self.key_name_secret = Some(secret);
        self
    }

    /// Sets the prefix of all key names, such as for access control lists of Redis. Default:
    /// `scalekit:`.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// Sets user and password of the servers that Sentinel monitors. An empty user is the default one.
    /// Default: none. The URLs have those of the sentinels, or of single servers and clusters.
    pub fn server_credentials(
        mut self,
        user: impl Into<String>,
        password: impl Into<SecretString>,
    ) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// Sets the certificate authorities of `rediss://` servers and sentinels, as PEM. Default: those of
    /// the system.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }

    /// Sets how long an operation waits for a connection and its response. Default: one second. The
    /// maximum is 1.8 s, and a longer time counts as that: requests wait two seconds for a store, and
    /// a connection that does not respond must be replaced within them.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout.min(MAX_RESPONSE_TIMEOUT);
        self
    }

    /// Sets how long an attempt to connect may take, including Sentinel or the discovery of a cluster.
    /// Default: three seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connects, and checks the server's version and settings.
    ///
    /// `rediss://` uses the rustls provider that the process has installed. If there is none, it installs
    /// that of aws-lc-rs: an app that requires another one installs it before.
    ///
    /// # Errors
    /// Returned when a setting is invalid, the server is unreachable or too old, or it may drop values.
    pub async fn connect(self) -> Result<RedisStore, RedisStoreError> {
        if !self.previous_secrets.is_empty() && self.key_name_secret.is_none() {
            let problem = ConfigProblem::Missing { setting: "key_name_secret" };
            return Err(ConfigError::from(problem).into());
        }
        let names = self.key_name_secret.as_ref().unwrap_or(&self.secret);
        let sealer =
            Sealer::new(self.key_prefix.clone(), names, &self.secret, &self.previous_secrets)
                .ok_or_else(|| invalid("secret", "no key can be derived from it"))?;
        Ok(RedisStore {
            link: Link::connect(self.servers()?, self.response_timeout, self.connect_timeout)
                .await?,
            sealer: Arc::new(sealer),
            scripts: Arc::new(Scripts::new()),
            tasks: Tasks::default(),
            resealing: Arc::new(Semaphore::new(MAX_RESEALING)),
        })
    }

    fn servers(&self) -> Result<Servers, RedisStoreError> {
        let infos = self.parse_urls()?;
        let is_tls = infos.iter().any(is_tls);
        if is_tls && CryptoProvider::get_default().is_none() {
            // Another thread may have installed one at the same time.
            let _ = aws_lc_rs::default_provider().install_default();
        }
        let certificates = self.certificates().filter(|_| is_tls);
        Ok(match &self.topology {
            Topology::Single => {
                let info = infos.into_iter().next().ok_or_else(|| invalid("URL", "is not set"))?;
                Servers::Single(Box::new(Client::open(info)?))
            }
            Topology::Sentinel { name } => Servers::Sentinel(Box::new(Sentinel {
                name: name.clone(),
                sentinels: infos.into_iter().map(Client::open).collect::<Result<_, _>>()?,
                server: self.monitored_server(),
                is_tls,
                certificates,
                // The reason of the others is reported if one does not respond.
                timeout: self.connect_timeout * 2 / 3,
            })),
            Topology::Cluster => {
                let mut builder = ClusterClient::builder(infos)
                    // Of each node: the others must be reached in time.
                    .connection_timeout(self.connect_timeout / 3)
                    // The connection repeats commands itself, and only some.
                    .retries(0)
                    .response_timeout(self.response_timeout);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Servers::Cluster(Box::new(builder.build()?))
            }
        })
    }

    /// User and password of the servers that Sentinel monitors.
    fn monitored_server(&self) -> RedisConnectionInfo {
        let server = RedisConnectionInfo::default();
        match &self.credentials {
            None => server,
            Some((user, password)) if user.is_empty() => server.set_password(password.expose()),
            Some((user, password)) => server.set_username(user).set_password(password.expose()),
        }
    }

    fn parse_urls(&self) -> Result<Vec<ConnectionInfo>, ConfigError> {
        let mut problems = Problems::default();
        if self.urls.is_empty() {
            problems.push(ConfigProblem::Missing { setting: "Redis URL" });
        }
        let infos =
            self.urls.iter().filter_map(|url| problems.collect(self.parse(url.expose()))).collect();
        problems.finish(Some(infos))
    }

    fn parse(&self, url: &str) -> Result<ConnectionInfo, ConfigError> {
        let info = url
            .into_connection_info()
            .map_err(|error| ConfigProblem::invalid("Redis URL", error.to_string()))?;
        match self.certificates() {
            Some(certificates) if is_tls(&info) => Client::build_with_tls(info, certificates)
                .map(|client| client.get_connection_info().clone())
                .map_err(|error| {
                    ConfigProblem::invalid("root_certificates", error.to_string()).into()
                }),
            _ => Ok(info),
        }
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let root_cert = self.root_certificates.clone();
        root_cert.is_some().then_some(TlsCertificates { client_tls: None, root_cert })
    }
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("key_prefix", &self.key_prefix)
            .field("response_timeout", &self.response_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

fn invalid(setting: &'static str, reason: &str) -> ConfigError {
    ConfigProblem::invalid(setting, reason).into()
}
