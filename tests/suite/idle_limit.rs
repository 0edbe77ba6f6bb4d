//! Use extends the idle limit of a session, also while a part of the system is unavailable.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{Method, StatusCode};
use tokio::sync::Notify;
use tower_scalekit::RequireSession;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::session::SessionsBuilder;
use tower_scalekit::shared_store::KeyNamespace;

use crate::store::FlakyStore;
use crate::stored::app_with_local_login;
use crate::support::{
    Browser, FETCH, JANE, Reading as _, World, secret, send, set_cookies, settle,
};

const IDLE: Duration = Duration::from_secs(600);

/// An environment whose tokens outlive a test, and a store.
fn world_of_long_tokens() -> (World, FlakyStore) {
    let day = Duration::from_secs(86_400);
    let world = World::with(|sandbox| sandbox.access_token_lifetime(day), |sessions| sessions);
    let store = FlakyStore::new(world.sandbox.clock().clock());
    (world, store)
}

/// Sessions that end after ten minutes without use, in this store.
fn idle(world: &World, store: &FlakyStore) -> Router {
    idle_with(world, store, |sessions| sessions)
}

fn idle_with(
    world: &World,
    store: &FlakyStore,
    change: impl FnOnce(SessionsBuilder) -> SessionsBuilder,
) -> Router {
    let builder = |one: SessionsBuilder| change(one.shared_store(store.clone()).idle_timeout(IDLE));
    app_with_local_login(&world.replica(builder))
}

/// A browser with a session: of the tokens of a login, or a local one that this path creates.
async fn begun(app: &Router, world: &World, path: &str) -> Browser {
    let mut browser = Browser::new(app, &world.sandbox);
    let begun = match path {
        "/login" => browser.log_in(&world.sandbox, JANE).await,
        local => browser.post(local).await,
    };
    assert!(!begun.status().is_client_error(), "{path}");
    browser
}

#[tokio::test]
async fn a_requested_refresh_keeps_every_kind_of_session_alive() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let app = idle(&world, &store);
    for path in ["/own", "/own/cookie", "/login"] {
        let mut browser = begun(&app, &world, path).await;
        for _ in 0..4 {
            world.advance(400);
            let refreshed = browser.post("/auth/refresh").await;
            assert_eq!(refreshed.status(), StatusCode::OK, "{path}");
        }
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn use_during_an_outage_of_the_store_extends_the_idle_limit() {
    for (path, store_backed) in
        [("/own", false), ("/own/cookie", false), ("/login", false), ("/login", true)]
    {
        let (world, store) = world_of_long_tokens();
        let replica =
            || idle_with(&world, &store, |one| if store_backed { one.store_backed() } else { one });
        let mut browser = begun(&replica(), &world, path).await;
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        store.set_down(true);
        for _ in 0..6 {
            world.advance(150);
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{path}");
            settle().await;
        }
        store.set_down(false);
        for _ in 0..2 {
            world.advance(11);
            let response = browser.fetch("/me").await;
            assert_eq!(response.status(), StatusCode::OK, "{path} {store_backed}");
            settle().await;
        }
        // The store has it again.
        world.advance(500);
        let response = browser.at(&replica()).fetch("/me").await;
        assert_eq!(response.status(), StatusCode::OK, "{path} {store_backed}");
    }
}

#[tokio::test]
async fn use_during_an_outage_of_the_token_endpoint_extends_the_idle_limit() {
    for store_backed in [false, true] {
        for (method, path) in [(Method::GET, "/me"), (Method::POST, "/auth/refresh")] {
            let world = World::new();
            let store = FlakyStore::new(world.sandbox.clock().clock());
            let change = |one: SessionsBuilder| if store_backed { one.store_backed() } else { one };
            let app = idle_with(&world, &store, change);
            let mut browser = begun(&app, &world, "/login").await;
            world.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
            for _ in 0..6 {
                world.advance(150);
                let response = browser.send(method.clone(), path, &FETCH).await;
                assert_ne!(response.status(), StatusCode::UNAUTHORIZED, "{path} {store_backed}");
                settle().await;
            }
            let unavailable = browser.fetch("/me").await;
            assert_eq!(unavailable.status(), StatusCode::SERVICE_UNAVAILABLE);
            world.sandbox.faults().clear(Endpoint::Token);
            world.advance(2);
            let response = browser.fetch("/me").await;
            assert_eq!(response.status(), StatusCode::OK, "{path} {store_backed}");
            // Without use, the limit still ends it.
            world.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
            world.advance(601);
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_response_restores_the_cookie_of_a_session_that_ended_while_the_request_waited() {
    for (method, path) in [(Method::GET, "/me"), (Method::POST, "/auth/refresh")] {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let (waits, other) = (idle(&world, &store), idle(&world, &store));
        let mut browser = begun(&waits, &world, "/login").await;
        world.advance(400);
        let held = world.sandbox.faults().hold(Endpoint::Token);
        let request = browser.request(method, path, &FETCH);
        let waiting = tokio::spawn(async move { send(&waits, request).await });
        settle().await;
        let logged_out = browser.at(&other).open("/logout").await;
        browser.store_cookies(&logged_out);
        let unavailable = waiting.await.unwrap();
        assert_eq!(unavailable.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(set_cookies(unavailable.headers()), [""; 0], "{path}");
        drop(held);
    }
}

#[tokio::test]
async fn a_session_lasts_at_least_nine_tenths_of_its_idle_limit_after_its_last_use() {
    for path in ["/own", "/own/cookie", "/login"] {
        let (world, store) = world_of_long_tokens();
        let app = idle(&world, &store);
        let mut browser = begun(&app, &world, path).await;
        for seconds in [290, 540] {
            world.advance(seconds);
            let response = browser.fetch("/me").await;
            assert_eq!(response.status(), StatusCode::OK, "{path} after {seconds} s");
            settle().await;
        }
        world.advance(601);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn use_is_written_once_in_a_tenth_of_the_idle_limit() {
    let (world, store) = world_of_long_tokens();
    let app = idle(&world, &store);
    let mut browser = begun(&app, &world, "/own").await;
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    let mut writes = Vec::new();
    store.take_operations();
    for _ in 0..12 {
        world.advance(20);
        for _ in 0..5 {
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
            settle().await;
        }
        writes.push(store.take_operations().1);
    }
    assert_eq!(writes, [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
}

#[tokio::test]
async fn a_rotation_of_the_secret_loses_no_use() {
    let (world, store) = world_of_long_tokens();
    let mut browser = begun(&idle(&world, &store), &world, "/own").await;
    let rotated =
        || idle_with(&world, &store, |one| one.secret(secret(40)).previous_secret(secret(1)));
    world.advance(400);
    // It is sealed with the new secret while its use is recorded.
    let resealing = store.hold_next_write(KeyNamespace::Session);
    let response = browser.at(&rotated()).fetch("/me").await;
    assert_eq!(response.status(), StatusCode::OK);
    browser.store_cookies(&response);
    settle().await;
    resealing.notify_one();
    settle().await;
    world.advance(400);
    assert_eq!(browser.at(&rotated()).fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_late_write_of_a_session_undoes_no_use_on_another_replica() {
    let (world, store) = world_of_long_tokens();
    let app = idle(&world, &store);
    let browser = begun(&app, &world, "/own").await;
    let rotated =
        || idle_with(&world, &store, |one| one.secret(secret(40)).previous_secret(secret(1)));
    // The session as of its beginning, sealed with the new secret.
    let late = store.hold_next_write(KeyNamespace::Session);
    let resealing = browser.request(Method::GET, "/me", &FETCH);
    assert_eq!(send(&rotated(), resealing).await.status(), StatusCode::OK);
    settle().await;
    world.advance(400);
    assert_eq!(browser.at(&app).fetch("/me").await.status(), StatusCode::OK);
    settle().await;
    late.notify_one();
    settle().await;
    world.advance(400);
    assert_eq!(browser.at(&rotated()).fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_read_with_an_old_cookie_finds_the_newest_session_and_refreshes_nothing() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let mut browser = begun(&idle(&world, &store), &world, "/login").await;
    let mut old = browser.clone();
    world.advance(400);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    let expires_at = browser.fetch("/auth/session").await.json()["expires_at"].clone();
    let exchanges = || world.sandbox.requests().count(Endpoint::Token);
    let before = exchanges();
    world.advance(298);
    let read = old.fetch("/auth/session").await;
    assert_eq!(read.status(), StatusCode::OK);
    assert_eq!(read.json()["expires_at"], expires_at, "it is no use of the session");
    assert_eq!(exchanges(), before);
    // It is due.
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(exchanges(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_an_idle_cookie_does_not_end_a_newer_one_of_the_same_tokens() {
    for (method, path) in [(Method::GET, "/me"), (Method::POST, "/auth/refresh")] {
        let lifetime = Duration::from_secs(700);
        let world =
            World::with(|sandbox| sandbox.access_token_lifetime(lifetime), |sessions| sessions);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let mut browser = begun(&idle(&world, &store), &world, "/login").await;
        let mut idle = browser.clone();
        world.advance(400);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        world.advance(298);
        store.set_latency(Duration::from_millis(100));
        let old = idle.send(method.clone(), path, &FETCH);
        let (_, newer) = futures::future::join(old, browser.send(method, path, &FETCH)).await;
        assert_eq!(newer.status(), StatusCode::OK, "{path}");
        assert!(!browser.names().is_empty());
    }
}

#[tokio::test]
async fn a_requested_refresh_with_an_idle_cookie_refreshes_the_newest_session() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let mut browser = begun(&idle(&world, &store), &world, "/login").await;
    let mut old = browser.clone();
    world.advance(400);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    world.advance(205);
    world.sandbox.users().update(JANE, |user| user.roles = vec!["auditor".to_owned()]);
    assert_eq!(old.post("/auth/refresh").await.status(), StatusCode::OK);
    assert_eq!(old.fetch("/me").await.json()["roles"][0], "auditor");
}

#[tokio::test]
async fn a_slow_response_sets_no_earlier_idle_limit() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = world.replica(|one| one.shared_store(store.clone()).idle_timeout(IDLE));
    let go = Arc::new(Notify::new());
    let waits = Arc::clone(&go);
    let handler = move || {
        let waits = Arc::clone(&waits);
        async move { waits.notified().await }
    };
    let app = Router::new()
        .route("/slow", get(handler))
        .route_layer(RequireSession::new(&sessions))
        .merge(crate::support::app(&sessions));
    let mut browser = begun(&app, &world, "/login").await;
    world.advance(100);
    let slow = browser.request(Method::GET, "/slow", &FETCH);
    let slow = tokio::spawn(async move { send(&app, slow).await });
    settle().await;
    // Another tab refreshes the session, and uses it.
    for seconds in [250, 200] {
        world.advance(seconds);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
    go.notify_one();
    browser.store_cookies(&slow.await.unwrap());
    world.advance(500);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_removed_idle_timeout_ends_no_session() {
    for path in ["/login", "/own", "/own/cookie"] {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let browser =
            begun(&idle_with(&world, &store, SessionsBuilder::store_backed), &world, path).await;
        let unlimited = [(); 2].map(|()| {
            let sessions = world.replica(|one| one.shared_store(store.clone()).store_backed());
            crate::support::app(&sessions)
        });
        let mut browsers = unlimited.each_ref().map(|app| browser.at(app));
        for _ in 0..8 {
            world.advance(100);
            for browser in &mut browsers {
                assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{path}");
                settle().await;
            }
        }
        world.advance(3000);
        assert_eq!(browsers[0].fetch("/me").await.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_shortened_idle_timeout_applies_to_sessions_that_began_before() {
    for path in ["/login", "/own", "/own/cookie"] {
        let (world, store) = world_of_long_tokens();
        let mut browser =
            begun(&idle_with(&world, &store, SessionsBuilder::store_backed), &world, path).await;
        let shortened = || {
            let minute = Duration::from_secs(60);
            idle_with(&world, &store, |one| one.store_backed().idle_timeout(minute))
        };
        world.advance(100);
        let used = browser.at(&shortened()).fetch("/me").await;
        assert_eq!(used.status(), StatusCode::OK, "{path}");
        browser.store_cookies(&used);
        settle().await;
        world.advance(61);
        let late = browser.at(&shortened()).fetch("/me").await;
        assert_eq!(late.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}
