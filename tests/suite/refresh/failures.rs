//! Failures of the environment, and lost responses.

use super::*;

#[tokio::test]
async fn a_lost_response_to_a_refresh_ends_no_session() {
    const DAY: u64 = 24 * 60 * 60;
    for seconds in [20, 70, 600, DAY, 20 * DAY] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let mut browser = world.logged_in(JANE).await;
        world.advance(301);
        // The response with the new cookie is lost.
        let lost = send(&world.app, browser.request(Method::GET, "/me", &FETCH)).await;
        assert_eq!((lost.status(), set_cookies(lost.headers()).len()), (StatusCode::OK, 1));
        world.advance(seconds);
        let old = browser.cookie_header();
        for _ in 0..3 {
            let response = browser.fetch("/me").await;
            assert_eq!(response.status(), StatusCode::OK, "{seconds} s later: {}", response.text());
            assert_ne!(browser.cookie_header(), old);
            world.advance(301);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_failure_of_the_environment_ends_a_session() {
    let mut broken_json = Response::new(Bytes::from_static(b"{\"access_token\":"));
    *broken_json.status_mut() = StatusCode::OK;
    let mut other_error = Response::new(Bytes::from_static(b"{\"error\":\"invalid_client\"}"));
    *other_error.status_mut() = StatusCode::UNAUTHORIZED;
    for fault in [
        Fault::Unreachable,
        Fault::Html,
        Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
        Fault::Status(StatusCode::TOO_MANY_REQUESTS),
        Fault::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::Status(StatusCode::NOT_FOUND),
        Fault::Status(StatusCode::BAD_REQUEST),
        Fault::Status(StatusCode::TEMPORARY_REDIRECT),
        Fault::Response(broken_json),
        Fault::Response(other_error),
        Fault::Response(Response::new(Bytes::new())),
        Fault::Delay(Duration::from_secs(60)),
    ] {
        let world = World::new();
        let mut browser = world.logged_in(JANE).await;
        let before = browser.names_and_values();
        world.sandbox.faults().add(Endpoint::Token, fault.clone());
        world.advance(297);
        for path in ["/me", "/maybe"] {
            let response = browser.fetch(path).await;
            assert_eq!(response.status(), StatusCode::OK, "{fault:?}: token is still valid");
            assert_eq!(set_cookies(response.headers()), [""; 0]);
        }
        world.advance(4);
        for headers in [FETCH, NAVIGATION] {
            let response = browser.send(Method::GET, "/me", &headers).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
            assert!(response.header("retry-after").is_some());
            response.assert_private();
        }
        assert_eq!(browser.names_and_values(), before);
        world.sandbox.faults().clear(Endpoint::Token);
        world.advance(2);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_for_the_environment_until_its_token_expires() {
    let world = World::new();
    let browser = world.logged_in(JANE).await;
    world.advance(296);
    let held = world.sandbox.faults().hold(Endpoint::Token);
    let arrived = tokio::time::Instant::now();
    let response = browser.clone().fetch("/me").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(set_cookies(response.headers()), Vec::<&str>::new());
    let waited = arrived.elapsed();
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    assert!(waited > Duration::from_secs(3), "waited for the refresh: {waited:?}");

    // The refresh continued without it.
    drop(held);
    settle().await;
    let mut browser = browser;
    let response = browser.fetch("/me").await;
    assert_eq!((response.status(), world.sandbox.requests().refreshes()), (StatusCode::OK, 1));
    assert_eq!(set_cookies(response.headers()).len(), 1);
}

#[tokio::test]
async fn a_minute_of_failures_ends_no_session() {
    let unavailable = Fault::Status(StatusCode::SERVICE_UNAVAILABLE);
    // Unavailable for the whole minute, and every other second.
    for fails in [|_| true, |second| second % 2 == 0] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let mut browser = world.logged_in(JANE).await;
        world.advance(270);
        let mut rejected = 0;
        for second in 270..=330_u64 {
            if fails(second) {
                world.sandbox.faults().add(Endpoint::Token, unavailable.clone());
            } else {
                world.sandbox.faults().clear(Endpoint::Token);
            }
            let requests = (0..20).map(|_| {
                let (app, request) = (&world.app, browser.request(Method::GET, "/me", &FETCH));
                async move { send(app, request).await }
            });
            for response in join_all(requests).await {
                match response.status() {
                    StatusCode::OK => browser.store_cookies(&response),
                    status => {
                        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                        assert!(second >= 300, "the access token was still valid");
                        assert!(response.header("retry-after").is_some());
                        assert_eq!(set_cookies(response.headers()), [""; 0]);
                        rejected += 1;
                    }
                }
            }
            world.advance(1);
        }
        assert_eq!(rejected > 0, fails(271), "{rejected}");
        world.sandbox.faults().clear(Endpoint::Token);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn waiting_requests_do_not_queue_up_failing_calls() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    world.advance(301);
    world.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
    for _ in 0..50 {
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(world.sandbox.requests().refreshes(), 1);
    world.advance(1);
    browser.fetch("/me").await;
    assert_eq!(world.sandbox.requests().refreshes(), 2);
}

#[tokio::test]
async fn a_lost_token_response_is_recovered_within_the_grace_period() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    world.advance(301);
    world.sandbox.faults().add_times(Endpoint::Token, 1, Fault::ResponseLost);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    world.advance(2);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn only_a_definite_rejection_ends_a_session() {
    let world = World::new();
    for (headers, status) in [(NAVIGATION, StatusCode::FOUND), (FETCH, StatusCode::UNAUTHORIZED)] {
        let mut browser = world.logged_in(JANE).await;
        world.sandbox.users().revoke_sessions(JANE);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "until the token is due");
        world.advance(301);
        let response = browser.send(Method::GET, "/me", &headers).await;
        assert_eq!(response.status(), status);
        response.assert_private();
        assert_eq!(browser.names(), [""; 0]);
    }
}

#[tokio::test]
async fn tokens_of_another_user_or_without_a_subject_are_rejected() {
    for (kind, fault) in [
        (TokenKind::AccessToken, TokenFault::InvalidSubject),
        (TokenKind::AccessToken, TokenFault::InvalidIssuer),
        (TokenKind::AccessToken, TokenFault::InvalidSignature),
        (TokenKind::AccessToken, TokenFault::Unsigned),
        (TokenKind::AccessToken, TokenFault::Expired),
        (TokenKind::AccessToken, TokenFault::WithClaim("client_id".into(), json!("skc_1"))),
        (TokenKind::IdToken, TokenFault::InvalidSubject),
        (TokenKind::IdToken, TokenFault::InvalidIssuer),
        (TokenKind::IdToken, TokenFault::InvalidAudience),
        (TokenKind::IdToken, TokenFault::InvalidAccessTokenHash),
        (TokenKind::IdToken, TokenFault::InvalidSignature),
        (TokenKind::IdToken, TokenFault::Unsigned),
    ] {
        let world = World::new();
        let mut browser = world.logged_in(JANE).await;
        let before = browser.names_and_values();
        world.sandbox.tokens().add_fault(kind, fault.clone());
        world.advance(301);
        let response = browser.fetch("/me").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{kind:?} {fault:?}");
        assert_eq!(browser.names_and_values(), before);
        world.sandbox.tokens().clear_faults();
        world.advance(2);
        let response = browser.fetch("/me").await;
        assert_eq!(response.status(), StatusCode::OK, "{kind:?} {fault:?}");
        assert_eq!(response.json()["email"], JANE);
    }
}
