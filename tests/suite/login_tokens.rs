//! Invalid tokens of a login: each is wrong in one way, and no session begins.

use http::StatusCode;
use serde_json::{Map, Value, json};
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::sandbox::{Endpoint, Fault, Signing, TokenFault, TokenKind};

use crate::exchanged_tokens::{NONCE, exchanged};
use crate::support::{JANE, JOHN, Reading as _, World, set_cookies};

/// Logs in as Jane where John is logged in, and asserts that John's session stays. An app that
/// exchanges the code itself rejects the tokens, too.
async fn assert_rejected(world: &World, what: &str) {
    let scalekit = world.sandbox.scalekit();
    let tokens = exchanged(world, &scalekit).await;
    assert!(tokens.verify(&scalekit, NONCE).await.is_err(), "{what}");
    let name = world.sessions.cookie_name();
    for live in [true, false] {
        world.sandbox.faults().clear(Endpoint::Authorize);
        let mut browser = world.browser();
        let mut before = None;
        if live {
            // John logs in through a valid world.
            let sound = sound_login(world).await;
            browser.put_cookie(name, &sound);
            before = Some(sound);
        }
        let rejected = browser.log_in(&world.sandbox, JANE).await;
        assert_eq!(rejected.status(), StatusCode::BAD_REQUEST, "{what}: {}", rejected.text());
        let rejection = rejected.extensions().get::<RouteRejection<LoginError>>().unwrap();
        let failure = rejection.error();
        assert!(matches!(failure, LoginError::InvalidToken { .. }), "{what}: {failure:?}");
        let touched = set_cookies(rejected.headers()).iter().any(|line| line.contains("_session"));
        assert!(!touched, "{what}");
        assert_eq!(browser.cookie(name), before.as_deref(), "{what}");
        assert_eq!(browser.names_with("_login_"), [""; 0], "{what}");
        let status = if live { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(browser.fetch("/me").await.status(), status, "{what}");
    }
}

/// A session of John's from an environment with the same secrets and valid tokens.
async fn sound_login(world: &World) -> String {
    let sound = World::with(|sandbox| sandbox.clock(world.sandbox.clock().clone()), |s| s);
    let browser = sound.logged_in(JOHN).await;
    browser.cookie(sound.sessions.cookie_name()).unwrap().to_owned()
}

#[tokio::test]
async fn every_faulty_id_token_of_the_certification_suite_is_rejected() {
    for fault in [
        TokenFault::Expired,
        TokenFault::InvalidAccessTokenHash,
        TokenFault::InvalidAudience,
        TokenFault::InvalidAuthorizedParty,
        TokenFault::InvalidIssuer,
        TokenFault::InvalidNonce,
        TokenFault::InvalidSecondaryAudience,
        TokenFault::InvalidSignature,
        TokenFault::InvalidSubject,
        TokenFault::MissingAudience,
        TokenFault::MissingExpiry,
        TokenFault::MissingIssuedAt,
        TokenFault::MissingIssuer,
        TokenFault::MissingNonce,
        TokenFault::MissingSubject,
        TokenFault::NotYetValid,
        TokenFault::SignedWithClientSecret,
        TokenFault::SignedWithPublicKey,
        TokenFault::UnknownKeyId,
        TokenFault::Unsigned,
        TokenFault::WithClaim("nonce".into(), json!(["n"])),
        TokenFault::WithClaim("sub".into(), json!(7)),
        TokenFault::WithClaim("sub".into(), json!("")),
        TokenFault::WithClaim("aud".into(), json!([])),
        TokenFault::WithClaim("exp".into(), json!("9999999999")),
        TokenFault::WithClaim("exp".into(), json!(null)),
        TokenFault::WithClaim("iat".into(), json!(9_999_999_999_u64)),
        TokenFault::WithClaim("iss".into(), json!(["https://acme.scalekit.test"])),
        TokenFault::WithClaim("azp".into(), json!(true)),
        TokenFault::WithClaim("events".into(), json!({})),
    ] {
        let world = World::new();
        world.sandbox.tokens().add_fault(TokenKind::IdToken, fault.clone());
        assert_rejected(&world, &format!("ID token {fault:?}")).await;
    }
}

#[tokio::test]
async fn an_id_token_without_azp_has_this_client_as_its_only_audience() {
    for audiences in [json!(["CLIENT", "skc_other"]), json!(["skc_other", "CLIENT"]), json!([])] {
        let world = World::new();
        let audiences = audiences.to_string().replace("CLIENT", world.sandbox.client_id());
        let audiences: Value = serde_json::from_str(&audiences).unwrap();
        let audience = TokenFault::WithClaim("aud".into(), audiences.clone());
        world.sandbox.tokens().add_fault(TokenKind::IdToken, audience);
        world.sandbox.tokens().add_fault(TokenKind::IdToken, TokenFault::MissingAuthorizedParty);
        assert_rejected(&world, &format!("ID token for {audiences}")).await;
    }
}

#[tokio::test]
async fn every_faulty_access_token_is_rejected() {
    for fault in [
        TokenFault::Expired,
        TokenFault::InvalidIssuer,
        TokenFault::InvalidSignature,
        TokenFault::InvalidSubject,
        TokenFault::MissingExpiry,
        TokenFault::MissingIssuer,
        TokenFault::NotYetValid,
        TokenFault::SignedWithClientSecret,
        TokenFault::SignedWithPublicKey,
        TokenFault::UnknownKeyId,
        TokenFault::Unsigned,
        TokenFault::WithClaim("client_id".into(), json!("skc_10000000000000000")),
        TokenFault::WithClaim("nonce".into(), json!("an ID token's mark")),
    ] {
        let world = World::new();
        world.sandbox.tokens().add_fault(TokenKind::AccessToken, fault.clone());
        assert_rejected(&world, &format!("access token {fault:?}")).await;
    }
}

#[tokio::test]
async fn forged_headers_select_no_key() {
    type Change = fn(&mut Map<String, Value>);
    let changes: [(&str, Change); 7] = [
        ("none in capitals", |header| drop(header.insert("alg".into(), "NONE".into()))),
        ("other algorithm", |header| drop(header.insert("alg".into(), "RS512".into()))),
        ("no algorithm", |header| drop(header.remove("alg"))),
        ("crit", |header| drop(header.insert("crit".into(), json!(["exp"])))),
        ("b64", |header| drop(header.insert("b64".into(), json!(false)))),
        ("kid of another type", |header| drop(header.insert("kid".into(), json!(7)))),
        ("embedded key", |header| {
            header.insert("jwk".into(), json!({"kty": "oct", "k": "AAAA"}));
            header.remove("kid");
            header.insert("alg".into(), "HS256".into());
        }),
    ];
    for (what, change) in changes {
        let world = World::new();
        world.sandbox.tokens().edit(TokenKind::IdToken, move |draft| change(&mut draft.header));
        assert_rejected(&world, what).await;
    }
    let world = World::new();
    world.sandbox.tokens().edit(TokenKind::IdToken, |draft| draft.signing = Signing::Nothing);
    assert_rejected(&world, "no signature under RS256").await;
}

#[tokio::test]
async fn tokens_that_the_certification_suite_requires_are_accepted() {
    for fault in [
        TokenFault::MissingAccessTokenHash,
        TokenFault::MissingAuthorizedParty,
        TokenFault::MissingKeyId,
        TokenFault::MissingClaim("c_hash".into()),
        TokenFault::WithClaim("aud".into(), json!("skc_58327482062864390")),
        TokenFault::WithClaim("some_future_claim".into(), json!({"a": [1, null]})),
    ] {
        let world = World::new();
        world.sandbox.tokens().add_fault(TokenKind::IdToken, fault.clone());
        let mut browser = world.logged_in(JANE).await;
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{fault:?}");
    }
}

#[tokio::test]
async fn a_login_without_an_id_token_is_rejected() {
    for body in [
        r#"{"access_token":"a.b.c","token_type":"Bearer"}"#.to_owned(),
        r#"{"access_token":"a.b.c","id_token":""}"#.to_owned(),
    ] {
        let world = World::new();
        let response = http::Response::new(body.into());
        world.sandbox.faults().add(Endpoint::Token, Fault::Response(response));
        assert_rejected(&world, "garbage").await;
    }
    // A valid access token, without an ID token.
    let world = World::new();
    let token = world.sandbox.tokens().access_token(JANE);
    let response = http::Response::new(format!(r#"{{"access_token":"{token}"}}"#).into());
    world.sandbox.faults().add(Endpoint::Token, Fault::Response(response));
    assert_rejected(&world, "no ID token").await;
}

#[tokio::test]
async fn unavailable_keys_at_the_callback_are_503_and_no_session_begins() {
    let world = World::new();
    world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    let mut browser = world.browser();
    let response = browser.log_in(&world.sandbox, JANE).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.header("retry-after").is_some());
    assert_eq!(set_cookies(response.headers()), [""; 0]);
    world.sandbox.faults().clear(Endpoint::Keys);
    world.advance(2);
    assert_eq!(browser.log_in(&world.sandbox, JANE).await.status(), StatusCode::SEE_OTHER);
}
