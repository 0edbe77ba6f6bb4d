//! Sessions in the shared store: of logins, and local ones.

mod lag;
mod limits;
mod local;
mod outages;

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::json;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::require_session::SessionRejection;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::session::{CreateSessionError, LocalSession, SessionsBuilder, User};
use tower_scalekit::shared_store::{KeyNamespace, SharedStore as _};
use tower_scalekit::{RequireSession, Session, Sessions};

use crate::store::{FlakyStore, When};
use crate::support::{
    Browser, CALLBACK, FETCH, JANE, JOHN, NAVIGATION, Reading as _, World, app, noise, request,
    secret, send, set_cookies, settle,
};

/// Two processes of one app that keep their sessions in one store.
struct Replicas {
    world: World,
    store: FlakyStore,
    sessions: [Sessions; 2],
    apps: [Router; 2],
}

impl Replicas {
    fn new() -> Self {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let sessions =
            [(); 2].map(|()| world.replica(|one| one.shared_store(store.clone()).store_backed()));
        let apps = sessions.each_ref().map(app_with_local_login);
        Self { world, store, sessions, apps }
    }

    async fn logged_in(&self) -> Browser {
        self.world.logged_in_at(&self.apps[0], JANE).await
    }
}

fn mary() -> User {
    let mut mary = User::default();
    mary.id = "usr_mary".to_owned();
    mary.email = "mary@own.test".to_owned();
    mary.name = Some("Mary".to_owned());
    mary
}

/// The app, which also creates local sessions.
pub(crate) fn app_with_local_login(sessions: &Sessions) -> Router {
    let begin = |change: fn(LocalSession) -> LocalSession| {
        let sessions = sessions.clone();
        post(async move |headers: HeaderMap| {
            let session = LocalSession::new(mary()).organization_id("org_own").roles(["r"]);
            let cookies = sessions.create(change(session), &headers).await.unwrap();
            (cookies, "hello")
        })
    };
    app(sessions)
        .route("/own", begin(|session| session))
        .route("/own/short", begin(|session| session.lifetime(Duration::from_secs(60))))
        .route("/own/cookie", begin(LocalSession::in_cookie))
}

#[tokio::test]
async fn the_cookie_of_a_stored_session_is_small_and_many_requests_cause_one_refresh() {
    let replicas = Replicas::new();
    let world = &replicas.world;
    let mut browser = replicas.logged_in().await;
    for round in 1..=3 {
        let cookies = browser.names_and_values();
        assert!(cookies.len() < 160, "{cookies}");
        world.advance(301);
        let requests = (0..50).map(|number| {
            let request = browser.request(Method::GET, "/me", &FETCH);
            send(&replicas.apps[number % 2], request)
        });
        let responses = join_all(requests).await;
        assert!(responses.iter().all(|response| response.status() == StatusCode::OK));
        assert!(
            responses.iter().all(|response| response.json()["jti"] == responses[0].json()["jti"])
        );
        assert_eq!(world.sandbox.requests().refreshes(), round);
        browser.store_cookies(&responses[0]);
        let response = browser.fetch("/me").await;
        assert_eq!(set_cookies(response.headers()), [""; 0]);
        response.assert_private();
    }
}

#[tokio::test]
async fn a_requested_refresh_shows_on_the_other_replica_at_once() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in().await;
    let other = |browser: &Browser| browser.at(&replicas.apps[1]);
    let before = other(&browser).fetch("/me").await.json();
    assert_eq!(before["roles"], json!(["admin"]));
    replicas.world.sandbox.users().update(JANE, |jane| jane.roles = vec!["member".to_owned()]);
    assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::OK);
    let after = other(&browser).fetch("/me").await.json();
    assert_eq!(after["roles"], json!(["member"]), "the other replica had the old ones cached");
}

#[tokio::test]
async fn a_local_session_survives_a_rotation_of_the_secret() {
    let replicas = Replicas::new();
    let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
    browser.post("/own").await;
    let with = |change: fn(SessionsBuilder) -> SessionsBuilder| {
        app(&replicas.world.replica(|one| change(one.shared_store(replicas.store.clone()))))
    };
    let mut browser = browser.at(&with(|one| one.secret(secret(40)).previous_secret(secret(1))));
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    settle().await;
    let after = browser.at(&with(|one| one.secret(secret(40))));
    assert_eq!(after.clone().fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_replica_with_an_outdated_copy_spends_no_token_again() {
    let replicas = Replicas::new();
    let browser = replicas.logged_in().await;
    for replica in [0, 1] {
        assert_eq!(browser.status_at(&replicas.apps[replica]).await, StatusCode::OK);
    }
    replicas.world.advance(301);
    assert_eq!(browser.status_at(&replicas.apps[0]).await, StatusCode::OK);
    // The published result is no longer kept.
    replicas.world.advance(100);
    assert_eq!(browser.status_at(&replicas.apps[1]).await, StatusCode::OK);
    assert_eq!(replicas.world.sandbox.requests().refreshes(), 1);
}

#[tokio::test]
async fn an_ended_stored_session_stays_ended_on_every_replica_and_after_a_restart() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in().await;
    let copy = browser.clone();
    assert_eq!(copy.status_at(&replicas.apps[1]).await, StatusCode::OK);
    let logout = browser.open("/logout").await;
    assert!(logout.location().contains("id_token_hint="), "{}", logout.location());
    assert_eq!(copy.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
    replicas.world.advance(2);
    assert_eq!(copy.status_at(&replicas.apps[1]).await, StatusCode::UNAUTHORIZED);
    let restarted = replicas.world.replica(|one| one.shared_store(replicas.store.clone()));
    let response = copy.at(&app(&restarted)).fetch("/me").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_logout_is_complete_if_its_browser_leaves() {
    let replicas = Replicas::new();
    let browser = replicas.logged_in().await;
    let held = replicas.store.hold_next(When::BeforeIt);
    let logout = browser.request(Method::GET, "/logout", &[("sec-fetch-site", "same-origin")]);
    let app = replicas.apps[0].clone();
    let left = tokio::spawn(async move { send(&app, logout).await });
    settle().await;
    left.abort();
    held.notify_one();
    settle().await;
    assert_eq!(browser.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
    replicas.world.advance(2);
    assert_eq!(browser.status_at(&replicas.apps[1]).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_late_refresh_does_not_restore_a_stored_session() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in().await;
    let copy = browser.clone();
    replicas.world.advance(301);
    let held = replicas.world.sandbox.faults().hold(Endpoint::Token);
    let late = copy.request(Method::GET, "/me", &FETCH);
    let late = tokio::spawn({
        let app = replicas.apps[1].clone();
        async move { send(&app, late).await }
    });
    while replicas.world.sandbox.requests().count(Endpoint::Token) < 2 {
        tokio::task::yield_now().await;
    }
    browser.open("/logout").await;
    drop(held);
    assert_eq!(late.await.unwrap().status(), StatusCode::UNAUTHORIZED);
    replicas.world.advance(3600);
    for replica in [0, 1] {
        assert_eq!(copy.status_at(&replicas.apps[replica]).await, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_stored_session_may_be_larger_than_cookies() {
    let replicas = Replicas::new();
    let permissions: Vec<String> = noise(2000).collect();
    let session = LocalSession::new(mary()).permissions(permissions.clone());
    let sessions = &replicas.sessions[0];
    let too_large = sessions.create(session.clone().in_cookie(), &HeaderMap::new()).await;
    assert!(matches!(too_large, Err(CreateSessionError::TooLarge)));
    let cookies = sessions.create(session, &HeaderMap::new()).await.unwrap();
    let mut headers = HeaderMap::new();
    cookies.set(&mut headers);
    let [cookie] = set_cookies(&headers)[..] else { panic!("one cookie") };
    let pair = cookie.split(';').next().unwrap();
    let count =
        |session: Session| async move { session.principal().permissions().len().to_string() };
    for sessions in &replicas.sessions {
        let app = Router::new().route("/", get(count)).route_layer(RequireSession::new(sessions));
        let response = send(&app, request(Method::GET, "/", &[("cookie", pair)])).await;
        assert_eq!(response.text(), "2000");
    }
}

#[tokio::test]
async fn a_stored_value_is_no_cookie_and_opens_under_its_own_id_only() {
    for store_backed in [false, true] {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let with_store = |one: SessionsBuilder| {
            let one = one.shared_store(store.clone());
            if store_backed { one.store_backed() } else { one }
        };
        let app_of = app;
        let app = app_of(&world.replica(with_store));
        let mut browser = Browser::new(&app, &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        world.advance(301);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        let seen = store.seen();
        assert!(!seen.is_empty());
        let name = world.sessions.cookie_name();
        for value in seen.values() {
            let text = String::from_utf8(value.to_vec()).unwrap();
            assert!(!text.contains("jane"), "{text}");
            let published = serde_json::from_str::<serde_json::Value>(&text).ok();
            let sealed = published.and_then(|entry| Some(entry["sealed"].as_str()?.to_owned()));
            let mut thief = Browser::new(&app, &world.sandbox);
            thief.put_cookie(name, &sealed.unwrap_or(text));
            assert_eq!(thief.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
        }
        if store_backed {
            // Jane's session under the ID of John's: both are rejected, and no session of another
            // user opens.
            let mut john = Browser::new(&app, &world.sandbox);
            john.log_in(&world.sandbox, "john@acme.test").await;
            let mut seen = store.seen();
            // The index of a user's sessions is shorter than any session.
            seen.retain(|key, value| key.namespace() == KeyNamespace::Session && value.len() > 100);
            let [(one, ones), (two, twos)] = &seen.iter().collect::<Vec<_>>()[..] else {
                panic!("two sessions: {seen:?}");
            };
            store.put(one, (*twos).clone(), Duration::from_secs(60)).await.unwrap();
            store.put(two, (*ones).clone(), Duration::from_secs(60)).await.unwrap();
            let fresh = app_of(&world.replica(with_store));
            for browser in [&browser, &john] {
                let response = browser.at(&fresh).fetch("/me").await;
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            }
        }
    }
}

#[tokio::test]
async fn the_cookie_of_a_stored_session_is_resealed_with_the_newest_secret() {
    let replicas = Replicas::new();
    let browser = replicas.logged_in().await;
    let rotated = replicas.world.replica(|one| {
        let one = one.shared_store(replicas.store.clone()).store_backed();
        one.secret(secret(40)).previous_secret(secret(1))
    });
    let mut browser = browser.at(&app(&rotated));
    let old = browser.cookie_header();
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    assert_ne!(browser.cookie_header(), old);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    replicas.world.advance(301);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    // Nothing is sealed with the old one any more.
    let after =
        replicas.world.replica(|one| one.shared_store(replicas.store.clone()).secret(secret(40)));
    assert_eq!(browser.at(&app(&after)).fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn use_extends_the_idle_limit_of_a_stored_session_for_all_replicas() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let replica = || {
        let idle = Duration::from_secs(600);
        app(&world.replica(|one| one.shared_store(store.clone()).store_backed().idle_timeout(idle)))
    };
    let apps = [replica(), replica()];
    let mut browser = Browser::new(&apps[0], &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    assert_eq!(browser.at(&apps[1]).fetch("/me").await.status(), StatusCode::OK);
    for _ in 0..10 {
        world.advance(400);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
    assert_eq!(browser.at(&apps[1]).fetch("/me").await.status(), StatusCode::OK);
    world.advance(601);
    for app in &apps {
        assert_eq!(browser.at(app).fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    }
}

/// Apps of replicas that share a store, with sessions in cookies or in the store.
fn replicas_of(world: &World, store: &FlakyStore, store_backed: bool) -> [Router; 2] {
    [(); 2].map(|()| {
        app(&world.replica(|one| {
            let one = one.shared_store(store.clone());
            if store_backed { one.store_backed() } else { one }
        }))
    })
}

#[tokio::test]
async fn a_lost_response_ends_no_session_on_any_replica() {
    for store_backed in [false, true] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let apps = replicas_of(&world, &store, store_backed);
        let mut browser = Browser::new(&apps[0], &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        let old = browser.clone();
        for generation in 1..=3 {
            world.advance(3600);
            let lost = old.at(&apps[generation % 2]).fetch("/me").await;
            assert_eq!(lost.status(), StatusCode::OK, "{store_backed} {generation}");
        }
        // After a restart of all replicas.
        let restarted = replicas_of(&world, &store, store_backed);
        for app in &restarted {
            world.advance(3600);
            let response = old.at(app).fetch("/me").await;
            assert_eq!(response.status(), StatusCode::OK, "{store_backed}");
        }
        let results =
            store.seen().into_keys().filter(|key| key.namespace() == KeyNamespace::Refresh);
        assert_eq!(results.count(), 1, "one for each session, replaced");
    }
}

#[tokio::test]
async fn a_presented_cookie_is_recorded_once_and_a_warm_request_does_not_use_the_store() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let apps = replicas_of(&world, &store, false);
    let mut browser = Browser::new(&apps[0], &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    for _ in 0..3 {
        world.advance(301);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        settle().await;
        store.take_operations();
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        settle().await;
        let (_, writes) = store.take_operations();
        assert_eq!(writes, 2, "the result and the generation that it leaves");
        assert_eq!(browser.at(&apps[1]).fetch("/me").await.status(), StatusCode::OK);
        settle().await;
        assert_eq!(store.take_operations(), (2, 0), "the other replica reads revocations");
        for app in &apps {
            for _ in 0..10 {
                assert_eq!(browser.at(app).fetch("/me").await.status(), StatusCode::OK);
            }
        }
        settle().await;
        assert_eq!(store.take_operations(), (0, 0));
    }
    // The storage per session: its result for a day, its generation until it ends.
    let bytes = |namespace| {
        let seen = store.seen();
        let of_purpose: Vec<_> =
            seen.iter().filter(|(key, _)| key.namespace() == namespace).collect();
        assert_eq!(of_purpose.len(), 1);
        of_purpose.iter().map(|(key, value)| key.id().len() + value.len()).sum::<usize>()
    };
    let (result, generation) = (bytes(KeyNamespace::Refresh), bytes(KeyNamespace::Generation));
    println!("a result of {result} bytes, a generation of {generation} bytes");
    assert!(result < 2048 && generation < 64, "{result} {generation}");
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_refresh_on_another_replica_gets_the_same_result() {
    for store_backed in [false, true] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let apps = replicas_of(&world, &store, store_backed);
        let mut browser = Browser::new(&apps[0], &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        for number in 0..6 {
            let mut elsewhere = browser.at(&apps[number % 2]);
            let response = elsewhere.post("/auth/refresh").await;
            assert_eq!(response.status(), StatusCode::OK);
            browser.store_cookies(&response);
            world.advance(1);
        }
        assert_eq!(world.sandbox.requests().refreshes(), 1, "{store_backed}");
    }
}
