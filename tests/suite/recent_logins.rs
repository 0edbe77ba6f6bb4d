//! Repeated callbacks, and logins whose session cookie is lost.

use std::time::Duration;

use bytes::Bytes;
use futures::future::{join, join_all};
use http::{Method, Response, StatusCode};
use tower_scalekit::Sandbox;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::sandbox::Endpoint;
use tower_scalekit::shared_store::KeyNamespace;

use crate::login::{assert_rejected, at_the_callback};
use crate::store::FlakyStore;
use crate::support::{
    Browser, JANE, NAVIGATION, Reading as _, World, app, parameter, request, send, set_cookies,
    with_parameters,
};

#[tokio::test(start_paused = true)]
async fn concurrent_callbacks_complete_one_login_and_all_return_its_session() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = World::with(|sandbox| sandbox, |sessions| sessions.shared_store(store.clone()));
    let other = app(&world.replica(|sessions| sessions.shared_store(store.clone())));
    let (browser, callback) = at_the_callback(&world).await;
    let again = || browser.request(Method::GET, &callback, &NAVIGATION);
    // The first request is delayed before its session is stored.
    let go = store.hold_next_write(KeyNamespace::SessionMarker);
    let requests = [send(&world.app, again()), send(&world.app, again()), send(&other, again())];
    let release = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        go.notify_one();
    };
    let (responses, ()) = join(join_all(requests), release).await;
    for response in &responses {
        assert_eq!((response.status(), response.location()), (StatusCode::SEE_OTHER, "/me"));
        response.assert_private();
    }
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1);
    for response in &responses {
        assert_eq!(set_cookies(response.headers()), set_cookies(responses[0].headers()));
        let mut browser = browser.clone();
        browser.store_cookies(response);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_login_continues_when_its_client_disconnects_for_a_second_request() {
    let world = World::new();
    let (browser, callback) = at_the_callback(&world).await;
    let request = || browser.request(Method::GET, &callback, &NAVIGATION);
    let mut first = Box::pin(send(&world.app, request()));
    assert!(futures::poll!(&mut first).is_pending());
    drop(first);
    let response = send(&world.app, request()).await;
    assert_eq!((response.status(), response.location()), (StatusCode::SEE_OTHER, "/me"));
    let mut browser = browser.clone();
    browser.store_cookies(&response);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_second_callback_of_a_login_that_fails_gets_no_redirect_into_the_app() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = World::with(|sandbox| sandbox, |sessions| sessions.shared_store(store.clone()));
    let other = app(&world.replica(|sessions| sessions.shared_store(store.clone())));
    let (browser, callback) = at_the_callback(&world).await;
    let wrong = with_parameters(&callback, &[("code", "unknown")]);
    let request = || browser.request(Method::GET, &wrong, &NAVIGATION);
    let (first, second) = join(send(&world.app, request()), send(&other, request())).await;
    assert_eq!(first.status(), StatusCode::BAD_REQUEST);
    assert_eq!(second.status(), StatusCode::BAD_REQUEST);
    for response in [first, second] {
        let rejection = response.extensions().get::<RouteRejection<LoginError>>().unwrap();
        assert_eq!(rejection.retry_url(), Some("/login?return_to=%2Fme"));
    }
}

#[tokio::test]
async fn attempts_of_one_second_are_ordered_as_the_browser_sends_them() {
    let world = World::new();
    let mut cookies: Vec<String> = Vec::new();
    let mut authorizations = Vec::new();
    for _ in 0..8 {
        let header = cookies.join("; ");
        let headers = [("cookie", header.as_str()), NAVIGATION[0], NAVIGATION[1]];
        let started = send(&world.app, request(Method::GET, "/login", &headers)).await;
        authorizations.push(started.location().to_owned());
        for line in set_cookies(started.headers()) {
            let pair = line.split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.retain(|known| !known.starts_with(&format!("{name}=")));
            if !value.is_empty() {
                cookies.push(pair.to_owned());
            }
        }
    }
    let kept = authorizations.iter().map(|authorization| {
        let state = parameter(authorization, "state").unwrap();
        cookies.iter().any(|cookie| cookie.contains(&format!("_login_{}=", &state[..8])))
    });
    let kept: Vec<_> = kept.collect();
    assert_eq!(kept, [false, false, false, true, true, true, true, true]);
}

/// The page that is shown when the session cookie is lost, and its link.
async fn lost(browser: &mut Browser, target: &str) -> Response<Bytes> {
    let page = browser.open(target).await;
    let expected = LoginError::SessionCookieLost { cookie: "__Host-scalekit_session".to_owned() };
    assert_rejected(&page, &expected);
    assert!(page.text().contains("__Host-scalekit_session"), "{}", page.text());
    page
}

#[tokio::test]
async fn a_session_cookie_that_is_replaced_after_a_login_starts_no_second_one() {
    let world = World::new();
    let name = world.sessions.cookie_name();
    let mut browser = world.logged_in(JANE).await;
    browser.put_cookie(name, "another app's");
    let to_login = browser.open("/me").await;
    assert_eq!(to_login.location(), "/login?return_to=%2Fme");
    let json = browser.clone().fetch(to_login.location()).await;
    assert_eq!(json.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json.json()["error"], "session_cookie_lost");
    assert!(json.text().contains(name));

    let page = lost(&mut browser, to_login.location()).await;
    assert_eq!(browser.cookie(name), Some("another app's"));
    assert_eq!(browser.names_with("_login_"), [""; 0]);
    let rejection = page.extensions().get::<RouteRejection<LoginError>>().unwrap();
    let link = rejection.retry_url().unwrap().to_owned();
    assert_eq!(link, "/login?return_to=%2Fme");
    // The user may retry.
    let authorization = browser.start_login(&link).await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    assert_eq!(browser.open(&callback).await.location(), "/me");
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_missing_session_cookie_starts_one_more_login_and_no_third() {
    let world = World::new();
    let name = world.sessions.cookie_name();
    let mut browser = world.logged_in(JANE).await;
    browser.remove_cookie(name);
    let again = browser.log_in(&world.sandbox, JANE).await;
    assert_eq!(again.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    browser.remove_cookie(name);
    lost(&mut browser, "/login").await;
    // The user may retry; a minute later it is a new login.
    assert_eq!(browser.log_in(&world.sandbox, JANE).await.status(), StatusCode::SEE_OTHER);
    browser.remove_cookie(name);
    world.advance(60);
    browser.start_login("/login").await;
}

#[tokio::test]
async fn logins_after_a_logout_or_after_a_minute_start_at_once() {
    let world = World::new();
    let name = world.sessions.cookie_name();
    let mut browser = world.logged_in(JANE).await;
    browser.open("/logout").await;
    browser.start_login("/login").await;
    let mut browser = world.logged_in(JANE).await;
    browser.start_login("/login").await;
    browser.put_cookie(name, "another app's");
    world.advance(60);
    browser.start_login("/login").await;
    // The cookie of an ended session is not a lost one.
    let mut browser = world.logged_in(JANE).await;
    let id = world.sandbox.users().get(JANE).unwrap().id;
    world.sessions.revoke_user(&id).await.unwrap();
    let to_login = browser.open("/me").await;
    browser.start_login(to_login.location()).await;
}

#[tokio::test]
async fn a_session_that_is_cleared_while_the_wall_clock_is_ahead_is_no_cookie_that_is_lost() {
    let lifetime = Duration::from_secs(30 * 60);
    let world = World::with(|sandbox| sandbox, |sessions| sessions.absolute_lifetime(lifetime));
    let mut browser = world.logged_in(JANE).await;
    let names: Vec<String> = browser.all_names().map(Into::into).collect();
    assert_eq!(names.len(), 2);
    world.sandbox.clock().step(time::Duration::HOUR);
    for name in &names {
        browser.keep_expired(name);
    }
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    world.sandbox.clock().step(-time::Duration::HOUR);
    assert_eq!(browser.all_names().collect::<Vec<_>>(), [""; 0]);
    browser.start_login("/login").await;
}

#[tokio::test]
async fn a_logout_removes_the_session_before_the_recorded_logins() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    for _ in 0..4 {
        let other = world.logged_in(JANE).await;
        let recent = other.all_names().find(|name| name.contains("_recent_")).unwrap();
        browser.put_cookie(recent, other.cookie(recent).unwrap());
    }
    let response = browser.post("/logout").await;
    let removed = |part: &str| {
        let cookies = set_cookies(response.headers());
        cookies.iter().position(|cookie| cookie.contains(part) && cookie.contains("Max-Age=0"))
    };
    // A proxy may send the first four only.
    assert!(removed("_session").unwrap() < removed("_recent_").unwrap());
}
