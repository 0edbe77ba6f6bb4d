//! Bearer tokens of revoked users, sessions and organizations.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::require_token::TokenRejection;
use tower_scalekit::revocation::Revocations;
use tower_scalekit::token::TokenError;
use tower_scalekit::{Bearer, RequireScope, RequireToken, Sandbox, Sessions};

use crate::store::FlakyStore;
use crate::support::{JANE, JOHN, Reading as _, World, request_with_token, send, token_layer};

/// An app with sessions, and an API in another process.
struct Services {
    world: World,
    sessions: Sessions,
    store: FlakyStore,
    api: Router,
}

fn guard(sandbox: &Sandbox, revocations: &Revocations) -> RequireToken {
    token_layer(sandbox).reject_revoked(revocations)
}

fn api(guard: RequireToken) -> Router {
    Router::new().route("/", get(|| async { "ok" })).route_layer(guard)
}

impl Services {
    fn new(rejects_when_stale: bool) -> Self {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let sessions = world.replica(|sessions| sessions.shared_store(store.clone()));
        let revocations = world.sandbox.scalekit().revocations(store.clone());
        let revocations = match rejects_when_stale {
            true => revocations.reject_on_stale_revocations(),
            false => revocations,
        };
        let api = api(guard(&world.sandbox, &revocations.build()));
        Self { world, sessions, store, api }
    }

    async fn get(&self, token: &str) -> Response<Bytes> {
        send(&self.api, request_with_token("/", token)).await
    }

    fn claim(&self, token: &str, name: &str) -> String {
        let payload = token.split('.').nth(1).unwrap();
        let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, payload);
        let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
        claims[name].as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn tokens_are_rejected_within_two_seconds_of_a_revocation_elsewhere() {
    for name in ["sub", "sid", "oid"] {
        let services = Services::new(false);
        let tokens = services.world.sandbox.tokens();
        let mut draft = tokens.access_token_draft(JANE);
        draft.claims.insert("sid".into(), json!("ses_jane"));
        draft.claims.insert("oid".into(), json!("org_jane"));
        let (jane, john) = (tokens.sign_draft(&draft), tokens.access_token(JOHN));
        for token in [&jane, &john] {
            assert_eq!(services.get(token).await.status(), StatusCode::OK);
        }
        let id = services.claim(&jane, name);
        match name {
            "sub" => services.sessions.revoke_user(&id).await,
            "sid" => services.sessions.revoke_session(&id).await,
            _ => services.sessions.revoke_organization(&id).await,
        }
        .unwrap();
        services.world.advance(2);
        for _ in 0..2 {
            let rejected = services.get(&jane).await;
            assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED, "{name}");
            let challenge = rejected.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
            assert!(challenge.contains("invalid_token"), "{challenge}");
            assert!(matches!(
                rejected.extensions().get(),
                Some(TokenRejection::InvalidToken { error: TokenError::Revoked, .. })
            ));
            assert_eq!(services.get(&john).await.status(), StatusCode::OK, "{name}");
        }
        // Clocks may differ by a minute.
        services.world.advance(61);
        let mut draft = services.world.sandbox.tokens().access_token_draft(JANE);
        draft.claims.insert("sid".into(), json!("ses_jane"));
        draft.claims.insert("oid".into(), json!("org_jane"));
        let new = services.world.sandbox.tokens().sign_draft(&draft);
        assert_eq!(services.get(&new).await.status(), StatusCode::OK, "{name}");
    }
}

#[tokio::test]
async fn a_process_with_sessions_shares_its_revocations() {
    let world = World::new();
    let app = api(guard(&world.sandbox, &world.sessions.revocations()));
    let token = world.sandbox.tokens().access_token(JANE);
    let ask = async || send(&app, request_with_token("/", &token)).await.status();
    assert_eq!(ask().await, StatusCode::OK);
    let me = world.logged_in(JANE).await.fetch("/me").await.json();
    world.sessions.revoke_user(me["sub"].as_str().unwrap()).await.unwrap();
    assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_the_store_known_revocations_are_used_unless_stale_ones_are_rejected() {
    for rejects in [false, true] {
        let services = Services::new(rejects);
        let token = services.world.sandbox.tokens().access_token(JANE);
        assert_eq!(services.get(&token).await.status(), StatusCode::OK);
        services.store.set_down(true);
        services.world.advance(30);
        assert_eq!(services.get(&token).await.status(), StatusCode::OK);
        services.world.advance(31);
        let response = services.get(&token).await;
        if rejects {
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(response.headers().contains_key(header::RETRY_AFTER));
            assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
        } else {
            assert_eq!(response.status(), StatusCode::OK);
        }
        services.store.set_down(false);
        services.world.advance(2);
        assert_eq!(services.get(&token).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn an_unauthenticated_request_reads_no_revocations() {
    let services = Services::new(false);
    for token in ["garbage", ""] {
        assert_eq!(services.get(token).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(services.store.take_operations(), (0, 0));
}

#[tokio::test]
async fn layers_behind_it_and_the_extractor_never_see_a_revoked_token() {
    let world = World::new();
    let guard = guard(&world.sandbox, &world.sessions.revocations());
    let echo = || async { "ok" };
    let app = Router::new()
        .route("/scope", get(echo).layer(RequireScope::all(["openid"])))
        .route("/mcp", post(echo).layer(RequireMcpScope::new().tool("list", ["openid"])))
        .route_layer(guard.clone())
        .route("/extractor", get(|_: Bearer| async { "ok" }))
        .with_state(guard.clone());
    let plain = guard.layer(service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("ok"))))
    }));
    let mut draft = world.sandbox.tokens().access_token_draft(JANE);
    draft.claims.insert("scope".into(), json!("openid"));
    let bearer = format!("Bearer {}", world.sandbox.tokens().sign_draft(&draft));
    let subject = draft.claims["sub"].as_str().unwrap().to_owned();
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list"}});
    let statuses = async || {
        let mut all = Vec::new();
        for (method, path) in
            [(Method::GET, "/scope"), (Method::POST, "/mcp"), (Method::GET, "/extractor")]
        {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(header::AUTHORIZATION, &bearer)
                .header(header::CONTENT_TYPE, "application/json")
                .body(axum::body::Body::from(call.to_string()))
                .unwrap();
            all.push(app.clone().oneshot(request).await.unwrap().status());
        }
        let request =
            Request::get("/").header(header::AUTHORIZATION, &bearer).body(Full::default()).unwrap();
        all.push(plain.clone().oneshot(request).await.unwrap().status());
        all
    };
    assert_eq!(statuses().await, [StatusCode::OK; 4]);
    world.sessions.revoke_user(&subject).await.unwrap();
    assert_eq!(statuses().await, [StatusCode::UNAUTHORIZED; 4]);
}

#[tokio::test]
async fn requests_share_one_read_of_the_log() {
    let world = World::new();
    let store = Arc::new(FlakyStore::new(world.sandbox.clock().clock()));
    let revocations = world.sandbox.scalekit().revocations(Arc::clone(&store)).build();
    let apps = [(); 2].map(|()| api(guard(&world.sandbox, &revocations)));
    let token = world.sandbox.tokens().access_token(JANE);
    for _ in 0..50 {
        for app in &apps {
            let request = request_with_token("/", &token);
            assert_eq!(send(app, request).await.status(), StatusCode::OK);
        }
    }
    tokio::time::sleep(Duration::ZERO).await;
    let (reads, _) = store.take_operations();
    assert!(reads <= 2, "the counter is read once or twice: {reads}");
}
