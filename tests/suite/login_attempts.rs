//! Callbacks that arrive twice, on different replicas.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::future::join;
use http::{Method, StatusCode};
use tower_scalekit::Sessions;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::clock::ManualClock;
use tower_scalekit::sandbox::Endpoint;
use tower_scalekit::session::{LoginDecision, LoginHookError, SessionsBuilder};
use tower_scalekit::shared_store::{KeyNamespace, MemoryStore, SharedStore as _};

use crate::clocks::scalekit;
use crate::store::FlakyStore;
use crate::support::{
    Browser, CALLBACK, FETCH, JANE, JOHN, Reading as _, World, app, login_error, secret, send,
    set_cookies, settle, with_parameters,
};

/// A browser that has come back from the environment, and the address of its callback.
async fn returned(world: &World, app: &Router) -> (Browser, String) {
    let mut browser = Browser::new(app, &world.sandbox);
    let authorization = browser.start_login("/login?return_to=/me").await;
    (browser, world.sandbox.log_in(&authorization, JANE).unwrap())
}

/// Two replicas with a common store.
fn replicas(
    world: &World,
    change: impl Fn(SessionsBuilder) -> SessionsBuilder,
) -> (FlakyStore, [Sessions; 2], [Router; 2]) {
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = [(); 2].map(|()| world.replica(|one| change(one.shared_store(store.clone()))));
    let apps = sessions.each_ref().map(app);
    (store, sessions, apps)
}

#[tokio::test(start_paused = true)]
async fn the_same_callback_at_another_replica_gets_the_cookies_of_the_first() {
    for (store_backed, is_late) in [(false, false), (false, true), (true, false), (true, true)] {
        let world = World::new();
        let change = |one: SessionsBuilder| if store_backed { one.store_backed() } else { one };
        let (store, _, apps) = replicas(&world, change);
        let (browser, callback) = returned(&world, &apps[0]).await;
        let mut browsers = apps.each_ref().map(|app| browser.at(app));
        let [one, two] = &mut browsers;
        let (first, second) = if is_late {
            (one.open(&callback).await, two.open(&callback).await)
        } else {
            store.yield_before_each();
            join(one.open(&callback), two.open(&callback)).await
        };
        assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1);
        for response in [&first, &second] {
            assert_eq!((response.status(), response.location()), (StatusCode::SEE_OTHER, "/me"));
            response.assert_private();
            assert_eq!(set_cookies(response.headers()), set_cookies(first.headers()));
        }
        // Whichever of them the browser receives.
        for browser in &browsers {
            assert_eq!(browser.names(), ["__Host-scalekit_session"]);
            for app in &apps {
                assert_eq!(browser.status_at(app).await, StatusCode::OK);
            }
        }
        // Neither another browser, nor this one with another code, nor this one later.
        let mut other = Browser::new(&apps[1], &world.sandbox);
        let mut rejected = vec![other.open(&callback).await];
        let forged = with_parameters(&callback, &[("code", "another")]);
        rejected.push(browser.at(&apps[1]).open(&forged).await);
        world.advance(11);
        rejected.push(browser.at(&apps[1]).open(&callback).await);
        for response in rejected {
            assert_eq!(login_error(&response), LoginError::StateMismatch);
            let cookies = set_cookies(response.headers());
            assert!(cookies.iter().all(|cookie| cookie.contains("Max-Age=0")), "{cookies:?}");
        }
    }
}

#[tokio::test]
async fn the_store_keeps_the_result_of_a_login_sealed_and_for_seconds() {
    let world = World::new();
    let (store, _, apps) = replicas(&world, |one| one);
    let (mut browser, callback) = returned(&world, &apps[0]).await;
    let done = browser.open(&callback).await;
    let cookie = set_cookies(done.headers())[0].split(['=', ';']).nth(1).unwrap().to_owned();
    let mut stored = store.seen();
    stored.retain(|key, _| key.namespace() == KeyNamespace::LoginAttempt);
    assert_eq!(stored.len(), 2, "that the attempt was used, and the result");
    for value in stored.values() {
        assert!(!std::str::from_utf8(value).unwrap().contains(&cookie));
    }
    world.advance(11);
    let mut left = Vec::new();
    for key in stored.keys() {
        left.extend(store.get(key).await.unwrap());
    }
    assert_eq!(left, ["completed"]);
}

#[tokio::test]
async fn the_cookies_of_a_session_that_has_ended_are_not_set_again() {
    for how in ["logout", "revocation"] {
        for replica in [0, 1] {
            let world = World::new();
            let (_, sessions, apps) = replicas(&world, |one| one);
            let (browser, callback) = returned(&world, &apps[0]).await;
            let mut first = browser.clone();
            assert_eq!(first.open(&callback).await.status(), StatusCode::SEE_OTHER);
            let me = send(&apps[0], first.request(Method::GET, "/me", &FETCH)).await.json();
            match how {
                "logout" => drop(first.post("/logout").await),
                _ => sessions[0].revoke_user(me["sub"].as_str().unwrap()).await.unwrap(),
            }
            // Other replicas learn of it.
            world.advance(2);
            let again = browser.at(&apps[replica]).open(&callback).await;
            assert_eq!((again.status(), again.location()), (StatusCode::SEE_OTHER, "/me"), "{how}");
            let cookies = set_cookies(again.headers());
            assert!(cookies.iter().all(|cookie| cookie.contains("Max-Age=0")), "{cookies:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_the_hook_denies_is_denied_at_another_replica_too() {
    let world = World::new();
    let (store, _, apps) = replicas(&world, |one| {
        one.on_login(async |_| {
            settle().await;
            Err::<LoginDecision, _>(LoginHookError::Denied)
        })
    });
    let (browser, callback) = returned(&world, &apps[0]).await;
    store.yield_before_each();
    let [mut one, mut two] = apps.each_ref().map(|app| browser.at(app));
    let (first, second) = join(one.open(&callback), two.open(&callback)).await;
    for response in [first, second, browser.at(&apps[1]).open(&callback).await] {
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{}", response.text());
        assert_eq!(login_error(&response), LoginError::LoginDenied);
    }
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1);
}

#[tokio::test]
async fn the_same_callback_at_another_replica_asks_to_switch_accounts() {
    let world = World::new();
    let (_, _, apps) = replicas(&world, |one| one);
    let mut browser = world.logged_in_at(&apps[0], JANE).await;
    let authorization = browser.start_login("/login?return_to=/me").await;
    let callback = world.sandbox.log_in(&authorization, JOHN).unwrap();
    // The first response is lost.
    let first = browser.clone().open(&callback).await;
    let mut browser = browser.at(&apps[1]);
    let second = browser.open(&callback).await;
    assert_eq!(second.location(), first.location());
    browser.decide(&second, "switch").await;
    assert_eq!(browser.fetch("/me").await.json()["email"], JOHN);
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
