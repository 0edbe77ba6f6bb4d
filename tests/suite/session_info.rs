//! The session as scripts of a page see it.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::session::{LocalSession, SessionsBuilder, User};

use crate::support::{FETCH, JANE, NAVIGATION, Reading as _, World, set_cookies};

const START: i64 = 1_900_000_000;

fn world(change: fn(SessionsBuilder) -> SessionsBuilder) -> World {
    World::with(
        |sandbox| sandbox,
        |sessions| {
            let sessions = sessions.absolute_lifetime(Duration::from_secs(3600));
            change(sessions.idle_timeout(Duration::from_secs(1000)))
        },
    )
}

#[tokio::test]
async fn the_user_the_roles_and_all_limits_are_described() {
    for place in [|one| one, SessionsBuilder::store_backed] {
        let world = world(place);
        let mut browser = world.logged_in(JANE).await;
        let response = browser.fetch("/auth/session").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.header("content-type"), Some("application/json"));
        response.assert_private();
        let info = response.json();
        assert_eq!((&info["user"]["email"], &info["roles"]), (&json!(JANE), &json!(["admin"])));
        assert_eq!(info["permissions"], json!(["workspace_data:read", "workspace_data:write"]));
        assert!(info["organization_id"].as_str().unwrap().starts_with("org_"));
        let limits = ["access_token_expires_at", "expires_at", "ends_at", "now"];
        let seconds = limits.map(|name| info[name].as_i64().unwrap() - START);
        assert_eq!(seconds, [300, 1000, 3600, 0]);

        // Not later than the end.
        world.advance(950);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        world.advance(900);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        world.advance(900);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        let info = browser.fetch("/auth/session").await.json();
        assert_eq!(
            (&info["expires_at"], &info["ends_at"]),
            (&json!(START + 3600), &info["expires_at"])
        );
    }
}

#[tokio::test]
async fn a_request_for_it_is_no_use_and_no_refresh() {
    for place in [|one| one, SessionsBuilder::store_backed] {
        let world = world(place);
        let mut browser = world.logged_in(JANE).await;
        for at in (200..1000).step_by(200) {
            world.advance(200);
            let response = browser.fetch("/auth/session").await;
            assert_eq!(response.status(), StatusCode::OK, "{at}");
            assert_eq!(set_cookies(response.headers()), [""; 0]);
            assert_eq!(response.json()["expires_at"], START + 1000);
        }
        assert_eq!(world.sandbox.requests().refreshes(), 0);
        world.advance(200);
        let response = browser.fetch("/auth/session").await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.json()["error"], "login_required");
    }
}

#[tokio::test]
async fn without_a_session_it_is_401_json() {
    let world = World::new();
    let mut browser = world.browser();
    let response = browser.fetch("/auth/session").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.json()["error"], "login_required");
    response.assert_private();
    let mut ended = world.logged_in(JANE).await;
    let subject = ended.fetch("/me").await.json()["sub"].as_str().unwrap().to_owned();
    world.sessions.revoke_user(&subject).await.unwrap();
    assert_eq!(ended.fetch("/auth/session").await.status(), StatusCode::UNAUTHORIZED);
    let posted = world.browser().send(Method::POST, "/auth/session", &FETCH).await;
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(posted.header("allow"), Some("GET, HEAD"));
    // No login returns to it.
    let mut browser = world.browser();
    let authorization = browser.start_login("/login?return_to=/auth/session").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    assert_eq!(browser.send(Method::GET, &callback, &NAVIGATION).await.location(), "/");
}

#[tokio::test]
async fn a_refresh_responds_with_the_new_limits() {
    let world = world(|one| one);
    let mut browser = world.logged_in(JANE).await;
    world.advance(700);
    world.sandbox.users().update(JANE, |jane| jane.roles = vec!["auditor".to_owned()]);
    let refreshed = browser.post("/auth/refresh").await;
    assert_eq!(refreshed.status(), StatusCode::OK);
    let info = refreshed.json();
    assert_eq!(info["roles"], json!(["auditor"]));
    assert_eq!(info["access_token_expires_at"], START + 1000);
    assert_eq!((&info["expires_at"], &info["now"]), (&json!(START + 1700), &json!(START + 700)));
    assert_eq!(browser.fetch("/auth/session").await.json(), info);
}

#[tokio::test]
async fn the_environment_is_not_needed_to_describe_a_session() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    world.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
    world.advance(400);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let info = browser.fetch("/auth/session").await;
    assert_eq!(info.status(), StatusCode::OK);
    assert_eq!(info.json()["access_token_expires_at"], START + 300, "it has expired");
}

#[tokio::test]
async fn a_local_session_has_no_access_token_that_expires() {
    let world = world(|one| one);
    let mut user = User::default();
    user.id = "7".to_owned();
    let local = LocalSession::new(user).lifetime(Duration::from_secs(600));
    let cookies = world.sessions.create(local, &http::HeaderMap::new()).await.unwrap();
    let mut response = http::Response::new(bytes::Bytes::new());
    cookies.set(response.headers_mut());
    let mut browser = world.browser();
    browser.store_cookies(&response);
    let info = browser.fetch("/auth/session").await.json();
    assert_eq!(info.get("access_token_expires_at"), None);
    assert_eq!((&info["ends_at"], &info["expires_at"]), (&json!(START + 600), &json!(START + 600)));
}

#[tokio::test]
async fn a_session_without_a_refresh_token_ends_with_its_access_token() {
    let world =
        World::with(|sandbox| sandbox, |sessions| sessions.scopes(["openid", "profile", "email"]));
    let mut browser = world.logged_in(JANE).await;
    let info = browser.fetch("/auth/session").await.json();
    assert_eq!((&info["ends_at"], &info["expires_at"]), (&json!(START + 300), &json!(START + 300)));
    world.advance(300);
    assert_eq!(browser.fetch("/auth/session").await.status(), StatusCode::UNAUTHORIZED);
}
