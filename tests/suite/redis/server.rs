//! A Redis server for one test, and a network in front of it that can fail.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower_scalekit::SessionSecret;
use tower_scalekit::shared_store::{RedisStore, RedisStoreBuilder};

/// How long a server may take to start, or a state to be reached.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a folder and a socket of its own.
pub(crate) struct Redis {
    folder: TempDir,
    arguments: Vec<String>,
    process: Mutex<Child>,
}

impl Redis {
    /// Starts a server with `noeviction` and an append-only file. Prints a line and returns `None` if
    /// redis-server is not installed; in CI that is a failure.
    pub(crate) async fn start() -> Option<Self> {
        Self::with(&["--appendonly", "yes", "--appendfsync", "no"]).await
    }

    pub(crate) async fn with(arguments: &[&str]) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut all = ["--port", "0", "--save", "", "--unixsocket"].map(str::to_owned).to_vec();
        all.push(folder.path().join("socket").to_str().unwrap().to_owned());
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let process = Mutex::new(spawn(folder.path().into(), &all));
        let redis = Self { folder, arguments: all, process };
        redis.wait_until_ready().await;
        Some(redis)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub(crate) fn builder(&self) -> RedisStoreBuilder {
        builder(&self.url())
    }

    pub(crate) async fn store(&self) -> RedisStore {
        self.builder().connect().await.unwrap()
    }

    /// Kills the server, as a crash does.
    pub(crate) fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts the server again, with what it has written to its files.
    pub(crate) async fn start_again(&self) {
        let _ = fs::remove_file(self.socket());
        *self.process.lock().unwrap() = spawn(self.folder.path().into(), &self.arguments);
        self.wait_until_ready().await;
    }

    /// Runs a command on a connection of its own.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_command(command).await.unwrap()
    }

    /// All keys with their values.
    pub(crate) async fn snapshot(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for name in self.command::<Vec<String>>(&["KEYS", "*"]).await {
            let value = self.command(&["DUMP", &name]).await;
            all.push((name, value));
        }
        all
    }

    /// Replaces everything by a former state.
    pub(crate) async fn restore(&self, snapshot: &[(String, Vec<u8>)]) {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut restore = redis::pipe();
        restore.atomic().cmd("FLUSHALL").ignore();
        for (name, value) in snapshot {
            restore.cmd("RESTORE").arg(name).arg(0).arg(value).ignore();
        }
        restore.query_async::<()>(&mut connection).await.unwrap();
    }

    async fn try_command<T: redis::FromRedisValue>(
        &self,
        command: &[&str],
    ) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await
    }

    async fn wait_until_ready(&self) {
        eventually("the server responds", async || {
            self.try_command::<String>(&["PING"]).await.is_ok()
        })
        .await;
    }

    /// The number of calls of each command by stores, as the server counts them.
    pub(crate) async fn calls(&self) -> Vec<(String, u64)> {
        let stats: String = self.command(&["INFO", "commandstats"]).await;
        let lines = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'));
        let calls = lines.filter_map(|(name, counts)| {
            let calls = counts.strip_prefix("calls=")?.split(',').next()?;
            Some((name.to_owned(), calls.parse().ok()?))
        });
        // Those of a new connection and of this method.
        calls
            .filter(|(name, _)| {
                !["info", "ping", "client|setinfo", "config|resetstat", "select", "command"]
                    .contains(&name.as_str())
            })
            .collect()
    }

    pub(crate) async fn reset_calls(&self) {
        self.command::<()>(&["CONFIG", "RESETSTAT"]).await;
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// With the first secret of the suite.
fn builder(url: &str) -> RedisStoreBuilder {
    RedisStore::builder(url, SessionSecret::new((1..33).collect::<Vec<u8>>()).unwrap())
}

/// Whether redis-server is installed. Reports a skipped test; in CI that is a failure.
pub(crate) fn is_installed() -> bool {
    let found = Command::new(program()).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        assert!(env::var("CI").as_deref() != Ok("true"), "redis-server is not installed");
        // Bypasses the harness, which hides the output of passing tests.
        let _ = writeln!(io::stdout(), "skipped: redis-server is not installed");
    }
    found
}

/// `REDIS_SERVER` is another version, or Valkey.
fn program() -> String {
    env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

pub(crate) fn spawn(folder: PathBuf, arguments: &[String]) -> Child {
    Command::new(program())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A network in front of a server.
pub(crate) struct Network {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum State {
    Connected,
    /// Connections are accepted, and no byte passes.
    Silent,
    /// Connections are closed.
    Closed,
    /// The next request on each connection reaches the server, and its response is lost with the
    /// connection. New connections work.
    LosesResponses,
}

impl Network {
    pub(crate) async fn before(redis: &Redis, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (state, states) = watch::channel(State::Connected);
        let (address, socket, tls) =
            (listener.local_addr().unwrap(), redis.socket(), tls.map(Arc::new));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (states, socket, tls) = (states.clone(), socket.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(client) = tls.accept(client).await {
                                pass(client, socket, states).await;
                            }
                        }
                        None => pass(client, socket, states).await,
                    }
                });
            }
        });
        Self { address, state }
    }

    pub(crate) fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    pub(crate) fn builder(&self) -> RedisStoreBuilder {
        builder(&format!("redis://{}", self.address))
    }
}

/// Connects both ends while the network is connected. A connection that was silent stays silent: its
/// packets are lost.
async fn pass(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    socket: PathBuf,
    mut states: watch::Receiver<State>,
) {
    let begun = *states.borrow();
    if matches!(begun, State::Connected | State::LosesResponses)
        && let Ok(mut server) = UnixStream::connect(socket).await
    {
        tokio::select! {
            // Nothing passes after a change.
            biased;
            _ = states.wait_for(|state| *state != begun) => {}
            _ = copy_bidirectional(&mut client, &mut server) => return,
        }
        if *states.borrow() == State::LosesResponses {
            let mut bytes = vec![0; 64 * 1024];
            if let Ok(length) = client.read(&mut bytes).await {
                let _ = server.write_all(&bytes[..length]).await;
                let _ = server.read(&mut bytes).await;
            }
            return;
        }
    }
    let _ = states.wait_for(|state| *state == State::Closed).await;
}
