//! Tokens of apps that exchange codes themselves.

use http::StatusCode;
use serde_json::json;
use tower_scalekit::Scalekit;
use tower_scalekit::oauth::{AuthorizationRequest, CodeVerifier, UnverifiedTokens};
use tower_scalekit::sandbox::{Endpoint, Fault, TokenFault, TokenKind};
use tower_scalekit::token::TokenError;

use crate::support::{CALLBACK, JANE, World, parameter};

pub(crate) const NONCE: &str = "the nonce of this login";

/// The tokens of a login of Jane.
pub(crate) async fn exchanged(world: &World, scalekit: &Scalekit) -> UnverifiedTokens {
    let verifier = CodeVerifier::generate().unwrap();
    let request = AuthorizationRequest::new(CALLBACK).nonce(NONCE).code_challenge(&verifier);
    let url = scalekit.authorization_url(&request);
    let callback = world.sandbox.log_in(url.as_str(), JANE).unwrap();
    let code = parameter(&callback, "code").unwrap();
    scalekit.exchange_code(&code, CALLBACK, Some(&verifier)).await.unwrap()
}

#[tokio::test]
async fn the_tokens_of_a_login_are_verified_for_its_nonce() {
    let world = World::new();
    let scalekit = world.sandbox.scalekit();
    let tokens = exchanged(&world, &scalekit).await;
    let verified = tokens.verify(&scalekit, NONCE).await.unwrap();
    let id_token = verified.id_token.unwrap();
    assert_eq!(verified.principal.subject(), id_token.subject());
    assert_eq!(id_token.raw_claims()["email"], JANE);
    assert!(!format!("{id_token:?}").contains(JANE));
    assert_eq!(verified.principal.roles(), ["admin"]);
    for nonce in ["", "another nonce"] {
        let rejected = tokens.verify(&scalekit, nonce).await.unwrap_err();
        assert_eq!(rejected, TokenError::InvalidClaim("nonce"), "{nonce}");
    }
}

#[tokio::test]
async fn a_login_without_a_nonce_is_that_of_no_browser() {
    let world = World::new();
    let scalekit = world.sandbox.scalekit();
    let verifier = CodeVerifier::generate().unwrap();
    let request = AuthorizationRequest::new(CALLBACK).code_challenge(&verifier);
    let url = scalekit.authorization_url(&request);
    let callback = world.sandbox.log_in(url.as_str(), JANE).unwrap();
    let code = parameter(&callback, "code").unwrap();
    let tokens = scalekit.exchange_code(&code, CALLBACK, Some(&verifier)).await.unwrap();
    for nonce in ["", NONCE] {
        let rejected = tokens.verify(&scalekit, nonce).await.unwrap_err();
        assert_eq!(rejected, TokenError::InvalidClaim("nonce"), "{nonce}");
    }
}

#[tokio::test]
async fn an_id_token_belongs_to_the_access_token_of_its_response() {
    let world = World::new();
    let scalekit = world.sandbox.scalekit();
    let [one, two] = [exchanged(&world, &scalekit).await, exchanged(&world, &scalekit).await];
    let id_token = one.id_token.as_ref().unwrap().expose();
    let verify = async |access_token| {
        let verified = scalekit.verify_id_token(id_token, NONCE, access_token).await;
        verified.map(|id_token| id_token.subject().starts_with("usr_"))
    };
    assert_eq!(verify(Some(one.access_token.expose())).await, Ok(true));
    assert_eq!(verify(None).await, Ok(true));
    let other = two.access_token.expose();
    assert_eq!(verify(Some(other)).await, Err(TokenError::InvalidClaim("at_hash")));
    let mut mixed = one.clone();
    mixed.access_token = two.access_token.clone();
    let rejected = mixed.verify(&scalekit, NONCE).await.unwrap_err();
    assert_eq!(rejected, TokenError::InvalidClaim("at_hash"));
    // An access token is no ID token, nor the other way around.
    let access_token = one.access_token.expose();
    let swapped = scalekit.verify_id_token(access_token, NONCE, None).await.unwrap_err();
    assert_eq!(swapped, TokenError::WrongTokenType);
    let mut swapped = one.clone();
    swapped.access_token = one.id_token.clone().unwrap();
    assert!(swapped.verify(&scalekit, NONCE).await.is_err());
}

#[tokio::test]
async fn an_id_token_for_another_client_or_of_another_issuer_is_rejected() {
    for (fault, error) in [
        (TokenFault::InvalidAudience, TokenError::InvalidAudience),
        (TokenFault::InvalidSecondaryAudience, TokenError::InvalidAudience),
        (TokenFault::InvalidAuthorizedParty, TokenError::InvalidAudience),
        (TokenFault::InvalidIssuer, TokenError::InvalidIssuer),
        (TokenFault::Expired, TokenError::Expired),
        (TokenFault::MissingNonce, TokenError::InvalidClaim("nonce")),
        (TokenFault::WithClaim("sub".into(), json!("usr_other")), TokenError::InvalidClaim("sub")),
    ] {
        let world = World::new();
        world.sandbox.tokens().add_fault(TokenKind::IdToken, fault.clone());
        let scalekit = world.sandbox.scalekit();
        let tokens = exchanged(&world, &scalekit).await;
        assert_eq!(tokens.verify(&scalekit, NONCE).await.unwrap_err(), error, "{fault:?}");
    }
}

#[tokio::test]
async fn a_login_needs_an_id_token_and_a_refresh_the_same_subject() {
    let world = World::new();
    let scalekit = world.sandbox.scalekit();
    let tokens = exchanged(&world, &scalekit).await;
    let subject = tokens.verify(&scalekit, NONCE).await.unwrap().principal.subject().to_owned();
    let mut without = tokens.clone();
    without.id_token = None;
    assert_eq!(without.verify(&scalekit, NONCE).await.unwrap_err(), TokenError::Malformed);

    let refreshed = scalekit.refresh(&tokens.refresh_token.unwrap()).await.unwrap();
    let verified = refreshed.verify_refreshed(&scalekit, &subject).await.unwrap();
    assert_eq!(verified.principal.subject(), subject);
    let other = refreshed.verify_refreshed(&scalekit, "usr_other").await.unwrap_err();
    assert_eq!(other, TokenError::InvalidClaim("sub"));
}

#[tokio::test]
async fn tokens_are_kept_while_the_keys_are_unavailable() {
    let world = World::new();
    let scalekit = world.sandbox.scalekit();
    let tokens = exchanged(&world, &scalekit).await;
    world.sandbox.faults().add(Endpoint::Keys, Fault::Status(StatusCode::BAD_GATEWAY));
    let late = tokens.verify(&scalekit, NONCE).await.unwrap_err();
    assert_eq!(late, TokenError::KeysUnavailable);
    world.sandbox.faults().clear(Endpoint::Keys);
    world.advance(2);
    assert!(tokens.verify(&scalekit, NONCE).await.is_ok());
}
