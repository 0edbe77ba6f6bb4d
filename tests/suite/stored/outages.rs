//! What the shared store loses, misses or rejects.

use super::*;
use crate::secrets::Captured;

#[tokio::test]
async fn an_outage_of_the_store_is_503_and_ends_nothing() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in().await;
    let cold = replicas.world.replica(|one| one.shared_store(replicas.store.clone()));
    let cold = app(&cold);

    replicas.store.set_down(true);
    let warm = browser.fetch("/me").await;
    assert_eq!(warm.status(), StatusCode::OK, "a cached session stays valid");
    let response = browser.at(&cold).fetch("/me").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.header("retry-after").is_some());
    assert_eq!(set_cookies(response.headers()), [""; 0]);
    assert!(matches!(response.extensions().get(), Some(SessionRejection::Unavailable(_))));
    let refresh = browser.at(&cold).post("/auth/refresh").await;
    assert_eq!(refresh.status(), StatusCode::SERVICE_UNAVAILABLE);

    // A logout that failed does not seem successful, although the cookie is removed and the app
    // ended it.
    let copy = browser.clone();
    assert_eq!(browser.open("/logout").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(copy.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);

    replicas.store.set_down(false);
    let other = replicas.logged_in().await;
    assert_eq!(other.at(&cold).fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_one_line_of_the_log_whatever_fails_because_of_it() {
    let log = Captured::default();
    let _guard = log.subscribe();
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    // Stale revocations have a line of their own.
    let staleness = Duration::from_secs(3600);
    let sessions = world.replica(|one| {
        one.shared_store(store.clone()).store_backed().max_revocation_staleness(staleness)
    });
    let app = app(&sessions);
    let mut browser = Browser::new(&app, &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let mut other = Browser::new(&app, &world.sandbox);
    let authorization = other.start_login("/login").await;
    let callback = world.sandbox.log_in(&authorization, JOHN).unwrap();
    store.set_down(true);
    assert!(sessions.revoke_user("usr_1").await.is_err());
    assert_eq!(other.open(&callback).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    for seconds in [2, 301] {
        world.advance(seconds);
        drop(browser.clone().fetch("/me").await);
        drop(browser.clone().post("/auth/refresh").await);
        drop(browser.clone().open("/logout").await);
        settle().await;
    }
    let log = log.text();
    let errors: Vec<_> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].contains("shared_store_unavailable"), "{}", errors[0]);
    assert!(log.contains("internal_error"), "they are at DEBUG");
}

#[tokio::test(start_paused = true)]
async fn expired_sessions_are_refreshed_without_the_store_only_if_that_is_set() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::from_secs(30)), |s| s);
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let by_default = world.replica(|one| one.shared_store(store.clone()));
    let [one, two] = [(); 2]
        .map(|()| world.replica(|one| one.shared_store(store.clone()).refresh_during_outages()));
    let [by_default, app_one, app_two] = [&by_default, &one, &two].map(app);
    let mut browser = Browser::new(&app_one, &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let mut john = Browser::new(&app_one, &world.sandbox);
    john.log_in(&world.sandbox, JOHN).await;
    let refreshes = || world.sandbox.requests().refreshes();
    let old = browser.clone();
    store.set_down(true);
    assert_eq!(
        browser.clone().post("/auth/refresh").await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(refreshes(), 0, "its token has not expired");
    world.advance(301);
    let response = old.at(&by_default).fetch("/me").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.header("retry-after").is_some());
    assert_eq!(refreshes(), 0);
    // Requests on one replica share a refresh; the environment accepts another one by the second.
    for _ in 0..2 {
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        assert_eq!(old.at(&app_one).fetch("/me").await.status(), StatusCode::OK);
    }
    assert_eq!(refreshes(), 1);
    assert_eq!(old.at(&app_two).fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(refreshes(), 2);
    // The outage is longer than the grace, and the browser changes the replica.
    world.advance(301);
    let mut browser = browser.at(&app_two);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(refreshes(), 3);
    // What this replica revokes is checked.
    let id = world.sandbox.users().get(JOHN).unwrap().id;
    assert!(one.revoke_user(&id).await.is_err());
    assert_eq!(john.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refreshes(), 3);

    store.set_down(false);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.advance(1);
    }
    // The results are published, so that an older cookie gets the newest session.
    for app in [&by_default, &app_one, &app_two] {
        for browser in [&old, &browser] {
            assert_eq!(browser.at(app).fetch("/me").await.status(), StatusCode::OK);
        }
    }
    assert_eq!(refreshes(), 3);
    world.advance(301);
    assert_eq!(old.at(&by_default).fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(refreshes(), 4);
}

#[tokio::test(start_paused = true)]
async fn without_the_store_a_rejected_refresh_ends_no_session() {
    for store_backed in [false, true] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let apps = [(); 2].map(|()| {
            app(&world.replica(|one| {
                let one = one.shared_store(store.clone()).refresh_during_outages();
                if store_backed { one.store_backed() } else { one }
            }))
        });
        let mut browser = Browser::new(&apps[0], &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        let old = browser.at(&apps[1]);
        assert_eq!(old.clone().fetch("/me").await.status(), StatusCode::OK);
        world.advance(301);
        store.set_down(true);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{store_backed}");
        // Its token is spent.
        for _ in 0..2 {
            let response = old.clone().fetch("/me").await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{store_backed}");
            assert!(set_cookies(response.headers()).is_empty());
        }
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{store_backed}");
        store.set_down(false);
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.advance(1);
        }
        let response = old.clone().fetch("/me").await;
        assert_eq!(response.status(), StatusCode::OK, "{store_backed}: {}", response.text());
    }
}

#[tokio::test]
async fn a_session_that_ended_during_a_long_outage_of_one_replica_ends_there_as_soon_as_it_is_over()
{
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let connection = store.other_connection();
    let [here, there] = [&store, &connection].map(|store| {
        app(&world
            .replica(|one| one.shared_store(store.clone()).store_backed().refresh_during_outages()))
    });
    let mut browser = Browser::new(&here, &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let mut copy = browser.at(&there);
    assert_eq!(copy.fetch("/me").await.status(), StatusCode::OK);
    connection.set_cut_off(true);
    // It lives on at the environment, because the browser does not follow the redirect.
    assert_eq!(browser.open("/logout").await.status(), StatusCode::SEE_OTHER);
    for _ in 0..15 {
        world.advance(301);
        assert_eq!(copy.fetch("/me").await.status(), StatusCode::OK);
    }
    connection.set_cut_off(false);
    world.advance(2);
    assert_eq!(copy.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_login_that_cannot_be_stored_sets_no_cookie() {
    let replicas = Replicas::new();
    replicas.logged_in().await;
    let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
    let authorization = browser.start_login("/login").await;
    let callback = replicas.world.sandbox.log_in(&authorization, JANE).unwrap();
    replicas.store.set_down(true);
    let response = browser.open(&callback).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    // The code is spent: the attempt has ended, and the page links to another login.
    assert_eq!(browser.names(), [""; 0]);
    let rejection = response.extensions().get::<RouteRejection<LoginError>>().unwrap();
    assert_eq!(rejection.error(), &LoginError::Interrupted);
    assert!(response.text().contains("href=\"/login\""), "{}", response.text());
    replicas.store.set_down(false);
    let done = browser.log_in(&replicas.world.sandbox, JANE).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_during_a_refresh_ends_no_session() {
    for store_backed in [false, true] {
        for failing in 1..12 {
            let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
            let store = FlakyStore::new(world.sandbox.clock().clock());
            let replica = || {
                let one = world.replica(|one| {
                    let one = one.shared_store(store.clone());
                    if store_backed { one.store_backed() } else { one }
                });
                app(&one)
            };
            let mut browser = Browser::new(&replica(), &world.sandbox);
            browser.log_in(&world.sandbox, JANE).await;
            let late = browser.clone();
            world.advance(301);
            // The store fails after the environment has accepted the refresh token.
            let held = world.sandbox.faults().hold(Endpoint::Token);
            let request = browser.request(Method::GET, "/me", &FETCH);
            let refreshing = tokio::spawn({
                let app = browser.app().clone();
                async move { send(&app, request).await }
            });
            while world.sandbox.requests().count(Endpoint::Token) < 2 {
                tokio::task::yield_now().await;
            }
            store.fail_next(failing);
            drop(held);
            let response = refreshing.await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{store_backed} {failing}");
            browser.store_cookies(&response);
            store.fail_next(0);
            for _ in 0..3 {
                assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
                world.advance(301);
            }
            // Another process, or the same one after a restart; and a tab with the old cookie.
            let fresh = replica();
            let response = browser.at(&fresh).fetch("/me").await;
            assert_eq!(response.status(), StatusCode::OK, "{store_backed} {failing}");
            let _ = late.at(&fresh).fetch("/me").await;
            browser.store_cookies(&response);
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_missed_a_refresh_gets_it_from_the_published_result() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in().await;
    replicas.world.advance(301);
    replicas.store.reject(Some(KeyNamespace::Session));
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    replicas.store.reject(None);
    assert_eq!(browser.status_at(&replicas.apps[1]).await, StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(60)).await;
    replicas.world.advance(61);
    let fresh =
        replicas.world.replica(|one| one.shared_store(replicas.store.clone()).store_backed());
    assert_eq!(browser.at(&app(&fresh)).fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(replicas.world.sandbox.requests().refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_a_result_that_the_store_has_not_accepted() {
    for store_backed in [false, true] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let sessions = world.replica(|one| {
            let one = one.shared_store(store.clone());
            if store_backed { one.store_backed() } else { one }
        });
        let mut browser = Browser::new(&app(&sessions), &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        let old = browser.clone();
        world.advance(301);
        let namespace = if store_backed { KeyNamespace::Session } else { KeyNamespace::Refresh };
        store.reject(Some(namespace));
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        let unfinished = sessions.shutdown(Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(unfinished.iter().count(), 1, "{unfinished}");
        store.reject(None);
        assert_eq!(sessions.shutdown(Duration::from_secs(2)).await, Ok(()));
        let [restarted, _] = replicas_of(&world, &store, store_backed);
        assert_eq!(old.at(&restarted).fetch("/me").await.status(), StatusCode::OK);
        assert_eq!(world.sandbox.requests().refreshes(), 1, "{store_backed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_the_store_missed_is_published_before_an_older_token_is_rejected() {
    for seconds in [5, 10, 20, 40, 55] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let apps = replicas_of(&world, &store, false);
        let mut browser = Browser::new(&apps[0], &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        world.advance(301);
        store.reject(Some(KeyNamespace::Refresh));
        let lost = browser.clone().fetch("/me").await;
        assert_eq!(lost.status(), StatusCode::OK);
        for second in 0..seconds + 6 {
            if second == seconds {
                store.reject(None);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.advance(1);
        }
        let response = browser.at(&apps[1]).fetch("/me").await;
        assert_eq!(response.status(), StatusCode::OK, "{seconds} s: {}", response.text());
        assert_eq!(world.sandbox.requests().refreshes(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_could_not_be_released_does_not_block_the_next_refresh() {
    for fails in [false, true] {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let apps = replicas_of(&world, &store, false);
        let mut browser = Browser::new(&apps[0], &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        world.advance(301);
        let mut waiting = browser.clone();
        let first = |mut browser: Browser| {
            tokio::spawn(async move { (browser.fetch("/me").await.status(), browser) })
        };
        if fails {
            // The failure cannot be recorded in place of the lease.
            let fault = Fault::Status(StatusCode::BAD_GATEWAY);
            world.sandbox.faults().add_times(Endpoint::Token, 1, fault);
            let acquired = store.hold_next_write(KeyNamespace::RefreshLease);
            let failed = first(waiting.clone());
            settle().await;
            store.reject(Some(KeyNamespace::RefreshLease));
            acquired.notify_one();
            assert_eq!(failed.await.unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
            store.reject(None);
        } else {
            // The store fails between the publication and the release.
            let publishing = store.hold_next_write(KeyNamespace::Refresh);
            let refreshed = first(waiting);
            settle().await;
            let published = store.hold_next(When::AfterIt);
            publishing.notify_one();
            settle().await;
            store.set_down(true);
            published.notify_one();
            let status;
            (status, waiting) = refreshed.await.unwrap();
            assert_eq!(status, StatusCode::OK);
            store.set_down(false);
        }
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.advance(1);
        }
        let response = waiting.at(&apps[1]).post("/auth/refresh").await;
        assert_eq!(response.status(), StatusCode::OK, "{fails}: {}", response.text());
    }
}

/// The lease expires while its holder can neither publish the result nor extend the lease.
#[tokio::test(start_paused = true)]
async fn an_outage_within_the_grace_of_the_environment_ends_no_session_whichever_replica_is_first()
{
    for (seconds, store_backed) in [5, 17, 19, 29].into_iter().flat_map(|s| [(s, false), (s, true)])
    {
        let case = format!("{seconds} s, {store_backed}");
        let grace = Duration::from_secs(30);
        let world = World::with(|sandbox| sandbox.refresh_grace(grace), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let apps = replicas_of(&world, &store, store_backed);
        let mut browser = Browser::new(&apps[0], &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        let mut old = browser.at(&apps[1]);
        assert_eq!(old.fetch("/me").await.status(), StatusCode::OK);
        world.advance(301);
        let held = world.sandbox.faults().hold(Endpoint::Token);
        let mut holder = browser.clone();
        let refreshed = tokio::spawn(async move { (holder.fetch("/me").await.status(), holder) });
        settle().await;
        store.set_down(true);
        drop(held);
        let (status, mut holder) = refreshed.await.unwrap();
        assert_eq!(status, StatusCode::OK, "{case}");
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.advance(1);
        }
        store.set_down(false);
        for second in 0..20 {
            let response = old.clone().fetch("/me").await;
            assert_ne!(response.status(), StatusCode::UNAUTHORIZED, "{case}, {second} s later");
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.advance(1);
        }
        for _ in 0..2 {
            for browser in [&mut old, &mut holder] {
                for app in &apps {
                    let response = browser.at(app).fetch("/me").await;
                    assert_eq!(response.status(), StatusCode::OK, "{case}");
                }
                assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{case}");
            }
            world.advance(301);
        }
    }
}

#[tokio::test]
async fn a_generation_that_is_marked_late_replaces_no_newer_one() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let [first, second] = replicas_of(&world, &store, false);
    let mut browser = Browser::new(&first, &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    world.advance(301);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    let old = browser.clone();
    // One replica is slow to mark the first refresh; the other marks the second one.
    let late = store.hold_next_write(KeyNamespace::Generation);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    settle().await;
    world.advance(301);
    let mut browser = browser.at(&second);
    for _ in 0..2 {
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        settle().await;
    }
    late.notify_one();
    settle().await;
    // The result is no longer kept, and the environment no longer accepts the older token.
    world.advance(24 * 60 * 60 + 1);
    assert_eq!(old.at(&first).fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(world.sandbox.requests().refreshes(), 2, "the older token is not spent again");
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn shutdown_publishes_a_logout_that_the_store_missed() {
    for in_cookie in [false, true] {
        let replicas = Replicas::new();
        let path = if in_cookie { "/own/cookie" } else { "/own" };
        let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
        browser.post(path).await;
        let copy = browser.clone();
        replicas.store.set_down(true);
        assert_eq!(browser.open("/logout").await.status(), StatusCode::SEE_OTHER);
        replicas.store.set_down(false);
        let limit = Duration::from_secs(5);
        assert_eq!(replicas.sessions[0].shutdown(limit).await, Ok(()));
        replicas.world.advance(2);
        assert_eq!(copy.status_at(&replicas.apps[1]).await, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn a_logout_that_the_store_missed_is_published_when_it_is_available() {
    let replicas = Replicas::new();
    for path in ["/own", "/own/cookie"] {
        let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
        browser.post(path).await;
        let (copy, other) = (browser.clone(), browser.clone());
        assert_eq!(copy.status_at(&replicas.apps[1]).await, StatusCode::OK);
        replicas.store.set_down(true);
        assert_eq!(browser.open("/logout").await.status(), StatusCode::SEE_OTHER);
        replicas.store.set_down(false);
        // Any request after two seconds.
        for _ in 0..2 {
            replicas.world.advance(2);
            assert_eq!(other.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(copy.status_at(&replicas.apps[1]).await, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn only_stored_sessions_need_the_store_to_begin() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = world.replica(|one| one.shared_store(store.clone()));
    store.reject(Some(KeyNamespace::Session));
    let headers = HeaderMap::new();
    let in_cookie = sessions.create(LocalSession::new(mary()).in_cookie(), &headers).await;
    assert!(in_cookie.is_ok(), "{in_cookie:?}");
    let stored = sessions.create(LocalSession::new(mary()), &headers).await;
    assert!(matches!(stored, Err(CreateSessionError::Store(_))));
}

#[tokio::test(start_paused = true)]
async fn a_result_that_the_store_missed_for_minutes_ends_no_session_on_another_replica() {
    let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let apps = replicas_of(&world, &store, true);
    let mut browser = Browser::new(&apps[0], &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    world.advance(301);
    let held = world.sandbox.faults().hold(Endpoint::Token);
    let refreshed = tokio::spawn(async move { (browser.fetch("/me").await.status(), browser) });
    settle().await;
    store.set_down(true);
    drop(held);
    let (status, browser) = refreshed.await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let second = async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.advance(1);
    };
    for _ in 0..90 {
        second().await;
    }
    store.set_down(false);
    for seconds in 0..8 {
        let status = browser.at(&apps[1]).fetch("/me").await.status();
        assert_ne!(status, StatusCode::UNAUTHORIZED, "after {seconds} s");
        second().await;
    }
    assert_eq!(browser.at(&apps[1]).fetch("/me").await.status(), StatusCode::OK);
}
