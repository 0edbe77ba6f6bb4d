//! Keys that change, are unavailable, or are requested by invalid tokens.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::json;
use tower_scalekit::sandbox::{Endpoint, Fault, TokenFault};
use tower_scalekit::{IdpInitiatedRedirect, RequireToken, Sandbox};

use crate::support::{
    JANE, JOHN, NAVIGATION, Reading as _, World, request, request_with_token, sandbox_builder,
    send, token_layer,
};

struct Api {
    sandbox: Sandbox,
    app: Router,
}

impl Api {
    fn new() -> Self {
        Self::at(sandbox_builder().build())
    }

    fn at(sandbox: Sandbox) -> Self {
        let layer = token_layer(&sandbox);
        Self { sandbox, app: Router::new().route("/", get(|| async {})).route_layer(layer) }
    }

    async fn ask(&self, token: &str) -> Response<Bytes> {
        send(&self.app, request_with_token("/", token)).await
    }

    async fn status(&self, token: &str) -> StatusCode {
        self.ask(token).await.status()
    }

    fn fetches(&self) -> usize {
        self.sandbox.requests().count(Endpoint::Keys)
    }

    fn advance(&self, seconds: u64) {
        self.sandbox.clock().advance(std::time::Duration::from_secs(seconds));
    }

    fn with_kid(&self, kid: &str) -> String {
        let claims = self.sandbox.tokens().access_token_draft(JANE).claims;
        let header = json!({ "alg": "RS256", "kid": kid, "typ": "JWT" });
        self.sandbox.tokens().sign_with_header(header, claims.into())
    }
}

#[tokio::test]
async fn the_first_token_of_a_new_key_is_accepted_after_one_fetch() {
    let api = Api::new();
    let old = api.sandbox.tokens().access_token(JANE);
    assert_eq!(api.status(&old).await, StatusCode::OK);
    api.sandbox.keys().rotate();
    for email in [JANE, JOHN] {
        assert_eq!(api.status(&api.sandbox.tokens().access_token(email)).await, StatusCode::OK);
    }
    assert_eq!(api.status(&old).await, StatusCode::OK, "the old key is still published");
    assert_eq!(api.fetches(), 2);
}

#[tokio::test]
async fn new_material_under_a_known_key_id_is_accepted_after_one_fetch() {
    let api = Api::new();
    let old = api.sandbox.tokens().access_token(JANE);
    assert_eq!(api.status(&old).await, StatusCode::OK);
    api.sandbox.keys().rotate_keeping_kid();
    assert_eq!(api.status(&api.sandbox.tokens().access_token(JOHN)).await, StatusCode::OK);
    assert_eq!(api.fetches(), 2);
    assert_eq!(api.status(&old).await, StatusCode::UNAUTHORIZED, "its key is gone");
}

#[tokio::test]
async fn requests_that_need_the_same_new_key_share_one_fetch() {
    let api = Api::new();
    assert_eq!(api.status(&api.sandbox.tokens().access_token(JANE)).await, StatusCode::OK);
    api.sandbox.keys().rotate();
    let held = api.sandbox.faults().hold(Endpoint::Keys);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (app, token) = (api.app.clone(), api.sandbox.tokens().access_token(JANE));
            tokio::spawn(async move { send(&app, request_with_token("/", &token)).await.status() })
        })
        .collect();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(api.fetches(), 2);
    drop(held);
    for status in futures::future::join_all(waiting).await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    assert_eq!(api.fetches(), 2);
}

#[tokio::test]
async fn unknown_key_ids_cause_no_more_fetches_than_the_bucket_allows() {
    let api = Api::new();
    let known = api.sandbox.tokens().access_token(JANE);
    assert_eq!(api.status(&known).await, StatusCode::OK);
    let mut forged = api.sandbox.tokens().access_token_draft(JANE);
    TokenFault::InvalidSignature.apply(&mut forged);
    let forged = api.sandbox.tokens().sign_draft(&forged);
    for round in 0..5 {
        for n in 0..40 {
            // Whether the issuer has a key is known only after a fetch.
            let fetched = n < if round == 0 { 2 } else { 1 };
            let status = api.status(&api.with_kid(&format!("random-{round}-{n}"))).await;
            let unavailable = StatusCode::SERVICE_UNAVAILABLE;
            assert_eq!(status, if fetched { StatusCode::UNAUTHORIZED } else { unavailable });
            assert_eq!(api.status(&forged).await, StatusCode::UNAUTHORIZED);
            assert_eq!(api.status(&known).await, StatusCode::OK);
        }
        // Two at once and one more every ten seconds, for unknown key IDs and for invalid
        // signatures.
        assert_eq!(api.fetches(), 1 + 2 * (2 + round));
        api.advance(10);
    }
}

#[tokio::test]
async fn known_keys_do_not_wait_for_a_fetch() {
    let api = Api::new();
    let (jane, john) =
        (api.sandbox.tokens().access_token(JANE), api.sandbox.tokens().access_token(JOHN));
    assert_eq!(api.status(&jane).await, StatusCode::OK);
    let _held = api.sandbox.faults().hold(Endpoint::Keys);
    let (app, unknown) = (api.app.clone(), api.with_kid("unknown"));
    let waiting = tokio::spawn(async move { send(&app, request_with_token("/", &unknown)).await });
    tokio::task::yield_now().await;
    for token in [&jane, &john] {
        assert_eq!(api.status(token).await, StatusCode::OK);
    }
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn a_server_starts_while_the_keys_are_unavailable() {
    let api = Api::new();
    let token = api.sandbox.tokens().access_token(JANE);
    api.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    for _ in 0..20 {
        let response = api.ask(&token).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.header("retry-after").is_some());
        assert_eq!(response.header("www-authenticate"), None);
    }
    assert_eq!(api.fetches(), 1, "requests get the failure for a second");
    assert_eq!(api.status("garbage").await, StatusCode::UNAUTHORIZED, "no key could help");
    api.sandbox.faults().clear(Endpoint::Keys);
    api.advance(1);
    assert_eq!(api.status(&token).await, StatusCode::OK);
    assert_eq!(api.fetches(), 2);
}

#[tokio::test]
async fn known_keys_outlive_an_outage() {
    let api = Api::new();
    assert_eq!(api.status(&api.sandbox.tokens().access_token(JANE)).await, StatusCode::OK);
    api.sandbox.faults().add(Endpoint::Keys, Fault::Status(StatusCode::BAD_GATEWAY));
    for _ in 0..23 {
        api.advance(3600);
        assert_eq!(api.status(&api.sandbox.tokens().access_token(JANE)).await, StatusCode::OK);
    }
    // A token of a new key may be valid, so it is not rejected as invalid.
    api.sandbox.keys().rotate();
    let new = api.ask(&api.sandbox.tokens().access_token(JANE)).await;
    assert_eq!(new.status(), StatusCode::SERVICE_UNAVAILABLE);
    api.advance(3601);
    let stale = api.ask(&api.sandbox.tokens().access_token(JANE)).await;
    assert_eq!(stale.status(), StatusCode::SERVICE_UNAVAILABLE, "a day is enough");
}

#[tokio::test]
async fn a_cached_token_whose_key_was_removed_is_rejected() {
    let api = Api::new();
    let token = api.sandbox.tokens().access_token(JANE);
    assert_eq!(api.status(&token).await, StatusCode::OK);
    api.sandbox.keys().rotate();
    api.sandbox.keys().remove_old();
    assert_eq!(api.status(&api.sandbox.tokens().access_token(JANE)).await, StatusCode::OK);
    assert_eq!(api.status(&token).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_cached_token_expires() {
    let api = Api::new();
    let token = api.sandbox.tokens().access_token(JANE);
    for (seconds, status) in
        [(0, StatusCode::OK), (304, StatusCode::OK), (1, StatusCode::UNAUTHORIZED)]
    {
        api.advance(seconds);
        assert_eq!(api.status(&token).await, status);
    }
}

#[tokio::test]
async fn invalid_bearer_tokens_do_not_affect_sessions_after_a_rotation() {
    let world = World::with(|sandbox| sandbox.refresh_grace(std::time::Duration::ZERO), |s| s);
    let mut browser = world.logged_in(JANE).await;
    let scalekit = world.sessions.scalekit();
    let guard = RequireToken::for_audience(scalekit, world.sandbox.client_id()).unwrap();
    let api = Api {
        sandbox: world.sandbox.clone(),
        app: Router::new().route("/", get(|| async {})).route_layer(guard),
    };
    world.advance(301);
    for n in 0..5 {
        api.status(&api.with_kid(&format!("random-{n}"))).await;
    }
    world.sandbox.keys().rotate();
    let token = world.sandbox.tokens().access_token(JANE);
    let unavailable = api.ask(&token).await;
    assert_eq!(unavailable.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(unavailable.header("retry-after").is_some());
    assert_eq!(unavailable.header("www-authenticate"), None);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "it has fetches of its own");
    assert_eq!(world.sandbox.requests().refreshes(), 1);
}

#[tokio::test]
async fn invalid_idp_initiated_and_logout_tokens_do_not_affect_bearer_tokens_after_a_rotation() {
    let world = World::new();
    let scalekit = world.sessions.scalekit();
    let guard = RequireToken::for_audience(scalekit, world.sandbox.client_id()).unwrap();
    let api = Api {
        sandbox: world.sandbox.clone(),
        app: Router::new().route("/", get(|| async {})).route_layer(guard),
    };
    let public = world.app.clone().layer(IdpInitiatedRedirect::new(&world.sessions));
    assert_eq!(api.status(&world.sandbox.tokens().access_token(JANE)).await, StatusCode::OK);
    for n in 0..5 {
        let junk = api.with_kid(&format!("random-{n}"));
        let idp_login = format!("/login?idp_initiated_login={junk}");
        send(&public, request(Method::GET, &idp_login, &NAVIGATION)).await;
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let mut logout = request(Method::POST, "/auth/backchannel-logout", &form);
        *logout.body_mut() = format!("logout_token={junk}").into();
        send(&public, logout).await;
    }
    assert_eq!(api.fetches(), 1 + 2 + 2);
    world.sandbox.keys().rotate();
    assert_eq!(api.status(&world.sandbox.tokens().access_token(JANE)).await, StatusCode::OK);
}
