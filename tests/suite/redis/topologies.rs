//! Sentinel with a failover, and a cluster.

use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tower_scalekit::shared_store::{LogCursor, RedisStore, SharedStore as _, conformance};

use super::server::{Network, Redis, State, eventually};
use super::servers::{Sentinel, Servers, command, free_port, ready, url};
use super::{Authority, HOUR, acl_of_the_guide, key};
use crate::support::secret;

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_by_sentinel_continues_with_the_new_primary() {
    let Some(mut redis) = Sentinel::start(&[]).await else { return };
    let store = RedisStore::sentinel("app", redis.urls(), secret(1)).connect().await.unwrap();
    let (lease, value) = (key("lease"), Bytes::from("held"));
    assert!(store.put_if_absent(&lease, value.clone(), HOUR).await.unwrap());
    command::<u64>(redis.ports[0], &["WAIT", "1", "1000"]).await.unwrap();
    // One sentinel does not respond any more, and the primary is gone.
    redis.servers.signal(2, "-STOP");
    redis.servers.kill(0);
    let started = Instant::now();
    let put = async || store.put(&key("any"), value.clone(), HOUR).await.is_ok();
    eventually("a sentinel names the new primary", async || {
        let is_written = put().await;
        let named: redis::RedisResult<Vec<String>> =
            command(redis.sentinels[1], &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "app"]).await;
        is_written || named.is_ok_and(|named| named[1] == redis.ports[1].to_string())
    })
    .await;
    let named = Instant::now();
    eventually("the new primary accepts writes", put).await;
    println!("{:?} after it is named; a failover takes {:?}", named.elapsed(), started.elapsed());
    assert!(!store.put_if_absent(&lease, "other".into(), HOUR).await.unwrap());
    assert_eq!(store.get(&lease).await.unwrap(), Some(value));
    redis.servers.signal(2, "-CONT");

    let unknown = RedisStore::sentinel("other", redis.urls(), secret(1)).connect().await;
    assert!(unknown.is_err(), "{unknown:?}");
}

/// Starts a cluster of three nodes without replicas.
async fn cluster(servers: &mut Servers) -> [u16; 3] {
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
    ports
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_conforms_and_a_node_that_hangs_delays_only_its_keys() {
    let Some(mut servers) = Servers::new() else { return };
    let ports = cluster(&mut servers).await;
    let store = RedisStore::cluster(ports[..1].iter().map(|port| url(*port)), secret(1))
        .response_timeout(Duration::from_millis(1500))
        .connect()
        .await
        .unwrap();
    conformance::check(&store, async |by| tokio::time::sleep(by).await).await.unwrap();

    for port in ports {
        command::<()>(port, &acl_of_the_guide("and a cluster")).await.unwrap();
    }
    let restricted = format!("redis://app:password@127.0.0.1:{}", ports[1]);
    let restricted = RedisStore::cluster([restricted], secret(1)).connect().await.unwrap();
    conformance::check(&restricted, async |by| tokio::time::sleep(by).await).await.unwrap();

    servers.signal(1, "-STOP");
    let (mut failed, mut slowest) = (0, Duration::ZERO);
    for number in 0..30 {
        let started = Instant::now();
        let put = store.put(&key(&number.to_string()), Bytes::from("value"), HOUR).await;
        failed += usize::from(put.is_err());
        slowest = slowest.max(started.elapsed());
    }
    println!("{failed} of 30 fail, the slowest after {slowest:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_between_nodes_is_found() {
    let Some(mut servers) = Servers::new() else { return };
    let ports = cluster(&mut servers).await;
    let store = RedisStore::cluster([url(ports[0])], secret(1)).connect().await.unwrap();
    let (log, entry) = (key("log"), Bytes::from("entry"));
    store.append(&log, entry.clone(), HOUR).await.unwrap();
    let mut owner = None;
    for port in ports {
        let names: Vec<String> = command(port, &["KEYS", "*"]).await.unwrap();
        if let [name] = &names[..] {
            owner = Some((port, name.clone()));
        }
    }
    let (from, name) = owner.unwrap();
    let to = *ports.iter().find(|port| **port != from).unwrap();
    let slot: u64 = command(from, &["CLUSTER", "KEYSLOT", &name]).await.unwrap();
    let slot = slot.to_string();
    let id = async |port| command::<String>(port, &["CLUSTER", "MYID"]).await.unwrap();
    let [from_id, to_id] = [id(from).await, id(to).await];
    command::<()>(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await.unwrap();
    command::<()>(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await.unwrap();
    let migrate = ["MIGRATE", "127.0.0.1", &to.to_string(), &name, "0", "1000"];
    command::<()>(from, &migrate).await.unwrap();
    // The former node redirects with ASK, then with MOVED.
    for _ in 0..3 {
        store.append(&log, entry.clone(), HOUR).await.unwrap();
    }
    for port in ports {
        command::<()>(port, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await.unwrap();
    }
    for _ in 0..3 {
        store.append(&log, entry.clone(), HOUR).await.unwrap();
    }
    let read = store.read_since(&log, LogCursor::start()).await.unwrap();
    assert_eq!(read.entries, vec![entry; 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_whose_response_is_lost_is_not_repeated() {
    let (port, bus) = (free_port().to_string(), free_port().to_string());
    let arguments = ["--cluster-enabled", "yes", "--port", &port, "--cluster-port", &bus];
    let Some(redis) = Redis::with(&arguments).await else { return };
    let network = Network::before(&redis, None).await;
    let announced = network.address.port().to_string();
    redis.command::<()>(&["CONFIG", "SET", "cluster-announce-ip", "127.0.0.1"]).await;
    redis.command::<()>(&["CONFIG", "SET", "cluster-announce-port", &announced]).await;
    redis.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    eventually("the cluster is complete", async || {
        redis.command::<String>(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok")
    })
    .await;
    let store =
        RedisStore::cluster([url(network.address.port())], secret(1)).connect().await.unwrap();
    let (key, [old, new]) = (key("any"), ["old", "new"].map(Bytes::from));
    let mut failed = 0;
    for _ in 0..5 {
        network.set(State::Connected);
        eventually("the store is connected", async || {
            store.put(&key, old.clone(), HOUR).await.is_ok()
        })
        .await;
        // The server knows the script.
        assert!(store.replace_if(&key, old.clone(), old.clone(), HOUR).await.unwrap());
        network.set(State::LosesResponses);
        // The connection may have been replaced already.
        let replaced = store.replace_if(&key, old.clone(), new.clone(), HOUR).await;
        assert!(!matches!(replaced, Ok(false)), "{replaced:?}");
        failed += usize::from(replaced.is_err());
        network.set(State::Connected);
        eventually("the value is read", async || {
            store.get(&key).await.is_ok_and(|value| value.as_ref() == Some(&new))
        })
        .await;
    }
    assert!(failed > 0, "no response was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinel_and_its_server_have_certificates_of_an_own_authority() {
    let Some(mut servers) = Servers::new() else { return };
    let authority = Authority::new();
    let folder = servers.folder().to_owned();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (certificate, key) = authority.issue("127.0.0.1");
    for (name, content) in
        [("ca.pem", authority.pem()), ("cert.pem", certificate), ("key.pem", key)]
    {
        fs::write(path(name), content).unwrap();
    }
    let [primary, plain, sentinel] = [(); 3].map(|()| free_port());
    let primary_port = primary.to_string();
    let [ca, cert, key_file] = ["ca.pem", "cert.pem", "key.pem"].map(path);
    let tls = [
        "--tls-port",
        &primary_port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key_file,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ];
    servers.start(plain, &tls);
    ready(plain).await;
    let settings = format!(
        "port 0\ntls-port {sentinel}\nbind 127.0.0.1\ntls-cert-file {cert}\ntls-key-file {key_file}\n\
         tls-ca-cert-file {ca}\ntls-auth-clients no\ntls-replication yes\n\
         sentinel monitor app 127.0.0.1 {primary} 1\n"
    );
    servers.start_sentinel("sentinel", &settings);
    let sentinel = format!("rediss://127.0.0.1:{sentinel}");
    let connect = async |pem: Option<String>| {
        let builder = RedisStore::sentinel("app", [&sentinel], secret(1));
        match pem {
            Some(pem) => builder.root_certificates(pem).connect().await,
            None => builder.connect().await,
        }
    };
    let mut connected = None;
    eventually("the store is connected", async || {
        connected = connect(Some(authority.pem())).await.ok();
        connected.is_some()
    })
    .await;
    let store = connected.unwrap();
    let value = Bytes::from("value");
    store.put(&super::key("any"), value.clone(), HOUR).await.unwrap();
    assert_eq!(store.get(&super::key("any")).await.unwrap(), Some(value));
    for untrusted in [None, Some(Authority::new().pem())] {
        assert!(connect(untrusted).await.is_err());
    }
}
