//! Sentinel with a failover, and a cluster.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tower_scalekit::shared_store::{RedisStore, SharedStore as _, conformance};

use super::server::{eventually, is_installed, spawn};
use super::{HOUR, key};
use crate::support::secret;

/// Servers that listen on ports, in one folder.
struct Servers {
    folder: TempDir,
    processes: Vec<Child>,
}

impl Servers {
    fn new() -> Option<Self> {
        is_installed().then(|| Self { folder: tempfile::tempdir().unwrap(), processes: Vec::new() })
    }

    fn start(&mut self, port: u16, arguments: &[&str]) -> usize {
        let folder = self.folder.path().join(port.to_string());
        fs::create_dir(&folder).unwrap();
        let port = port.to_string();
        let all = [&["--port", &port, "--bind", "127.0.0.1", "--save", ""], arguments].concat();
        let all: Vec<_> = all.into_iter().map(str::to_owned).collect();
        self.add(&folder, &all)
    }

    fn add(&mut self, folder: &Path, arguments: &[String]) -> usize {
        self.processes.push(spawn(folder.into(), arguments));
        self.processes.len() - 1
    }

    fn kill(&mut self, process: usize) {
        self.processes[process].kill().unwrap();
        self.processes[process].wait().unwrap();
    }

    /// Stops a process without closing its connections, or continues it.
    fn signal(&self, process: usize, signal: &str) {
        let id = self.processes[process].id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

async fn command<T: redis::FromRedisValue>(port: u16, command: &[&str]) -> redis::RedisResult<T> {
    let client = redis::Client::open(url(port))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await
}

async fn ready(port: u16) {
    eventually("the server responds", async || command::<String>(port, &["PING"]).await.is_ok())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_by_sentinel_continues_with_the_new_primary() {
    let Some(mut servers) = Servers::new() else { return };
    let (primary, replica) = (free_port(), free_port());
    let first = servers.start(primary, &[]);
    ready(primary).await;
    servers.start(replica, &["--replicaof", "127.0.0.1", &primary.to_string()]);
    eventually("the replica is in sync", async || {
        let info = command::<String>(replica, &["INFO", "replication"]).await;
        info.is_ok_and(|info| info.contains("master_link_status:up"))
    })
    .await;
    let sentinels = [(); 3].map(|()| free_port());
    for port in sentinels {
        let folder = servers.folder.path().join(port.to_string());
        fs::create_dir(&folder).unwrap();
        let file = folder.join("sentinel.conf");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor app 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds app 500\nsentinel failover-timeout app 2000\n"
        );
        fs::write(&file, settings).unwrap();
        servers.add(&folder, &[file.to_str().unwrap().to_owned(), "--sentinel".to_owned()]);
    }
    for port in sentinels {
        eventually("the sentinels know each other and the replica", async || {
            let about: redis::RedisResult<Vec<String>> =
                command(port, &["SENTINEL", "MASTER", "app"]).await;
            let about = about.unwrap_or_default();
            let is = |name: &str, number: &str| {
                about.chunks(2).any(|pair| pair[0] == name && pair[1] == number)
            };
            is("num-slaves", "1") && is("num-other-sentinels", "2")
        })
        .await;
    }
    let store = RedisStore::sentinel("app", sentinels.map(url), secret(1)).connect().await.unwrap();
    let (lease, value) = (key("lease"), Bytes::from("held"));
    assert!(store.put_if_absent(&lease, value.clone(), HOUR).await.unwrap());
    command::<u64>(primary, &["WAIT", "1", "1000"]).await.unwrap();
    // One sentinel does not respond any more, and the primary is gone.
    servers.signal(2, "-STOP");
    servers.kill(first);
    let started = Instant::now();
    eventually("the new primary accepts writes", async || {
        store.put(&key("any"), value.clone(), HOUR).await.is_ok()
    })
    .await;
    println!("a failover takes {:?}", started.elapsed());
    assert!(!store.put_if_absent(&lease, "other".into(), HOUR).await.unwrap());
    assert_eq!(store.get(&lease).await.unwrap(), Some(value));
    servers.signal(2, "-CONT");

    let unknown = RedisStore::sentinel("other", sentinels.map(url), secret(1)).connect().await;
    assert!(unknown.is_err(), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_conforms_and_a_node_that_hangs_delays_only_its_keys() {
    let Some(mut servers) = Servers::new() else { return };
    let ports = [(); 3].map(|()| free_port());
    let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
    for port in ports {
        let bus = free_port().to_string();
        let arguments = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            // A part of the cluster stays available without the others.
            "--cluster-require-full-coverage",
            "no",
            "--cluster-node-timeout",
            "60000",
        ];
        servers.start(port, &arguments);
        ready(port).await;
    }
    for (port, (first, last)) in ports.into_iter().zip(slots) {
        command::<()>(port, &["CLUSTER", "ADDSLOTSRANGE", first, last]).await.unwrap();
    }
    for port in &ports[1..] {
        let bus: Vec<String> = command(*port, &["CONFIG", "GET", "cluster-port"]).await.unwrap();
        let meet = ["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus[1]];
        command::<()>(ports[0], &meet).await.unwrap();
    }
    for port in ports {
        eventually("the cluster is complete", async || {
            let info: String = command(port, &["CLUSTER", "INFO"]).await.unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
        })
        .await;
    }
    let limit = Duration::from_millis(500);
    let store = RedisStore::cluster(ports[..1].iter().map(|port| url(*port)), secret(1));
    let store = store.response_timeout(limit).connect().await.unwrap();
    conformance::check(&store, async |by| tokio::time::sleep(by).await).await.unwrap();

    servers.signal(1, "-STOP");
    let (mut failed, mut slowest) = (0, Duration::ZERO);
    for number in 0..30 {
        let started = Instant::now();
        let put = store.put(&key(&number.to_string()), Bytes::from("value"), HOUR).await;
        failed += usize::from(put.is_err());
        slowest = slowest.max(started.elapsed());
    }
    println!("{failed} of 30 fail, the slowest after {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(failed < 30, "other nodes are available");
    servers.signal(1, "-CONT");
    eventually("all nodes are available", async || {
        let puts = (0..30).map(|number| {
            let key = key(&number.to_string());
            let store = &store;
            async move { store.put(&key, Bytes::from("value"), HOUR).await }
        });
        futures::future::try_join_all(puts).await.is_ok()
    })
    .await;
}
