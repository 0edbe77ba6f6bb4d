//! Sentinel with a failover, and a cluster.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tower_scalekit::shared_store::{RedisStore, SharedStore as _, conformance};

use super::server::eventually;
use super::servers::{Sentinel, Servers, command, free_port, ready, url};
use super::{HOUR, key};
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
    eventually("the new primary accepts writes", async || {
        store.put(&key("any"), value.clone(), HOUR).await.is_ok()
    })
    .await;
    println!("a failover takes {:?}", started.elapsed());
    assert!(!store.put_if_absent(&lease, "other".into(), HOUR).await.unwrap());
    assert_eq!(store.get(&lease).await.unwrap(), Some(value));
    redis.servers.signal(2, "-CONT");

    let unknown = RedisStore::sentinel("other", redis.urls(), secret(1)).connect().await;
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
