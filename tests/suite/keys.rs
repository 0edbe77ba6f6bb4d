//! Keys that change, are unavailable, or are requested by invalid tokens.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::watch;
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::sandbox::{Endpoint, Fault, SandboxClient, TokenFault};
use tower_scalekit::{IdpInitiatedRedirect, RequireToken, Sandbox, Scalekit};

use crate::support::{
    JANE, JOHN, NAVIGATION, Reading as _, World, request, request_with_token, sandbox_builder,
    send, settle, token_layer,
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

    /// An API whose key sets arrive while `is_open`.
    fn behind(is_open: watch::Receiver<bool>) -> Self {
        let sandbox = sandbox_builder().build();
        let secret = sandbox.client_secret().clone();
        let scalekit = Scalekit::builder(sandbox.environment_url(), sandbox.client_id(), secret)
            .http_client(SlowKeys { client: sandbox.client(), is_open })
            .clock(sandbox.clock().clock())
            .build()
            .unwrap();
        let guard = RequireToken::for_audience(&scalekit, sandbox.client_id()).unwrap();
        let app = Router::new().route("/", get(|| async {})).route_layer(guard);
        Self { sandbox, app }
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

/// An environment whose key sets are those at the time of the request, however late they arrive.
struct SlowKeys {
    client: SandboxClient,
    is_open: watch::Receiver<bool>,
}

impl HttpClient for SlowKeys {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        Box::pin(async move {
            let response = self.client.send(request).await?;
            let _ = self.is_open.clone().wait_for(|is_open| *is_open).await;
            Ok(response)
        })
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

/// The response to a token of a new key, which joins a fetch that began before the rotation.
async fn joining(api: &Api, open: &watch::Sender<bool>, rotate: fn(&Sandbox)) -> Response<Bytes> {
    let fetches = api.fetches();
    open.send_replace(false);
    let earlier = async { api.status(&api.with_kid("random")).await };
    let later = async {
        settle().await;
        rotate(&api.sandbox);
        let token = api.sandbox.tokens().access_token(JANE);
        let release = async {
            settle().await;
            assert_eq!(api.fetches(), fetches + 1);
            open.send_replace(true);
        };
        futures::join!(api.ask(&token), release).0
    };
    let (earlier, later) = futures::join!(earlier, later);
    assert_eq!(earlier, StatusCode::UNAUTHORIZED);
    later
}

#[tokio::test]
async fn a_token_of_a_new_key_is_accepted_after_joining_a_fetch_that_began_earlier() {
    let rotations: [fn(&Sandbox); 2] =
        [|sandbox| sandbox.keys().rotate(), |sandbox| sandbox.keys().rotate_keeping_kid()];
    for (rotate, is_started) in rotations.into_iter().flat_map(|one| [(one, true), (one, false)]) {
        let (open, is_open) = watch::channel(true);
        let api = Api::behind(is_open);
        if is_started {
            let old = api.sandbox.tokens().access_token(JANE);
            assert_eq!(api.status(&old).await, StatusCode::OK);
        }
        let fetches = api.fetches();
        assert_eq!(joining(&api, &open, rotate).await.status(), StatusCode::OK, "{is_started}");
        assert_eq!(api.fetches(), fetches + 2);
    }
}

#[tokio::test]
async fn keys_are_unavailable_after_an_earlier_fetch_while_fetches_are_limited() {
    let (open, is_open) = watch::channel(true);
    let api = Api::behind(is_open);
    assert_eq!(api.status(&api.sandbox.tokens().access_token(JANE)).await, StatusCode::OK);
    assert_eq!(api.status(&api.with_kid("another")).await, StatusCode::UNAUTHORIZED);
    let response = joining(&api, &open, |sandbox| sandbox.keys().rotate()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    api.advance(10);
    assert_eq!(api.status(&api.sandbox.tokens().access_token(JANE)).await, StatusCode::OK);
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
