//! Several processes of one app, which share only a store.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use futures::future::join_all;
use http::{Method, StatusCode};
use tower_scalekit::sandbox::{Endpoint, Fault, TokenKind};
use tower_scalekit::shared_store::{KeyNamespace, MemoryStore, SharedStore as _, StoreKey};
use tower_scalekit::{RequireSession, Sessions};

use crate::store::FlakyStore;
use crate::support::{
    Browser, FETCH, JANE, JOHN, Reading as _, World, app, send, set_cookies, settle,
};

struct Replicas {
    world: World,
    sessions: [Sessions; 2],
    apps: [Router; 2],
}

impl Replicas {
    fn new() -> Self {
        let world =
            World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |sessions| sessions);
        let store = Arc::new(MemoryStore::new(world.sandbox.clock().clock()));
        let sessions = [(); 2].map(|()| world.replica(|one| one.shared_store(Arc::clone(&store))));
        let apps = sessions.each_ref().map(app);
        Self { world, sessions, apps }
    }

    async fn logged_in(&self, email: &str) -> Browser {
        self.world.logged_in_at(&self.apps[0], email).await
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_refresh_once_and_return_the_same_session() {
    let replicas = Replicas::new();
    let browser = replicas.logged_in(JANE).await;
    replicas.world.advance(301);
    let before = replicas.world.sandbox.requests().refreshes();
    let held = replicas.world.sandbox.faults().hold(Endpoint::Token);
    let requests: Vec<_> = (0..100)
        .map(|number| {
            let app = replicas.apps[number % 2].clone();
            let request = browser.request(Method::GET, "/me", &FETCH);
            tokio::spawn(async move { send(&app, request).await })
        })
        .collect();
    settle().await;
    drop(held);
    let mut tokens = Vec::new();
    for response in join_all(requests).await {
        let response = response.unwrap();
        assert_eq!((response.status(), set_cookies(response.headers()).len()), (StatusCode::OK, 1));
        tokens.push(response.json()["jti"].to_string());
    }
    tokens.dedup();
    assert_eq!((tokens.len(), replicas.world.sandbox.requests().refreshes() - before), (1, 1));
}

#[tokio::test]
async fn a_replica_without_keys_uses_the_refresh_of_another_one() {
    let replicas = Replicas::new();
    let browser = replicas.logged_in(JANE).await;
    replicas.world.advance(301);
    assert_eq!(browser.status_at(&replicas.apps[0]).await, StatusCode::OK);
    replicas.world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    assert_eq!(browser.status_at(&replicas.apps[1]).await, StatusCode::OK);
    assert_eq!(replicas.world.sandbox.requests().refreshes(), 1);
}

#[tokio::test]
async fn a_logout_on_one_replica_ends_the_session_on_all() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in(JANE).await;
    let copy = browser.clone();
    assert_eq!(copy.status_at(&replicas.apps[1]).await, StatusCode::OK);
    assert_eq!(browser.post("/logout").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(copy.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
    replicas.world.advance(2);
    assert_eq!(copy.status_at(&replicas.apps[1]).await, StatusCode::UNAUTHORIZED);
    // A refresh on any replica does not restore it.
    replicas.world.advance(300);
    for replica in [0, 1] {
        assert_eq!(copy.status_at(&replicas.apps[replica]).await, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_logout_during_a_refresh_is_not_undone_by_its_late_response() {
    let replicas = Replicas::new();
    for refreshing in [0, 1] {
        let mut browser = replicas.logged_in(JANE).await;
        let copy = browser.clone();
        replicas.world.advance(301);
        let held = replicas.world.sandbox.faults().hold(Endpoint::Token);
        let (app, request) =
            (replicas.apps[refreshing].clone(), copy.request(Method::GET, "/me", &FETCH));
        let late = tokio::spawn(async move { send(&app, request).await });
        settle().await;
        assert_eq!(browser.post("/logout").await.status(), StatusCode::SEE_OTHER);
        drop(held);
        let late = late.await.unwrap();
        assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
        assert!(set_cookies(late.headers()).iter().all(|cookie| cookie.contains("Max-Age=0")));
        replicas.world.advance(2);
        for replica in [0, 1] {
            assert_eq!(copy.status_at(&replicas.apps[replica]).await, StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test]
async fn a_handler_that_is_slower_than_a_logout_restores_no_session() {
    let replicas = Replicas::new();
    let browser = replicas.logged_in(JANE).await;
    let sessions = replicas.sessions[0].clone();
    let environment_session = {
        let me = send(&replicas.apps[0], browser.request(Method::GET, "/me", &FETCH)).await.json();
        me["sid"].as_str().map(str::to_owned)
    };
    let environment_session = environment_session.unwrap_or_default();
    let slow = axum::routing::get(move || async move {
        // The session is revoked while the handler runs.
        sessions.revoke_session(&environment_session).await.unwrap();
        "done"
    });
    let app = Router::new().route("/slow", slow).layer(RequireSession::new(&replicas.sessions[0]));
    replicas.world.advance(301);
    let response = send(&app, browser.request(Method::GET, "/slow", &FETCH)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(set_cookies(response.headers()).is_empty(), "{:?}", response.headers());
    assert_eq!(browser.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn revocations_reach_every_replica_within_two_seconds_and_no_other_session() {
    let replicas = Replicas::new();
    let (jane, john) = (replicas.logged_in(JANE).await, replicas.logged_in(JOHN).await);
    let id = |browser: Browser| {
        let app = replicas.apps[0].clone();
        async move {
            let me = send(&app, browser.request(Method::GET, "/me", &FETCH)).await.json();
            me["sub"].as_str().unwrap_or_default().to_owned()
        }
    };
    let subject = id(jane.clone()).await;
    assert!(subject.starts_with("usr_"), "{subject}");
    replicas.sessions[1].revoke_user(&subject).await.unwrap();
    assert_eq!(jane.status_at(&replicas.apps[1]).await, StatusCode::UNAUTHORIZED);
    replicas.world.advance(2);
    assert_eq!(jane.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(john.status_at(&replicas.apps[0]).await, StatusCode::OK);
    let again = replicas.logged_in(JANE).await;
    for replica in [0, 1] {
        assert_eq!(again.status_at(&replicas.apps[replica]).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_revoked_user_may_log_in_again_under_the_same_session_of_the_environment() {
    let replicas = Replicas::new();
    let mut jane = replicas.logged_in(JANE).await;
    let me = send(&replicas.apps[0], jane.request(Method::GET, "/me", &FETCH)).await.json();
    replicas.sessions[0].revoke_session(me["sid"].as_str().unwrap()).await.unwrap();
    assert_eq!(jane.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
    // The session was not revoked at the environment, which may reuse its ID for a session that
    // begins later.
    let sid = me["sid"].clone();
    replicas.world.advance(1);
    replicas.world.sandbox.tokens().edit(TokenKind::AccessToken, move |draft| {
        draft.claims.insert("sid".into(), sid.clone());
    });
    assert_eq!(jane.log_in(&replicas.world.sandbox, JANE).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(jane.status_at(&replicas.apps[0]).await, StatusCode::OK);
}

#[tokio::test]
async fn requests_of_a_session_in_a_cookie_read_the_store_once_after_a_refresh() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let apps = [(); 2].map(|()| app(&world.replica(|one| one.shared_store(store.clone()))));
    let mut browser = Browser::new(&apps[0], &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let operations = async |browser: &Browser| {
        let mut counts = Vec::new();
        for app in apps.iter().chain(&apps) {
            store.take_operations();
            assert_eq!(browser.at(app).fetch("/me").await.status(), StatusCode::OK);
            settle().await;
            counts.push(store.take_operations());
        }
        counts
    };
    // Each replica reads revocations first.
    operations(&browser).await;
    assert_eq!(operations(&browser).await, [(0, 0); 4]);
    world.advance(301);
    browser.fetch("/me").await;
    // The second replica records that the browser has the new cookie, and the first one reads that.
    browser.at(&apps[1]).fetch("/me").await;
    settle().await;
    assert_eq!(operations(&browser).await, [(1, 0), (0, 0), (0, 0), (0, 0)]);
}

#[tokio::test]
async fn a_login_at_a_replica_that_starts_without_the_store_outlives_earlier_revocations() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let start = || world.replica(|one| one.shared_store(store.clone()));
    let sessions = start();
    let running = app(&sessions);
    let mut browser = Browser::new(&running, &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let user = world.sandbox.users().get(JANE).unwrap().id;
    sessions.revoke_user(&user).await.unwrap();
    world.advance(3600);
    store.set_down(true);
    let started = app(&start());
    let mut browser = Browser::new(&started, &world.sandbox);
    let authorization = browser.start_login("/login?return_to=/me").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let rejected = browser.open(&callback).await;
    assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(rejected.header("retry-after").is_some());
    // The page is loaded again.
    store.set_down(false);
    assert_eq!(browser.open(&callback).await.status(), StatusCode::SEE_OTHER);
    for app in [&running, &started] {
        assert_eq!(browser.at(app).fetch("/me").await.status(), StatusCode::OK);
    }
    // A replica that has reached the store begins sessions without it.
    store.set_down(true);
    let mut browser = Browser::new(&started, &world.sandbox);
    assert_eq!(browser.log_in(&world.sandbox, JANE).await.status(), StatusCode::SEE_OTHER);
    store.set_down(false);
    for app in [&running, &started] {
        assert_eq!(browser.at(app).fetch("/me").await.status(), StatusCode::OK);
    }
}

/// A store that delays what follows a refresh that the environment rejects.
#[tokio::test]
async fn the_response_to_a_rejected_refresh_removes_no_cookie_of_a_later_login() {
    // The log, or the entry that notifies other replicas.
    for (delayed, is_removed) in [(KeyNamespace::Revocation, true), (KeyNamespace::Refresh, false)]
    {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let app = app(&world.replica(|one| one.shared_store(store.clone())));
        let mut browser = Browser::new(&app, &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        world.advance(301);
        world.sandbox.users().revoke_sessions(JANE);
        let go = store.hold_next_write(delayed);
        let (late, request) = (app.clone(), browser.request(Method::GET, "/me", &FETCH));
        let late = tokio::spawn(async move { send(&late, request).await });
        settle().await;
        assert_eq!(
            late.is_finished(),
            is_removed,
            "{delayed:?}: a response that removes is not late"
        );
        assert_eq!(browser.log_in(&world.sandbox, JANE).await.status(), StatusCode::SEE_OTHER);
        go.notify_one();
        let late = late.await.unwrap();
        assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(set_cookies(late.headers()).is_empty(), !is_removed, "{delayed:?}");
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_login_ends_the_session_that_it_replaces() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in(JANE).await;
    let old = browser.clone();
    let done = browser.log_in(&replicas.world.sandbox, JOHN).await;
    assert_eq!(browser.decide(&done, "switch").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(old.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.status_at(&replicas.apps[0]).await, StatusCode::OK);
}

/// Two replicas whose store can fail.
fn with_flaky_store(world: &World) -> (FlakyStore, [Sessions; 2]) {
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let replica =
        || world.replica(|one| one.shared_store(store.clone()).reject_on_stale_revocations());
    (store.clone(), [replica(), replica()])
}

#[tokio::test(start_paused = true)]
async fn a_revocation_is_published_when_the_store_returns_however_late() {
    let world = World::new();
    let (store, [here, there]) = with_flaky_store(&world);
    let mut browser = Browser::new(&app(&here), &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let user = browser.fetch("/me").await.json()["sub"].as_str().unwrap().to_owned();
    let mut elsewhere = browser.at(&app(&there));
    assert_eq!(elsewhere.fetch("/me").await.status(), StatusCode::OK);
    store.set_down(true);
    assert!(here.revoke_user(&user).await.is_err());
    tokio::time::sleep(Duration::from_secs(600)).await;
    store.set_down(false);
    // Without requests on the replica that revoked it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.advance(2);
    assert_eq!(elsewhere.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sessions_are_503_while_the_log_of_revocations_has_no_end() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let [here, there] = [(); 2].map(|()| world.replica(|one| one.shared_store(store.clone())));
    let mut browser = Browser::new(&app(&here), &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let user = browser.fetch("/me").await.json()["sub"].as_str().unwrap().to_owned();
    let mut elsewhere = browser.at(&app(&there));
    assert_eq!(elsewhere.fetch("/me").await.status(), StatusCode::OK);
    store.repeat_logs_endlessly(true);
    world.advance(2);
    store.take_operations();
    for _ in 0..3 {
        for path in ["/me", "/maybe"] {
            let response = elsewhere.fetch(path).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert!(response.header("retry-after").is_some());
            assert!(set_cookies(response.headers()).is_empty(), "{:?}", response.headers());
        }
    }
    assert!(store.take_operations().0 <= 1000, "it is read once in a second");
    // An outage does not bring the end nearer.
    store.set_down(true);
    world.advance(2);
    assert_eq!(elsewhere.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    store.set_down(false);
    store.repeat_logs_endlessly(false);
    world.advance(2);
    assert_eq!(elsewhere.fetch("/me").await.status(), StatusCode::OK);
    here.revoke_user(&user).await.unwrap();
    world.advance(2);
    assert_eq!(elsewhere.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_result_of_a_refresh_by_a_newer_version_is_neither_ignored_nor_replaced() {
    let world = World::new();
    let (store, [here, _]) = with_flaky_store(&world);
    let mut browser = Browser::new(&app(&here), &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    world.advance(301);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    let entry = store.keys().into_iter().find(|key| key.namespace() == KeyNamespace::Refresh);
    let (entry, newer) = (entry.unwrap(), Bytes::from(r#"{"t":"of a newer version"}"#));
    settle().await;
    store.put(&entry, newer.clone(), Duration::from_secs(3600)).await.unwrap();
    world.advance(301);
    let refreshes = world.sandbox.requests().refreshes();
    let response = browser.fetch("/me").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", response.text());
    assert!(response.header("retry-after").is_some());
    assert!(set_cookies(response.headers()).is_empty(), "{:?}", response.headers());
    assert_eq!(world.sandbox.requests().refreshes(), refreshes);
    assert_eq!(store.get(&entry).await.unwrap(), Some(newer));
}

#[tokio::test]
async fn revocations_by_a_newer_version_make_a_replica_stale() {
    let world = World::new();
    let (store, [here, there]) = with_flaky_store(&world);
    let mut browser = Browser::new(&app(&here), &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    there.revoke_user("usr_of_nobody").await.unwrap();
    let is_log =
        |key: &StoreKey| key.namespace() == KeyNamespace::Revocation && key.id().ends_with(".log");
    let log = store.keys().into_iter().find(is_log).unwrap();
    let newer = Bytes::from(r#"{"revoked":"in another way"}"#);
    store.append(&log, newer, Duration::from_secs(3600)).await.unwrap();
    world.advance(59);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    world.advance(2);
    drop(browser.fetch("/me").await);
    world.advance(2);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_revocation_is_published_if_its_caller_does_not_wait() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let [here, there] = [(); 2].map(|()| world.replica(|one| one.shared_store(store.clone())));
    let browser = world.logged_in_at(&app(&there), JANE).await;
    let jane = world.sandbox.users().get(JANE).unwrap().id;
    let go = store.hold_next_write(KeyNamespace::Revocation);
    let mut revoking = Box::pin(here.revoke_user(&jane));
    assert!(futures::poll!(&mut revoking).is_pending());
    settle().await;
    drop(revoking);
    go.notify_one();
    here.shutdown(Duration::from_secs(60)).await.unwrap();
    world.advance(2);
    assert_eq!(browser.status_at(browser.app()).await, StatusCode::UNAUTHORIZED);
}
