//! The layers as tower services: readiness, errors, bodies, and keys that change.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_layer::Layer;
use tower_scalekit::middleware::ResponseBody;
use tower_scalekit::{
    IdpInitiatedRedirect, Principal, RequireAuth, RequireScope, RequireSession, Sandbox, Sessions,
};
use tower_test::mock;

use crate::support::{
    FETCH, JANE, Reading as _, World, request, request_with_token, sandbox_builder, send,
    token_layer,
};

fn auth_layer(sandbox: &Sandbox, sessions: &Sessions) -> RequireAuth {
    RequireAuth::new(RequireSession::new(sessions), token_layer(sandbox))
}

fn bearing(sandbox: &Sandbox) -> Request<Body> {
    request_with_token("/", &sandbox.tokens().access_token(JANE))
}

/// Creates requests as an outer layer leaves them.
async fn with_principal(sandbox: &Sandbox) -> impl Fn() -> Request<Body> {
    let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id()).build();
    let principal = verifier.unwrap().verify(&sandbox.tokens().access_token(JANE)).await.unwrap();
    move || {
        let mut request = request(Method::GET, "/", &[]);
        request.extensions_mut().insert(principal.clone());
        request
    }
}

/// Counts readiness per instance, and rejects calls to an instance that was not polled ready.
#[derive(Debug, Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<B: Send + 'static> Service<Request<B>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(self.ready, "called without having been polled ready");
        self.ready = false;
        let principal = request.extensions().get::<Principal>();
        let subject = principal.map(|principal| principal.subject().to_owned());
        std::future::ready(Ok(Response::new(subject.unwrap_or_default().into())))
    }
}

/// Calls a service twice, each time after having polled it ready once.
async fn call_twice<L>(layer: L, requests: [Request<Body>; 2])
where
    L: Layer<Strict>,
    L::Service:
        Service<Request<Body>, Response = Response<ResponseBody<Full<Bytes>>>, Error = Infallible>,
{
    let mut service = layer.layer(Strict::default());
    for request in requests {
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let subject = response.into_body().collect().await.unwrap().to_bytes();
        assert!(subject.starts_with(b"usr_"), "{subject:?}");
    }
}

#[tokio::test]
async fn the_call_goes_to_the_instance_that_was_polled_ready() {
    let world = World::new();
    let sandbox = &world.sandbox;
    // The first request waits for keys, the second does not.
    call_twice(token_layer(sandbox), [bearing(sandbox), bearing(sandbox)]).await;

    let mut browser = world.logged_in(JANE).await;
    let live = browser.request(Method::GET, "/", &FETCH);
    let due = browser.request(Method::GET, "/", &FETCH);
    call_twice(
        RequireSession::new(&world.sessions),
        [live, browser.request(Method::GET, "/", &FETCH)],
    )
    .await;
    world.advance(301);
    browser.fetch("/me").await;
    let live = browser.request(Method::GET, "/", &FETCH);
    let repeated = || {
        let mut request = request(Method::GET, "/", &FETCH);
        request.headers_mut().clone_from(due.headers());
        request
    };
    let auth = auth_layer(sandbox, &world.replica(|s| s));
    call_twice(auth, [repeated(), bearing(sandbox)]).await;
    // The keys are not known yet, then the session is due.
    let auth = auth_layer(sandbox, &world.replica(|s| s));
    call_twice(auth, [bearing(sandbox), repeated()]).await;
    call_twice(RequireSession::new(&world.replica(|s| s)), [due, live]).await;

    let with_principal = with_principal(sandbox).await;
    call_twice(RequireScope::all(["openid"]), [with_principal(), with_principal()]).await;
}

type Mock = mock::Mock<Request<Body>, Response<Full<Bytes>>>;

/// A layer around a mock, and requests that it accepts.
async fn prove_transparent<L>(layer: L, admitted: impl Fn() -> Request<Body>)
where
    L: Layer<Mock>,
    L::Service: Service<
            Request<Body>,
            Response = Response<ResponseBody<Full<Bytes>>>,
            Error = tower::BoxError,
        >,
{
    let (inner, mut handle) = mock::pair::<Request<Body>, Response<Full<Bytes>>>();
    let mut service = layer.layer(inner);
    handle.allow(0);
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_pending(), "a busy service is not called");
    handle.allow(2);
    let call = service.ready().await.unwrap().call(admitted());
    let (response, ()) = tokio::join!(call, async {
        let (request, respond) = handle.next_request().await.unwrap();
        assert_eq!(request.uri().path(), "/");
        respond.send_error("the inner service failed");
    });
    assert_eq!(response.unwrap_err().to_string(), "the inner service failed");
    let call = service.ready().await.unwrap().call(admitted());
    let (response, ()) = tokio::join!(call, async {
        let (_, respond) = handle.next_request().await.unwrap();
        let mut response = Response::new(Full::new(Bytes::from("inner")));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        respond.send_response(response);
    });
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "inner");
    drop(handle);
    let closed = service.ready().await.err().expect("readiness errors pass");
    assert!(closed.is::<mock::error::Closed>(), "{closed}");
}

#[tokio::test]
async fn pending_readiness_and_inner_errors_pass_unchanged() {
    let world = World::new();
    let sandbox = &world.sandbox;
    prove_transparent(token_layer(sandbox), || bearing(sandbox)).await;
    let browser = world.logged_in(JANE).await;
    let admitted = || browser.request(Method::GET, "/", &FETCH);
    prove_transparent(RequireSession::new(&world.sessions), &admitted).await;
    prove_transparent(auth_layer(sandbox, &world.sessions), || bearing(sandbox)).await;
    prove_transparent(auth_layer(sandbox, &world.sessions), admitted).await;
    prove_transparent(token_layer(sandbox).optional(), || request(Method::GET, "/", &[])).await;
    prove_transparent(RequireScope::all(["openid"]), with_principal(sandbox).await).await;
    let page = || request(Method::GET, "/?error=1&idp_initiated_login=", &FETCH);
    prove_transparent(IdpInitiatedRedirect::new(&world.sessions), page).await;
    world.advance(301);
    let admitted = || browser.request(Method::GET, "/", &FETCH);
    prove_transparent(RequireSession::new(&world.replica(|s| s)), admitted).await;
}

#[tokio::test]
async fn a_rejected_request_does_not_reach_the_inner_service() {
    let world = World::new();
    let (inner, mut handle) = mock::pair::<Request<Body>, Response<Full<Bytes>>>();
    handle.allow(10);
    let token = token_layer(&world.sandbox).layer(inner.clone());
    let session = RequireSession::new(&world.sessions).layer(inner.clone());
    let scope = RequireScope::all(["openid"]).layer(inner.clone());
    let auth = auth_layer(&world.sandbox, &world.sessions).layer(inner.clone());
    let idp_login = IdpInitiatedRedirect::new(&world.sessions).layer(inner);
    let nobody = || request(Method::GET, "/", &FETCH);
    assert_eq!(token.oneshot(nobody()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(session.oneshot(nobody()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(auth.oneshot(nobody()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let forged = request(Method::GET, "/?idp_initiated_login=forged", &FETCH);
    assert_eq!(idp_login.oneshot(forged).await.unwrap().status(), StatusCode::BAD_REQUEST);
    let misplaced = scope.oneshot(nobody()).await.unwrap();
    assert_eq!(misplaced.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(handle.next_request().await.is_none());
}

#[tokio::test]
async fn a_response_to_a_token_is_not_stored_or_varies_on_the_token() {
    let world = World::new();
    let app = |headers: &'static [(header::HeaderName, &'static str)]| {
        let inner = service_fn(move |_: Request<Body>| {
            let mut response = Response::new(Full::<Bytes>::default());
            for (name, value) in headers {
                response.headers_mut().append(name, value.parse().unwrap());
            }
            std::future::ready(Ok::<_, Infallible>(response))
        });
        token_layer(&world.sandbox).layer(inner)
    };
    const PUBLIC: (header::HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=60");
    for (headers, cache_control, vary) in [
        (&[][..], "no-store", &[][..]),
        (&[(header::VARY, "accept")], "no-store", &["accept"]),
        (&[PUBLIC], PUBLIC.1, &["authorization"]),
        (&[(header::CACHE_CONTROL, "private")], "private", &["authorization"]),
        (&[PUBLIC, (header::VARY, "accept")], PUBLIC.1, &["accept", "authorization"]),
        (&[PUBLIC, (header::VARY, "A, Authorization")], PUBLIC.1, &["A, Authorization"]),
        (&[PUBLIC, (header::VARY, "*")], PUBLIC.1, &["*"]),
    ] {
        let response = app(headers).oneshot(bearing(&world.sandbox)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CACHE_CONTROL], cache_control, "{headers:?}");
        let found: Vec<_> = response.headers().get_all(header::VARY).iter().collect();
        assert_eq!(found, vary, "{headers:?}");
        let rejected = app(headers).oneshot(request(Method::GET, "/", &[])).await.unwrap();
        assert_eq!(rejected.headers()[header::CACHE_CONTROL], "no-store");
    }
}

#[tokio::test]
async fn a_session_around_require_token_leaves_no_bearer_challenge() {
    let world = World::new();
    let app = axum::Router::new()
        .route("/", axum::routing::get(|| async {}))
        .layer(RequireScope::all(["todo:read"]))
        .layer(RequireSession::new(&world.sessions))
        .layer(token_layer(&world.sandbox));
    let mut both = bearing(&world.sandbox);
    let cookie = world.logged_in(JANE).await.cookie_header();
    both.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    let response = send(&app, both).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.header("www-authenticate"), None);
}

/// Frames that are created when they are polled.
struct OnDemand {
    polls: Arc<AtomicUsize>,
    left: usize,
}

impl http_body::Body for OnDemand {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"frame")))))
    }
}

#[tokio::test]
async fn bodies_are_neither_read_nor_buffered() {
    let world = World::new();
    let polls = Arc::new(AtomicUsize::new(0));
    let stream = || OnDemand { polls: Arc::clone(&polls), left: 1000 };
    let inner = |_: Request<OnDemand>| async { Ok::<_, Infallible>(Response::new(stream())) };
    let service = ServiceBuilder::new()
        .layer(RequireSession::new(&world.sessions).optional())
        .layer(token_layer(&world.sandbox))
        .layer(auth_layer(&world.sandbox, &world.sessions))
        .layer(RequireScope::all(["openid"]))
        .service_fn(inner);
    let request = bearing(&world.sandbox).map(|_| stream());
    let mut body = service.oneshot(request).await.unwrap().into_body();
    assert_eq!(polls.load(Ordering::SeqCst), 0);
    for frames in 1..=3 {
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert_eq!(polls.load(Ordering::SeqCst), frames);
    }
}

/// Uses a body type with all layers.
async fn echo<B>(world: &World, body: B) -> Bytes
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Debug,
{
    let inner =
        |request: Request<B>| async { Ok::<_, Infallible>(Response::new(request.into_body())) };
    let service = ServiceBuilder::new()
        .layer(RequireSession::new(&world.sessions).optional())
        .layer(token_layer(&world.sandbox))
        .layer(auth_layer(&world.sandbox, &world.sessions))
        .layer(RequireScope::all(["openid"]))
        .service_fn(inner);
    let request = bearing(&world.sandbox).map(|_| body);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn any_body_goes_through() {
    let world = World::new();
    let full = || Full::new(Bytes::from_static(b"body"));
    assert_eq!(echo(&world, full()).await, "body");
    assert_eq!(echo(&world, Empty::<Bytes>::new()).await, "");
    assert_eq!(echo(&world, BoxBody::new(full())).await, "body");
    assert_eq!(echo(&world, UnsyncBoxBody::new(full())).await, "body");
    assert_eq!(echo(&world, Body::from("body")).await, "body");
    assert_eq!(echo(&world, tonic::body::Body::new(full())).await, "body");
    assert_eq!(echo(&world, full().boxed_unsync()).await, "body");
}

/// One request to a hyper server over a socket.
async fn over_a_socket<S>(service: S, request: Request<Full<Bytes>>) -> Response<Bytes>
where
    S: Service<Request<Incoming>, Response = Response<ResponseBody<Incoming>>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(service);
        let connection = hyper::server::conn::http1::Builder::new();
        connection.serve_connection(TokioIo::new(stream), service).await.unwrap();
    });
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let client = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let response = Response::from_parts(parts, body.collect().await.unwrap().to_bytes());
    drop(sender);
    client.await.unwrap().unwrap();
    server.await.unwrap();
    response
}

#[tokio::test]
async fn each_layer_wraps_a_plain_hyper_service() {
    let world = World::new();
    let echo = service_fn(|request: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let post = |name: header::HeaderName, value: &str| {
        let request = Request::post("/").header(name, value);
        request.body(Full::new(Bytes::from("sent"))).unwrap()
    };
    let authorization = format!("Bearer {}", world.sandbox.tokens().access_token(JANE));
    let cookie = world.logged_in(JANE).await.cookie_header();
    let token = token_layer(&world.sandbox);
    let session = RequireSession::new(&world.sessions);

    let good = post(header::AUTHORIZATION, &authorization);
    let response = over_a_socket(token.layer(echo), good).await;
    assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, "sent"));
    let response = over_a_socket(token.layer(echo), post(header::ACCEPT, "*/*")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.header("www-authenticate"), Some("Bearer"));

    let good = post(header::COOKIE, &cookie);
    let response = over_a_socket(session.layer(echo), good).await;
    assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, "sent"));
    let response = over_a_socket(session.layer(echo), post(header::COOKIE, "a=b")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.json()["error"], "login_required");

    let auth = auth_layer(&world.sandbox, &world.sessions);
    for good in [post(header::COOKIE, &cookie), post(header::AUTHORIZATION, &authorization)] {
        let response = over_a_socket(auth.layer(echo), good).await;
        assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, "sent"));
    }
    let response = over_a_socket(auth.layer(echo), post(header::COOKIE, "a=b")).await;
    assert_eq!(response.header("www-authenticate"), Some("Bearer"));

    // RequireScope without a principal is a misconfiguration.
    let scope = RequireScope::all(["openid"]).layer(echo);
    let response = over_a_socket(scope, post(header::ACCEPT, "*/*")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.json()["error"], "server_error");
}

#[tokio::test]
async fn an_invalid_scope_is_reported_by_validate_and_responds_with_500() {
    let sandbox = sandbox_builder().build();
    for layer in [RequireScope::all([""; 0]), RequireScope::any_role(["a b"])] {
        assert!(layer.validate().is_err());
        let echo = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let service = ServiceBuilder::new().layer(token_layer(&sandbox)).layer(layer).service(echo);
        let response = service.oneshot(bearing(&sandbox)).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
