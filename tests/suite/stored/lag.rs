//! Reads of a store that lags behind its writes.

use super::*;

#[tokio::test]
async fn a_session_that_a_replica_of_the_store_lacks_right_after_the_login_is_503_for_a_minute() {
    let replicas = Replicas::new();
    let (world, store) = (&replicas.world, &replicas.store);
    let lagging = || {
        let stale = store.stale();
        app(&world.replica(|one| one.shared_store(stale).store_backed()))
    };
    let behind = lagging();
    let browser = replicas.logged_in().await;
    let mut other = browser.at(&behind);
    let script = other.fetch("/me").await;
    assert_eq!(script.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(script.header("retry-after").is_some());
    let page = other.open("/me").await;
    assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(other.cookie_header(), browser.cookie_header());
    assert_eq!(browser.status_at(&replicas.apps[1]).await, StatusCode::OK, "the store has it");
    // When the read replica of the store has caught up, the app's replica has too.
    assert_eq!(browser.at(&lagging()).fetch("/me").await.status(), StatusCode::OK);
    world.advance(58);
    assert_eq!(other.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    world.advance(2);
    assert_eq!(other.fetch("/me").await.status(), StatusCode::UNAUTHORIZED, "the session is lost");
}

#[tokio::test]
async fn a_refresh_of_a_session_that_a_replica_of_the_store_lacks_is_503_for_a_minute() {
    for (age, status) in [(5, StatusCode::SERVICE_UNAVAILABLE), (61, StatusCode::UNAUTHORIZED)] {
        let replicas = Replicas::new();
        let mut browser = replicas.logged_in().await;
        replicas.store.hide(
            replicas
                .store
                .keys()
                .into_iter()
                .filter(|key| key.namespace() == KeyNamespace::Session),
        );
        replicas.world.advance(age);
        let cookies = browser.cookie_header();
        assert_eq!(browser.post("/auth/refresh").await.status(), status, "{age}");
        assert_eq!(replicas.world.sandbox.requests().refreshes(), 0);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(browser.cookie_header(), cookies);
            replicas.store.hide([]);
            assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_session_whose_last_state_the_store_has_lost_is_503_for_a_minute_and_blocks_no_login() {
    let replicas = Replicas::new();
    let (world, store) = (&replicas.world, &replicas.store);
    let mut browser = replicas.logged_in().await;
    let stale = store.stale();
    let behind = app(&world.replica(|one| one.shared_store(stale).store_backed()));
    world.advance(301);
    assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::OK);
    let mut lost = browser.at(&behind);
    assert_eq!(lost.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    for (email, page) in [(JANE, "/me"), (JOHN, "/auth/switch-account?attempt=")] {
        let response = lost.clone().log_in(&world.sandbox, email).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{email}");
        assert!(response.location().starts_with(page), "{response:?}");
    }
    world.advance(58);
    assert_eq!(lost.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    world.advance(2);
    assert_eq!(lost.fetch("/me").await.status(), StatusCode::UNAUTHORIZED, "it is lost");
}

#[tokio::test]
async fn a_session_that_has_ended_right_after_the_login_is_401_at_once() {
    for log in [true, false] {
        let replicas = Replicas::new();
        let (world, store) = (&replicas.world, &replicas.store);
        let before_login = store.stale();
        let mut browser = replicas.logged_in().await;
        let copy = browser.clone();
        assert_eq!(browser.post("/logout").await.status(), StatusCode::SEE_OTHER);
        let current = app(&replicas.sessions[1]);
        let behind = app(&world.replica(|one| one.shared_store(before_login).store_backed()));
        // By the revocation log, or by the value in its place.
        let replica = if log { &behind } else { &current };
        let response = copy.at(replica).fetch("/me").await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{log}");
    }
}

#[tokio::test(start_paused = true)]
async fn stale_reads_of_the_store_are_503_and_end_no_session() {
    for store_backed in [false, true] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let [current, other] = replicas_of(&world, &store, store_backed);
        let mut browser = Browser::new(&current, &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        let old = browser.clone();
        let stale = store.stale();
        let behind = app(&world.replica(|one| {
            let one = one.shared_store(stale);
            if store_backed { one.store_backed() } else { one }
        }));
        world.advance(301);
        for _ in 0..2 {
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
            settle().await;
        }
        for cookie in [&old, &browser] {
            let started = tokio::time::Instant::now();
            let response = cookie.at(&behind).fetch("/me").await;
            let is_known = !store_backed && cookie.cookie_header() == browser.cookie_header();
            let expected = if is_known { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            assert_eq!(response.status(), expected, "{store_backed}");
            assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        }
        // The session is unchanged.
        for app in [&current, &other] {
            tokio::time::sleep(Duration::from_secs(60)).await;
            world.advance(60);
            assert_eq!(old.at(app).fetch("/me").await.status(), StatusCode::OK, "{store_backed}");
            assert_eq!(browser.at(app).fetch("/me").await.status(), StatusCode::OK);
        }
    }
}
