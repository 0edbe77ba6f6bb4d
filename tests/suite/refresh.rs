//! Refreshes: each refresh token is spent once, and no session is lost to network errors.

mod failures;
mod requested;

use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::sandbox::{Endpoint, Fault, SandboxClient, TokenFault, TokenKind};
use tower_scalekit::{Sandbox, Scalekit, Sessions};

use crate::support::{
    Browser, CALLBACK, FETCH, JANE, NAVIGATION, Reading as _, World, app, login_error,
    sandbox_builder, secret, send, set_cookies, settle,
};

/// The first ones disconnect in the middle.
async fn two_hundred_concurrent_requests(world: &World, leaving: usize) {
    let browser = world.logged_in(JANE).await;
    world.advance(301);
    let before = world.sandbox.requests().refreshes();
    let held = world.sandbox.faults().hold(Endpoint::Token);
    let mut requests: Vec<_> = (0..200)
        .map(|_| {
            let (app, request) = (world.app.clone(), browser.request(Method::GET, "/me", &FETCH));
            tokio::spawn(async move { send(&app, request).await })
        })
        .collect();
    settle().await;
    assert!(requests.iter().all(|request| !request.is_finished()));
    assert_eq!(world.sandbox.requests().refreshes() - before, 1);
    for left in requests.drain(..leaving) {
        left.abort();
        assert!(left.await.unwrap_err().is_cancelled());
    }
    drop(held);
    let mut cookies = Vec::new();
    for response in join_all(requests).await {
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let [cookie] = set_cookies(response.headers())[..] else {
            panic!("one cookie: {response:?}")
        };
        cookies.push(cookie.to_owned());
    }
    assert_eq!(world.sandbox.requests().refreshes() - before, 1);
    cookies.dedup();
    assert_eq!(cookies.len(), 1, "all get the same session");
    // The returned session stays valid.
    let mut one = browser.clone();
    for _ in 0..3 {
        assert_eq!(one.fetch("/me").await.status(), StatusCode::OK);
        world.advance(298);
    }
}

#[tokio::test]
async fn two_hundred_requests_with_an_expired_token_cause_one_refresh() {
    two_hundred_concurrent_requests(&World::new(), 0).await;
}

#[tokio::test]
async fn two_hundred_requests_cause_one_refresh_without_a_reuse_grace_period() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    two_hundred_concurrent_requests(&world, 0).await;
}

#[tokio::test]
async fn late_requests_with_the_old_cookie_are_served_and_get_the_new_one() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    let mut browser = world.logged_in(JANE).await;
    let old = browser.clone();
    world.advance(301);
    let refreshed = browser.fetch("/me").await.json();
    for seconds in [0, 1, 29, 29] {
        world.advance(seconds);
        let mut late = old.clone();
        for _ in 0..2 {
            let response = late.fetch("/me").await;
            assert_eq!((response.status(), response.json()), (StatusCode::OK, refreshed.clone()));
        }
        assert_ne!(late.cookie_header(), old.cookie_header());
    }
    assert_eq!(world.sandbox.requests().refreshes(), 1);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_early_refresh_happens_once_and_the_old_token_stays_valid() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    world.advance(289);
    assert_eq!(set_cookies(browser.fetch("/me").await.headers()), [""; 0]);
    world.advance(8);
    let response = browser.fetch("/me").await;
    assert_eq!(response.json()["exp"], 1_900_000_000 + 297 + 300);
    assert_eq!(
        (set_cookies(response.headers()).len(), world.sandbox.requests().refreshes()),
        (1, 1)
    );
    assert_eq!(set_cookies(browser.fetch("/me").await.headers()), [""; 0]);
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_cancel_the_refresh() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    two_hundred_concurrent_requests(&world, 1).await;
}

#[tokio::test]
async fn the_next_request_gets_the_refresh_of_a_disconnected_client() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    let mut browser = world.logged_in(JANE).await;
    world.advance(301);
    let held = world.sandbox.faults().hold(Endpoint::Token);
    let mut request =
        Box::pin(world.app.clone().oneshot(browser.request(Method::GET, "/me", &FETCH)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(request.as_mut().poll(&mut context).is_pending());
    settle().await;
    drop(request);
    drop(held);
    settle().await;
    let response = browser.fetch("/me").await;
    assert_eq!((response.status(), world.sandbox.requests().refreshes()), (StatusCode::OK, 1));
    assert_eq!(set_cookies(response.headers()).len(), 1);
}

#[tokio::test]
async fn a_handler_that_is_slower_than_another_refresh_sets_no_older_cookie() {
    for gap in [0, 59, 61, 200] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let go = Arc::new(tokio::sync::Notify::new());
        let slow = {
            let go = Arc::clone(&go);
            async move || go.notified().await
        };
        let app = axum::Router::new()
            .route("/slow", axum::routing::get(slow))
            .route_layer(tower_scalekit::RequireSession::new(&world.sessions))
            .merge(app(&world.sessions));
        let mut browser = world.logged_in(JANE).await.at(&app);
        world.advance(301);
        let request = browser.request(Method::GET, "/slow", &FETCH);
        let slow = tokio::spawn({
            let app = app.clone();
            async move { send(&app, request).await }
        });
        while world.sandbox.requests().refreshes() < 1 {
            tokio::task::yield_now().await;
        }
        settle().await;
        // Other requests of the browser continue meanwhile, and refresh the session once more.
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        world.advance(301);
        let newest = browser.fetch("/me").await.json();
        assert_eq!(world.sandbox.requests().refreshes(), 2);
        world.advance(gap);
        go.notify_one();
        let response = slow.await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(set_cookies(response.headers()).len(), 1, "{gap}");
        browser.store_cookies(&response);
        assert_eq!(browser.fetch("/me").await.json(), newest, "{gap}");
        world.advance(301);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{gap}");
    }
}

#[tokio::test]
async fn late_requests_are_served_while_the_next_refresh_fails() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    let mut browser = world.logged_in(JANE).await;
    let old = browser.clone();
    world.advance(301);
    let refreshed = browser.fetch("/me").await.json();
    for fault in [Some(Fault::Unreachable), None] {
        match &fault {
            Some(fault) => world.sandbox.faults().add(Endpoint::Token, fault.clone()),
            None => world.sandbox.faults().clear(Endpoint::Token),
        }
        let asked = browser.post("/auth/refresh").await;
        assert_eq!(asked.status() == StatusCode::OK, fault.is_none());
        for _ in 0..3 {
            let response = old.clone().fetch("/me").await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.json() == refreshed, fault.is_some());
            world.advance(2);
        }
    }
}

#[tokio::test]
async fn a_request_that_waited_does_not_remove_the_cookie_of_a_new_login() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    let mut browser = world.logged_in(JANE).await;
    world.advance(301);
    let held = world.sandbox.faults().hold(Endpoint::Token);
    let request = browser.request(Method::GET, "/me", &FETCH);
    let waiting = tokio::spawn({
        let app = world.app.clone();
        async move { send(&app, request).await }
    });
    while world.sandbox.requests().count(Endpoint::Token) < 2 {
        tokio::task::yield_now().await;
    }
    browser.open("/logout").await;
    drop(held);
    let late = waiting.await.unwrap();
    assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(browser.log_in(&world.sandbox, JANE).await.status(), StatusCode::SEE_OTHER);
    browser.store_cookies(&late);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_older_cookie_gets_the_newest_session_for_a_day_after_the_newer_one_was_presented() {
    const DAY: u64 = 24 * 60 * 60;
    for (retention, later, is_live) in
        [(None, DAY - 1, true), (None, DAY + 1, false), (Some(60), 59, true), (Some(60), 61, false)]
    {
        let world = World::with(
            |sandbox| sandbox.refresh_grace(Duration::ZERO),
            |sessions| match retention {
                Some(seconds) => sessions.refresh_retention(Duration::from_secs(seconds)),
                None => sessions,
            },
        );
        let mut browser = world.logged_in(JANE).await;
        let mut copy = browser.clone();
        world.advance(301);
        for _ in 0..2 {
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        }
        settle().await;
        world.advance(later);
        let response = copy.fetch("/me").await;
        if is_live {
            assert_eq!(response.status(), StatusCode::OK, "{retention:?}, {later} s later");
            assert_eq!(set_cookies(response.headers()).len(), 1);
        } else {
            assert_eq!(
                response.status(),
                StatusCode::UNAUTHORIZED,
                "{retention:?}, {later} s later"
            );
            assert_eq!(
                set_cookies(response.headers()),
                [""; 0],
                "the browser may have a newer one"
            );
            // Its token was not spent again, which the environment could treat as theft.
            assert_eq!(world.sandbox.requests().count(Endpoint::Token), 2);
        }
        for _ in 0..3 {
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
            world.advance(301);
        }
    }
}

#[tokio::test]
async fn a_lost_response_does_not_shorten_the_idle_limit() {
    let idle = Duration::from_secs(600);
    let world = World::with(
        |sandbox| sandbox.refresh_grace(Duration::ZERO),
        |sessions| sessions.idle_timeout(idle),
    );
    for (later, status) in [(599, StatusCode::OK), (601, StatusCode::UNAUTHORIZED)] {
        let mut browser = world.logged_in(JANE).await;
        let name = world.sessions.cookie_name().to_owned();
        browser.keep_expired(&name);
        let refreshes = world.sandbox.requests().refreshes();
        world.advance(301);
        let lost = send(&world.app, browser.request(Method::GET, "/me", &FETCH)).await;
        assert_eq!((lost.status(), set_cookies(lost.headers()).len()), (StatusCode::OK, 1));
        world.advance(later);
        let response = browser.fetch("/me").await;
        assert_eq!(response.status(), status, "{later} s after the last use");
        // Its latest access token has expired too; an idle session is not refreshed.
        let expected = if status == StatusCode::OK { 2 } else { 1 };
        assert_eq!(world.sandbox.requests().refreshes() - refreshes, expected);
        assert_eq!(browser.names().is_empty(), status != StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_the_refresh_of_a_disconnected_client() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    assert_eq!(world.sessions.shutdown(Duration::ZERO).await, Ok(()));
    let mut browser = world.logged_in(JANE).await;
    world.advance(301);
    let held = world.sandbox.faults().hold(Endpoint::Token);
    let request = browser.request(Method::GET, "/me", &FETCH);
    let mut request = Box::pin(world.app.clone().oneshot(request));
    assert!(request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    settle().await;
    drop(request);
    let unfinished = world.sessions.shutdown(Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(unfinished.to_string(), "unfinished at shutdown: 1 session refresh");
    drop(held);
    assert_eq!(world.sessions.shutdown(Duration::from_secs(3)).await, Ok(()));
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(world.sandbox.requests().refreshes(), 1);
}

#[tokio::test]
async fn a_refreshed_session_shows_changed_roles_and_keeps_its_user() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    world.sandbox.users().update(JANE, |jane| jane.roles = vec!["auditor".to_owned()]);
    world.sandbox.tokens().add_fault(TokenKind::IdToken, TokenFault::MissingAccessTokenHash);
    world.advance(301);
    let response = browser.fetch("/me").await;
    assert_eq!(
        (&response.json()["roles"], &response.json()["email"]),
        (&json!(["auditor"]), &JANE.into())
    );
}

#[tokio::test]
async fn tokens_received_while_the_keys_are_unavailable_are_not_lost() {
    // The second outage outlasts the new access token.
    for outage in [2, 2000] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let mut browser = world.logged_in(JANE).await;
        world.sandbox.keys().rotate();
        world.sandbox.keys().remove_old();
        world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
        world.advance(301);
        for _ in 0..3 {
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
            world.advance(outage);
        }
        world.sandbox.faults().clear(Endpoint::Keys);
        world.advance(10);
        let response = browser.fetch("/me").await;
        assert_eq!(response.status(), StatusCode::OK, "outage of {outage} s: {}", response.text());
    }
}

/// An environment whose refresh responses lack some members.
struct Sparing {
    client: SandboxClient,
    leaves_out: &'static [&'static str],
    on: Arc<AtomicBool>,
}

impl HttpClient for Sparing {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        Box::pin(async move {
            let mut response = self.client.send(request).await?;
            if self.on.load(Ordering::SeqCst)
                && let Ok(mut body) = serde_json::from_slice::<Value>(response.body())
                && let Some(members) = body.as_object_mut()
            {
                self.leaves_out.iter().for_each(|name| drop(members.remove(*name)));
                *response.body_mut() = body.to_string().into();
            }
            Ok(response)
        })
    }
}

async fn sparing(leaves_out: &'static [&'static str], lifetime: u64) -> (Sandbox, Browser) {
    let sandbox = sandbox_builder()
        .refresh_grace(Duration::from_secs(100_000))
        .access_token_lifetime(Duration::from_secs(lifetime))
        .build();
    let on = Arc::new(AtomicBool::new(false));
    let client = Sparing { client: sandbox.client(), leaves_out, on: Arc::clone(&on) };
    let scalekit = Scalekit::builder(
        sandbox.environment_url(),
        sandbox.client_id(),
        sandbox.client_secret().clone(),
    );
    let scalekit = scalekit.http_client(client).clock(sandbox.clock().clock()).build().unwrap();
    let sessions = Sessions::builder(scalekit).secret(secret(1)).redirect_uri(CALLBACK);
    let mut browser = Browser::new(&app(&sessions.build().unwrap()), &sandbox);
    browser.log_in(&sandbox, JANE).await;
    on.store(true, Ordering::SeqCst);
    (sandbox, browser)
}

#[tokio::test]
async fn members_that_a_refresh_response_lacks_are_kept() {
    for leaves_out in [&["refresh_token"][..], &["id_token"], &["refresh_token", "id_token"]] {
        let (sandbox, mut browser) = sparing(leaves_out, 300).await;
        for refreshes in 1..4 {
            sandbox.clock().advance(Duration::from_secs(301));
            let response = browser.fetch("/me").await;
            assert_eq!(response.status(), StatusCode::OK, "{leaves_out:?}");
            assert_eq!(response.json()["email"], JANE);
            assert_eq!(sandbox.requests().refreshes(), refreshes);
        }
        let out = browser.open("/logout").await;
        assert!(out.location().contains("id_token_hint="));
    }
}

#[tokio::test]
async fn an_unchanged_refresh_token_is_used_again_when_due() {
    // Shorter than results are kept.
    let (sandbox, mut browser) = sparing(&["refresh_token"], 20).await;
    for refreshes in 1..6 {
        sandbox.clock().advance(Duration::from_secs(21));
        let response = browser.fetch("/me").await;
        assert_eq!(response.status(), StatusCode::OK);
        let now = sandbox.clock().clock().now().unix_timestamp();
        assert!(response.json()["exp"].as_i64().unwrap() > now, "the access token has expired");
        assert_eq!(sandbox.requests().refreshes(), refreshes);
    }
}
