//! ID tokens that a refresh returns.

use http::StatusCode;
use tower_scalekit::sandbox::{TokenFault, TokenKind};

use crate::support::{JANE, Reading as _, World, set_cookies};

#[tokio::test]
async fn oidcc_client_test_refresh_token() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let before = browser.fetch("/me").await.json();
    world.advance(301);
    let after = browser.fetch("/me").await.json();
    assert_eq!(world.sandbox.requests().refreshes(), 1);
    assert!(after["jti"] != before["jti"] && after["sub"] == before["sub"], "{before} {after}");
}

#[tokio::test]
async fn oidcc_client_test_refresh_token_invalid_issuer() {
    is_rejected(TokenFault::InvalidIssuer).await;
}

#[tokio::test]
async fn oidcc_client_test_refresh_token_invalid_sub() {
    is_rejected(TokenFault::InvalidSubject).await;
}

/// The session does not continue with these tokens: not as another user, nor as the same one.
async fn is_rejected(fault: TokenFault) {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let cookie = browser.names_and_values();
    world.advance(301);
    world.sandbox.tokens().add_fault(TokenKind::IdToken, fault);
    let response = browser.fetch("/me").await;
    assert_eq!(world.sandbox.requests().refreshes(), 1);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", response.text());
    assert_eq!(set_cookies(response.headers()), [""; 0]);
    assert_eq!(browser.names_and_values(), cookie);
}
