//! Callbacks that arrive twice, on different replicas.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::StatusCode;
use tower_scalekit::Sessions;
use tower_scalekit::clock::ManualClock;
use tower_scalekit::sandbox::Endpoint;
use tower_scalekit::shared_store::MemoryStore;

use crate::clocks::scalekit;
use crate::store::FlakyStore;
use crate::support::{Browser, CALLBACK, JANE, World, app, secret, set_cookies};

/// A browser that has come back from the environment, and the address of its callback.
async fn returned(world: &World, app: &Router) -> (Browser, String) {
    let mut browser = Browser::new(app, &world.sandbox);
    let authorization = browser.start_login("/login?return_to=/me").await;
    (browser, world.sandbox.log_in(&authorization, JANE).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_repeated_callback_waits_no_longer_than_ten_seconds_for_the_first() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let apps = [(); 2].map(|()| app(&world.replica(|one| one.shared_store(store.clone()))));
    let (browser, callback) = returned(&world, &apps[0]).await;
    let _held = world.sandbox.faults().hold(Endpoint::Token);
    let first = {
        let (mut browser, callback) = (browser.clone(), callback.clone());
        tokio::spawn(async move { browser.open(&callback).await.status() })
    };
    while world.sandbox.requests().count(Endpoint::Token) == 0 {
        tokio::task::yield_now().await;
    }
    store.set_latency(Duration::from_millis(1900));
    let started = tokio::time::Instant::now();
    let second = browser.at(&apps[1]).open(&callback).await;
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(set_cookies(second.headers()).is_empty(), "the attempt continues");
    // Besides, it reads the revocations and claims the attempt.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    first.abort();
}

#[tokio::test]
async fn a_callback_is_not_repeated_on_a_replica_whose_clock_is_a_minute_behind() {
    let world = World::new();
    let store = Arc::new(MemoryStore::new(world.sandbox.clock().clock()));
    let start = world.sandbox.clock().clock().now();
    let clocks = [30, -30].map(|seconds| ManualClock::at(start + time::Duration::seconds(seconds)));
    let apps = clocks.each_ref().map(|clock| {
        let sessions = Sessions::builder(scalekit(&world.sandbox, clock))
            .secret(secret(1))
            .redirect_uri(CALLBACK)
            .shared_store(Arc::clone(&store));
        app(&sessions.build().unwrap())
    });
    let (browser, callback) = returned(&world, &apps[0]).await;
    assert_eq!(browser.clone().open(&callback).await.status(), StatusCode::SEE_OTHER);
    let calls = world.sandbox.requests().count(Endpoint::Token);
    for clock in clocks.iter().chain([world.sandbox.clock()]) {
        clock.advance(Duration::from_secs(601));
    }
    let repeated = browser.at(&apps[1]).open(&callback).await;
    assert_eq!(repeated.status(), StatusCode::BAD_REQUEST);
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), calls);
}
