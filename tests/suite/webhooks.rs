//! Webhooks: what is let through, and that each is handled once.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_scalekit::clock::ManualClock;
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::webhook::interceptor::{InterceptorRequest, InterceptorResponse, TriggerPoint};
use tower_scalekit::webhook_verify::{WebhookError, WebhookRejection, WebhookSecret};
use tower_scalekit::{ReplayBody, WebhookVerify};

use crate::store::FlakyStore;
use crate::support::{Reading as _, request, send};

const NOW: i64 = 1_900_000_000;

fn key(number: u8) -> [u8; 32] {
    [number; 32]
}

fn secret(number: u8) -> WebhookSecret {
    WebhookSecret::new(&format!("whsec_{}", STANDARD.encode(key(number)))).unwrap()
}

/// A message as a sender signs it, with code of its own.
fn signed(prefix: &str, id: &str, at: i64, body: &str, number: u8) -> Request<Body> {
    let content = format!("{id}.{at}.{body}");
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key(number)), content.as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac));
    let (at, [id_name, at_name, signature_name]) =
        (at.to_string(), ["id", "timestamp", "signature"].map(|name| format!("{prefix}-{name}")));
    let headers = [
        (id_name.as_str(), id),
        (at_name.as_str(), at.as_str()),
        (signature_name.as_str(), signature.as_str()),
    ];
    let mut request = request(Method::POST, "/webhook", &headers);
    *request.body_mut() = body.to_owned().into();
    request
}

fn message(id: &str) -> Request<Body> {
    signed("webhook", id, NOW, "{}", 1)
}

fn clock() -> ManualClock {
    ManualClock::at(OffsetDateTime::from_unix_timestamp(NOW).unwrap())
}

fn layer(clock: &ManualClock) -> WebhookVerify {
    WebhookVerify::new(secret(1)).clock(clock.clock())
}

/// Echoes bodies.
fn app(layer: WebhookVerify) -> Router {
    Router::new().route("/webhook", post(|body: Bytes| async move { body })).layer(layer)
}

fn assert_refused(answer: &Response<Bytes>, expected: WebhookError) {
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["message"], "Not accepted");
    let reason = answer.extensions().get::<WebhookRejection>();
    assert!(
        matches!(reason, Some(WebhookRejection::Invalid { error }) if *error == expected),
        "{reason:?}"
    );
}

#[tokio::test]
async fn w9_the_handler_gets_the_very_bytes_that_were_signed() {
    let app = app(layer(&clock()));
    for body in ["{}", "{ \"a\" : 1 }\n", "", "é\u{0}", &"x".repeat(100_000)] {
        let answer = send(&app, signed("webhook", "msg_1", NOW, body, 1)).await;
        assert_eq!((answer.status(), answer.text().as_str()), (StatusCode::OK, body));
    }
}

#[tokio::test]
async fn w8_what_was_not_signed_so_is_refused_and_told_nothing() {
    let app = app(layer(&clock()));
    let tampered = {
        let mut request = signed("webhook", "msg_1", NOW, "{\"a\":1}", 1);
        *request.body_mut() = "{\"a\":2}".into();
        request
    };
    let with_header = |name: &'static str, value: &'static str| {
        let mut request = message("msg_1");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    for (request, error) in [
        (tampered, WebhookError::Signature),
        (signed("webhook", "msg_1", NOW, "{}", 2), WebhookError::Signature),
        (with_header("webhook-id", "msg_2"), WebhookError::Signature),
        (with_header("webhook-timestamp", "1900000001"), WebhookError::Signature),
        (with_header("webhook-signature", "v1,AAAA"), WebhookError::Signature),
        (signed("webhook", "msg_1", NOW - 301, "{}", 1), WebhookError::Stale),
        (signed("webhook", "msg_1", NOW + 301, "{}", 1), WebhookError::Stale),
        (with_header("webhook-timestamp", "1900000000.5"), WebhookError::Malformed),
        (signed("interceptor", "msg_1", NOW, "{}", 1), WebhookError::Malformed),
        (request(Method::POST, "/webhook", &[]), WebhookError::Malformed),
    ] {
        assert_refused(&send(&app, request).await, error);
    }
    for at in [NOW - 300, NOW + 300] {
        let answer = send(&app, signed("webhook", "msg_1", at, "{}", 1)).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn w4_secrets_rotate_and_interceptors_have_headers_of_their_own() {
    let rotating = app(layer(&clock()).secret(secret(2)));
    for number in [1, 2] {
        let answer = send(&rotating, signed("webhook", "msg_1", NOW, "{}", number)).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_refused(
        &send(&rotating, signed("webhook", "msg_1", NOW, "{}", 3)).await,
        WebhookError::Signature,
    );
    let interceptor = WebhookVerify::interceptor(secret(1)).clock(clock().clock());
    let interceptor = app(interceptor);
    let answer = send(&interceptor, signed("interceptor", "msg_1", NOW, "{}", 1)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_refused(&send(&interceptor, message("msg_1")).await, WebhookError::Malformed);
}

/// A body that must not be read.
struct Untouchable;

impl http_body::Body for Untouchable {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("the body was read")
    }
}

#[tokio::test]
async fn w7_headers_are_judged_first_and_bodies_have_a_limit() {
    let app = app(layer(&clock()).body_limit(10));
    let mut stale = signed("webhook", "msg_1", NOW - 1000, "{}", 1);
    *stale.body_mut() = Body::new(Untouchable);
    assert_refused(&send(&app, stale).await, WebhookError::Stale);
    let fits = send(&app, signed("webhook", "msg_1", NOW, "0123456789", 1)).await;
    assert_eq!(fits.status(), StatusCode::OK);
    let mut large = signed("webhook", "msg_1", NOW, "0123456789a", 1);
    // Whatever it says of its length.
    large.headers_mut().insert("content-length", "2".parse().unwrap());
    let large = send(&app, large).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(matches!(large.extensions().get(), Some(WebhookRejection::TooLarge)));
}

/// Handlers that count their runs, on two replicas with one store.
struct World {
    clock: ManualClock,
    store: FlakyStore,
    apps: [Router; 2],
    handled: Arc<AtomicUsize>,
    go: Arc<Notify>,
}

#[derive(Clone)]
struct Handler {
    handled: Arc<AtomicUsize>,
    go: Arc<Notify>,
}

/// Does as the message's body says, and counts.
async fn handle(State(handler): State<Handler>, _: HeaderMap, body: String) -> StatusCode {
    handler.handled.fetch_add(1, Ordering::SeqCst);
    match body.as_str() {
        "panic" => panic!("expected in this test"),
        "slow" => handler.go.notified().await,
        _ => {}
    }
    body.parse().ok().and_then(|status: u16| StatusCode::from_u16(status).ok()).unwrap_or_default()
}

impl World {
    fn new() -> Self {
        let (clock, go, handled) =
            (clock(), Arc::<Notify>::default(), Arc::<AtomicUsize>::default());
        let store = FlakyStore::new(clock.clock());
        let apps = [(); 2].map(|()| {
            let handler = Handler { handled: Arc::clone(&handled), go: Arc::clone(&go) };
            Router::new()
                .route("/webhook", post(handle))
                .with_state(handler)
                .layer(layer(&clock).deduplicate(store.clone()))
        });
        Self { clock, store, apps, handled, go }
    }

    async fn deliver(&self, replica: usize, id: &str, body: &str) -> Response<Bytes> {
        let at = self.clock.clock().now().unix_timestamp();
        send(&self.apps[replica], signed("webhook", id, at, body, 1)).await
    }

    fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }

    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn w6_a_message_that_was_handled_is_answered_as_before_on_every_replica() {
    let world = World::new();
    let first = world.deliver(0, "msg_1", "201").await;
    assert_eq!((first.status(), world.handled()), (StatusCode::CREATED, 1));
    for (seconds, replica) in [(0, 0), (0, 1), (3600, 0), (22 * 3600, 1)] {
        world.clock.advance(Duration::from_secs(seconds));
        // Sent again later, with another timestamp and signature.
        let again = world.deliver(replica, "msg_1", "201").await;
        assert_eq!((again.status(), again.body().len()), (StatusCode::CREATED, 0));
    }
    assert_eq!(world.handled(), 1);
    world.deliver(1, "msg_2", "200").await;
    assert_eq!(world.handled(), 2);
    // A forgery under a known id learns nothing.
    let forged = signed("webhook", "msg_1", world.clock.clock().now().unix_timestamp(), "201", 2);
    assert_refused(&send(&world.apps[0], forged).await, WebhookError::Signature);
}

#[tokio::test]
async fn a_message_whose_handler_fails_may_come_again() {
    let world = World::new();
    for (number, body) in ["500", "503", "400", "302"].into_iter().enumerate() {
        let id = format!("msg_{number}");
        for attempt in 1..=2 {
            let answer = world.deliver(attempt % 2, &id, body).await;
            assert_eq!(answer.status().as_str(), body, "the handler's own answer");
        }
        assert_eq!(world.deliver(0, &id, "200").await.status(), StatusCode::OK);
        assert_eq!(world.deliver(1, &id, "200").await.status(), StatusCode::OK);
        assert_eq!(world.handled(), 3 * (number + 1));
    }
}

#[tokio::test]
async fn a_message_whose_handler_panics_or_is_cut_off_may_come_again() {
    let world = Arc::new(World::new());
    for (number, body) in ["panic", "slow"].into_iter().enumerate() {
        let id = format!("msg_{number}");
        let running = tokio::spawn({
            let (world, id) = (Arc::clone(&world), id.clone());
            async move { world.deliver(0, &id, body).await }
        });
        while world.handled() < 2 * number + 1 {
            tokio::task::yield_now().await;
        }
        running.abort();
        assert!(running.await.is_err());
        world.settle().await;
        assert_eq!(world.deliver(1, &id, "200").await.status(), StatusCode::OK, "{body}");
        assert_eq!(world.handled(), 2 * (number + 1));
    }
}

#[tokio::test]
async fn a_message_that_is_being_handled_is_503_until_it_is_done() {
    let world = Arc::new(World::new());
    let running = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.deliver(0, "msg_1", "slow").await }
    });
    while world.handled() < 1 {
        tokio::task::yield_now().await;
    }
    for replica in [0, 1] {
        let answer = world.deliver(replica, "msg_1", "slow").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.header("retry-after").is_some());
        assert!(matches!(answer.extensions().get(), Some(WebhookRejection::Running)));
    }
    world.go.notify_one();
    assert_eq!(running.await.unwrap().status(), StatusCode::OK);
    assert_eq!(world.deliver(1, "msg_1", "slow").await.status(), StatusCode::OK);
    assert_eq!(world.handled(), 1);
}

#[tokio::test]
async fn a_process_that_dies_holds_a_message_for_no_longer_than_a_handler_may_take() {
    let world = World::new();
    // What a killed process leaves behind.
    let inner = service_fn(|_: Request<ReplayBody<Body>>| {
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let mut dying = layer(&world.clock).deduplicate(world.store.clone()).layer(inner);
    let mut call = Box::pin(dying.ready().await.unwrap().call(message("msg_1")));
    assert!(futures::poll!(&mut call).is_pending());
    std::mem::forget(call);
    let busy = world.deliver(0, "msg_1", "200").await;
    assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.deliver(0, "msg_1", "200").await.status(), StatusCode::OK);
    assert_eq!(world.handled(), 1);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_503_and_nothing_is_handled() {
    let world = World::new();
    world.store.set_down(true);
    let answer = world.deliver(0, "msg_1", "200").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(matches!(answer.extensions().get(), Some(WebhookRejection::StoreUnavailable)));
    assert_eq!(world.handled(), 0);
    world.store.set_down(false);
    assert_eq!(world.deliver(0, "msg_1", "200").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn endpoints_with_names_of_their_own_handle_the_same_message_each() {
    let (clock, store) = (clock(), FlakyStore::new(clock().clock()));
    let [one, two] = ["one", "two"].map(|name| {
        let layer = layer(&clock).deduplicate(store.clone()).endpoint_name(name);
        let handled = Arc::<AtomicUsize>::default();
        let handler = Handler { handled: Arc::clone(&handled), go: Arc::default() };
        let app = Router::new().route("/webhook", post(handle)).with_state(handler).layer(layer);
        (app, handled)
    });
    for (app, handled) in [&one, &two] {
        for _ in 0..2 {
            assert_eq!(send(app, message("msg_1")).await.status(), StatusCode::OK);
        }
        assert_eq!(handled.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn the_service_that_was_made_ready_is_the_one_that_is_called() {
    let inner = service_fn(|_: Request<ReplayBody<Body>>| async {
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let mut service = layer(&clock()).layer(tower::limit::ConcurrencyLimit::new(inner, 1));
    for _ in 0..3 {
        let answer = service.ready().await.unwrap().call(message("msg_1")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn what_the_environment_tells_and_asks_reaches_the_handler_typed() {
    let clock = clock();
    let told = layer(&clock);
    let told = Router::new()
        .route("/webhook", post(|event: WebhookEvent| async move { event.id().to_owned() }))
        .layer(told);
    let event = r#"{"id": "evt_1", "type": "user.login", "data": {}}"#;
    let answer = send(&told, signed("webhook", "msg_1", NOW, event, 1)).await;
    assert_eq!((answer.status(), answer.text().as_str()), (StatusCode::OK, "evt_1"));

    let asked = WebhookVerify::interceptor(secret(1)).clock(clock.clock());
    let asked = Router::new().route("/webhook", post(decide)).layer(asked);
    let decision = |trigger: &str| {
        let question = format!(r#"{{"trigger_point": "{trigger}", "data": {{}}}}"#);
        let request = signed("interceptor", "msg_1", NOW, &question, 1);
        let asked = asked.clone();
        async move { send(&asked, request).await }
    };
    for (trigger, expected) in [("PRE_SIGNUP", "DENY"), ("PRE_SESSION_CREATION", "ALLOW")] {
        let answer = decision(trigger).await;
        assert_eq!(answer.status(), StatusCode::OK, "whatever was decided");
        assert_eq!(answer.json()["decision"], expected);
    }

    // Signed, but nothing that is known here: whoever takes the bytes gets it.
    for body in ["{}", "[]", "", r#"{"id": "evt_1", "id": "evt_2", "type": "x", "data": {}}"#] {
        let answer = send(&told, signed("webhook", "msg_1", NOW, body, 1)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.json()["error"], "invalid_request");
        let answer = send(&asked, signed("interceptor", "msg_1", NOW, body, 1)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{body}");
    }

    // Without the layer around it, or with that of the other kind, nothing was verified.
    let bare = Router::new().route("/webhook", post(|_: WebhookEvent| async {}));
    let answer = send(&bare, signed("webhook", "msg_1", NOW, event, 1)).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let crossed = Router::new().route("/webhook", post(decide)).layer(layer(&clock));
    let answer = send(&crossed, signed("webhook", "msg_1", NOW, event, 1)).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

async fn decide(question: InterceptorRequest) -> InterceptorResponse {
    match question.trigger_point {
        TriggerPoint::PreSignup => InterceptorResponse::deny("By invitation only"),
        _ => InterceptorResponse::allow(),
    }
}
