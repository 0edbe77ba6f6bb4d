//! Claims that are null, which count as absent, and the claim name in the log.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tower_scalekit::sandbox::{TokenFault, TokenKind};

use crate::secrets::Captured;
use crate::support::{JANE, World, request, send};

/// The status of a login, and of a request after a refresh, with this claim null.
async fn statuses(kind: TokenKind, name: &str) -> (StatusCode, StatusCode) {
    let world = World::new();
    world.sandbox.tokens().add_fault(kind, TokenFault::WithClaim(name.to_owned(), Value::Null));
    let mut browser = world.browser();
    let logged_in = browser.log_in(&world.sandbox, JANE).await.status();
    world.advance(301);
    (logged_in, browser.fetch("/me").await.status())
}

#[tokio::test]
async fn a_null_optional_claim_counts_as_absent_at_login_and_refresh() {
    for (kind, names) in [
        (
            TokenKind::AccessToken,
            &["oid", "org_id", "sid", "nbf", "iat", "azp", "jti", "nonce", "events"][..],
        ),
        (TokenKind::IdToken, &["oid", "sid", "azp", "nbf", "at_hash", "events", "email", "amr"]),
    ] {
        for name in names {
            let expected = (StatusCode::SEE_OTHER, StatusCode::OK);
            assert_eq!(statuses(kind, name).await, expected, "{kind:?} {name}");
        }
    }
}

#[tokio::test]
async fn a_null_required_claim_counts_as_missing() {
    for (kind, names) in [
        (TokenKind::AccessToken, &["iss", "exp"][..]),
        (TokenKind::IdToken, &["iss", "aud", "exp", "iat", "sub", "nonce"]),
    ] {
        for name in names {
            let (logged_in, _) = statuses(kind, name).await;
            assert_eq!(logged_in, StatusCode::BAD_REQUEST, "{kind:?} {name}");
        }
    }
}

#[tokio::test]
async fn a_logout_token_with_null_optional_claims_is_accepted() {
    let world = World::new();
    let mut jane = world.logged_in(JANE).await;
    let session = jane.fetch("/me").await;
    let me: Value = serde_json::from_slice(session.body()).unwrap();
    let now = world.sandbox.clock().clock().now().unix_timestamp();
    let claims = json!({
        "iss": world.sandbox.environment_url(), "aud": world.sandbox.client_id(), "jti": "t1",
        "iat": now, "exp": now + 120, "sid": me["sid"], "sub": null, "nonce": null, "nbf": null,
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let mut logout = request(Method::POST, "/auth/backchannel-logout", &form);
    *logout.body_mut() =
        Body::from(format!("logout_token={}", world.sandbox.tokens().sign(claims)));
    assert_eq!(send(&world.app, logout).await.status(), StatusCode::OK);
    assert_eq!(jane.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_log_has_the_name_of_the_rejected_claim_and_not_its_value() {
    let captured = Captured::default();
    let _guard = captured.subscribe();
    let world = World::new();
    let value = json!({"a": "value-of-the-claim"});
    let fault = TokenFault::WithClaim("oid".to_owned(), value.clone());
    world.sandbox.tokens().add_fault(TokenKind::AccessToken, fault);
    let mut browser = world.browser();
    let rejected = browser.log_in(&world.sandbox, JANE).await;
    assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);

    let now = world.sandbox.clock().clock().now().unix_timestamp();
    let logout = json!({
        "iss": world.sandbox.environment_url(), "aud": world.sandbox.client_id(), "jti": value,
        "iat": now, "exp": now + 120, "sub": "usr_1",
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let mut request = request(Method::POST, "/auth/backchannel-logout", &form);
    *request.body_mut() =
        Body::from(format!("logout_token={}", world.sandbox.tokens().sign(logout)));
    assert_eq!(send(&world.app, request).await.status(), StatusCode::BAD_REQUEST);

    let log = captured.text();
    let line = |event: &str| log.lines().find(|line| line.contains(event)).unwrap();
    assert!(line("login_failed").contains("claim oid"), "{log}");
    assert!(line("invalid_logout_token").contains("claim=\"jti\""), "{log}");
    assert!(!log.contains("value-of-the-claim"), "{log}");
}
