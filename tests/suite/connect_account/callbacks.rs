//! Callbacks that are used up, retried after an outage, or repeated.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tower_scalekit::sandbox::HeldRequests;
use tower_scalekit::shared_store::SharedStore as _;

use super::*;
use crate::store::{FlakyStore, When};
use crate::support::settle;

/// The address of `back` with another parameter.
fn with(back: &str, name: &str, value: &str) -> String {
    with_parameters(back, &[(name, value)])
}

/// A scene whose sessions use this store.
fn scene_with(store: &FlakyStore) -> Scene {
    let mut scene = Scene::new();
    scene.world.sessions = scene.world.replica(|one| one.shared_store(store.clone()));
    let connect = ConnectAccount::builder(&scene.world.sessions, "gmail").build().unwrap();
    scene.world.app = crate::support::app(&scene.world.sessions);
    scene.app = scene.world.app.clone().merge(connect.routes());
    scene
}

#[tokio::test]
async fn a_callback_whose_state_was_used_before_is_used_up_too() {
    for forged_ids in [0, 1, 8] {
        let scene = Scene::new();
        let mut john = scene.logged_in(JOHN).await;
        // Jane has opened John's link, but he uses its state first.
        let back = scene.consented(&mut john).await;
        let state = parameter(&back, "state").unwrap();
        let denied = format!("/connect/gmail/verify?state={state}&error=access_denied");
        john.open(&denied).await;
        for number in 0..forged_ids {
            john.open(&with(&back, "auth_request_id", &format!("forged-{number}"))).await;
        }
        let mut jane = scene.logged_in(JANE).await;
        assert_eq!(failure(&jane.open(&back).await), &ConnectAccountError::StateMismatch);
        // Her address leaks.
        for _ in 0..2 {
            let other = scene.consented(&mut john).await;
            let mixed = with(&back, "state", &parameter(&other, "state").unwrap());
            let rejected = john.open(&mixed).await;
            assert_eq!(rejected.status(), StatusCode::BAD_REQUEST, "{forged_ids}");
            assert_eq!(failure(&rejected), &ConnectAccountError::StateMismatch);
            assert!(!scene.is_active(JOHN), "{forged_ids}");
        }
        // Other users are unaffected, and John can connect the next day.
        let back = scene.consented(&mut jane).await;
        assert_eq!(jane.open(&back).await.location(), AFTERWARDS);
        scene.world.advance(24 * 60 * 60);
        let mut john = scene.logged_in(JOHN).await;
        let back = scene.consented(&mut john).await;
        assert_eq!(john.open(&back).await.location(), AFTERWARDS, "{forged_ids}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_callback_at_another_replica_has_the_result_of_the_first() {
    for is_late in [false, true] {
        let store = FlakyStore::new(Sandbox::new().clock().clock());
        let scene = scene_with(&store);
        let sessions = scene.world.replica(|one| one.shared_store(store.clone()));
        let connect = ConnectAccount::builder(&sessions, "gmail").build().unwrap();
        let other = crate::support::app(&sessions).merge(connect.routes());
        let mut one = scene.logged_in(JANE).await;
        let back = scene.consented(&mut one).await;
        let mut two = one.at(&other);
        let (first, second) = if is_late {
            (one.open(&back).await, two.open(&back).await)
        } else {
            store.yield_before_each();
            futures::future::join(one.open(&back), two.open(&back)).await
        };
        for done in [first, second] {
            assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, AFTERWARDS));
        }
        assert!(scene.is_active(JANE));
    }
}

#[tokio::test]
async fn callbacks_with_unknown_or_used_states_do_not_fill_the_store() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let scene = scene_with(&store);
    let mut jane = scene.logged_in(JANE).await;
    let back = scene.consented(&mut jane).await;
    jane.open(&back).await;
    let unknown = with(&back, "state", &"A".repeat(43));
    for number in 0..50 {
        for target in [&back, &unknown] {
            let target = with(target, "auth_request_id", &format!("forged-{number}"));
            Browser::new(&scene.app, scene.sandbox()).open(&target).await;
        }
    }
    assert!(stored_callbacks(&store).await < 10);
}

/// Number of values that the store has now.
async fn stored_callbacks(store: &FlakyStore) -> usize {
    let mut stored = 0;
    for key in store.keys() {
        let is_of_callbacks = key.namespace() == KeyNamespace::ConnectCallback;
        stored += usize::from(is_of_callbacks && store.get(&key).await.unwrap().is_some());
    }
    stored
}

#[tokio::test]
async fn callbacks_that_arrive_at_the_same_time_do_not_fill_the_store() {
    for is_own in [false, true] {
        let store = FlakyStore::new(Sandbox::new().clock().clock());
        let scene = scene_with(&store);
        let mut jane = scene.logged_in(JANE).await;
        let back = scene.consented(&mut jane).await;
        let other = Browser::new(&scene.app, scene.sandbox());
        store.yield_before_each();
        let opened = (0..30).map(|number| {
            let mut browser = if is_own { jane.clone() } else { other.clone() };
            let target = with(&back, "auth_request_id", &format!("forged-{number}"));
            async move { browser.open(&target).await }
        });
        futures::future::join_all(opened).await;
        let stored = stored_callbacks(&store).await;
        assert!((3..10).contains(&stored), "{is_own}: {stored}");
    }
}

/// Opens the callback in a task, which is held before it uses the `state`.
async fn arriving(
    store: &FlakyStore,
    browser: &Browser,
    back: &str,
) -> (Arc<Notify>, JoinHandle<Response<Bytes>>) {
    let (mut browser, back) = (browser.clone(), back.to_owned());
    let first = store.hold_next_write(KeyNamespace::ConnectCallback);
    let opening = tokio::spawn(async move { browser.open(&back).await });
    settle().await;
    let second = store.hold_next_write(KeyNamespace::ConnectCallback);
    first.notify_one();
    settle().await;
    (second, opening)
}

/// Two replicas, and a callback whose first request is held at the first one.
async fn arriving_at_two_replicas()
-> (Scene, Browser, String, Arc<Notify>, [JoinHandle<Response<Bytes>>; 2]) {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let scene = scene_with(&store);
    let replica = scene.world.replica(|one| one.shared_store(store.clone()));
    let replica = ConnectAccount::builder(&replica, "gmail").build().unwrap().routes();
    let mut jane = scene.logged_in(JANE).await;
    let back = scene.consented(&mut jane).await;
    let (go, first) = arriving(&store, &jane, &back).await;
    let mut second = jane.at(&scene.world.app.clone().merge(replica));
    let target = back.clone();
    let second = tokio::spawn(async move { second.open(&target).await });
    settle().await;
    (scene, jane, back, go, [first, second])
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_arrives_at_two_replicas_is_completed_once_for_both() {
    let (scene, _, _, go, requests) = arriving_at_two_replicas().await;
    let verifications = scene.sandbox().requests().count(Endpoint::Api);
    go.notify_one();
    for response in futures::future::join_all(requests).await {
        assert_eq!(response.unwrap().location(), AFTERWARDS);
    }
    assert!(scene.is_active(JANE));
    assert_eq!(scene.sandbox().requests().count(Endpoint::Api), verifications + 1);
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_arrives_at_two_replicas_and_is_rejected_ends_both_attempts() {
    let (scene, mut jane, back, go, requests) = arriving_at_two_replicas().await;
    let body = Bytes::from(r#"{"code":3,"message":"no such request"}"#);
    let rejection = Response::builder().status(400).body(body).unwrap();
    scene.sandbox().faults().add_times(Endpoint::Api, 1, Fault::Response(rejection));
    go.notify_one();
    for response in futures::future::join_all(requests).await {
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{}", response.text());
        jane.store_cookies(&response);
    }
    assert_eq!(failure(&jane.open(&back).await), &ConnectAccountError::StateMismatch);
    assert!(!scene.is_active(JANE));
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_arrives_at_two_replicas_can_be_retried_after_an_outage() {
    let (scene, mut jane, back, go, requests) = arriving_at_two_replicas().await;
    scene.sandbox().faults().add_times(Endpoint::Api, 1, Fault::Delay(Duration::from_secs(60)));
    go.notify_one();
    for response in futures::future::join_all(requests).await {
        assert_eq!(failure(&response.unwrap()), &ConnectAccountError::Unavailable);
    }
    assert_eq!(jane.open(&back).await.location(), AFTERWARDS);
    assert!(scene.is_active(JANE));
}

#[tokio::test]
async fn a_callback_in_another_browser_that_another_id_precedes_is_used_up_without_the_store() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let scene = scene_with(&store);
    let mut john = scene.logged_in(JOHN).await;
    let [back, other] = [scene.consented(&mut john).await, scene.consented(&mut john).await];
    let jane = Browser::new(&scene.app, scene.sandbox());
    let (go, opened) = arriving(&store, &jane, &back).await;
    // John's first `state`, with another ID.
    jane.clone().open(&with(&back, "auth_request_id", "forged")).await;
    let lost = store.hold_next(When::AfterIt);
    go.notify_one();
    settle().await;
    let next = store.hold_next(When::AfterIt);
    lost.notify_one();
    settle().await;
    store.set_down(true);
    next.notify_one();
    assert_eq!(opened.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    store.set_down(false);
    // Her address leaks.
    let mixed = with(&back, "state", &parameter(&other, "state").unwrap());
    assert_eq!(failure(&john.open(&mixed).await), &ConnectAccountError::StateMismatch);
    assert!(!scene.is_active(JOHN));
}

#[tokio::test(start_paused = true)]
async fn a_callback_can_be_retried_after_an_outage_of_the_store() {
    for failing_write in [0, 1, 2] {
        let store = FlakyStore::new(Sandbox::new().clock().clock());
        let scene = scene_with(&store);
        let mut jane = scene.logged_in(JANE).await;
        let back = scene.consented(&mut jane).await;
        let mut first = jane.clone();
        let target = back.clone();
        let mut go = store.hold_next_write(KeyNamespace::ConnectCallback);
        let first = tokio::spawn(async move { first.open(&target).await });
        settle().await;
        for _ in 0..failing_write {
            let next = store.hold_next_write(KeyNamespace::ConnectCallback);
            go.notify_one();
            settle().await;
            go = next;
        }
        store.set_down(true);
        go.notify_one();
        let failed = first.await.unwrap();
        assert_eq!(failure(&failed), &ConnectAccountError::Unavailable, "{failing_write}");
        store.set_down(false);
        assert_eq!(jane.open(&back).await.location(), AFTERWARDS, "{failing_write}");
        assert!(scene.is_active(JANE));
    }
}

#[tokio::test]
async fn a_callback_in_another_browser_is_used_up_although_the_store_fails() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let scene = scene_with(&store);
    let mut john = scene.logged_in(JOHN).await;
    let back = scene.consented(&mut john).await;
    let mut other = Browser::new(&scene.app, scene.sandbox());
    let target = back.clone();
    let first = store.hold_next_write(KeyNamespace::ConnectCallback);
    let opened = tokio::spawn(async move { other.open(&target).await });
    settle().await;
    let second = store.hold_next_write(KeyNamespace::ConnectCallback);
    first.notify_one();
    settle().await;
    store.set_down(true);
    second.notify_one();
    assert_eq!(opened.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    store.set_down(false);
    assert_eq!(failure(&john.open(&back).await), &ConnectAccountError::StateMismatch);
    assert!(!scene.is_active(JOHN));
}

/// Opens the callback in a task, whose verification is held at the environment.
async fn verifying(
    scene: &Scene,
    browser: &Browser,
    back: &str,
) -> (HeldRequests, JoinHandle<Response<Bytes>>) {
    let held = scene.sandbox().faults().hold(Endpoint::Api);
    let (mut browser, back) = (browser.clone(), back.to_owned());
    let opening = tokio::spawn(async move { browser.open(&back).await });
    settle().await;
    (held, opening)
}

#[tokio::test]
async fn a_verification_continues_when_its_browser_disconnects() {
    for is_late in [false, true] {
        let scene = Scene::new();
        let mut jane = scene.logged_in(JANE).await;
        let back = scene.consented(&mut jane).await;
        let (held, first) = verifying(&scene, &jane, &back).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        if is_late {
            drop(held);
            settle().await;
            assert!(scene.is_active(JANE));
        } else {
            tokio::spawn(async move {
                settle().await;
                drop(held);
            });
        }
        let done = jane.open(&back).await;
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, AFTERWARDS));
        assert!(scene.is_active(JANE));
        assert_eq!(attempts(&jane), 0);
    }
}

#[tokio::test]
async fn only_the_browser_and_session_that_began_share_a_verification() {
    let scene = Scene::new();
    let mut john = scene.logged_in(JOHN).await;
    let back = scene.consented(&mut john).await;
    let mut jane = scene.logged_in(JANE).await;
    // John's browser, in which Jane is logged in.
    let mut switched = john.clone();
    let name = scene.world.sessions.cookie_name().to_owned();
    switched.put_cookie(&name, jane.cookie(&name).unwrap());
    let (held, first) = verifying(&scene, &john, &back).await;
    for browser in [&mut jane, &mut switched] {
        assert_eq!(failure(&browser.open(&back).await), &ConnectAccountError::StateMismatch);
    }
    drop(held);
    assert_eq!(first.await.unwrap().location(), AFTERWARDS);
    for browser in [&mut jane, &mut switched] {
        assert_eq!(failure(&browser.open(&back).await), &ConnectAccountError::StateMismatch);
    }
}
