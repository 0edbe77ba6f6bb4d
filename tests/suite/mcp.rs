//! Protected resources: metadata, accepted tokens, and scopes of each tool.

mod lists;
mod scopes;
mod streams;

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_scalekit::middleware::BodyLimits;
use tower_scalekit::middleware::ReplayBody;
use tower_scalekit::protected_resource::{ProtectedResource, ResourceId};
use tower_scalekit::require_scope::mcp::{McpError, McpRejection, RequireMcpScope};
use tower_scalekit::require_scope::{ScopeHierarchy, ScopeRejection};
use tower_scalekit::sandbox::{Endpoint, Fault, TokenDraft};
use tower_scalekit::token::TokenError;
use tower_scalekit::{
    Bearer, Principal, ProtectedResourceMetadata, RequireScope, RequireToken, Sandbox,
};

use crate::support::{JANE, Reading as _, request, sandbox_builder, send};

const URL: &str = "https://mcp.example.com/mcp";

const ID: &str = "res_123456789";

const METADATA: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";

struct World {
    sandbox: Sandbox,
    resource: ProtectedResource,
    app: Router,
}

impl World {
    fn new() -> Self {
        Self::with(|app| app)
    }

    /// An echo service, with these layers around it.
    fn with(inside: impl FnOnce(Router) -> Router) -> Self {
        let sandbox = sandbox_builder().build();
        let id = ResourceId::new(ID).unwrap();
        let resource = ProtectedResource::builder(&sandbox.scalekit(), URL, id)
            .scopes(["todo:read", "todo:write"])
            .build()
            .unwrap();
        let app = app_of(&resource, inside);
        Self { sandbox, resource, app }
    }

    /// A token for the resource with these scopes, edited before it is signed.
    fn token(&self, scope: &str, change: impl FnOnce(&mut TokenDraft)) -> String {
        let mut draft = self.sandbox.tokens().access_token_draft(JANE);
        let issuer = format!("{}/resources/{ID}", self.sandbox.environment_url());
        draft.claims.insert("iss".into(), issuer.into());
        draft.claims.insert("aud".into(), json!([URL, ID]));
        draft.claims.insert("scope".into(), scope.into());
        change(&mut draft);
        self.sandbox.tokens().sign_draft(&draft)
    }

    async fn ask(&self, token: &str) -> Response<Bytes> {
        self.post(token, "{}", &[]).await
    }

    async fn post(
        &self,
        token: &str,
        body: impl Into<Body>,
        headers: &[(&str, &str)],
    ) -> Response<Bytes> {
        let authorization = format!("Bearer {token}");
        let headers = [&[("authorization", authorization.as_str())], headers].concat();
        let mut request = request(Method::POST, "/mcp", &headers);
        *request.body_mut() = body.into();
        send(&self.app, request).await
    }
}

fn app_of(resource: &ProtectedResource, inside: impl FnOnce(Router) -> Router) -> Router {
    let echo = any(|body: Bytes| async move { body });
    inside(Router::new().route("/mcp", echo))
        .layer(RequireToken::for_resource(resource))
        .layer(ProtectedResourceMetadata::new(resource))
}

#[tokio::test]
async fn tokens_of_an_issuer_whose_clock_is_ahead_are_accepted_up_to_the_leeway() {
    let world = World::new();
    let id = ResourceId::new(ID).unwrap();
    let strict = ProtectedResource::builder(&world.sandbox.scalekit(), URL, id)
        .leeway(Duration::ZERO)
        .not_before_leeway(Duration::ZERO)
        .build()
        .unwrap();
    let strict =
        World { app: app_of(&strict, |app| app), sandbox: world.sandbox.clone(), resource: strict };
    for (claim, offset, by_default, strictly) in [
        ("nbf", 0, StatusCode::OK, StatusCode::OK),
        ("nbf", 1, StatusCode::OK, StatusCode::UNAUTHORIZED),
        ("nbf", 60, StatusCode::OK, StatusCode::UNAUTHORIZED),
        ("nbf", 61, StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED),
        ("iat", 0, StatusCode::OK, StatusCode::OK),
        ("iat", 60, StatusCode::OK, StatusCode::UNAUTHORIZED),
        ("iat", 61, StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED),
        ("exp", -4, StatusCode::OK, StatusCode::UNAUTHORIZED),
        ("exp", -5, StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED),
    ] {
        let now = world.sandbox.clock().clock().now().unix_timestamp();
        let token = world.token("todo:read", |draft| {
            draft.claims.insert(claim.into(), json!(now + offset));
        });
        assert_eq!(world.ask(&token).await.status(), by_default, "{claim} {offset}");
        assert_eq!(strict.ask(&token).await.status(), strictly, "{claim} {offset}");
    }
}

/// A protected router as README shows it.
fn merged(resource: &ProtectedResource) -> Router {
    Router::new()
        .route("/mcp", any(|body: Bytes| async move { body }))
        .route_layer(RequireToken::for_resource(resource))
        .merge(resource.routes())
}

async fn status(app: &Router, path: &str) -> StatusCode {
    send(app, request(Method::GET, path, &[])).await.status()
}

#[tokio::test]
async fn an_mcp_router_merges_into_an_app_whose_unknown_paths_stay_404() {
    let world = World::new();
    let app = Router::new().route("/", any(async || "home")).merge(merged(&world.resource));
    for (path, expected) in [
        ("/", StatusCode::OK),
        ("/mcp", StatusCode::UNAUTHORIZED),
        ("/unknown", StatusCode::NOT_FOUND),
        ("/.well-known/oauth-protected-resource", StatusCode::OK),
        ("/.well-known/oauth-protected-resource/", StatusCode::OK),
        ("/.well-known/oauth-protected-resource/mcp", StatusCode::OK),
        ("/.well-known/oauth-protected-resource/mcp/", StatusCode::OK),
        ("/.well-known/oauth-protected-resource/other", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(status(&app, path).await, expected, "{path}");
    }
}

#[tokio::test]
async fn its_metadata_survives_further_merges_and_a_fallback() {
    let world = World::new();
    let app = merged(&world.resource)
        .merge(Router::new().route("/other", any(async || "other")))
        .fallback(async || "the page of the app");
    for path in
        ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"]
    {
        let response = send(&app, request(Method::GET, path, &[])).await;
        assert_eq!(response.json()["resource"], URL, "{path}");
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        let preflight = send(&app, request(Method::OPTIONS, path, &[])).await;
        assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
        let head = send(&app, request(Method::HEAD, path, &[])).await;
        assert_eq!((head.status(), head.body().len()), (StatusCode::OK, 0));
        let post = send(&app, request(Method::POST, path, &[])).await;
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(status(&app, "/mcp").await, StatusCode::UNAUTHORIZED);
    assert_eq!(send(&app, request(Method::GET, "/x", &[])).await.text(), "the page of the app");
}

#[tokio::test]
async fn metadata_is_served_for_a_resource_at_any_path() {
    let sandbox = sandbox_builder().build();
    // The root has one path instead of two; `:` and `*` are no patterns.
    for (path, own) in [("", ""), ("/:a/*b", "/:a/*b"), ("/a%7Bb%7D", "/a%7Bb%7D"), ("/a/", "/a")] {
        let url = format!("https://mcp.example.com{path}");
        let id = ResourceId::new(ID).unwrap();
        let resource = ProtectedResource::builder(&sandbox.scalekit(), url, id).build().unwrap();
        let app: Router = resource.routes();
        for path in ["", own] {
            let path = format!("/.well-known/oauth-protected-resource{path}");
            let response = send(&app, request(Method::GET, &path, &[])).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(response.json()["resource"], resource.url());
        }
        assert_eq!(status(&app, "/.well-known/oauth-protected-resource/x").await, 404);
    }
}

#[tokio::test]
async fn several_resources_of_one_host_share_its_path() {
    let world = World::new();
    let id = ResourceId::new("res_2").unwrap();
    let second =
        ProtectedResource::builder(&world.sandbox.scalekit(), "https://mcp.example.com/second", id);
    let second = second.build().unwrap();
    let not_found = any(async || StatusCode::NOT_FOUND);
    let app = merged(&world.resource).route_service(
        second.metadata_url().path(),
        ProtectedResourceMetadata::new(&second).layer(not_found),
    );
    for (path, resource) in [("", URL), ("/mcp", URL), ("/second", second.url())] {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        let response = send(&app, request(Method::GET, &path, &[])).await;
        assert_eq!(response.json()["resource"], resource);
    }
}

#[tokio::test]
async fn the_metadata_is_public_at_both_urls_and_nowhere_else() {
    let world = World::new();
    for path in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource/mcp/",
        "/.well-known/oauth-protected-resource",
    ] {
        // With any `Host` and forwarding headers.
        let hostile = [
            ("host", "evil.test"),
            ("x-forwarded-host", "evil.test"),
            ("origin", "https://x.test"),
        ];
        let response = send(&world.app, request(Method::GET, path, &hostile)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        assert!(response.header("cache-control").unwrap().contains("max-age"));
        let issuer = format!("{}/resources/{ID}", world.sandbox.environment_url());
        assert_eq!(
            response.json(),
            json!({
                "resource": URL, "authorization_servers": [issuer],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["todo:read", "todo:write"],
            })
        );
        let head = send(&world.app, request(Method::HEAD, path, &[])).await;
        assert_eq!((head.status(), head.body().len()), (StatusCode::OK, 0));
        assert_eq!(head.header("content-length"), Some(&*response.body().len().to_string()));
        let asked = [("access-control-request-headers", "mcp-protocol-version")];
        let preflight = send(&world.app, request(Method::OPTIONS, path, &asked)).await;
        assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
        assert_eq!(preflight.header("access-control-allow-headers"), Some("*"));
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let rejected = send(&world.app, request(method, path, &[])).await;
            assert_eq!(rejected.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(rejected.header("allow"), Some("GET, HEAD, OPTIONS"));
        }
    }
    // Similar paths require a token.
    for path in [
        "/mcp",
        "/.well-known/oauth-protected-resource/mcp//",
        "/.well-known/oauth-protected-resource/other",
        "/x/.well-known/oauth-protected-resource",
        "/mcp/.well-known/oauth-protected-resource",
        "/mcp?x=/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource%2Fmcp",
        "//.well-known/oauth-protected-resource",
    ] {
        let response = send(&world.app, request(Method::GET, path, &[])).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn a_challenge_leads_to_the_metadata() {
    let world = World::new();
    let stranger = send(&world.app, request(Method::POST, "/mcp", &[])).await;
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let challenge = format!("Bearer resource_metadata=\"{METADATA}\"");
    assert_eq!(stranger.header("www-authenticate"), Some(&*challenge));
    let rubbish = world.ask("rubbish").await;
    let challenge = rubbish.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\"") && challenge.contains(METADATA));
}

#[tokio::test]
async fn a_server_with_several_hosts_has_metadata_and_challenges_for_each() {
    let other = "http://localhost:3000/mcp";
    let sandbox = sandbox_builder().build();
    let id = ResourceId::new(ID).unwrap();
    let resource = ProtectedResource::builder(&sandbox.scalekit(), URL, id)
        .additional_url(other)
        .build()
        .unwrap();
    let app = app_of(&resource, |app| app.layer(RequireScope::all(["todo:write"])));
    let optional = Router::new()
        .route("/mcp", any(async || "anonymous"))
        .layer(RequireScope::all(["todo:write"]))
        .layer(RequireToken::for_resource(&resource).optional())
        .merge(resource.routes());
    let world = World { sandbox, resource, app };
    let of_other = "http://localhost:3000/.well-known/oauth-protected-resource/mcp";
    for (host, url, metadata_url) in [
        ("mcp.example.com", URL, METADATA),
        ("localhost:3000", other, of_other),
        ("evil.test", URL, METADATA),
    ] {
        let hosts = [("host", host), ("x-forwarded-host", "localhost:3000")];
        for app in [&world.app, &optional] {
            let path = "/.well-known/oauth-protected-resource/mcp";
            let metadata = send(app, request(Method::GET, path, &hosts)).await;
            assert_eq!(metadata.json()["resource"], url);
            let challenged = send(app, request(Method::POST, "/mcp", &hosts)).await;
            assert_eq!(challenged.status(), StatusCode::UNAUTHORIZED);
            let challenge = challenged.header("www-authenticate").unwrap();
            assert!(challenge.contains(&format!("\"{metadata_url}\"")), "{challenge}");
            let token = world.token("todo:read", |draft| {
                draft.claims.insert("aud".into(), url.into());
                draft.claims.insert("resource".into(), url.into());
            });
            let token = format!("Bearer {token}");
            let headers = [&hosts[..], &[("authorization", token.as_str())]].concat();
            let response = send(app, request(Method::POST, "/mcp", &headers)).await;
            assert_eq!(response.status(), StatusCode::FORBIDDEN);
            let challenge = response.header("www-authenticate").unwrap();
            assert!(challenge.contains(&format!("\"{metadata_url}\"")), "{challenge}");
        }
    }
}

#[tokio::test]
async fn tokens_of_both_issuers_for_users_and_machines_are_accepted() {
    let world = World::new();
    let environment = world.sandbox.environment_url();
    let changes: [fn(&mut TokenDraft, &str); 6] = [
        |_, _| {},
        |draft, environment| drop(draft.claims.insert("iss".into(), environment.into())),
        |draft, _| drop(draft.claims.insert("aud".into(), json!([ID]))),
        |draft, _| drop(draft.claims.insert("aud".into(), URL.into())),
        |draft, _| drop(draft.claims.insert("resource".into(), URL.into())),
        |draft, _| drop(draft.claims.insert("email".into(), JANE.into())),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let token = world.token("todo:read", |draft| change(draft, &environment));
        assert_eq!(world.ask(&token).await.status(), StatusCode::OK, "{number}");
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let authorization = format!("{scheme} {token}");
            let request = request(Method::GET, "/mcp", &[("authorization", &authorization)]);
            assert_eq!(send(&world.app, request).await.status(), StatusCode::OK);
        }
    }
    let machine = world.token("", |draft| {
        draft.claims.insert("sub".into(), "m2m_1".into());
        draft.claims.insert("client_id".into(), "m2m_1".into());
        draft.claims.insert("scopes".into(), json!(["todo:read"]));
        draft.claims.remove("scope");
    });
    assert_eq!(world.ask(&machine).await.status(), StatusCode::OK);
    let verifier = world.resource.verifier();
    let principal = verifier.verify_with_scopes(&machine, &["todo:read"]).await.unwrap();
    assert_eq!((principal.subject(), principal.scopes()), ("m2m_1", &["todo:read".to_owned()][..]));
}

#[tokio::test]
async fn tokens_for_other_audiences_are_invalid() {
    let world = World::new();
    let environment = world.sandbox.environment_url();
    let expired = world.sandbox.clock().clock().now().unix_timestamp() - 5;
    let with = |name: &str, value: Value| {
        world.token("todo:read", |draft| drop(draft.claims.insert(name.into(), value)))
    };
    for (what, token) in [
        (
            "for another resource",
            with("aud", json!(["https://other.example.com/mcp", "res_other"])),
        ),
        ("only another server's URL", with("aud", json!(["https://other.example.com/mcp"]))),
        ("for the URL with a slash", with("aud", json!([format!("{URL}/")]))),
        ("for the environment's own API", world.sandbox.tokens().access_token(JANE)),
        ("without an audience", world.token("todo:read", |draft| drop(draft.claims.remove("aud")))),
        ("an ID token", world.sandbox.tokens().id_token(JANE, Some("n"))),
        ("an ID token with our audience", with("at_hash", "x".into())),
        (
            "an IdP-initiated login",
            world.token("", |draft| {
                draft.claims.remove("sub");
                draft.claims.insert("organization_id".into(), "org_1".into());
            }),
        ),
        ("expired", with("exp", expired.into())),
        ("of another issuer", with("iss", "https://evil.test".into())),
        (
            "of another resource's issuer",
            with("iss", format!("{environment}/resources/res_other").into()),
        ),
        ("of an issuer with a slash", with("iss", format!("{environment}/").into())),
        ("for another claim resource", with("resource", "https://other.example.com/mcp".into())),
        ("with a claim resource of another type", with("resource", json!([URL]))),
    ] {
        let response = world.ask(&token).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{what}");
        let challenge = response.header("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{what}: {challenge}");
        let no = world.resource.verifier().accepts(&token, &[]).await;
        assert_eq!(no, Ok(false), "{what}");
    }
    // Position and number of tokens (RFC 6750 section 2).
    let good = world.token("todo:read", |_| {});
    let twice = format!("Bearer {good}");
    let twice = [("authorization", twice.as_str()), ("authorization", twice.as_str())];
    let response = send(&world.app, request(Method::POST, "/mcp", &twice)).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let query = format!("/mcp?access_token={good}");
    let response = send(&world.app, request(Method::POST, &query, &[])).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let basic = [("authorization", "Basic YTpi")];
    let response = send(&world.app, request(Method::POST, "/mcp", &basic)).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(!response.header("www-authenticate").unwrap().contains("error"));
}

#[tokio::test]
async fn unavailable_keys_are_503() {
    let world = World::new();
    world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    let token = world.token("todo:read", |_| {});
    let response = world.ask(&token).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.header("www-authenticate"), None);
    assert!(response.header("retry-after").is_some());
    let verifier = world.resource.verifier();
    assert_eq!(verifier.accepts(&token, &[]).await, Err(TokenError::KeysUnavailable));
    world.sandbox.faults().clear(Endpoint::Keys);
    world.sandbox.clock().advance(std::time::Duration::from_secs(1));
    assert_eq!(verifier.accepts(&token, &["todo:read"]).await, Ok(true));
    assert_eq!(verifier.accepts(&token, &["todo:write"]).await, Ok(false));
    let lacks = verifier.verify_with_scopes(&token, &["todo:read", "todo:write"]).await;
    assert_eq!(lacks.unwrap_err(), TokenError::InsufficientScope);
    world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    assert_eq!(world.ask(&token).await.status(), StatusCode::OK, "known keys are still used");
}

fn call(tool: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}).to_string()
}

fn method(name: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": name, "params": {"name": "p", "uri": "a:b"}})
        .to_string()
}

fn mcp_world() -> World {
    World::with(|app| {
        app.layer(
            RequireMcpScope::new()
                .tool("list", ["todo:read"])
                .tool("add", ["todo:write"])
                .tool("ping", [""; 0])
                .method("resources/read", ["docs:read"])
                .body_limits(BodyLimits::new().max_bytes(1000)),
        )
    })
}

#[tokio::test]
async fn an_offer_to_upgrade_to_http2_does_not_reach_a_server_that_could_accept_it() {
    let upgrade = |headers: HeaderMap| async move {
        let names = ["upgrade", "http2-settings"].map(|name| headers.contains_key(name));
        format!("{names:?}")
    };
    let world = World::with(|_| {
        Router::new()
            .route("/mcp", any(upgrade))
            .layer(RequireMcpScope::new().tool("list", ["todo:read"]))
    });
    let (reader, nobody) = (world.token("todo:read", |_| {}), world.token("", |_| {}));
    for (method, body, token, upgrade, expected) in [
        (Method::POST, call("list"), &reader, "h2c", "[false, false]"),
        (Method::GET, String::new(), &nobody, "H2C", "[false, false]"),
        // Principals that may use all operations may open a tunnel.
        (Method::GET, String::new(), &reader, "h2c, websocket", "[true, true]"),
    ] {
        let authorization = format!("Bearer {token}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", upgrade),
            ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
        ];
        let mut request = request(method, "/mcp", &headers);
        *request.body_mut() = body.into();
        assert_eq!(send(&world.app, request).await.text(), expected, "{upgrade}");
    }
}

#[tokio::test]
async fn the_ready_service_gets_the_body_and_a_missing_principal_is_500() {
    let inner = service_fn(|request: Request<ReplayBody<Full<Bytes>>>| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(Response::new(Full::new(body)))
    });
    let sandbox = sandbox_builder().build();
    let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id()).build();
    let principal: Principal =
        verifier.unwrap().verify(&sandbox.tokens().access_token(JANE)).await.unwrap();
    let layer = RequireMcpScope::new().tool("list", ["openid"]);
    let mut service = layer.layer(tower::limit::ConcurrencyLimit::new(inner, 1));
    let (list, other) = (call("list"), method("tools/list"));
    for (with_principal, body, status) in
        [(true, &list, 200), (false, &list, 500), (false, &other, 500), (true, &list, 200)]
    {
        let body = Full::new(Bytes::from(body.clone()));
        let mut request = Request::post("/mcp").body(body).unwrap();
        if with_principal {
            request.extensions_mut().insert(principal.clone());
        }
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), status);
        if with_principal {
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), call("list"));
        }
    }
}

#[tokio::test]
async fn the_extractor_verifies_and_rejects_like_the_layer() {
    let world = World::new();
    let tokens = RequireToken::for_resource(&world.resource);
    let whoami = async |Bearer(principal): Bearer| principal.subject().to_owned();
    let app = Router::new().route("/mcp", any(whoami)).with_state(tokens);
    let good = format!("Bearer {}", world.token("todo:read", |_| {}));
    let bad = format!("Bearer {}", world.sandbox.tokens().access_token(JANE));
    for headers in [
        &[][..],
        &[("authorization", good.as_str())],
        &[("authorization", bad.as_str())],
        &[("authorization", "Basic YTpi")],
        &[("authorization", "Bearer")],
        &[("authorization", good.as_str()), ("authorization", good.as_str())],
    ] {
        let by_layer = send(&world.app, request(Method::GET, "/mcp", headers)).await;
        let by_extractor = send(&app, request(Method::GET, "/mcp", headers)).await;
        assert_eq!(by_layer.status(), by_extractor.status(), "{headers:?}");
        let challenge =
            |response: &Response<Bytes>| response.header("www-authenticate").map(str::to_owned);
        assert_eq!(challenge(&by_layer), challenge(&by_extractor));
        if by_layer.status() == StatusCode::OK {
            assert!(by_extractor.text().starts_with("usr_"));
        } else {
            assert_eq!(by_layer.body(), by_extractor.body());
        }
    }
}

/// Sends one message, and never ends.
fn endless() -> impl Stream<Item = Result<&'static str, Infallible>> {
    stream::iter([Ok("data: first\n\n")]).chain(stream::pending())
}

#[tokio::test]
async fn event_streams_pass_all_layers_unbuffered() {
    let world = World::with(|_| {
        Router::new()
            .route("/mcp", any(async || Body::from_stream(endless())))
            .layer(RequireMcpScope::new().tool("list", ["todo:read"]))
            .layer(RequireScope::all(["todo:read"]))
    });
    let authorization = format!("Bearer {}", world.token("todo:read", |_| {}));
    for (method, body) in [(Method::GET, String::new()), (Method::POST, call("list"))] {
        let mut request = request(method, "/mcp", &[("authorization", &authorization)]);
        *request.body_mut() = body.into();
        let mut response = world.app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "data: first\n\n");
    }
}
