//! Servers on ports: for a cluster, and with Sentinel.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use tempfile::TempDir;

use super::server::{eventually, is_installed, spawn};

/// Servers that listen on ports, in one folder.
pub(crate) struct Servers {
    folder: TempDir,
    programs: Vec<Server>,
}

struct Server {
    folder: PathBuf,
    arguments: Vec<String>,
    process: Child,
}

impl Servers {
    pub(crate) fn new() -> Option<Self> {
        is_installed().then(|| Self { folder: tempfile::tempdir().unwrap(), programs: Vec::new() })
    }

    /// Starts a server, and returns its number.
    pub(crate) fn start(&mut self, port: u16, arguments: &[&str]) -> usize {
        let port = port.to_string();
        let all = [&["--port", &port, "--bind", "127.0.0.1", "--save", ""], arguments].concat();
        let all: Vec<_> = all.into_iter().map(str::to_owned).collect();
        self.add(&port, "", all)
    }

    /// Starts a sentinel, and returns its number.
    pub(crate) fn start_sentinel(&mut self, name: &str, settings: &str) -> usize {
        let arguments = ["sentinel.conf", "--sentinel"].map(str::to_owned);
        self.add(name, settings, arguments.to_vec())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn add(&mut self, name: &str, settings: &str, arguments: Vec<String>) -> usize {
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("sentinel.conf"), settings).unwrap();
        let process = spawn(folder.clone(), &arguments);
        self.programs.push(Server { folder, arguments, process });
        self.programs.len() - 1
    }

    pub(crate) fn kill(&mut self, number: usize) {
        let process = &mut self.programs[number].process;
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts a server that was killed, with what it has written to its files.
    pub(crate) fn start_again(&mut self, number: usize) {
        let server = &mut self.programs[number];
        server.process = spawn(server.folder.clone(), &server.arguments);
    }

    /// Stops a process without closing its connections, or continues it.
    pub(crate) fn signal(&self, number: usize, signal: &str) {
        let id = self.programs[number].process.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.programs {
            let _ = server.process.kill();
            let _ = server.process.wait();
        }
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

pub(crate) async fn command<T: redis::FromRedisValue>(
    port: u16,
    command: &[&str],
) -> redis::RedisResult<T> {
    let client = redis::Client::open(url(port))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await
}

pub(crate) async fn ready(port: u16) {
    eventually("the server responds", async || command::<String>(port, &["PING"]).await.is_ok())
        .await;
}

/// A primary, its replica, and three sentinels.
pub(crate) struct Sentinel {
    /// The sentinels have the numbers from 2.
    pub(crate) servers: Servers,
    /// Of the servers 0 and 1.
    pub(crate) ports: [u16; 2],
    pub(crate) sentinels: [u16; 3],
}

impl Sentinel {
    /// Starts all with these arguments of the servers. Prints a line and returns `None` if
    /// redis-server is not installed; in CI that is a failure.
    pub(crate) async fn start(arguments: &[&str]) -> Option<Self> {
        let mut servers = Servers::new()?;
        let ports @ [primary, replica] = [(); 2].map(|()| free_port());
        servers.start(primary, arguments);
        ready(primary).await;
        let primary = primary.to_string();
        servers.start(replica, &[arguments, &["--replicaof", "127.0.0.1", &primary]].concat());
        let sentinels = [(); 3].map(|()| free_port());
        for port in sentinels {
            let settings = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor app 127.0.0.1 {primary} 2\n\
                 sentinel down-after-milliseconds app 500\nsentinel failover-timeout app 2000\n"
            );
            servers.start_sentinel(&port.to_string(), &settings);
        }
        let this = Self { servers, ports, sentinels };
        this.in_sync().await;
        Some(this)
    }

    pub(crate) fn urls(&self) -> [String; 3] {
        self.sentinels.map(url)
    }

    /// The number of the primary.
    pub(crate) async fn primary(&self) -> usize {
        let get = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "app"];
        let mut address = Vec::<String>::new();
        // On a busy machine, a sentinel responds late during a failover.
        eventually("a sentinel names the primary", async || {
            address = command(self.sentinels[0], &get).await.unwrap_or_default();
            address.len() == 2
        })
        .await;
        usize::from(address[1] == self.ports[1].to_string())
    }

    /// Waits until a failover is possible.
    pub(crate) async fn in_sync(&self) {
        for port in self.sentinels {
            eventually("the sentinels know each other and the replica", async || {
                let about: redis::RedisResult<Vec<String>> =
                    command(port, &["SENTINEL", "MASTER", "app"]).await;
                let about = about.unwrap_or_default();
                let is = |name: &str, value: &str| {
                    about.chunks(2).any(|pair| pair[0] == name && pair[1] == value)
                };
                is("flags", "master") && is("num-slaves", "1") && is("num-other-sentinels", "2")
            })
            .await;
        }
        eventually("the replica is in sync", async || {
            let replica = self.ports[1 - self.primary().await];
            let info = command::<String>(replica, &["INFO", "replication"]).await;
            info.is_ok_and(|info| info.contains("master_link_status:up"))
        })
        .await;
    }
}
