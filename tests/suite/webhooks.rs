//! Webhooks: which requests are accepted, and what handlers get.

use std::convert::Infallible;
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Body;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{Stream, pending, poll_fn};
use http::{Method, Request, Response, StatusCode};
use time::OffsetDateTime;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer as _, Service as _, ServiceBuilder, ServiceExt as _, service_fn};
use tower_scalekit::WebhookVerify;
use tower_scalekit::clock::ManualClock;
use tower_scalekit::middleware::BodyLimits;
use tower_scalekit::middleware::ReplayBody;
use tower_scalekit::webhook::interceptor::{InterceptorRequest, InterceptorResponse, TriggerPoint};
use tower_scalekit::webhook::{EventPayload, WebhookEvent};
use tower_scalekit::webhook_verify::{
    WebhookError, WebhookRejection, WebhookSecret, verify, verify_interceptor,
};

use crate::store::FlakyStore;
use crate::support::{Reading as _, request, send};

const NOW: i64 = 1_900_000_000;

fn key(number: u8) -> [u8; 32] {
    [number; 32]
}

pub(crate) fn secret(number: u8) -> WebhookSecret {
    WebhookSecret::new(&format!("whsec_{}", STANDARD.encode(key(number)))).unwrap()
}

/// A message signed by independent code.
pub(crate) fn signed(prefix: &str, id: &str, at: i64, body: &str, number: u8) -> Request<Body> {
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

pub(crate) fn message(id: &str) -> Request<Body> {
    signed("webhook", id, NOW, "{}", 1)
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::at(OffsetDateTime::from_unix_timestamp(NOW).unwrap())
}

pub(crate) fn layer(clock: &ManualClock) -> WebhookVerify {
    WebhookVerify::new(secret(1)).clock(clock.clock())
}

/// Echoes bodies.
fn app(layer: WebhookVerify) -> Router {
    Router::new().route("/webhook", post(|body: Bytes| async move { body })).layer(layer)
}

pub(crate) fn assert_rejected(response: &Response<Bytes>, expected: WebhookError) {
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(response.json()["message"], "Not accepted");
    let reason = response.extensions().get::<WebhookRejection>();
    assert!(
        matches!(reason, Some(WebhookRejection::Invalid { error }) if *error == expected),
        "{reason:?}"
    );
}

#[tokio::test]
async fn the_handler_gets_the_exact_bytes_that_were_signed() {
    let app = app(layer(&clock()));
    for body in ["{}", "{ \"a\" : 1 }\n", "", "é\u{0}", &"x".repeat(100_000)] {
        let response = send(&app, signed("webhook", "msg_1", NOW, body, 1)).await;
        assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, body));
    }
}

#[tokio::test]
async fn invalid_signatures_are_rejected_without_a_reason() {
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
        (tampered, WebhookError::InvalidSignature),
        (signed("webhook", "msg_1", NOW, "{}", 2), WebhookError::InvalidSignature),
        (with_header("webhook-id", "msg_2"), WebhookError::InvalidSignature),
        (with_header("webhook-timestamp", "1900000001"), WebhookError::InvalidSignature),
        (with_header("webhook-signature", "v1,AAAA"), WebhookError::InvalidSignature),
        (signed("webhook", "msg_1", NOW - 301, "{}", 1), WebhookError::TimestampOutsideTolerance),
        (signed("webhook", "msg_1", NOW + 301, "{}", 1), WebhookError::TimestampOutsideTolerance),
        (with_header("webhook-timestamp", "1900000000.5"), WebhookError::Malformed),
        (signed("interceptor", "msg_1", NOW, "{}", 1), WebhookError::Malformed),
        (request(Method::POST, "/webhook", &[]), WebhookError::Malformed),
    ] {
        assert_rejected(&send(&app, request).await, error);
    }
    for at in [NOW - 300, NOW + 300] {
        let response = send(&app, signed("webhook", "msg_1", at, "{}", 1)).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn secrets_rotate_and_interceptors_have_headers_of_their_own() {
    let rotating = app(layer(&clock()).additional_secret(secret(2)));
    for number in [1, 2] {
        let response = send(&rotating, signed("webhook", "msg_1", NOW, "{}", number)).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_rejected(
        &send(&rotating, signed("webhook", "msg_1", NOW, "{}", 3)).await,
        WebhookError::InvalidSignature,
    );
    let interceptor = WebhookVerify::interceptor(secret(1)).clock(clock().clock());
    let interceptor = app(interceptor);
    let question = r#"{"trigger_point":"PRE_SIGNUP"}"#;
    let response = send(&interceptor, signed("interceptor", "msg_1", NOW, question, 1)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_rejected(&send(&interceptor, message("msg_1")).await, WebhookError::Malformed);
}

/// A body that must not be read.
fn unread() -> impl Stream<Item = Result<Bytes, Infallible>> {
    poll_fn(|_| panic!("the body was read"))
}

#[tokio::test]
async fn headers_are_validated_first_and_bodies_have_a_limit() {
    let app = app(layer(&clock()).body_limits(BodyLimits::new().max_bytes(10)));
    let mut stale = signed("webhook", "msg_1", NOW - 1000, "{}", 1);
    *stale.body_mut() = Body::from_stream(unread());
    assert_rejected(&send(&app, stale).await, WebhookError::TimestampOutsideTolerance);
    let fits = send(&app, signed("webhook", "msg_1", NOW, "0123456789", 1)).await;
    assert_eq!(fits.status(), StatusCode::OK);
    let mut large = signed("webhook", "msg_1", NOW, "0123456789a", 1);
    // With any `Content-Length`.
    large.headers_mut().insert("content-length", "2".parse().unwrap());
    let large = send(&app, large).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(matches!(large.extensions().get(), Some(WebhookRejection::PayloadTooLarge)));
}

#[tokio::test]
async fn the_largest_body_is_1_mib_by_default() {
    let of = |bytes: usize| signed("webhook", "msg_1", NOW, &"x".repeat(bytes), 1);
    let limits = BodyLimits::new().read_timeout(Duration::from_secs(5));
    for app in [app(layer(&clock())), app(layer(&clock()).body_limits(limits))] {
        assert_eq!(send(&app, of(1024 * 1024)).await.status(), StatusCode::OK);
        let large = send(&app, of(1024 * 1024 + 1)).await;
        assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    let app = app(layer(&clock()).body_limits(BodyLimits::new().max_bytes(10)));
    assert_eq!(send(&app, of(11)).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

/// A signed request whose body has not arrived.
fn unfinished(id: &str) -> Request<Body> {
    signed("webhook", id, NOW, "{}", 1)
        .map(|_| Body::from_stream(pending::<Result<Bytes, Infallible>>()))
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_inside_counts_unfinished_bodies() {
    let app = ServiceBuilder::new().layer(layer(&clock())).concurrency_limit(1).service_fn(
        async |_: Request<ReplayBody<Body>>| Ok::<_, Infallible>(Response::new(Body::empty())),
    );
    let (mut slow, mut other) = (app.clone(), app);
    let slow = tokio::spawn(slow.ready().await.unwrap().call(unfinished("msg_1")));
    assert!(futures::poll!(std::pin::pin!(other.ready())).is_pending());
    // Until the body times out.
    let late = slow.await.unwrap().unwrap();
    assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
    let response = other.ready().await.unwrap().call(message("msg_2")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_counts_verified_requests_if_the_inner_service_waits_in_its_call() {
    let limited = ServiceBuilder::new().concurrency_limit(1).service_fn(
        async |_: Request<ReplayBody<Body>>| Ok::<_, Infallible>(Response::new(Body::empty())),
    );
    let waits = service_fn(move |request| limited.clone().oneshot(request));
    let stack = Router::new().route_service("/webhook", layer(&clock()).layer(waits));
    // Like axum's routers, for each of their layers.
    let routes = Router::new()
        .route("/webhook", post(StatusCode::OK))
        .layer(ConcurrencyLimitLayer::new(1))
        .layer(layer(&clock()));
    for app in [stack, routes] {
        let slow = tokio::spawn({
            let app = app.clone();
            async move { send(&app, unfinished("msg_1")).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(send(&app, message("msg_2")).await.status(), StatusCode::OK);
        assert!(!slow.is_finished());
        slow.abort();
    }
}

#[tokio::test]
async fn a_signed_event_with_any_attributes_reaches_its_handler() {
    let handler = post(async |event: WebhookEvent| {
        let EventPayload::DirectoryUserDeleted(user) = event.payload() else { panic!() };
        format!("{} {}", user.email.as_deref().unwrap_or_default(), event.is_complete())
    });
    let app = Router::new().route("/webhook", handler).layer(layer(&clock()));
    for (attributes, is_complete) in [
        ("{}".to_owned(), true),
        (format!("[{}0]", "0,".repeat(20_000)), true),
        (format!("[{}0]", "0,".repeat(500_000)), false),
        (format!("{{{}\"z\":0}}", r#""a":{"b":0,"c":0},"#.repeat(50_000)), false),
        (r#"{"$serde_json::private::Number":"x"}"#.to_owned(), false),
        (r#"{"a":{"$serde_json::private::RawValue":"{"}}"#.to_owned(), false),
        (format!("{}{}", "{\"a\":".repeat(9000) + "1", "}".repeat(9000)), false),
        ("[1e999]".to_owned(), false),
    ] {
        let body = format!(
            r#"{{"id":"evt_1","type":"organization.directory.user_deleted",
            "data":{{"attributes":{attributes},"email":"jane@acme.test"}}}}"#
        );
        let response = send(&app, signed("webhook", "msg_1", NOW, &body, 1)).await;
        assert_eq!(response.status(), StatusCode::OK, "{body:.120}");
        assert_eq!(response.text(), format!("jane@acme.test {is_complete}"), "{body:.120}");
    }
}

#[tokio::test]
async fn interceptor_requests_are_not_deduplicated() {
    let (clock, store) = (clock(), FlakyStore::new(clock().clock()));
    store.set_down(true);
    let layer = WebhookVerify::interceptor(secret(1)).clock(clock.clock()).deduplicate(store);
    let asked = Router::new().route("/webhook", post(decide)).route_layer(layer);
    let question = r#"{"trigger_point": "PRE_SIGNUP", "data": {}}"#;
    for _ in 0..2 {
        let response = send(&asked, signed("interceptor", "msg_1", NOW, question, 1)).await;
        assert_eq!(
            (response.status(), &response.json()["decision"]),
            (StatusCode::OK, &"DENY".into())
        );
    }
}

/// The recorded bodies of one kind.
fn recorded(folders: &[&str], ending: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    for folder in folders {
        let folder = format!("{}/tests/data/{folder}", env!("CARGO_MANIFEST_DIR"));
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.to_str().unwrap().ends_with(ending) {
                bodies.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    bodies
}

#[tokio::test]
async fn webhooks_and_interceptor_requests_cannot_be_replayed_as_the_other() {
    let mut events = recorded(&["webhooks", "webhooks-docs"], ".json");
    assert!(events.len() > 40);
    // Messages of other senders than Scalekit, and bodies that are not JSON.
    events
        .extend(["{}", "[]", "", "[\"trigger_point\"]", "\"trigger_point\"", "é"].map(Into::into));
    events.push(r#"{"data": {"trigger_point": "PRE_SIGNUP"}}"#.into());
    let mut requests = recorded(&["interceptors"], "request_body.json");
    assert_eq!(requests.len(), 4);
    requests.extend(
        [
            r#"{"trigger_point": "PRE_OF_THE_FUTURE"}"#,
            r#"{"id": "evt_1", "type": "user.login", "data": {}, "trigger_point": null}"#,
            r#"{"trigger\u005fpoint": "PRE_SIGNUP"}"#,
            r#"{"a": 1, "a": 2, "trigger_point": "PRE_SIGNUP", "trigger_point": "PRE_SIGNUP"}"#,
            r#"{"trigger_point": "PRE_SIGNUP", "data": {"a": 1, "a": 2}}"#,
        ]
        .map(Into::into),
    );
    let clock = clock();
    let webhooks = app(layer(&clock));
    let interceptors = app(WebhookVerify::interceptor(secret(1)).clock(clock.clock()));
    for (bodies, own, other, own_app, other_app) in [
        (events, "webhook", "interceptor", &webhooks, &interceptors),
        (requests, "interceptor", "webhook", &interceptors, &webhooks),
    ] {
        for body in bodies {
            let response = send(own_app, signed(own, "msg_1", NOW, &body, 1)).await;
            assert_eq!((response.status(), response.text()), (StatusCode::OK, body.clone()));
            // The same signature under the other headers.
            let replayed = send(other_app, signed(other, "msg_1", NOW, &body, 1)).await;
            assert_rejected(&replayed, WebhookError::WrongKind);

            let (secrets, now) = ([secret(1)], clock.clock().now());
            let check = |prefix: &str| {
                let headers = signed(prefix, "msg_1", NOW, &body, 1).headers().clone();
                match prefix {
                    "webhook" => verify(&headers, body.as_bytes(), &secrets, now),
                    _ => verify_interceptor(&headers, body.as_bytes(), &secrets, now),
                }
                .map(str::to_owned)
            };
            assert_eq!(check(own).as_deref(), Ok("msg_1"));
            assert_eq!(check(other), Err(WebhookError::WrongKind), "{body}");
        }
    }
}

#[tokio::test]
async fn a_body_of_the_wrong_kind_is_not_recorded_as_completed() {
    let (clock, store) = (clock(), FlakyStore::new(clock().clock()));
    let app = app(layer(&clock).deduplicate(store));
    let request = r#"{"trigger_point": "PRE_SIGNUP"}"#;
    let response = send(&app, signed("webhook", "msg_1", NOW, request, 1)).await;
    assert_rejected(&response, WebhookError::WrongKind);
    let response = send(&app, signed("webhook", "msg_1", NOW, "{}", 1)).await;
    assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, "{}"));
}

#[tokio::test]
async fn other_paths_are_unaffected() {
    let app: Router = Router::new()
        .route("/webhook", post(|| async {}))
        .route_layer(layer(&clock()))
        .merge(Router::new().route("/", axum::routing::get(|| async {})));
    for (method, path, expected) in [
        (Method::GET, "/favicon.ico", StatusCode::NOT_FOUND),
        (Method::GET, "/", StatusCode::OK),
        (Method::POST, "/webhook", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(send(&app, request(method, path, &[])).await.status(), expected, "{path}");
    }
}

#[tokio::test]
async fn the_ready_service_is_called() {
    let inner = service_fn(|_: Request<ReplayBody<Body>>| async {
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let mut service = layer(&clock()).layer(tower::limit::ConcurrencyLimit::new(inner, 1));
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(message("msg_1")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn events_and_interceptor_requests_reach_the_handler_typed() {
    let clock = clock();
    let app = layer(&clock);
    let app = Router::new()
        .route("/webhook", post(|event: WebhookEvent| async move { event.id().to_owned() }))
        .layer(app);
    let event = r#"{"id": "evt_1", "type": "user.login", "data": {}}"#;
    let response = send(&app, signed("webhook", "msg_1", NOW, event, 1)).await;
    assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, "evt_1"));

    let asked = WebhookVerify::interceptor(secret(1)).clock(clock.clock());
    let asked = Router::new().route("/webhook", post(decide)).layer(asked);
    let decision = |trigger: &str| {
        let question = format!(r#"{{"trigger_point": "{trigger}", "data": {{}}}}"#);
        let request = signed("interceptor", "msg_1", NOW, &question, 1);
        let asked = asked.clone();
        async move { send(&asked, request).await }
    };
    for (trigger, expected) in [("PRE_SIGNUP", "DENY"), ("PRE_SESSION_CREATION", "ALLOW")] {
        let response = decision(trigger).await;
        assert_eq!(response.status(), StatusCode::OK, "whatever was decided");
        assert_eq!(response.json()["decision"], expected);
    }

    // Signed, but unknown to this crate: a handler may read the bytes.
    for body in ["{}", "[]", "", r#"{"id": "evt_1", "id": "evt_2", "type": "x", "data": {}}"#] {
        let response = send(&app, signed("webhook", "msg_1", NOW, body, 1)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(response.json()["error"], "invalid_request");
        let response = send(&asked, signed("interceptor", "msg_1", NOW, body, 1)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
    }

    // Without the layer around it, or with that of the other kind, nothing was verified.
    let bare = Router::new().route("/webhook", post(|_: WebhookEvent| async {}));
    let response = send(&bare, signed("webhook", "msg_1", NOW, event, 1)).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let crossed = Router::new().route("/webhook", post(decide)).layer(layer(&clock));
    let response = send(&crossed, signed("webhook", "msg_1", NOW, event, 1)).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

async fn decide(question: InterceptorRequest) -> InterceptorResponse {
    match question.trigger_point {
        TriggerPoint::PreSignup => InterceptorResponse::deny("By invitation only"),
        _ => InterceptorResponse::allow(),
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_rejected() {
    let app = app(layer(&clock()));
    let mut broken = message("msg_1");
    let parts = [Ok(Bytes::from("{")), Err(std::io::Error::other("gone"))];
    *broken.body_mut() = Body::from_stream(futures::stream::iter(parts));
    assert_rejected(&send(&app, broken).await, WebhookError::Malformed);
}
