//! Sessions in the shared store: of logins, and local ones.

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
    secret, send, set_cookies,
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
        let mut browser = Browser::new(&self.apps[0], &self.world.sandbox);
        let done = browser.log_in(&self.world.sandbox, JANE).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
        browser
    }

    async fn status(&self, replica: usize, browser: &Browser) -> StatusCode {
        let request = browser.request(Method::GET, "/me", &FETCH);
        send(&self.apps[replica], request).await.status()
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
        browser.take_in(&responses[0]);
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
    assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::NO_CONTENT);
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
        assert_eq!(replicas.status(replica, &browser).await, StatusCode::OK);
    }
    replicas.world.advance(301);
    assert_eq!(replicas.status(0, &browser).await, StatusCode::OK);
    // The published result is no longer kept.
    replicas.world.advance(100);
    assert_eq!(replicas.status(1, &browser).await, StatusCode::OK);
    assert_eq!(replicas.world.sandbox.requests().refreshes(), 1);
}

#[tokio::test]
async fn an_ended_stored_session_stays_ended_on_every_replica_and_after_a_restart() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in().await;
    let copy = browser.clone();
    assert_eq!(replicas.status(1, &copy).await, StatusCode::OK);
    let logout = browser.open("/logout").await;
    assert!(logout.location().contains("id_token_hint="), "{}", logout.location());
    assert_eq!(replicas.status(0, &copy).await, StatusCode::UNAUTHORIZED);
    replicas.world.advance(2);
    assert_eq!(replicas.status(1, &copy).await, StatusCode::UNAUTHORIZED);
    let restarted = replicas.world.replica(|one| one.shared_store(replicas.store.clone()));
    let response = copy.at(&app(&restarted)).fetch("/me").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
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
        assert_eq!(replicas.status(replica, &copy).await, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn an_outage_of_the_store_is_503_and_ends_nothing() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in().await;
    let cold = replicas.world.replica(|one| one.shared_store(replicas.store.clone()));
    let cold = app(&cold);

    replicas.store.set_down(true);
    let warm = browser.fetch("/me").await;
    assert_eq!(warm.status(), StatusCode::OK, "a cached session stays valid");
    let response = browser.at(&cold).fetch("/me").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.header("retry-after").is_some());
    assert_eq!(set_cookies(response.headers()), [""; 0]);
    assert!(matches!(response.extensions().get(), Some(SessionRejection::Unavailable(_))));
    let refresh = browser.at(&cold).post("/auth/refresh").await;
    assert_eq!(refresh.status(), StatusCode::SERVICE_UNAVAILABLE);

    // A logout that failed does not seem successful, although the cookie is removed and the app
    // ended it.
    let copy = browser.clone();
    assert_eq!(browser.open("/logout").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(replicas.status(0, &copy).await, StatusCode::UNAUTHORIZED);

    replicas.store.set_down(false);
    let other = replicas.logged_in().await;
    assert_eq!(other.at(&cold).fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_login_that_cannot_be_stored_sets_no_cookie() {
    let replicas = Replicas::new();
    let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
    let authorization = browser.start_login("/login").await;
    let callback = replicas.world.sandbox.log_in(&authorization, JANE).unwrap();
    replicas.store.set_down(true);
    let response = browser.open(&callback).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    // The code is spent: the attempt has ended, and the page links to another login.
    assert_eq!(browser.names(), [""; 0]);
    let rejection = response.extensions().get::<RouteRejection<LoginError>>().unwrap();
    assert_eq!(rejection.error(), &LoginError::Interrupted);
    assert!(response.text().contains("href=\"/login\""), "{}", response.text());
    replicas.store.set_down(false);
    let done = browser.log_in(&replicas.world.sandbox, JANE).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER);
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
            thief.plant(name, &sealed.unwrap_or(text));
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

#[tokio::test]
async fn a_local_session_is_served_like_any_other_without_the_environment() {
    let replicas = Replicas::new();
    for (path, stored) in [("/own", true), ("/own/cookie", false)] {
        let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
        let begun = browser.post(path).await;
        assert_eq!(begun.text(), "hello");
        begun.assert_private();
        assert_eq!(browser.cookie_header().len() < 150, stored);
        let me = browser.fetch("/me").await.json();
        assert_eq!(me["sub"], "usr_mary");
        assert_eq!((&me["email"], &me["roles"]), (&json!("mary@own.test"), &json!(["r"])));
        assert_eq!(replicas.status(1, &browser).await, StatusCode::OK);
        replicas.world.advance(24 * 3600);
        assert_eq!(replicas.status(1, &browser).await, StatusCode::OK);
        assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::NO_CONTENT);

        let copy = browser.clone();
        let logout = browser.open("/logout").await;
        assert_eq!(logout.location(), "https://app.example.com/");
        assert_eq!(browser.names_with("_session"), [""; 0]);
        replicas.world.advance(2);
        for replica in [0, 1] {
            assert_eq!(replicas.status(replica, &copy).await, StatusCode::UNAUTHORIZED);
        }
    }
    assert_eq!(replicas.world.sandbox.requests().count(Endpoint::Token), 0);
    replicas.world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
    browser.post("/own").await;
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_local_session_ends_at_its_own_lifetime() {
    let replicas = Replicas::new();
    let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
    browser.post("/own/short").await;
    let name = replicas.sessions[0].cookie_name().to_owned();
    browser.keep_too_long(&name);
    replicas.world.advance(59);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    replicas.world.advance(1);
    let response = browser.send(Method::GET, "/me", &NAVIGATION).await;
    assert_eq!(
        (response.status(), response.location()),
        (StatusCode::FOUND, "/login?return_to=%2Fme")
    );
}

#[tokio::test]
async fn a_local_session_replaces_the_previous_session() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in().await;
    let old = browser.clone();
    browser.post("/own").await;
    assert_eq!(browser.fetch("/me").await.json()["sub"], "usr_mary");
    assert_eq!(old.clone().fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_without_a_user_id_does_not_begin() {
    let world = World::new();
    let begun = world.sessions.create(LocalSession::new(User::default()), &HeaderMap::new()).await;
    assert!(matches!(begun, Err(CreateSessionError::NoUserId)));
    assert_eq!(world.sessions.redirect_uri(), CALLBACK);
}

#[tokio::test]
async fn a_session_with_a_malformed_id_token_does_not_begin() {
    let world = World::new();
    let mut user = User::default();
    user.id = "usr_mary".to_owned();
    // No segments; claims that are no JSON object (`[]`).
    for id_token in ["none", "e30.W10.AA"] {
        let local = LocalSession::new(user.clone()).id_token_hint(id_token.to_owned().into());
        let begun = world.sessions.create(local, &HeaderMap::new()).await;
        assert!(matches!(begun, Err(CreateSessionError::InvalidClaims)), "{id_token}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_during_a_refresh_ends_no_session() {
    for store_backed in [false, true] {
        for failing in 1..12 {
            let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
            let store = FlakyStore::new(world.sandbox.clock().clock());
            let replica = || {
                let one = world.replica(|one| {
                    let one = one.shared_store(store.clone());
                    if store_backed { one.store_backed() } else { one }
                });
                app(&one)
            };
            let mut browser = Browser::new(&replica(), &world.sandbox);
            browser.log_in(&world.sandbox, JANE).await;
            let late = browser.clone();
            world.advance(301);
            // The store fails after the environment has accepted the refresh token.
            let held = world.sandbox.faults().hold(Endpoint::Token);
            let request = browser.request(Method::GET, "/me", &FETCH);
            let refreshing = tokio::spawn({
                let app = browser.app().clone();
                async move { send(&app, request).await }
            });
            while world.sandbox.requests().count(Endpoint::Token) < 2 {
                tokio::task::yield_now().await;
            }
            store.fail_next(failing);
            drop(held);
            let response = refreshing.await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{store_backed} {failing}");
            browser.take_in(&response);
            store.fail_next(0);
            for _ in 0..3 {
                assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
                world.advance(301);
            }
            // Another process, or the same one after a restart; and a tab with the old cookie.
            let fresh = replica();
            let response = browser.at(&fresh).fetch("/me").await;
            assert_eq!(response.status(), StatusCode::OK, "{store_backed} {failing}");
            let _ = late.at(&fresh).fetch("/me").await;
            browser.take_in(&response);
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_missed_a_refresh_gets_it_from_the_published_result() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in().await;
    replicas.world.advance(301);
    replicas.store.reject(Some(KeyNamespace::Session));
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    replicas.store.reject(None);
    assert_eq!(replicas.status(1, &browser).await, StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(60)).await;
    replicas.world.advance(61);
    let fresh =
        replicas.world.replica(|one| one.shared_store(replicas.store.clone()).store_backed());
    assert_eq!(browser.at(&app(&fresh)).fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(replicas.world.sandbox.requests().refreshes(), 1);
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

pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
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

#[tokio::test]
async fn a_session_that_a_replica_of_the_store_lacks_right_after_the_login_is_503_for_a_minute() {
    let replicas = Replicas::new();
    let (world, store) = (&replicas.world, &replicas.store);
    let lagging = || {
        let stale = store.stale();
        app(&world.replica(|one| one.shared_store(stale).store_backed()))
    };
    let behind = lagging();
    let browser = replicas.logged_in().await;
    let mut other = browser.at(&behind);
    let script = other.fetch("/me").await;
    assert_eq!(script.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(script.header("retry-after").is_some());
    let page = other.open("/me").await;
    assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(other.cookie_header(), browser.cookie_header());
    assert_eq!(replicas.status(1, &browser).await, StatusCode::OK, "the store has it");
    // When the read replica of the store has caught up, the app's replica has too.
    assert_eq!(browser.at(&lagging()).fetch("/me").await.status(), StatusCode::OK);
    world.advance(58);
    assert_eq!(other.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    world.advance(2);
    assert_eq!(other.fetch("/me").await.status(), StatusCode::UNAUTHORIZED, "the session is lost");
}

#[tokio::test]
async fn a_refresh_of_a_session_that_a_replica_of_the_store_lacks_is_503_for_a_minute() {
    for (age, status) in [(5, StatusCode::SERVICE_UNAVAILABLE), (61, StatusCode::UNAUTHORIZED)] {
        let replicas = Replicas::new();
        let mut browser = replicas.logged_in().await;
        replicas.store.hide(
            replicas
                .store
                .keys()
                .into_iter()
                .filter(|key| key.namespace() == KeyNamespace::Session),
        );
        replicas.world.advance(age);
        let cookies = browser.cookie_header();
        assert_eq!(browser.post("/auth/refresh").await.status(), status, "{age}");
        assert_eq!(replicas.world.sandbox.requests().refreshes(), 0);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(browser.cookie_header(), cookies);
            replicas.store.hide([]);
            assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::NO_CONTENT);
        }
    }
}

#[tokio::test]
async fn a_session_whose_last_state_the_store_has_lost_is_503_for_a_minute_and_blocks_no_login() {
    let replicas = Replicas::new();
    let (world, store) = (&replicas.world, &replicas.store);
    let mut browser = replicas.logged_in().await;
    let stale = store.stale();
    let behind = app(&world.replica(|one| one.shared_store(stale).store_backed()));
    world.advance(301);
    assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::NO_CONTENT);
    let mut lost = browser.at(&behind);
    assert_eq!(lost.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    for (email, page) in [(JANE, "/me"), (JOHN, "/auth/switch-account?attempt=")] {
        let response = lost.clone().log_in(&world.sandbox, email).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{email}");
        assert!(response.location().starts_with(page), "{response:?}");
    }
    world.advance(58);
    assert_eq!(lost.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    world.advance(2);
    assert_eq!(lost.fetch("/me").await.status(), StatusCode::UNAUTHORIZED, "it is lost");
}

#[tokio::test]
async fn a_session_that_has_ended_right_after_the_login_is_401_at_once() {
    for log in [true, false] {
        let replicas = Replicas::new();
        let (world, store) = (&replicas.world, &replicas.store);
        let before_login = store.stale();
        let mut browser = replicas.logged_in().await;
        let copy = browser.clone();
        assert_eq!(browser.post("/logout").await.status(), StatusCode::SEE_OTHER);
        let current = app(&replicas.sessions[1]);
        let behind = app(&world.replica(|one| one.shared_store(before_login).store_backed()));
        // By the revocation log, or by the value in its place.
        let replica = if log { &behind } else { &current };
        let response = copy.at(replica).fetch("/me").await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{log}");
    }
}

#[tokio::test(start_paused = true)]
async fn stale_reads_of_the_store_are_503_and_end_no_session() {
    for store_backed in [false, true] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let [current, other] = replicas_of(&world, &store, store_backed);
        let mut browser = Browser::new(&current, &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        let old = browser.clone();
        let stale = store.stale();
        let behind = app(&world.replica(|one| {
            let one = one.shared_store(stale);
            if store_backed { one.store_backed() } else { one }
        }));
        world.advance(301);
        for _ in 0..2 {
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
            settle().await;
        }
        for cookie in [&old, &browser] {
            let started = tokio::time::Instant::now();
            let response = cookie.at(&behind).fetch("/me").await;
            let is_known = !store_backed && cookie.cookie_header() == browser.cookie_header();
            let expected = if is_known { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            assert_eq!(response.status(), expected, "{store_backed}");
            assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        }
        // The session is unchanged.
        for app in [&current, &other] {
            tokio::time::sleep(Duration::from_secs(60)).await;
            world.advance(60);
            assert_eq!(old.at(app).fetch("/me").await.status(), StatusCode::OK, "{store_backed}");
            assert_eq!(browser.at(app).fetch("/me").await.status(), StatusCode::OK);
        }
    }
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
            assert_eq!(response.status(), StatusCode::NO_CONTENT);
            browser.take_in(&response);
            world.advance(1);
        }
        assert_eq!(world.sandbox.requests().refreshes(), 1, "{store_backed}");
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_a_result_that_the_store_has_not_accepted() {
    for store_backed in [false, true] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let sessions = world.replica(|one| {
            let one = one.shared_store(store.clone());
            if store_backed { one.store_backed() } else { one }
        });
        let mut browser = Browser::new(&app(&sessions), &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        let old = browser.clone();
        world.advance(301);
        let namespace = if store_backed { KeyNamespace::Session } else { KeyNamespace::Refresh };
        store.reject(Some(namespace));
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        let unfinished = sessions.shutdown(Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(unfinished.iter().count(), 1, "{unfinished}");
        store.reject(None);
        assert_eq!(sessions.shutdown(Duration::from_secs(2)).await, Ok(()));
        let [restarted, _] = replicas_of(&world, &store, store_backed);
        assert_eq!(old.at(&restarted).fetch("/me").await.status(), StatusCode::OK);
        assert_eq!(world.sandbox.requests().refreshes(), 1, "{store_backed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_the_store_missed_is_published_before_an_older_token_is_rejected() {
    for seconds in [5, 10, 20, 40, 55] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let apps = replicas_of(&world, &store, false);
        let mut browser = Browser::new(&apps[0], &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        world.advance(301);
        store.reject(Some(KeyNamespace::Refresh));
        let lost = browser.clone().fetch("/me").await;
        assert_eq!(lost.status(), StatusCode::OK);
        for second in 0..seconds + 6 {
            if second == seconds {
                store.reject(None);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.advance(1);
        }
        let response = browser.at(&apps[1]).fetch("/me").await;
        assert_eq!(response.status(), StatusCode::OK, "{seconds} s: {}", response.text());
        assert_eq!(world.sandbox.requests().refreshes(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_could_not_be_released_does_not_block_the_next_refresh() {
    for fails in [false, true] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let apps = replicas_of(&world, &store, false);
        let mut browser = Browser::new(&apps[0], &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        world.advance(301);
        let mut waiting = browser.clone();
        let first = |mut browser: Browser| {
            tokio::spawn(async move { (browser.fetch("/me").await.status(), browser) })
        };
        if fails {
            // The failure cannot be recorded in place of the lease.
            let fault = Fault::Status(StatusCode::BAD_GATEWAY);
            world.sandbox.faults().add_times(Endpoint::Token, 1, fault);
            let acquired = store.hold_next_write(KeyNamespace::RefreshLease);
            let failed = first(waiting.clone());
            settle().await;
            store.reject(Some(KeyNamespace::RefreshLease));
            acquired.notify_one();
            assert_eq!(failed.await.unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
            store.reject(None);
        } else {
            // The store fails between the publication and the release.
            let publishing = store.hold_next_write(KeyNamespace::Refresh);
            let refreshed = first(waiting);
            settle().await;
            let published = store.hold_next(When::AfterIt);
            publishing.notify_one();
            settle().await;
            store.set_down(true);
            published.notify_one();
            let status;
            (status, waiting) = refreshed.await.unwrap();
            assert_eq!(status, StatusCode::OK);
            store.set_down(false);
        }
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.advance(1);
        }
        let response = waiting.at(&apps[1]).post("/auth/refresh").await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT, "{fails}: {}", response.text());
    }
}

/// The lease expires while its holder can neither publish the result nor extend the lease.
#[tokio::test(start_paused = true)]
async fn an_outage_within_the_grace_of_the_environment_ends_no_session_whichever_replica_is_first()
{
    for (seconds, store_backed) in [5, 17, 19, 29].into_iter().flat_map(|s| [(s, false), (s, true)])
    {
        let case = format!("{seconds} s, {store_backed}");
        let grace = Duration::from_secs(30);
        let world = World::with(|sandbox| sandbox.refresh_grace(grace), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let apps = replicas_of(&world, &store, store_backed);
        let mut browser = Browser::new(&apps[0], &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        let mut old = browser.at(&apps[1]);
        assert_eq!(old.fetch("/me").await.status(), StatusCode::OK);
        world.advance(301);
        let held = world.sandbox.faults().hold(Endpoint::Token);
        let mut holder = browser.clone();
        let refreshed = tokio::spawn(async move { (holder.fetch("/me").await.status(), holder) });
        settle().await;
        store.set_down(true);
        drop(held);
        let (status, mut holder) = refreshed.await.unwrap();
        assert_eq!(status, StatusCode::OK, "{case}");
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.advance(1);
        }
        store.set_down(false);
        for second in 0..20 {
            let response = old.clone().fetch("/me").await;
            assert_ne!(response.status(), StatusCode::UNAUTHORIZED, "{case}, {second} s later");
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.advance(1);
        }
        for _ in 0..2 {
            for browser in [&mut old, &mut holder] {
                for app in &apps {
                    let response = browser.at(app).fetch("/me").await;
                    assert_eq!(response.status(), StatusCode::OK, "{case}");
                }
                assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{case}");
            }
            world.advance(301);
        }
    }
}

#[tokio::test]
async fn a_generation_that_is_marked_late_replaces_no_newer_one() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let [first, second] = replicas_of(&world, &store, false);
    let mut browser = Browser::new(&first, &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    world.advance(301);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    let old = browser.clone();
    // One replica is slow to mark the first refresh; the other marks the second one.
    let late = store.hold_next_write(KeyNamespace::Generation);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    settle().await;
    world.advance(301);
    let mut browser = browser.at(&second);
    for _ in 0..2 {
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        settle().await;
    }
    late.notify_one();
    settle().await;
    // The result is no longer kept, and the environment no longer accepts the older token.
    world.advance(24 * 60 * 60 + 1);
    assert_eq!(old.at(&first).fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(world.sandbox.requests().refreshes(), 2, "the older token is not spent again");
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn shutdown_publishes_a_logout_that_the_store_missed() {
    for in_cookie in [false, true] {
        let replicas = Replicas::new();
        let path = if in_cookie { "/own/cookie" } else { "/own" };
        let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
        browser.post(path).await;
        let copy = browser.clone();
        replicas.store.set_down(true);
        assert_eq!(browser.open("/logout").await.status(), StatusCode::SEE_OTHER);
        replicas.store.set_down(false);
        let limit = Duration::from_secs(5);
        assert_eq!(replicas.sessions[0].shutdown(limit).await, Ok(()));
        replicas.world.advance(2);
        assert_eq!(replicas.status(1, &copy).await, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn a_logout_that_the_store_missed_is_published_when_it_is_available() {
    let replicas = Replicas::new();
    for path in ["/own", "/own/cookie"] {
        let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
        browser.post(path).await;
        let (copy, other) = (browser.clone(), browser.clone());
        assert_eq!(replicas.status(1, &copy).await, StatusCode::OK);
        replicas.store.set_down(true);
        assert_eq!(browser.open("/logout").await.status(), StatusCode::SEE_OTHER);
        replicas.store.set_down(false);
        // Any request after two seconds.
        for _ in 0..2 {
            replicas.world.advance(2);
            assert_eq!(replicas.status(0, &other).await, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(replicas.status(1, &copy).await, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn only_stored_sessions_need_the_store_to_begin() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = world.replica(|one| one.shared_store(store.clone()));
    store.reject(Some(KeyNamespace::Session));
    let headers = HeaderMap::new();
    let in_cookie = sessions.create(LocalSession::new(mary()).in_cookie(), &headers).await;
    assert!(in_cookie.is_ok(), "{in_cookie:?}");
    let stored = sessions.create(LocalSession::new(mary()), &headers).await;
    assert!(matches!(stored, Err(CreateSessionError::Store(_))));
}

#[tokio::test]
async fn a_login_beyond_the_limit_of_sessions_per_user_ends_the_oldest() {
    for local in [false, true] {
        let world = World::with(
            |sandbox| sandbox,
            |sessions| sessions.store_backed().max_sessions_per_user(3),
        );
        let log_in = async |email: &str| {
            if !local {
                return world.logged_in(email).await;
            }
            let mut user = User::default();
            user.id = email.to_owned();
            let session = LocalSession::new(user);
            let cookies = world.sessions.create(session, &HeaderMap::new()).await.unwrap();
            let mut response = Response::new(Bytes::new());
            cookies.set(response.headers_mut());
            let mut browser = world.browser();
            browser.take_in(&response);
            browser
        };
        let is_in =
            async |browser: &Browser| browser.clone().fetch("/me").await.status() == StatusCode::OK;
        let other = log_in(JOHN).await;
        let first = log_in(JANE).await;
        let mut second = log_in(JANE).await;
        let third = log_in(JANE).await;
        assert!(is_in(&first).await && is_in(&second).await && is_in(&third).await);
        // An ended session does not count.
        assert_eq!(second.post("/logout").await.status(), StatusCode::SEE_OTHER);
        let fourth = log_in(JANE).await;
        assert!(is_in(&first).await && is_in(&third).await && is_in(&fourth).await);
        let fifth = log_in(JANE).await;
        assert!(!is_in(&first).await && is_in(&third).await && is_in(&fourth).await);
        assert!(is_in(&fifth).await && is_in(&other).await);
    }
}

#[tokio::test]
async fn a_login_in_place_of_a_session_ends_no_other_session_at_the_limit() {
    for local in [false, true] {
        let world = World::new();
        let sessions = world.replica(|one| one.store_backed().max_sessions_per_user(2));
        let app = app_with_local_login(&sessions);
        let log_in = async |browser: &mut Browser| match local {
            true => browser.post("/own").await,
            false => browser.log_in(&world.sandbox, JANE).await,
        };
        let mut devices = [(); 2].map(|()| Browser::new(&app, &world.sandbox));
        for device in &mut devices {
            log_in(device).await;
        }
        let [first, second] = &mut devices;
        let replaced = second.clone();
        for _ in 0..3 {
            log_in(second).await;
            assert_eq!(second.fetch("/me").await.status(), StatusCode::OK);
            assert_eq!(first.fetch("/me").await.status(), StatusCode::OK, "local: {local}");
        }
        assert_eq!(replaced.clone().fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn each_origin_of_an_app_has_its_own_limit_of_sessions_per_user() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let limit = |one: SessionsBuilder| one.shared_store(store.clone()).max_sessions_per_user(2);
    let here = world.replica(limit);
    let there = world.replica(|one| limit(one).redirect_uri("https://b.test/auth/callback"));
    let apps = [app(&here), app(&there)];
    let mut begun = Vec::new();
    for origin in [0, 1, 1, 0, 0] {
        begun.push(marys([&here, &there][origin], &apps[origin], &world).await.unwrap());
    }
    let mut statuses = Vec::new();
    for browser in &mut begun {
        statuses.push(browser.fetch("/me").await.status() == StatusCode::OK);
    }
    assert_eq!(statuses, [false, true, true, true, true], "the oldest of three has ended");
}

#[tokio::test]
async fn a_login_with_a_hook_counts_once_towards_the_limit_of_cookie_sessions() {
    let world = World::with(
        |sandbox| sandbox,
        |sessions| {
            sessions
                .max_sessions_per_user(2)
                .on_login(|identity| async move { Ok(identity.session().in_cookie()) })
        },
    );
    for number in 0..4 {
        let browser = world.logged_in(JANE).await;
        assert_eq!(browser.names_and_values().len() < 160, number >= 2, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_the_store_missed_for_minutes_ends_no_session_on_another_replica() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let apps = replicas_of(&world, &store, true);
    let mut browser = Browser::new(&apps[0], &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    world.advance(301);
    let held = world.sandbox.faults().hold(Endpoint::Token);
    let refreshed = tokio::spawn(async move { (browser.fetch("/me").await.status(), browser) });
    settle().await;
    store.set_down(true);
    drop(held);
    let (status, browser) = refreshed.await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let second = async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.advance(1);
    };
    for _ in 0..90 {
        second().await;
    }
    store.set_down(false);
    for seconds in 0..8 {
        let status = browser.at(&apps[1]).fetch("/me").await.status();
        assert_ne!(status, StatusCode::UNAUTHORIZED, "after {seconds} s");
        second().await;
    }
    assert_eq!(browser.at(&apps[1]).fetch("/me").await.status(), StatusCode::OK);
}

/// Creates a local session of Mary's, and returns its browser.
async fn marys(
    sessions: &Sessions,
    app: &Router,
    world: &World,
) -> Result<Browser, CreateSessionError> {
    let cookies = sessions.create(LocalSession::new(mary()), &HeaderMap::new()).await?;
    let mut response = Response::new(Bytes::new());
    cookies.set(response.headers_mut());
    let mut browser = Browser::new(app, &world.sandbox);
    browser.take_in(&response);
    Ok(browser)
}

#[tokio::test]
async fn concurrent_logins_of_one_user_do_not_exceed_the_limit() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let limit = |one: SessionsBuilder| one.shared_store(store.clone()).max_sessions_per_user(3);
    let sessions = world.replica(limit);
    let app = app(&sessions);
    store.yield_before_each();
    let begun = join_all((0..60).map(|_| marys(&sessions, &app, &world))).await;
    assert!(begun.iter().any(Result::is_err), "some are rejected, because of concurrent changes");
    let mut live = 0;
    for mut browser in begun.into_iter().flatten() {
        live += usize::from(browser.fetch("/me").await.status() == StatusCode::OK);
    }
    assert_eq!(live, 3);
}

#[tokio::test]
async fn a_session_that_a_replica_of_the_store_lacks_counts_towards_the_limit_for_a_minute() {
    for (age, is_counted) in [(30, true), (90, false)] {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let sessions =
            world.replica(|one| one.shared_store(store.clone()).max_sessions_per_user(2));
        let app = app(&sessions);
        let first = marys(&sessions, &app, &world).await.unwrap();
        world.advance(1);
        let before = store.keys();
        let second = marys(&sessions, &app, &world).await.unwrap();
        world.advance(age);
        store.hide(store.keys().difference(&before).cloned());
        let third = marys(&sessions, &app, &world).await.unwrap();
        store.hide([]);
        let is_in = async |browser: &Browser| browser.clone().fetch("/me").await.status();
        // The oldest one ends, unless the store has lost another.
        let expected = if is_counted { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        assert_eq!(is_in(&first).await, expected, "{age}");
        assert_eq!(is_in(&third).await, StatusCode::OK);
        if is_counted {
            assert_eq!(is_in(&second).await, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_session_that_has_just_ended_on_another_replica_does_not_count_towards_the_limit() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let limit = |one: SessionsBuilder| one.shared_store(store.clone()).max_sessions_per_user(2);
    let [first, second] = [(); 2].map(|()| world.replica(limit));
    let [app, other] = [&first, &second].map(app);
    let kept = marys(&first, &app, &world).await.unwrap();
    let mut ended = marys(&first, &app, &world).await.unwrap().at(&other);
    // The first replica does not learn of the end from the log.
    store.reject(Some(KeyNamespace::Revocation));
    assert_eq!(ended.post("/logout").await.status(), StatusCode::SEE_OTHER);
    store.reject(None);
    let new = marys(&first, &app, &world).await.unwrap();
    for browser in [kept, new] {
        assert_eq!(browser.clone().fetch("/me").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn the_end_of_a_stored_session_is_dropped_after_an_hour_and_the_session_stays_ended() {
    let replicas = Replicas::new();
    let [first, second] = &replicas.apps;
    let mut browser = marys(&replicas.sessions[0], first, &replicas.world).await.unwrap();
    let mut copies = [first, second].map(|app| browser.at(app));
    for copy in &mut copies {
        assert_eq!(copy.fetch("/me").await.status(), StatusCode::OK);
    }
    assert_eq!(browser.post("/logout").await.status(), StatusCode::SEE_OTHER);
    // The second replica serves no requests while the log has the logout.
    replicas.world.advance(61 * 60);
    for _ in 0..2 {
        for copy in &mut copies {
            assert_eq!(copy.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
        }
        replicas.world.advance(61 * 60);
    }
}

#[tokio::test]
async fn a_stored_session_is_used_without_the_store_until_its_end_could_be_dropped() {
    let replicas = Replicas::new();
    let app = &replicas.apps[0];
    let mut browser = marys(&replicas.sessions[0], app, &replicas.world).await.unwrap();
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    replicas.store.set_down(true);
    for _ in 0..9 {
        replicas.world.advance(6 * 60);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
    replicas.world.advance(60);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    replicas.store.set_down(false);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn sessions_beyond_the_limit_of_cookie_sessions_per_user_are_stored() {
    let world = World::with(|sandbox| sandbox, |sessions| sessions.max_sessions_per_user(2));
    let is_stored = |browser: &Browser| browser.names_and_values().len() < 160;
    let mut all = Vec::new();
    for number in 0..5 {
        let browser = world.logged_in(JANE).await;
        assert_eq!(is_stored(&browser), number >= 2);
        all.push(browser);
    }
    assert!(!is_stored(&world.logged_in(JOHN).await));
    let mut statuses = Vec::new();
    for browser in &all {
        statuses.push(browser.clone().fetch("/me").await.status() == StatusCode::OK);
    }
    assert_eq!(statuses, [true, true, false, true, true], "two of each kind");
    let copy = all[3].clone();
    assert_eq!(all[3].post("/logout").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(copy.clone().fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    // They are counted for as long as a session can last.
    world.advance(30 * 24 * 60 * 60);
    assert!(!is_stored(&world.logged_in(JANE).await));
}

#[tokio::test]
async fn a_full_store_blocks_no_logout_and_no_revocation() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = world.replica(|one| one.shared_store(store.clone()).store_backed());
    let app = app(&sessions);
    let mut browser = Browser::new(&app, &world.sandbox);
    for namespace in [KeyNamespace::Refresh, KeyNamespace::Session] {
        browser.log_in(&world.sandbox, JANE).await;
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        let copy = browser.clone();
        store.reject(Some(namespace));
        assert_eq!(browser.post("/logout").await.status(), StatusCode::SEE_OTHER);
        assert_eq!(copy.clone().fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
        store.reject(None);
    }
}
