//! What the layers allocate on the way of a request, mostly one that they have seen before. A binary of its
//! own, because it counts every allocation of its process.

use allocation_counter::measure;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderValue, Request, header};
use tokio::runtime::{Builder, Runtime};
use tower::{Service, ServiceExt as _};
use tower_scalekit::dpop::Dpop;
use tower_scalekit::{
    Bearer, IdpInitiatedRedirect, RequireAuth, RequireScope, RequireSession, RequireToken, Sandbox,
    SessionSecret, Sessions,
};

/// Allocations of one request, after the first ones have filled the caches.
fn allocations(
    runtime: &Runtime,
    app: Router,
    header: http::HeaderName,
    value: &HeaderValue,
) -> u64 {
    // As `axum::serve` does once, so that no handler is made into a route per request.
    let mut app = app.with_state(()).into_service::<Body>();
    let mut once = || {
        let mut request = Request::get("/").body(Body::empty()).unwrap();
        request.headers_mut().insert(header.clone(), value.clone());
        let mut response: Option<Response> = None;
        let counted = measure(|| {
            response = Some(
                runtime.block_on(async { app.ready().await.unwrap().call(request).await.unwrap() }),
            );
        });
        assert_eq!(response.unwrap().status(), 200);
        counted.count_total
    };
    once();
    once();
    let counts = [once(), once(), once()];
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    counts[0]
}

fn route() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

#[test]
fn a_warm_request_costs_few_allocations() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let sandbox = Sandbox::new();
    let sessions = Sessions::builder(sandbox.scalekit())
        .secret(SessionSecret::generate().unwrap())
        .redirect_uri("https://app.example.com/auth/callback")
        .build()
        .unwrap();
    let cookie = runtime.block_on(sandbox.session_cookie(&sessions, "jane@acme.test"));
    let token = sandbox.tokens().access_token("jane@acme.test");
    let bearer = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    let guard = RequireToken::for_audience(&sandbox.scalekit(), sandbox.client_id()).unwrap();

    let bare = allocations(&runtime, route(), header::COOKIE, &cookie);
    let no_op = route().layer(tower::util::MapRequestLayer::new(|request: Request<Body>| request));
    let no_op = allocations(&runtime, no_op, header::COOKIE, &cookie);
    let idp_login = route().layer(IdpInitiatedRedirect::new(&sessions));
    let idp_login = allocations(&runtime, idp_login, header::COOKIE, &cookie);
    let session = route().layer(RequireSession::new(&sessions));
    let session = allocations(&runtime, session, header::COOKIE, &cookie);
    let with_token =
        allocations(&runtime, route().layer(guard.clone()), header::AUTHORIZATION, &bearer);
    let optional =
        allocations(&runtime, route().layer(guard.clone().optional()), header::COOKIE, &cookie);
    let auth = RequireAuth::new(RequireSession::new(&sessions), guard.clone());
    let auth_session = allocations(&runtime, route().layer(auth.clone()), header::COOKIE, &cookie);
    let auth_token = allocations(&runtime, route().layer(auth), header::AUTHORIZATION, &bearer);
    let dpop = Dpop::builder("https://api.example.com").build().unwrap();
    let with_dpop = route().layer(guard.clone().dpop(&dpop));
    let with_dpop = allocations(&runtime, with_dpop, header::AUTHORIZATION, &bearer);
    let checked = route().layer(guard.clone().reject_revoked(&sessions.revocations()));
    let checked = allocations(&runtime, checked, header::AUTHORIZATION, &bearer);
    let extracting = Router::new()
        .route("/", get(|_: State<RequireToken>| async { "hello" }))
        .with_state::<()>(guard.clone());
    let extracting = allocations(&runtime, extracting, header::AUTHORIZATION, &bearer);
    let by_extractor = Router::new()
        .route("/", get(|_: Bearer| async { "hello" }))
        .with_state::<()>(guard.clone());
    let by_extractor = allocations(&runtime, by_extractor, header::AUTHORIZATION, &bearer);
    let scoped = route().layer(RequireScope::any_role(["admin"])).layer(guard);
    let scoped = allocations(&runtime, scoped, header::AUTHORIZATION, &bearer);
    println!(
        "bare {bare}, no-op layer {no_op}, no IdP-initiated login {idp_login}, session {session}, token {with_token}, \
         no token {optional}, either: session {auth_session}, token {auth_token}, \
         + role {scoped}, any extractor {extracting}, Bearer {by_extractor}"
    );

    // axum boxes the body of a response that is not its own, as it does for every layer here.
    assert_eq!(idp_login, no_op + 1, "IdpInitiatedRedirect, where nothing is redirected");
    assert!(session - bare <= 5, "RequireSession: {session} against {bare}");
    // One more than a session: the labels of the metric, whose feature tests switch on.
    assert!(with_token - bare <= 6, "RequireToken: {with_token} against {bare}");
    assert!(optional - bare <= 5, "RequireToken::optional: {optional} against {bare}");
    // One layer instead of two: no more than that of the credential.
    assert_eq!(auth_session, session, "RequireAuth with a session");
    assert_eq!(auth_token, with_token, "RequireAuth with a token");
    assert_eq!(checked, with_token, "reject_revoked");
    assert_eq!(with_dpop, with_token, "a bearer token where bound ones are accepted");
    // The labels of the metric, and nothing else.
    assert!(by_extractor - extracting <= 1, "Bearer: {by_extractor} against {extracting}");
    assert!(scoped - with_token <= 4, "RequireScope: {scoped} against {with_token}");
}

#[test]
fn a_credential_that_is_not_cached_costs_few_allocations() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let sandbox = Sandbox::new();
    let scalekit = sandbox.scalekit();
    let verifier = scalekit.token_verifier().audience(sandbox.client_id()).build().unwrap();
    let verify = |email: &str| {
        let token = sandbox.tokens().access_token(email);
        measure(|| drop(runtime.block_on(verifier.verify(&token)).unwrap())).count_total
    };
    // The first one fetches the keys.
    verify("jane@acme.test");
    let token = verify("jane@acme.test");

    let sessions = Sessions::builder(scalekit)
        .secret(SessionSecret::generate().unwrap())
        .redirect_uri("https://app.example.com/auth/callback")
        .build()
        .unwrap();
    let mut app = route().layer(RequireSession::new(&sessions)).into_service::<Body>();
    let mut request = |cookie: &HeaderValue| {
        let request = Request::get("/").header(header::COOKIE, cookie).body(Body::empty()).unwrap();
        measure(|| drop(runtime.block_on(app.call(request)).unwrap())).count_total
    };
    let cookie = || runtime.block_on(sandbox.session_cookie(&sessions, "jane@acme.test"));
    request(&cookie());
    let cookie = cookie();
    let session = request(&cookie) - request(&cookie);
    println!("not cached: token {token}, session {session} more");
    assert!(token <= 25, "TokenVerifier::verify: {token}");
    assert!(session <= 30, "RequireSession: {session} more than cached");
}
