//! Logins whose confirmation a replica has begun and not completed.

use super::*;

/// Two replicas, and Jane's browser in which a login as John has completed. The first replica has
/// begun John's session when it loses its store.
struct Interrupted {
    world: World,
    /// The connection of the first replica.
    store: FlakyStore,
    browser: Browser,
    asked: Response<Bytes>,
}

impl Interrupted {
    async fn new() -> Self {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let connections = [store.clone(), store.other_connection()];
        let [first, second] = connections.map(|store| {
            app(&world.replica(|sessions| sessions.shared_store(store).store_backed()))
        });
        let mut browser = Browser::new(&second, &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        let asked = browser.log_in(&world.sandbox, JOHN).await;
        let switch = action(&browser, &asked, "switch").await;
        let go = store.hold_next_write(KeyNamespace::Session);
        let mut interrupted = browser.at(&first);
        let interrupted = tokio::spawn(async move { post(&mut interrupted, &switch).await });
        settle().await;
        store.set_cut_off(true);
        go.notify_one();
        let failed = interrupted.await.unwrap();
        assert!(failed.status().is_server_error(), "{failed:?}");
        Self { world, store, browser, asked }
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_can_be_confirmed_again_when_the_store_is_available_again() {
    let Interrupted { store, mut browser, asked, .. } = Interrupted::new().await;
    store.set_cut_off(false);
    let done = browser.decide(&asked, "switch").await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_a_lost_replica_has_begun_can_be_confirmed_a_few_minutes_later() {
    let Interrupted { world, mut browser, asked, .. } = Interrupted::new().await;
    let early = browser.decide(&asked, "switch").await;
    assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(early.header("retry-after").is_some());
    world.advance(180);
    let done = browser.decide(&asked, "switch").await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
}

#[tokio::test(start_paused = true)]
async fn keep_revokes_a_login_that_a_lost_replica_has_begun() {
    let Interrupted { world, mut browser, asked, .. } = Interrupted::new().await;
    let early = browser.decide(&asked, "keep").await;
    assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE, "it may still begin");
    assert_eq!(browser.names_with("_switch_").len(), 1);
    world.advance(180);
    let done = browser.decide(&asked, "keep").await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 0, "revoked");
    assert_eq!(email(&browser).await.as_deref(), Some(JANE));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lost_its_claim_leaves_a_login_that_another_has_completed() {
    let Interrupted { world, store, mut browser, asked } = Interrupted::new().await;
    world.advance(180);
    let mut other_tab = browser.at(browser.app());
    let keep = action(&browser, &asked, "keep").await;
    let done = browser.decide(&asked, "switch").await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    // The first replica tries again to record its failure. The clock of the test runs ahead.
    store.set_cut_off(false);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let kept = post(&mut other_tab, &keep).await;
    assert_eq!(kept.status(), StatusCode::SEE_OTHER);
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
    assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 1, "the session was live");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_fails_after_another_replica_has_begun_the_session_begins_no_second_one() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let apps = [(); 2].map(|()| app(&world.replica(|one| one.shared_store(store.clone()))));
    let mut browser = Browser::new(&apps[0], &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let asked = browser.log_in(&world.sandbox, JOHN).await;
    let switch = action(&browser, &asked, "switch").await;
    let claim = store.hold_next_write(KeyNamespace::PendingLogin);
    let (mut late, target) = (browser.clone(), switch.clone());
    let late = tokio::spawn(async move { post(&mut late, &target).await });
    settle().await;
    let first = post(&mut browser.at(&apps[1]), &switch).await;
    store.fail_next(1);
    claim.notify_one();
    let second = late.await.unwrap();
    assert_eq!((second.status(), second.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(set_cookies(second.headers()), set_cookies(first.headers()));
}

#[tokio::test(start_paused = true)]
async fn a_login_whose_claim_is_uncertain_can_be_confirmed_a_few_minutes_later() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let app = app(&world.replica(|one| one.shared_store(store.clone())));
    let mut browser = Browser::new(&app, &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let asked = browser.log_in(&world.sandbox, JOHN).await;
    let switch = action(&browser, &asked, "switch").await;
    let claim = store.hold_next_write(KeyNamespace::PendingLogin);
    let mut clicking = browser.clone();
    let clicking = tokio::spawn(async move { post(&mut clicking, &switch).await });
    settle().await;
    // The store accepts it, and its response is lost.
    store.hold_next(When::AfterIt);
    claim.notify_one();
    assert_eq!(clicking.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    world.advance(180);
    assert_eq!(browser.decide(&asked, "switch").await.location(), "/me");
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
}
