//! Logins: the ID token, its keys, and the request that starts a login.

use http::{Method, StatusCode};
use tower_scalekit::sandbox::{Endpoint, Signing, TokenFault, TokenKind};
use tower_scalekit::token::TokenError;

use super::{accepts, rejects, with_id_tokens};
use crate::support::{CALLBACK, JANE, NAVIGATION, Reading as _, World, parameter, send};

#[tokio::test]
async fn oidcc_client_test() {
    let world = World::new();
    let authorization = world.browser().start_login("/login").await;
    let sent = |name| parameter(&authorization, name);
    assert_eq!(sent("response_type").as_deref(), Some("code"));
    assert_eq!(sent("client_id").as_deref(), Some(world.sandbox.client_id()));
    assert_eq!(sent("redirect_uri").as_deref(), Some(CALLBACK));
    assert!(sent("scope").unwrap().split(' ').any(|scope| scope == "openid"));
    assert!(sent("state").unwrap().len() >= 43);
    accepts(&world).await;
}

#[tokio::test]
async fn oidcc_client_test_invalid_iss() {
    rejects(&with_id_tokens(TokenFault::InvalidIssuer), TokenError::InvalidIssuer).await;
}

#[tokio::test]
async fn oidcc_client_test_missing_sub() {
    rejects(&with_id_tokens(TokenFault::MissingSubject), TokenError::InvalidClaim("sub")).await;
}

#[tokio::test]
async fn oidcc_client_test_invalid_aud() {
    rejects(&with_id_tokens(TokenFault::InvalidAudience), TokenError::InvalidAudience).await;
}

#[tokio::test]
async fn oidcc_client_test_missing_aud() {
    rejects(&with_id_tokens(TokenFault::MissingAudience), TokenError::InvalidAudience).await;
}

#[tokio::test]
async fn oidcc_client_test_missing_iat() {
    rejects(&with_id_tokens(TokenFault::MissingIssuedAt), TokenError::InvalidClaim("iat")).await;
}

#[tokio::test]
async fn oidcc_client_test_nonce_invalid() {
    rejects(&with_id_tokens(TokenFault::InvalidNonce), TokenError::InvalidClaim("nonce")).await;
}

#[tokio::test]
async fn oidcc_client_test_nonce_unless_code_flow() {
    let world = World::new();
    let mut browser = world.browser();
    let mut nonces = Vec::new();
    for _ in 0..2 {
        nonces.push(parameter(&browser.start_login("/login").await, "nonce").unwrap());
    }
    assert!(nonces[0].len() >= 43 && nonces[0] != nonces[1], "{nonces:?}");
}

#[tokio::test]
async fn oidcc_client_test_invalid_athash() {
    let world = with_id_tokens(TokenFault::InvalidAccessTokenHash);
    rejects(&world, TokenError::InvalidClaim("at_hash")).await;
}

#[tokio::test]
async fn oidcc_client_test_kid_absent_single_jwks() {
    let world = with_id_tokens(TokenFault::MissingKeyId);
    // A key of another type does not match.
    world.sandbox.keys().publish_es256();
    accepts(&world).await;
}

/// The suite allows both outcomes.
#[tokio::test]
async fn oidcc_client_test_kid_absent_multiple_jwks() {
    let world = with_id_tokens(TokenFault::MissingKeyId);
    world.sandbox.keys().rotate();
    rejects(&world, TokenError::NoMatchingKey).await;
}

#[tokio::test]
async fn oidcc_client_test_idtoken_sig_rs256() {
    let world = World::new();
    world.sandbox.keys().publish_es256();
    world.sandbox.tokens().edit(TokenKind::IdToken, |draft| {
        assert_eq!((&draft.header["alg"], draft.signing), (&"RS256".into(), Signing::CurrentKey));
    });
    accepts(&world).await;
}

/// The suite allows both outcomes.
#[tokio::test]
async fn oidcc_client_test_idtoken_sig_none() {
    rejects(&with_id_tokens(TokenFault::Unsigned), TokenError::InvalidAlgorithm).await;
}

#[tokio::test]
async fn oidcc_client_test_invalid_sig_rs256() {
    rejects(&with_id_tokens(TokenFault::InvalidSignature), TokenError::InvalidSignature).await;
}

#[tokio::test]
async fn oidcc_client_test_invalid_sig_hs256() {
    rejects(&with_id_tokens(TokenFault::SignedWithPublicKey), TokenError::InvalidAlgorithm).await;
}

#[tokio::test]
async fn oidcc_client_test_invalid_sig_es256() {
    let world = with_id_tokens(TokenFault::SignedWithEs256);
    world.sandbox.keys().publish_es256();
    // A valid signature is rejected, too.
    rejects(&world, TokenError::InvalidAlgorithm).await;
    world.sandbox.tokens().edit(TokenKind::IdToken, |draft| draft.signing = Signing::OtherKey);
    rejects(&world, TokenError::InvalidAlgorithm).await;
}

#[tokio::test]
async fn oidcc_client_test_signing_key_rotation() {
    let world = World::new();
    accepts(&world).await;
    world.sandbox.keys().rotate();
    world.sandbox.keys().remove_old();
    accepts(&world).await;
    assert_eq!(world.sandbox.requests().count(Endpoint::Keys), 2);
}

#[tokio::test]
async fn oidcc_client_test_signing_key_rotation_just_before_signing() {
    let world = World::new();
    let mut browser = world.browser();
    let authorization = browser.start_login("/login?return_to=/me").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let held = world.sandbox.faults().hold(Endpoint::Token);
    let (app, request) =
        (browser.app().clone(), browser.request(Method::GET, &callback, &NAVIGATION));
    let waiting = tokio::spawn(async move { send(&app, request).await });
    while world.sandbox.requests().count(Endpoint::Token) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.sandbox.requests().count(Endpoint::Keys), 1, "the app has the old keys");
    world.sandbox.keys().rotate();
    world.sandbox.keys().remove_old();
    drop(held);
    let done = waiting.await.unwrap();
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"), "{}", done.text());
    assert_eq!(world.sandbox.requests().count(Endpoint::Keys), 2);
}

#[tokio::test]
async fn oidcc_client_test_3rd_party_init_login() {
    let world = World::new();
    let issuer: String =
        url::form_urlencoded::byte_serialize(world.sandbox.environment_url().as_bytes()).collect();
    let mut browser = world.browser();
    let navigation = [NAVIGATION[0], NAVIGATION[1], ("sec-fetch-site", "cross-site")];
    let started = browser.send(Method::GET, &format!("/login?iss={issuer}"), &navigation).await;
    assert_eq!(started.status(), StatusCode::FOUND, "{}", started.text());
    let callback = world.sandbox.log_in(started.location(), JANE).unwrap();
    assert_eq!(browser.open(&callback).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}
