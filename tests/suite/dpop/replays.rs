//! Proofs that were used before.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use tower_scalekit::Bearer;
use tower_scalekit::shared_store::{KeyNamespace, MemoryStore};

use super::*;

#[tokio::test]
async fn a_proof_is_used_once() {
    let sandbox = Sandbox::new();
    let app = app(&sandbox, builder());
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    let proof = key.proof("GET", TODOS, Some(&token));
    assert_eq!(call(&app, "DPoP", &token, &[&proof]).await.status(), StatusCode::OK);
    for _ in 0..2 {
        let response = call(&app, "DPoP", &token, &[&proof]).await;
        assert_eq!(proof_error(&response), DpopError::Replayed);
    }
    // Until it is too old.
    sandbox.clock().advance(Duration::from_secs(60));
    let response = call(&app, "DPoP", &token, &[&proof]).await;
    assert!(matches!(proof_error(&response), DpopError::Replayed | DpopError::OutsideWindow));
    sandbox.clock().advance(Duration::from_secs(2));
    let response = call(&app, "DPoP", &token, &[&proof]).await;
    assert_eq!(proof_error(&response), DpopError::OutsideWindow);

    // The same `jti` with another key is another proof.
    let other = sandbox.tokens().dpop_key();
    let same_id = |key: &DpopKey, token: &str| {
        key.proof_with("GET", TODOS, Some(token), |_, claims| claims["jti"] = json!("one"))
    };
    for key in [&key, &other] {
        let token = bound(&sandbox, key);
        let response = call(&app, "DPoP", &token, &[&same_id(key, &token)]).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn layers_and_extractors_of_one_request_use_its_proof_once() {
    #[derive(Clone, FromRef)]
    struct App {
        tokens: RequireToken,
    }
    let sandbox = Sandbox::new();
    let guard = guard(&sandbox, builder());
    let handler = |Bearer(one): Bearer, Bearer(two): Bearer| async move {
        assert_eq!(one.subject(), two.subject());
    };
    let app = Router::new()
        .route("/todos", get(handler))
        .route_layer(guard.clone())
        .route_layer(guard.clone().optional())
        .with_state(App { tokens: guard.clone() });
    let alone = Router::new().route("/todos", get(handler)).with_state(App { tokens: guard });
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    for app in [app, alone] {
        let proof = key.proof("GET", TODOS, Some(&token));
        assert_eq!(call(&app, "DPoP", &token, &[&proof]).await.status(), StatusCode::OK);
        let response = call(&app, "DPoP", &token, &[&proof]).await;
        assert_eq!(proof_error(&response), DpopError::Replayed);
        let response = call(&app, "Bearer", &token, &[]).await;
        assert_eq!(token_error(&response), TokenError::SenderConstrained);
    }
}

#[tokio::test]
async fn proofs_of_rejected_tokens_are_not_remembered() {
    let sandbox = Sandbox::new();
    let app = app(&sandbox, builder().replay_capacity(16));
    let key = sandbox.tokens().dpop_key();
    let unbound = sandbox.tokens().access_token(JANE);
    for token in [&*unbound, "a.b.c"] {
        for _ in 0..100 {
            let proof = key.proof("GET", TODOS, Some(token));
            token_error(&call(&app, "DPoP", token, &[&proof]).await);
        }
    }
    let token = bound(&sandbox, &key);
    let mut accepted = 0;
    let full = loop {
        let proof = key.proof("GET", TODOS, Some(&token));
        let response = call(&app, "DPoP", &token, &[&proof]).await;
        if response.status() != StatusCode::OK {
            break response;
        }
        accepted += 1;
    };
    assert!((1..=16).contains(&accepted), "{accepted}");
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(full.header("retry-after").is_some() && full.header("www-authenticate").is_none());
}

#[tokio::test]
async fn replicas_share_used_proofs_through_a_store() {
    let sandbox = Sandbox::new();
    let store = Arc::new(MemoryStore::new(sandbox.clock().clock()));
    let replica = || app(&sandbox, builder().shared_store(Arc::clone(&store)));
    let (one, two) = (replica(), replica());
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    let proof = key.proof("GET", TODOS, Some(&token));
    assert_eq!(call(&one, "DPoP", &token, &[&proof]).await.status(), StatusCode::OK);
    for replica in [&two, &one] {
        let response = call(replica, "DPoP", &token, &[&proof]).await;
        assert_eq!(proof_error(&response), DpopError::Replayed);
    }
    assert!(format!("{:?}", KeyNamespace::DpopProof).contains("Dpop"));

    let full = app(
        &sandbox,
        builder().shared_store(MemoryStore::with_max_bytes(sandbox.clock().clock(), 1)),
    );
    let proof = key.proof("GET", TODOS, Some(&token));
    let response = call(&full, "DPoP", &token, &[&proof]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let rejection = response.extensions().get();
    assert!(matches!(rejection, Some(TokenRejection::ReplayCheckUnavailable)), "{rejection:?}");
}

#[tokio::test]
async fn each_layer_of_a_request_remembers_its_proof() {
    let sandbox = Sandbox::new();
    let store = Arc::new(MemoryStore::new(sandbox.clock().clock()));
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    let in_process = || guard(&sandbox, builder());
    let shared = || guard(&sandbox, builder().shared_store(Arc::clone(&store)));
    let same = in_process();
    let stacks = [
        [0; 2].map(|_| routes().route_layer(shared()).route_layer(in_process())),
        [0; 2].map(|_| routes().route_layer(in_process()).route_layer(shared())),
        // A layer finds its own use of the proof behind that of another one.
        [0; 2].map(|_| {
            routes().route_layer(same.clone()).route_layer(shared()).route_layer(same.clone())
        }),
    ];
    for [one, two] in stacks {
        let proof = key.proof("GET", TODOS, Some(&token));
        assert_eq!(call(&one, "DPoP", &token, &[&proof]).await.status(), StatusCode::OK);
        let response = call(&two, "DPoP", &token, &[&proof]).await;
        assert_eq!(proof_error(&response), DpopError::Replayed);
    }
}

#[tokio::test]
async fn a_used_proof_is_remembered_although_the_clocks_of_replicas_differ() {
    let start = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
    let sandbox = Sandbox::builder().clock(ManualClock::at(start)).build();
    let store = Arc::new(MemoryStore::new(sandbox.clock().clock()));
    let clocks = [30, -30].map(|seconds| ManualClock::at(start + time::Duration::seconds(seconds)));
    let [ahead, behind] = clocks.each_ref().map(|clock| {
        let scalekit = crate::clocks::scalekit(&sandbox, clock);
        let guard = RequireToken::for_audience(&scalekit, scalekit.client_id()).unwrap();
        let dpop = builder().shared_store(Arc::clone(&store)).build().unwrap();
        routes().route_layer(guard.dpop(&dpop))
    });
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    // The latest that one replica accepts, and almost the earliest that the other does.
    let proof = key.proof_with("GET", TODOS, Some(&token), |_, claims| {
        claims["iat"] = json!(start.unix_timestamp() + 90);
    });
    assert_eq!(call(&ahead, "DPoP", &token, &[&proof]).await.status(), StatusCode::OK);
    for clock in clocks.iter().chain([sandbox.clock()]) {
        clock.advance(Duration::from_secs(179));
    }
    let response = call(&behind, "DPoP", &token, &[&proof]).await;
    assert_eq!(proof_error(&response), DpopError::Replayed);
}
