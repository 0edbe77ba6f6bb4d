//! Tokens that are bound to a key (RFC 9449), through the layers.

mod replays;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use tower_scalekit::challenge::{Realm, ScopeToken};
use tower_scalekit::clock::ManualClock;
use tower_scalekit::dpop::{Dpop, DpopBuilder, DpopError};
use tower_scalekit::protected_resource::{ProtectedResource, ResourceId};
use tower_scalekit::require_token::TokenRejection;
use tower_scalekit::sandbox::DpopKey;
use tower_scalekit::token::TokenError;
use tower_scalekit::{
    ForwardAuth, Principal, RequireAuth, RequireScope, RequireSession, RequireToken, Sandbox,
};

use crate::support::{JANE, Reading as _, World, request, secret, send, token_layer};

const API: &str = "https://api.example.com";
const TODOS: &str = "https://api.example.com/todos";

fn builder() -> DpopBuilder {
    Dpop::builder(API)
}

fn guard(sandbox: &Sandbox, dpop: DpopBuilder) -> RequireToken {
    token_layer(sandbox).dpop(&dpop.build().unwrap())
}

fn routes() -> Router {
    let admin = get(subject).layer(RequireScope::all(["todo:write"]));
    Router::new().route("/todos", get(subject).post(subject)).route("/admin", admin)
}

async fn subject(principal: Option<Principal>) -> String {
    principal.map_or("nobody".to_owned(), |principal| principal.subject().to_owned())
}

fn app(sandbox: &Sandbox, dpop: DpopBuilder) -> Router {
    routes().route_layer(guard(sandbox, dpop))
}

/// A token of Jane with this confirmation.
fn token_with(sandbox: &Sandbox, cnf: Value) -> String {
    let mut draft = sandbox.tokens().access_token_draft(JANE);
    draft.claims.insert("cnf".to_owned(), cnf);
    sandbox.tokens().sign_draft(&draft)
}

fn bound(sandbox: &Sandbox, key: &DpopKey) -> String {
    token_with(sandbox, key.confirmation())
}

async fn call(app: &Router, scheme: &str, token: &str, proofs: &[&str]) -> Response<Bytes> {
    call_at(app, "/todos", scheme, token, proofs).await
}

async fn call_at(
    app: &Router,
    path: &str,
    scheme: &str,
    token: &str,
    proofs: &[&str],
) -> Response<Bytes> {
    let authorization = format!("{scheme} {token}");
    let mut headers = vec![("authorization", authorization.as_str())];
    headers.extend(proofs.iter().map(|proof| ("dpop", *proof)));
    send(app, request(Method::GET, path, &headers)).await
}

fn rejection(response: &Response<Bytes>) -> &TokenRejection {
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    response.extensions().get().expect("a rejection")
}

fn token_error(response: &Response<Bytes>) -> TokenError {
    match rejection(response) {
        TokenRejection::InvalidToken { error, .. } => *error,
        other => panic!("{other:?}"),
    }
}

fn proof_error(response: &Response<Bytes>) -> DpopError {
    assert_eq!(response.json()["error"], "invalid_dpop_proof");
    match rejection(response) {
        TokenRejection::InvalidDpopProof { error, .. } => *error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bound_token_is_accepted_with_a_proof_and_never_as_a_bearer_token() {
    let sandbox = Sandbox::new();
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    let with_dpop = app(&sandbox, builder());
    let without_dpop = routes().route_layer(token_layer(&sandbox));
    let proof = || key.proof("GET", TODOS, Some(&token));

    for scheme in ["DPoP", "dpop"] {
        let response = call(&with_dpop, scheme, &token, &[&proof()]).await;
        assert_eq!(response.status(), StatusCode::OK, "{scheme}");
        assert_eq!(response.header("dpop-nonce"), None);
    }
    for app in [&with_dpop, &without_dpop] {
        for proofs in [&[][..], &[&*proof()]] {
            let response = call(app, "Bearer", &token, proofs).await;
            assert_eq!(token_error(&response), TokenError::SenderConstrained);
            assert_eq!(response.json()["error"], "invalid_token");
        }
    }
    // Where it is not accepted, the scheme is an unknown one.
    let response = call(&without_dpop, "DPoP", &token, &[&proof()]).await;
    assert!(matches!(rejection(&response), TokenRejection::MissingToken { .. }));
    assert_eq!(response.header("www-authenticate"), Some("Bearer"));

    let verifier =
        sandbox.scalekit().token_verifier().audience(sandbox.client_id()).build().unwrap();
    assert_eq!(verifier.verify(&token).await.unwrap_err(), TokenError::SenderConstrained);
    assert!(!verifier.accepts(&token, &[]).await.unwrap());
}

#[tokio::test]
async fn the_token_must_be_bound_to_the_key_of_the_proof_and_to_nothing_else() {
    let sandbox = Sandbox::new();
    let app = app(&sandbox, builder());
    let (key, other) = (sandbox.tokens().dpop_key(), sandbox.tokens().dpop_key());
    let unbound = sandbox.tokens().access_token(JANE);
    let of_other = bound(&sandbox, &other);
    let certificate = token_with(&sandbox, json!({"x5t#S256": key.thumbprint()}));
    let mut both = key.confirmation();
    both["x5t#S256"] = json!("certificate");
    let both = token_with(&sandbox, both);
    let malformed = token_with(&sandbox, json!(key.thumbprint()));
    for token in [&unbound, &of_other, &certificate, &both, &malformed] {
        let proof = key.proof("GET", TODOS, Some(token));
        let response = call(&app, "DPoP", token, &[&proof]).await;
        assert_eq!(token_error(&response), TokenError::SenderConstrained);
    }
    for token in [&of_other, &certificate, &both, &malformed] {
        let response = call(&app, "Bearer", token, &[]).await;
        assert_eq!(token_error(&response), TokenError::SenderConstrained);
    }
    assert_eq!(call(&app, "Bearer", &unbound, &[]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn there_is_exactly_one_proof() {
    let sandbox = Sandbox::new();
    let app = app(&sandbox, builder());
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    let [one, two] = [(); 2].map(|()| key.proof("GET", TODOS, Some(&token)));
    for proofs in [&[][..], &[&*one, &*two], &[&*one, &*one]] {
        let response = call(&app, "DPoP", &token, proofs).await;
        assert_eq!(proof_error(&response), DpopError::InvalidHeader);
    }
    let joined = format!("{one}, {two}");
    let response = call(&app, "DPoP", &token, &[&joined]).await;
    assert_eq!(proof_error(&response), DpopError::Malformed);
    assert_eq!(call(&app, "DPoP", &token, &[&one]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_proof_is_for_one_method_url_token_and_time() {
    type Edit = fn(&mut Map<String, Value>);
    let sandbox = Sandbox::new();
    let app = app(&sandbox, builder());
    let key = sandbox.tokens().dpop_key();
    let (token, other) = (bound(&sandbox, &key), bound(&sandbox, &key));
    let late: Edit = |claims| claims["iat"] = json!(claims["iat"].as_i64().unwrap() - 61);
    let early: Edit = |claims| claims["iat"] = json!(claims["iat"].as_i64().unwrap() + 62);
    let none: Edit = |_| {};
    for (method, url, token_of_proof, edit, error) in [
        ("POST", TODOS, &token, none, DpopError::MethodMismatch),
        ("GET", API, &token, none, DpopError::UrlMismatch),
        ("GET", "https://evil.example.com/todos", &token, none, DpopError::UrlMismatch),
        ("GET", TODOS, &other, none, DpopError::TokenMismatch),
        ("GET", TODOS, &token, late, DpopError::OutsideWindow),
        ("GET", TODOS, &token, early, DpopError::OutsideWindow),
    ] {
        let proof = key.proof_with(method, url, Some(token_of_proof), |_, claims| edit(claims));
        let response = call(&app, "DPoP", &token, &[&proof]).await;
        assert_eq!(proof_error(&response), error, "{method} {url}");
    }
    let unhashed = key.proof("GET", TODOS, None);
    let response = call(&app, "DPoP", &token, &[&unhashed]).await;
    assert_eq!(proof_error(&response), DpopError::InvalidClaim("ath"));
}

#[tokio::test]
async fn the_host_of_a_request_does_not_matter() {
    let sandbox = Sandbox::new();
    let app = app(&sandbox, builder().additional_url("http://localhost:3000"));
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    for (url, accepted) in [
        (TODOS, true),
        ("http://localhost:3000/todos", true),
        ("https://evil.example.com/todos", false),
    ] {
        let authorization = format!("DPoP {token}");
        let proof = key.proof("GET", url, Some(&token));
        let headers = [
            ("authorization", &*authorization),
            ("dpop", &*proof),
            ("host", "evil.example.com"),
            ("x-forwarded-host", "evil.example.com"),
            ("forwarded", "host=evil.example.com"),
        ];
        let response = send(&app, request(Method::GET, "/todos?host=evil", &headers)).await;
        assert_eq!(response.status().is_success(), accepted, "{url}");
    }
}

#[tokio::test]
async fn the_path_is_the_one_below_the_public_url() {
    let sandbox = Sandbox::new();
    let guard = guard(&sandbox, Dpop::builder("https://api.example.com/v1/"));
    let inner = routes().route_layer(guard);
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    let nested = Router::new().nest("/nested", inner.clone());
    for (app, path, url) in [
        (&inner, "/todos", "https://api.example.com/v1/todos"),
        (&nested, "/nested/todos", "https://api.example.com/v1/nested/todos"),
    ] {
        let proof = key.proof("GET", url, Some(&token));
        let response = call_at(app, path, "DPoP", &token, &[&proof]).await;
        assert_eq!(response.status(), StatusCode::OK, "{url}");
        let proof = key.proof("GET", &url.replace("/v1", ""), Some(&token));
        let response = call_at(app, path, "DPoP", &token, &[&proof]).await;
        assert_eq!(proof_error(&response), DpopError::UrlMismatch, "{url}");
    }
}

#[tokio::test]
async fn an_invalid_proof_does_not_disclose_whether_the_token_is_valid() {
    let sandbox = Sandbox::new();
    let app = app(&sandbox, builder());
    let (key, thief) = (sandbox.tokens().dpop_key(), sandbox.tokens().dpop_key());
    let stolen = bound(&sandbox, &key);
    let invalid = stolen.replace('.', ".e30");
    let responses = async |proof: &dyn Fn(&str) -> String| {
        let mut seen = Vec::new();
        for token in [&stolen, &invalid] {
            let response = call(&app, "DPoP", token, &[&proof(token)]).await;
            let challenge = response.header("www-authenticate").map(str::to_owned);
            seen.push((response.status(), challenge, response.body().clone()));
        }
        assert_eq!(seen[0], seen[1]);
    };
    responses(&|_| "a.b.c".to_owned()).await;
    responses(&|token| thief.proof("POST", TODOS, Some(token))).await;
    // With a valid proof of another key, neither.
    responses(&|token| thief.proof("GET", TODOS, Some(token))).await;
}

#[tokio::test]
async fn a_nonce_is_accepted_by_all_replicas_while_the_secret_is_rotated() {
    let sandbox = Sandbox::new();
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    let replica = |current: u8, previous: Option<u8>| {
        let dpop = previous
            .into_iter()
            .fold(builder(), |dpop, previous| dpop.previous_secret(&secret(previous)));
        app(&sandbox, dpop.require_nonce(&secret(current)))
    };
    // The steps of the rotation, of which two neighbors are deployed at the same time.
    let steps = [(1, None), (1, Some(2)), (2, Some(1)), (2, None)];
    for deploying in steps.windows(2) {
        let replicas: Vec<_> =
            deploying.iter().map(|(current, previous)| replica(*current, *previous)).collect();
        for (from, to) in [(0, 1), (1, 0)] {
            let proof = key.proof("GET", TODOS, Some(&token));
            let offered = call(&replicas[from], "DPoP", &token, &[&proof]).await;
            let nonce = offered.header("dpop-nonce").unwrap();
            let proof = key.proof_with("GET", TODOS, Some(&token), |_, claims| {
                claims.insert("nonce".to_owned(), json!(nonce));
            });
            let response = call(&replicas[to], "DPoP", &token, &[&proof]).await;
            assert_eq!(response.status(), StatusCode::OK, "{deploying:?}");
        }
    }
}

#[tokio::test]
async fn a_required_nonce_is_offered_accepted_and_renewed() {
    // At the begin of a period.
    let start = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
    let sandbox = Sandbox::builder().clock(ManualClock::at(start)).build();
    let replica = || app(&sandbox, builder().require_nonce(&secret(1)));
    let (one, two) = (replica(), replica());
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    let proof = |nonce: &str| {
        key.proof_with("GET", TODOS, Some(&token), |_, claims| {
            claims.insert("nonce".to_owned(), json!(nonce));
        })
    };
    let offered = call(&one, "DPoP", &token, &[&key.proof("GET", TODOS, Some(&token))]).await;
    assert_eq!(offered.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(offered.json()["error"], "use_dpop_nonce");
    let challenge = offered.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("DPoP error=\"use_dpop_nonce\""), "{challenge}");
    let nonce = offered.header("dpop-nonce").unwrap().to_owned();
    let exposed = offered.headers().get_all("access-control-expose-headers");
    assert!(exposed.iter().any(|name| name == "dpop-nonce"));

    // A nonce of one replica is one of all.
    for replica in [&one, &two] {
        let response = call(replica, "DPoP", &token, &[&proof(&nonce)]).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
    sandbox.clock().advance(std::time::Duration::from_secs(150));
    let response = call(&two, "DPoP", &token, &[&proof(&nonce)]).await;
    assert_eq!(response.status(), StatusCode::OK);
    let next = response.header("dpop-nonce").expect("the next nonce").to_owned();
    assert_ne!(next, nonce);
    sandbox.clock().advance(std::time::Duration::from_secs(150));
    for invalid in [&*nonce, "", "made up"] {
        let response = call(&one, "DPoP", &token, &[&proof(invalid)]).await;
        assert_eq!(response.json()["error"], "use_dpop_nonce", "{invalid}");
    }
    let response = call(&one, "DPoP", &token, &[&proof(&next)]).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn challenges_name_the_scheme_beside_bearer() {
    let sandbox = Sandbox::new();
    let algorithms = "algs=\"ES256 ES384 EdDSA\"";
    let accepted = guard(&sandbox, builder())
        .realm(Realm::new("todo").unwrap())
        .scope_hint([ScopeToken::new("todo:read").unwrap()]);
    let app = routes().route_layer(accepted);
    let challenge = async |path: &str, headers: &[(&str, &str)]| {
        let response = send(&app, request(Method::GET, path, headers)).await;
        response.header("www-authenticate").unwrap().to_owned()
    };
    assert_eq!(
        challenge("/todos", &[]).await,
        format!("Bearer realm=\"todo\", scope=\"todo:read\", DPoP {algorithms}")
    );
    let invalid = challenge("/todos", &[("authorization", "Bearer x")]).await;
    assert!(invalid.starts_with("Bearer realm=\"todo\", error=\"invalid_token\""), "{invalid}");
    assert!(invalid.ends_with(&format!(", DPoP {algorithms}")), "{invalid}");
    let unproven = challenge("/todos", &[("authorization", "DPoP x")]).await;
    assert!(
        unproven.starts_with("DPoP realm=\"todo\", error=\"invalid_dpop_proof\""),
        "{unproven}"
    );
    assert!(unproven.ends_with(&format!(", {algorithms}, Bearer realm=\"todo\"")), "{unproven}");

    // Without a token, too.
    for (value, scheme) in [("Bearer", "Bearer"), ("Bearer ", "Bearer"), ("DPoP ", "DPoP")] {
        let empty = challenge("/todos", &[("authorization", value)]).await;
        let expected = format!("{scheme} realm=\"todo\", error=\"invalid_token\"");
        assert!(empty.starts_with(&expected), "{empty}");
    }

    // A layer further in continues with the scheme of the request.
    let key = sandbox.tokens().dpop_key();
    let token = bound(&sandbox, &key);
    let proof = key.proof("GET", "https://api.example.com/admin", Some(&token));
    let response = call_at(&app, "/admin", "DPoP", &token, &[&proof]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let step_up = response.header("www-authenticate").unwrap();
    assert!(step_up.starts_with("DPoP realm=\"todo\", error=\"insufficient_scope\""), "{step_up}");
}

#[tokio::test]
async fn bearer_tokens_are_rejected_where_bound_ones_are_required() {
    let sandbox = Sandbox::new();
    let dpop = builder().required();
    let required = guard(&sandbox, dpop);
    let key = sandbox.tokens().dpop_key();
    let (token, unbound) = (bound(&sandbox, &key), sandbox.tokens().access_token(JANE));
    for layer in [required.clone(), required.optional()] {
        let app = routes().route_layer(layer);
        for token in [&token, &unbound] {
            let response = call(&app, "Bearer", token, &[]).await;
            assert_eq!(token_error(&response), TokenError::SenderConstrained);
            let challenge = response.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("DPoP ") && !challenge.contains("Bearer"), "{challenge}");
        }
        let proof = key.proof("GET", TODOS, Some(&token));
        assert_eq!(call(&app, "DPoP", &token, &[&proof]).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_resource_has_the_setting_of_its_metadata() {
    let sandbox = Sandbox::new();
    let scalekit = sandbox.scalekit();
    let id = sandbox.mcp().resource_id();
    let dpop = Dpop::builder("https://mcp.example.com").required().build().unwrap();
    let with_setting = |dpop: &Dpop| {
        let id = ResourceId::new(&id).unwrap();
        ProtectedResource::builder(&scalekit, "https://mcp.example.com/mcp", id).dpop(dpop).build()
    };
    // No request for the resource is below these.
    for url in ["https://mcp.example.com/app", "https://mcp.example.com/mc"] {
        let other = Dpop::builder(url).build().unwrap();
        assert!(with_setting(&other).unwrap_err().to_string().contains("dpop"), "{url}");
    }
    // The proxy may add a prefix to all requests.
    let below = Dpop::builder("https://mcp.example.com/mcp/v1").build().unwrap();
    with_setting(&below).unwrap();
    let resource = with_setting(&dpop).unwrap();
    let app = Router::new()
        .route("/mcp", get(subject))
        .route_layer(RequireToken::for_resource(&resource))
        .merge(resource.routes());
    let path = resource.metadata_url().path();
    let metadata = send(&app, request(Method::GET, path, &[])).await.json();
    assert_eq!(metadata["dpop_bound_access_tokens_required"], true);
    assert_eq!(metadata["dpop_signing_alg_values_supported"][0], "ES256");

    let response = send(&app, request(Method::GET, "/mcp", &[])).await;
    let challenge = response.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("DPoP resource_metadata="), "{challenge}");
    let key = sandbox.tokens().dpop_key();
    let mut draft = sandbox.tokens().resource_token_draft(JANE, &id, &[]);
    draft.claims.insert("cnf".to_owned(), key.confirmation());
    let token = sandbox.tokens().sign_draft(&draft);
    let proof = key.proof("GET", "https://mcp.example.com/mcp", Some(&token));
    let response = call_at(&app, "/mcp", "DPoP", &token, &[&proof]).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn bound_tokens_count_beside_sessions_and_behind_a_proxy() {
    let world = World::new();
    let sandbox = &world.sandbox;
    let auth = || RequireAuth::new(RequireSession::new(&world.sessions), guard(sandbox, builder()));
    let key = sandbox.tokens().dpop_key();
    let token = bound(sandbox, &key);

    let app = routes().route_layer(auth());
    let browser = world.logged_in(JANE).await.at(&app);
    let proof = key.proof("GET", TODOS, Some(&token));
    let authorization = format!("DPoP {token}");
    let headers = [("authorization", &*authorization), ("dpop", &*proof)];
    let send_with = async |headers: &[(&str, &str)]| {
        send(browser.app(), browser.request(Method::GET, "/todos", headers)).await
    };
    assert_eq!(send_with(&headers).await.status(), StatusCode::OK);
    // It decides alone, also if it is rejected.
    assert_eq!(proof_error(&send_with(&headers).await), DpopError::Replayed);
    let as_bearer = format!("Bearer {token}");
    let response = send_with(&[("authorization", &as_bearer)]).await;
    assert_eq!(token_error(&response), TokenError::SenderConstrained);

    let proxied = Router::new().route_service("/verify", ForwardAuth::nginx().service(auth()));
    let verify = async |method: &str, proof: &str| {
        let headers = [
            ("authorization", &*authorization),
            ("dpop", proof),
            ("x-original-method", method),
            ("x-original-uri", "/todos?page=2"),
        ];
        send(&proxied, request(Method::GET, "/verify", &headers)).await
    };
    let proof = key.proof("POST", TODOS, Some(&token));
    assert_eq!(verify("POST", &proof).await.status(), StatusCode::OK);
    let proof = key.proof("GET", "https://api.example.com/verify", Some(&token));
    assert_eq!(proof_error(&verify("GET", &proof).await), DpopError::UrlMismatch);
    let proof = key.proof("GET", TODOS, Some(&token));
    assert_eq!(proof_error(&verify("POST", &proof).await), DpopError::MethodMismatch);
}

#[tokio::test]
async fn revocations_apply_before_the_proof_is_used() {
    let world = World::new();
    let sandbox = &world.sandbox;
    let layer = guard(sandbox, builder()).reject_revoked(&world.sessions.revocations());
    let app = routes().route_layer(layer);
    let key = sandbox.tokens().dpop_key();
    let token = bound(sandbox, &key);
    let proof = key.proof("GET", TODOS, Some(&token));
    let response = call(&app, "DPoP", &token, &[&proof]).await;
    assert_eq!(response.status(), StatusCode::OK);
    let subject = response.text().to_owned();
    world.sessions.revoke_user(&subject).await.unwrap();
    let proof = key.proof("GET", TODOS, Some(&token));
    let response = call(&app, "DPoP", &token, &[&proof]).await;
    assert_eq!(token_error(&response), TokenError::Revoked);
    let challenge = response.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("DPoP error=\"invalid_token\""), "{challenge}");
}

#[test]
fn invalid_settings_are_reported_at_once() {
    let error = Dpop::builder("http://api.example.com")
        .additional_url("api")
        .algorithms([])
        .window(std::time::Duration::from_secs(301))
        .replay_capacity(0)
        .previous_secret(&secret(7))
        .build()
        .unwrap_err();
    assert_eq!(error.problems().len(), 6, "{error}");
    let secrets = builder().require_nonce(&secret(7)).previous_secret(&secret(8));
    assert!(!format!("{secrets:?}").contains("secret"));
}
