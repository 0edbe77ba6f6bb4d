use std::time::Duration;

use super::*;
use crate::sandbox::{Endpoint, Fault, TokenDraft, TokenFault, TokenKind};

async fn keys(sandbox: &Sandbox) -> Result<Response<Bytes>, HttpClientError> {
    let request = Request::get(format!("{}/keys", sandbox.environment_url()));
    sandbox.client().send(request.body(Bytes::new()).unwrap()).await
}

#[tokio::test]
async fn an_endpoint_fails_as_configured_until_cleared() {
    let sandbox = Sandbox::new();
    sandbox.faults().add_times(Endpoint::Keys, 2, Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    sandbox.faults().add_times(Endpoint::Keys, 1, Fault::Html);
    sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    assert_eq!(keys(&sandbox).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(keys(&sandbox).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(text(&keys(&sandbox).await.unwrap()).starts_with("<!doctype html>"));
    for _ in 0..3 {
        assert!(matches!(keys(&sandbox).await, Err(HttpClientError::Connect(_))));
    }
    sandbox.faults().clear(Endpoint::Keys);
    assert_eq!(keys(&sandbox).await.unwrap().status(), StatusCode::OK);
    assert_eq!(
        (sandbox.requests().count(Endpoint::Keys), sandbox.requests().count(Endpoint::Token)),
        (7, 0)
    );

    let slow_down = Response::builder().status(429).header("retry-after", "7");
    sandbox.faults().add(Endpoint::Keys, Fault::Response(slow_down.body(Bytes::new()).unwrap()));
    assert_eq!(keys(&sandbox).await.unwrap().headers()["retry-after"], "7");
}

#[tokio::test(start_paused = true)]
async fn a_delay_uses_tokios_time() {
    let sandbox = Sandbox::new();
    sandbox.faults().add(Endpoint::Keys, Fault::Delay(Duration::from_secs(60)));
    let start = tokio::time::Instant::now();
    assert_eq!(keys(&sandbox).await.unwrap().status(), StatusCode::OK);
    assert_eq!(start.elapsed(), Duration::from_secs(60));
}

#[tokio::test]
async fn held_requests_wait_for_their_release() {
    let sandbox = Sandbox::builder().refresh_grace(Duration::ZERO).build();
    let tokens = log_in(&sandbox, "jane@acme.test").await;
    let held = sandbox.faults().hold(Endpoint::Token);
    sandbox.faults().add_times(Endpoint::Token, 1, Fault::Status(StatusCode::BAD_GATEWAY));
    let refresh_token = string(&tokens, "refresh_token");
    let race = async {
        tokio::join!(refresh(&sandbox, refresh_token), refresh(&sandbox, refresh_token), async {
            while sandbox.requests().refreshes() < 2 {
                tokio::task::yield_now().await;
            }
            drop(held);
        })
    };
    let ((first, _), (second, _), ()) = race.await;
    assert_eq!([first, second].iter().filter(|status| status.is_success()).count(), 1);
    let (status, _) = token(&sandbox, &[]).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY, "the next fault, after the hold");
    assert_eq!(token(&sandbox, &[]).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_request_with_a_lost_response_is_processed() {
    let sandbox = Sandbox::builder().refresh_grace(Duration::ZERO).build();
    let tokens = log_in(&sandbox, "jane@acme.test").await;
    sandbox.faults().add_times(Endpoint::Token, 1, Fault::ResponseLost);
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", string(&tokens, "refresh_token")),
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret().expose()),
    ];
    let lost = post_form(&sandbox, "/oauth/token", &form).await;
    assert!(matches!(lost, Err(HttpClientError::Exchange(_))));
    let (_, rejected) = refresh(&sandbox, string(&tokens, "refresh_token")).await;
    assert_eq!(rejected["error"], "invalid_grant", "it was rotated although the response was lost");
    assert_eq!(sandbox.requests().refreshes(), 2);
}

#[tokio::test]
async fn the_client_reaches_the_sandbox_only() {
    let sandbox = Sandbox::new();
    for elsewhere in [
        "https://acme.scalekit.com/keys",
        "http://acme.scalekit.test/keys",
        "https://acme.scalekit.test:444/keys",
        "/keys",
    ] {
        let request = Request::get(elsewhere).body(Bytes::new()).unwrap();
        let rejected = sandbox.client().send(request).await;
        assert!(matches!(rejected, Err(HttpClientError::Connect(_))), "{elsewhere}");
    }
    let url = format!("{}/nowhere", sandbox.environment_url());
    let response = get(&sandbox, &url, "").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        (&json(&response)["code"], &json(&response)["message"]),
        (&5.into(), &"Not Found".into())
    );
    let response = get(&sandbox, &format!("{}/oauth/token", sandbox.environment_url()), "").await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "POST");
    let large = "x".repeat(65 * 1024);
    let response = post_form(&sandbox, "/oauth/token", &[("code", &large)]).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn keys_rotate() {
    let sandbox = Sandbox::new();
    let old = sandbox.tokens().access_token("jane@acme.test");
    sandbox.keys().rotate();
    let new = sandbox.tokens().access_token("jane@acme.test");
    assert_ne!(part_of(&old, 0)["kid"], part_of(&new, 0)["kid"]);
    assert!(is_signed(&sandbox, &old).await && is_signed(&sandbox, &new).await);
    sandbox.keys().remove_old();
    assert!(!is_signed(&sandbox, &old).await && is_signed(&sandbox, &new).await);
    sandbox.keys().rotate_keeping_kid();
    let newest = sandbox.tokens().access_token("jane@acme.test");
    assert_eq!(part_of(&new, 0)["kid"], part_of(&newest, 0)["kid"]);
    assert!(!is_signed(&sandbox, &new).await && is_signed(&sandbox, &newest).await);
}

#[tokio::test]
async fn token_faults_apply_until_cleared() {
    let sandbox = Sandbox::new();
    sandbox.tokens().add_fault(TokenKind::IdToken, TokenFault::InvalidNonce);
    sandbox.tokens().add_fault(TokenKind::IdToken, TokenFault::InvalidSignature);
    sandbox.tokens().edit(TokenKind::AccessToken, |draft: &mut TokenDraft| {
        draft.claims.remove("roles");
    });
    let tokens = log_in(&sandbox, "jane@acme.test").await;
    let (access, id_token) = (string(&tokens, "access_token"), string(&tokens, "id_token"));
    assert!(is_signed(&sandbox, access).await && !is_signed(&sandbox, id_token).await);
    assert!(claims(access).get("roles").is_none());
    assert_ne!(claims(id_token)["nonce"], "n-0S6_WzA2Mj");
    sandbox.tokens().clear_faults();
    let tokens = log_in(&sandbox, "jane@acme.test").await;
    assert!(is_signed(&sandbox, string(&tokens, "id_token")).await);
}

#[tokio::test]
async fn every_token_fault_changes_the_token() {
    let sandbox = Sandbox::new();
    let draft = sandbox.tokens().id_token_draft("jane@acme.test", Some("n"));
    use TokenFault::*;
    for fault in [
        Expired,
        InvalidAccessTokenHash,
        InvalidAudience,
        InvalidAuthorizedParty,
        InvalidCodeHash,
        InvalidIssuer,
        InvalidNonce,
        InvalidSecondaryAudience,
        InvalidSignature,
        InvalidSubject,
        IssuedLastWeek,
        MissingAccessTokenHash,
        MissingAudience,
        MissingAuthorizedParty,
        MissingClaim("sid".into()),
        MissingExpiry,
        MissingIssuedAt,
        MissingIssuer,
        MissingKeyId,
        MissingNonce,
        MissingSubject,
        NotYetValid,
        SignedWithClientSecret,
        SignedWithPublicKey,
        UnknownKeyId,
        Unsigned,
        WithClaim("exp".into(), "soon".into()),
    ] {
        let mut broken = draft.clone();
        fault.apply(&mut broken);
        assert_ne!(
            sandbox.tokens().sign_draft(&broken),
            sandbox.tokens().sign_draft(&draft),
            "{fault:?}"
        );
    }
}
