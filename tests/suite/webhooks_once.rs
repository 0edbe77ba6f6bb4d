//! Deduplication of webhooks, despite failures of handler, sender and store.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::sync::Notify;
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_scalekit::WebhookVerify;
use tower_scalekit::clock::ManualClock;
use tower_scalekit::middleware::ReplayBody;
use tower_scalekit::shared_store::{KeyNamespace, MemoryStore};
use tower_scalekit::webhook_verify::{WebhookError, WebhookRejection, WebhookSecret};

use crate::store::{FlakyStore, When};
use crate::support::{Reading as _, send, settle};
use crate::webhooks::{assert_rejected, clock, layer, message, signed};

/// Handlers that count their calls, on two replicas with one store.
struct World {
    clock: ManualClock,
    store: FlakyStore,
    layers: [WebhookVerify; 2],
    apps: [Router; 2],
    handled: Arc<AtomicUsize>,
    go: Arc<Notify>,
    held: Held,
}

#[derive(Clone)]
struct Handler {
    handled: Arc<AtomicUsize>,
    go: Arc<Notify>,
    store: FlakyStore,
    held: Held,
}

/// Lets a delayed commit continue.
type Held = Arc<Mutex<Option<Arc<Notify>>>>;

/// Acts as the message's body says, and counts.
async fn handle(State(handler): State<Handler>, _: HeaderMap, body: String) -> StatusCode {
    handler.handled.fetch_add(1, Ordering::SeqCst);
    match body.as_str() {
        "panic" => panic!("expected in this test"),
        "slow" => handler.go.notified().await,
        "slow, then fails" => {
            handler.go.notified().await;
            return StatusCode::BAD_GATEWAY;
        }
        "store fails twice" => handler.store.fail_next(2),
        "store fails at abort" => {
            handler.store.fail_next(1);
            return StatusCode::BAD_GATEWAY;
        }
        "store fails for long" => handler.store.set_down(true),
        "hold the commit" => {
            *handler.held.lock().unwrap() = Some(handler.store.hold_next(When::BeforeIt));
        }
        _ => {}
    }
    body.parse().ok().and_then(|status: u16| StatusCode::from_u16(status).ok()).unwrap_or_default()
}

impl World {
    fn new() -> Self {
        let (clock, go, handled) =
            (clock(), Arc::<Notify>::default(), Arc::<AtomicUsize>::default());
        let store = FlakyStore::new(clock.clock());
        let held = Held::default();
        let layers = [(); 2].map(|()| layer(&clock).deduplicate(store.clone()));
        let apps = layers.clone().map(|layer| {
            let handler = Handler {
                handled: Arc::clone(&handled),
                go: Arc::clone(&go),
                store: store.clone(),
                held: Arc::clone(&held),
            };
            Router::new().route("/webhook", post(handle)).with_state(handler).layer(layer)
        });
        Self { clock, store, layers, apps, handled, go, held }
    }

    /// Delivers a message whose sender disconnects while it is committed. Returns what lets the
    /// commit continue.
    async fn leave_during_commit(world: &Arc<Self>, id: &'static str) -> Arc<Notify> {
        let sender = Arc::clone(world);
        let leaving = tokio::spawn(async move { sender.deliver(0, id, "hold the commit").await });
        let commit = loop {
            if let Some(commit) = world.held.lock().unwrap().take() {
                break commit;
            }
            tokio::task::yield_now().await;
        };
        settle().await;
        leaving.abort();
        assert!(leaving.await.is_err());
        commit
    }

    async fn deliver(&self, replica: usize, id: &str, body: &str) -> Response<Bytes> {
        let at = self.clock.clock().now().unix_timestamp();
        send(&self.apps[replica], signed("webhook", id, at, body, 1)).await
    }

    fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_layer_around_itself_handles_each_message_once() {
    for secrets in [&[][..], &["whsec_c2VjcmV0IG9mIGFub3RoZXIgdGltZSwgMzIgYnl0ZXM="]] {
        let mut world = World::new();
        let outer = secrets.iter().fold(world.layers[0].clone(), |layer, secret| {
            layer.additional_secret(WebhookSecret::new(secret).unwrap())
        });
        world.apps[0] = world.apps[0].clone().layer(outer);
        for _ in 0..2 {
            assert_eq!(world.deliver(0, "msg_1", "200").await.status(), StatusCode::OK);
            assert_eq!(world.handled(), 1);
        }
        // A failure is released by the outer one.
        for handled in [2, 3] {
            let failed = world.deliver(0, "msg_2", "502").await;
            assert_eq!((failed.status(), world.handled()), (StatusCode::BAD_GATEWAY, handled));
        }
        assert_eq!(world.deliver(1, "msg_1", "200").await.status(), StatusCode::OK);
        assert_eq!(world.handled(), 3);
    }
}

#[tokio::test]
async fn a_completed_message_gets_the_same_status_on_every_replica() {
    let world = World::new();
    let first = world.deliver(0, "msg_1", "201").await;
    assert_eq!((first.status(), world.handled()), (StatusCode::CREATED, 1));
    for (seconds, replica) in [(0, 0), (0, 1), (3600, 0), (22 * 3600, 1)] {
        world.clock.advance(Duration::from_secs(seconds));
        // Delivered again later, with another timestamp and signature.
        let again = world.deliver(replica, "msg_1", "201").await;
        assert_eq!((again.status(), again.body().len()), (StatusCode::CREATED, 0));
    }
    assert_eq!(world.handled(), 1);
    world.deliver(1, "msg_2", "200").await;
    assert_eq!(world.handled(), 2);
    // A forgery under a known ID learns nothing.
    let forged = signed("webhook", "msg_1", world.clock.clock().now().unix_timestamp(), "201", 2);
    assert_rejected(&send(&world.apps[0], forged).await, WebhookError::InvalidSignature);
}

#[tokio::test]
async fn a_message_whose_handler_fails_is_handled_again() {
    let world = World::new();
    for (number, body) in ["500", "503", "400", "302"].into_iter().enumerate() {
        let id = format!("msg_{number}");
        for attempt in 1..=2 {
            let response = world.deliver(attempt % 2, &id, body).await;
            assert_eq!(response.status().as_str(), body, "the handler's own response");
        }
        assert_eq!(world.deliver(0, &id, "200").await.status(), StatusCode::OK);
        assert_eq!(world.deliver(1, &id, "200").await.status(), StatusCode::OK);
        assert_eq!(world.handled(), 3 * (number + 1));
    }
}

#[tokio::test]
async fn a_message_whose_handler_panics_or_is_cancelled_is_handled_again() {
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
        settle().await;
        assert_eq!(world.deliver(1, &id, "200").await.status(), StatusCode::OK, "{body}");
        assert_eq!(world.handled(), 2 * (number + 1));
    }
}

#[tokio::test]
async fn a_message_in_progress_is_503_until_it_is_completed() {
    let world = Arc::new(World::new());
    let running = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.deliver(0, "msg_1", "slow").await }
    });
    while world.handled() < 1 {
        tokio::task::yield_now().await;
    }
    for replica in [0, 1] {
        let response = world.deliver(replica, "msg_1", "slow").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.header("retry-after").is_some());
        assert!(matches!(response.extensions().get(), Some(WebhookRejection::InProgress)));
    }
    world.go.notify_one();
    assert_eq!(running.await.unwrap().status(), StatusCode::OK);
    assert_eq!(world.deliver(1, "msg_1", "slow").await.status(), StatusCode::OK);
    assert_eq!(world.handled(), 1);
}

#[tokio::test]
async fn a_handler_that_exceeds_its_lease_completes_if_the_message_was_not_claimed_again() {
    let world = Arc::new(World::new());
    let running = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.deliver(0, "msg_1", "slow").await }
    });
    while world.handled() < 1 {
        tokio::task::yield_now().await;
    }
    world.clock.advance(Duration::from_secs(61));
    world.go.notify_one();
    assert_eq!(running.await.unwrap().status(), StatusCode::OK);
    assert_eq!(world.deliver(1, "msg_1", "slow").await.status(), StatusCode::OK);
    assert_eq!(world.handled(), 1);
}

#[tokio::test]
async fn a_handler_that_exceeds_its_lease_completes_a_message_that_was_claimed_again() {
    let world = Arc::new(World::new());
    let deliver = |body: &'static str| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.deliver(0, "msg_1", body).await })
    };
    let first = deliver("slow");
    while world.handled() < 1 {
        tokio::task::yield_now().await;
    }
    world.clock.advance(Duration::from_secs(61));
    let second = deliver("slow, then fails");
    while world.handled() < 2 {
        tokio::task::yield_now().await;
    }
    // Waiters are notified in their order.
    world.go.notify_one();
    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    let repeated = world.deliver(1, "msg_1", "200").await;
    assert_eq!(repeated.status(), StatusCode::OK, "while the second one is running");
    world.go.notify_one();
    assert_eq!(second.await.unwrap().status(), StatusCode::BAD_GATEWAY);
    assert_eq!(world.deliver(1, "msg_1", "200").await.status(), StatusCode::OK);
    assert_eq!(world.handled(), 2, "not again after a success");
}

#[tokio::test]
async fn a_commit_continues_when_the_store_fails_and_the_sender_disconnects() {
    let world = Arc::new(World::new());
    let response = world.deliver(0, "msg_1", "store fails twice").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(world.deliver(1, "msg_1", "200").await.status(), StatusCode::OK);
    assert_eq!(world.handled(), 1, "the third attempt succeeded");

    let commit = World::leave_during_commit(&world, "msg_2").await;
    commit.notify_one();
    settle().await;
    assert_eq!(world.deliver(1, "msg_2", "200").await.status(), StatusCode::OK);
    assert_eq!(world.handled(), 2);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_the_settlement_of_messages() {
    let world = Arc::new(World::new());
    let [layer, _] = &world.layers;
    assert_eq!(layer.shutdown(Duration::ZERO).await, Ok(()));
    let commit = World::leave_during_commit(&world, "msg_1").await;
    let unfinished = layer.shutdown(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(unfinished.to_string(), "unfinished at shutdown: 1 webhook completion");
    commit.notify_one();
    assert_eq!(layer.shutdown(Duration::from_secs(1)).await, Ok(()));
    assert_eq!(world.deliver(1, "msg_1", "200").await.status(), StatusCode::OK);
    assert_eq!(world.handled(), 1);

    // The store is down when the handler has finished, and recovers before the timeout.
    let response = world.deliver(0, "msg_2", "store fails for long").await;
    assert_eq!(response.status(), StatusCode::OK);
    let shutdown = layer.shutdown(Duration::from_secs(1));
    let recovery = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.store.set_down(false);
    };
    assert_eq!(futures::join!(shutdown, recovery).0, Ok(()));
    assert_eq!(world.deliver(1, "msg_2", "200").await.status(), StatusCode::OK);
    assert_eq!(world.handled(), 2);
}

#[tokio::test]
async fn a_sender_that_disconnects_early_leaves_no_claim() {
    let world = Arc::new(World::new());
    let _held = world.store.hold_next(When::AfterIt);
    let leaving = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.deliver(0, "msg_1", "200").await }
    });
    settle().await;
    leaving.abort();
    assert!(leaving.await.is_err());
    settle().await;
    assert_eq!(world.deliver(1, "msg_1", "201").await.status(), StatusCode::CREATED);
    assert_eq!(world.handled(), 1);
}

#[tokio::test]
async fn completed_messages_are_retained_as_configured() {
    let world = World::new();
    let brief = layer(&world.clock).retention(Duration::from_secs(900));
    let brief = Router::new()
        .route("/webhook", post(|| async { StatusCode::CREATED }))
        .route_layer(brief.deduplicate(world.store.clone()));
    assert_eq!(send(&brief, message("msg_1")).await.status(), StatusCode::CREATED);
    world.clock.advance(Duration::from_secs(899));
    assert_eq!(world.deliver(0, "msg_1", "200").await.status(), StatusCode::CREATED);
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.deliver(0, "msg_1", "200").await.status(), StatusCode::OK);
    assert_eq!(world.handled(), 1);
}

#[tokio::test]
async fn a_message_is_handled_once_for_as_long_as_its_timestamp_is_accepted() {
    let world = World::new();
    let handled = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&handled);
    let brief = layer(&world.clock).retention(Duration::ZERO).deduplicate(world.store.clone());
    let app = Router::new()
        .route(
            "/webhook",
            post(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                std::future::ready(StatusCode::CREATED)
            }),
        )
        .route_layer(brief);
    // The clock of the sender is ahead.
    let at = world.clock.clock().now().unix_timestamp() + 300;
    let copy = || signed("webhook", "msg_1", at, "{}", 1);
    for seconds in [0, 1, 299, 300] {
        world.clock.advance(Duration::from_secs(seconds));
        assert_eq!(send(&app, copy()).await.status(), StatusCode::CREATED);
        assert_eq!(handled.load(Ordering::SeqCst), 1, "{seconds}");
    }
    world.clock.advance(Duration::from_secs(1));
    assert_rejected(&send(&app, copy()).await, WebhookError::TimestampOutsideTolerance);
}

#[tokio::test]
async fn a_killed_process_blocks_a_message_for_the_processing_lease() {
    let world = World::new();
    // The state that a killed process leaves.
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
async fn a_store_that_does_not_respond_is_503_and_nothing_is_handled() {
    let world = World::new();
    world.store.set_down(true);
    let response = world.deliver(0, "msg_1", "200").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(matches!(response.extensions().get(), Some(WebhookRejection::StoreUnavailable)));
    assert_eq!(world.handled(), 0);
    world.store.set_down(false);
    assert_eq!(world.deliver(0, "msg_1", "200").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_full_store_blocks_no_message() {
    let world = World::new();
    let done = world.deliver(0, "msg_0", "201").await;
    assert_eq!((done.status(), world.handled()), (StatusCode::CREATED, 1));
    world.store.reject(Some(KeyNamespace::WebhookEvent));
    let deleted = r#"{"type":"organization.directory.user_deleted"}"#;
    for handled in [2, 3] {
        assert_eq!(world.deliver(0, "msg_1", deleted).await.status(), StatusCode::OK);
        assert_eq!(world.handled(), handled, "without deduplication");
    }
    world.store.reject(None);
    for _ in 0..2 {
        assert_eq!(world.deliver(1, "msg_1", deleted).await.status(), StatusCode::OK);
        assert_eq!(world.handled(), 4);
    }
}

#[tokio::test]
async fn a_memory_store_full_of_recent_messages_blocks_no_message() {
    let clock = clock();
    let store = Arc::new(MemoryStore::with_max_bytes(clock.clock(), 64 * 1024));
    let handled = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&handled);
    let handler = post(async move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let verified = layer(&clock).deduplicate(Arc::clone(&store));
    let app = Router::new().route("/webhook", handler).layer(verified);
    for number in 1..=1000 {
        let response = send(&app, message(&format!("msg_{number}"))).await;
        assert_eq!((response.status(), handled.load(Ordering::SeqCst)), (StatusCode::OK, number));
    }
    assert!(store.used_bytes() <= 64 * 1024);
    send(&app, message("msg_1")).await;
    assert_eq!(handled.load(Ordering::SeqCst), 1000, "known messages stay known");
}

#[tokio::test]
async fn endpoints_with_names_of_their_own_handle_the_same_message_each() {
    let (clock, store) = (clock(), FlakyStore::new(clock().clock()));
    let [one, two] = ["one", "two"].map(|name| {
        // In any order.
        let layer = match name {
            "one" => layer(&clock).deduplicate(store.clone()).endpoint_name(name),
            _ => layer(&clock).endpoint_name(name).deduplicate(store.clone()),
        };
        let handled = Arc::<AtomicUsize>::default();
        let handler = Handler {
            handled: Arc::clone(&handled),
            go: Arc::default(),
            store: store.clone(),
            held: Held::default(),
        };
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
async fn a_failed_release_blocks_a_message_for_the_processing_lease() {
    let world = World::new();
    let response = world.deliver(0, "msg_1", "store fails at abort").await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "the handler's own response");
    let busy = world.deliver(1, "msg_1", "200").await;
    assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.deliver(1, "msg_1", "200").await.status(), StatusCode::OK);
    assert_eq!(world.handled(), 2);
}

#[tokio::test]
async fn the_processing_lease_is_configurable() {
    for (configured, lease) in [(200, 200), (0, 10)] {
        let world = World::new();
        let inner = service_fn(|_: Request<ReplayBody<Body>>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let mut guarded = layer(&world.clock)
            .processing_lease(Duration::from_secs(configured))
            .deduplicate(world.store.clone())
            .layer(inner);
        let mut call = Box::pin(guarded.ready().await.unwrap().call(message("msg_1")));
        assert!(futures::poll!(&mut call).is_pending());
        for (seconds, expected) in
            [(lease - 1, StatusCode::SERVICE_UNAVAILABLE), (1, StatusCode::OK)]
        {
            world.clock.advance(Duration::from_secs(seconds));
            assert_eq!(world.deliver(0, "msg_1", "200").await.status(), expected, "{configured}");
        }
        drop(call);
        settle().await;
        assert_eq!(world.deliver(0, "msg_1", "200").await.status(), StatusCode::OK);
        assert_eq!(world.handled(), 1, "a late handler does not release another's claim");
    }
}
