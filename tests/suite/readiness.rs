//! Readiness of a process, for the probes of orchestrators and load balancers.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, advance};
use tower_scalekit::sandbox::{Endpoint, Fault};

use crate::store::FlakyStore;
use crate::support::{World, settle};

fn store(world: &World) -> FlakyStore {
    FlakyStore::new(world.sandbox.clock().clock())
}

#[tokio::test(start_paused = true)]
async fn a_process_is_ready_once_it_has_the_keys() {
    let world = World::new();
    let sessions = world.replica(|one| one.shared_store(store(&world)));
    world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    let readiness = sessions.readiness().await;
    assert!(!readiness.is_ready());
    let expected = json!({
        "ready": false,
        "keys": { "ok": false },
        "shared_store": { "ok": true, "age_seconds": 0 },
        "revocations": { "ok": true, "age_seconds": 0 },
    });
    assert_eq!(serde_json::to_value(&readiness).unwrap(), expected);

    world.sandbox.faults().clear(Endpoint::Keys);
    world.advance(2);
    let readiness = sessions.readiness().await;
    assert!(readiness.is_ready(), "{readiness:?}");
    assert_eq!(readiness.keys.unwrap().age, Some(Duration::ZERO));

    // An outage later: known keys are used for a day.
    world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    world.advance(3600);
    let readiness = sessions.readiness().await;
    assert!(readiness.is_ready(), "{readiness:?}");
    assert_eq!(readiness.keys.unwrap().age, Some(Duration::from_secs(3600)));
    world.advance(24 * 3600);
    assert!(!sessions.readiness().await.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_process_is_ready_once_it_has_read_the_revocations() {
    let world = World::new();
    let store = store(&world);
    store.set_down(true);
    let sessions = world.replica(|one| one.shared_store(store.clone()));
    let strict = world.replica(|one| one.shared_store(store.clone()).reject_on_stale_revocations());
    for sessions in [&sessions, &strict] {
        let readiness = sessions.readiness().await;
        assert!(!readiness.is_ready());
        for unavailable in [readiness.shared_store.unwrap(), readiness.revocations.unwrap()] {
            assert!(!unavailable.is_ok && unavailable.age.is_none(), "{readiness:?}");
        }
    }

    store.set_down(false);
    for sessions in [&sessions, &strict] {
        world.advance(2);
        advance(Duration::from_secs(2)).await;
        let readiness = sessions.readiness().await;
        assert!(readiness.is_ready(), "{readiness:?}");
        assert!(readiness.shared_store.unwrap().is_ok && readiness.revocations.unwrap().is_ok);
    }

    // An outage later takes away only a process that rejects requests itself.
    settle().await;
    store.set_down(true);
    for (sessions, is_ready) in [(&sessions, true), (&strict, false)] {
        for _ in 0..3 {
            world.advance(31);
            advance(Duration::from_secs(31)).await;
            sessions.readiness().await;
        }
        let readiness = sessions.readiness().await;
        assert_eq!(readiness.is_ready(), is_ready, "{readiness:?}");
        let revocations = readiness.revocations.unwrap();
        assert!(!revocations.is_ok && revocations.age > Some(Duration::from_secs(60)));
        let shared_store = readiness.shared_store.unwrap();
        assert!(!shared_store.is_ok && shared_store.age > Some(Duration::from_secs(60)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_waits_half_a_second_at_most() {
    let world = World::new();
    let store = store(&world);
    store.set_latency(Duration::from_secs(2));
    let sessions = world.replica(|one| one.shared_store(store.clone()));
    world.sandbox.faults().add(Endpoint::Keys, Fault::Delay(Duration::from_secs(4)));
    let started = Instant::now();
    assert!(!sessions.readiness().await.is_ready());
    assert_eq!(started.elapsed(), Duration::from_millis(500));
    // What it has begun continues: a later probe finds it.
    advance(Duration::from_secs(5)).await;
    settle().await;
    assert!(sessions.readiness().await.is_ready());
}

#[tokio::test]
async fn what_does_not_apply_is_left_out() {
    let world = World::new();
    let readiness = world.sessions.readiness().await;
    let json = serde_json::to_value(&readiness).unwrap();
    assert_eq!(json, json!({ "ready": true, "keys": { "ok": true, "age_seconds": 0 } }));
    let scalekit = world.sandbox.scalekit();
    let verifier = scalekit.token_verifier().audience("https://api.example.com").build().unwrap();
    assert_eq!(verifier.readiness().await, readiness);

    let revocations = scalekit.revocations(store(&world)).build();
    let readiness = revocations.readiness().await;
    assert!(readiness.is_ready() && readiness.keys.is_none() && readiness.revocations.is_some());
}

#[tokio::test]
async fn probes_share_the_reads_of_requests() {
    let world = World::new();
    let store = store(&world);
    let sessions = world.replica(|one| one.shared_store(store.clone()));
    sessions.readiness().await;
    settle().await;
    store.take_operations();
    for _ in 0..100 {
        assert!(sessions.readiness().await.is_ready());
    }
    settle().await;
    assert_eq!(store.take_operations(), (0, 0));
    assert_eq!(world.sandbox.requests().count(Endpoint::Keys), 1);
}
