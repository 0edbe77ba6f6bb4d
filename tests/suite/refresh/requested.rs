//! Refreshes that the browser requests.

use super::*;

#[tokio::test]
async fn requests_for_a_refresh_within_ten_seconds_get_the_same_result() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    let mut browser = world.logged_in(JANE).await;
    let mut without_the_responses = browser.clone();
    for refreshes in 1..=3 {
        for _ in 0..5 {
            let response = browser.post("/auth/refresh").await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(set_cookies(response.headers()).len(), 1);
            let response = without_the_responses.clone().post("/auth/refresh").await;
            assert_eq!(response.status(), StatusCode::OK);
            world.advance(1);
        }
        assert_eq!(world.sandbox.requests().refreshes(), refreshes);
        world.advance(5);
    }
    // A request with an older cookie refreshes the latest session.
    world.sandbox.users().update(JANE, |jane| jane.roles = vec!["auditor".to_owned()]);
    without_the_responses.post("/auth/refresh").await;
    assert_eq!(without_the_responses.fetch("/me").await.json()["roles"], json!(["auditor"]));
    assert_eq!(world.sandbox.requests().refreshes(), 4);
}

#[tokio::test]
async fn a_requested_refresh_right_after_a_due_one_shows_changed_roles() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    let mut browser = world.logged_in(JANE).await;
    world.advance(301);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    world.sandbox.users().update(JANE, |jane| jane.roles = vec!["auditor".to_owned()]);
    for _ in 0..3 {
        assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::OK);
        assert_eq!(browser.fetch("/me").await.json()["roles"], json!(["auditor"]));
    }
    assert_eq!(world.sandbox.requests().refreshes(), 2);
}

#[tokio::test]
async fn a_refresh_in_the_last_ten_seconds_does_not_prevent_that_of_a_short_token() {
    let short = Duration::from_secs(5);
    let world = World::with(|sandbox| sandbox.access_token_lifetime(short), |s| s);
    let mut browser = world.logged_in(JANE).await;
    for refreshes in 1..6 {
        world.advance(6);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        assert_eq!(world.sandbox.requests().refreshes(), refreshes);
    }
}

#[tokio::test]
async fn the_refresh_endpoint_refreshes_at_once() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let before = browser.cookie_header();
    world.sandbox.users().update(JANE, |jane| jane.roles = vec!["auditor".to_owned()]);
    let response = browser.post("/auth/refresh").await;
    assert_eq!(response.status(), StatusCode::OK);
    response.assert_private();
    assert_eq!(response.json()["roles"], json!(["auditor"]));
    assert_ne!(browser.cookie_header(), before);
    assert_eq!(browser.fetch("/me").await.json()["roles"], json!(["auditor"]));
    world.advance(301);
    assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::OK);
    assert_eq!(world.sandbox.requests().refreshes(), 2);
}

#[tokio::test]
async fn the_refresh_endpoint_reports_errors() {
    let private_error = |response: &Response<Bytes>| {
        response.assert_private();
        login_error(response)
    };
    let world = World::new();
    let response = world.browser().post("/auth/refresh").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(private_error(&response), LoginError::MissingSession);
    let mut damaged = world.browser();
    damaged.put_cookie(world.sessions.cookie_name(), "damaged");
    assert_eq!(damaged.post("/auth/refresh").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(damaged.cookie(world.sessions.cookie_name()), Some("damaged"));

    let mut browser = world.logged_in(JANE).await;
    let before = browser.cookie_header();
    for headers in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")] {
        let response = browser.send(Method::POST, "/auth/refresh", &[headers]).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(private_error(&response), LoginError::CrossSite);
    }
    assert_eq!(browser.open("/auth/refresh").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(world.sandbox.requests().refreshes(), 0);
    world.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
    let response = browser.post("/auth/refresh").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.header("retry-after").is_some());
    assert_eq!(private_error(&response), LoginError::Unavailable);
    assert_eq!(browser.cookie_header(), before);
    world.sandbox.faults().clear(Endpoint::Token);
    world.sandbox.users().revoke_sessions(JANE);
    world.advance(2);
    assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(browser.names(), [""; 0]);
}
