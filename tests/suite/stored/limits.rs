//! The limit of sessions per user, and what their ends cost.

use super::*;

#[tokio::test]
async fn a_login_beyond_the_limit_of_sessions_per_user_ends_the_oldest() {
    for local in [false, true] {
        let world = World::with(
            |sandbox| sandbox,
            |sessions| sessions.store_backed().max_sessions_per_user(3),
        );
        let log_in = async |email: &str| {
            if !local {
                return world.logged_in(email).await;
            }
            let mut user = User::default();
            user.id = email.to_owned();
            let session = LocalSession::new(user);
            let cookies = world.sessions.create(session, &HeaderMap::new()).await.unwrap();
            let mut response = Response::new(Bytes::new());
            cookies.set(response.headers_mut());
            let mut browser = world.browser();
            browser.store_cookies(&response);
            browser
        };
        let is_in =
            async |browser: &Browser| browser.clone().fetch("/me").await.status() == StatusCode::OK;
        let other = log_in(JOHN).await;
        let first = log_in(JANE).await;
        let mut second = log_in(JANE).await;
        let third = log_in(JANE).await;
        assert!(is_in(&first).await && is_in(&second).await && is_in(&third).await);
        // An ended session does not count.
        assert_eq!(second.post("/logout").await.status(), StatusCode::SEE_OTHER);
        let fourth = log_in(JANE).await;
        assert!(is_in(&first).await && is_in(&third).await && is_in(&fourth).await);
        let fifth = log_in(JANE).await;
        assert!(!is_in(&first).await && is_in(&third).await && is_in(&fourth).await);
        assert!(is_in(&fifth).await && is_in(&other).await);
    }
}

#[tokio::test]
async fn a_login_in_place_of_a_session_ends_no_other_session_at_the_limit() {
    for local in [false, true] {
        let world = World::new();
        let sessions = world.replica(|one| one.store_backed().max_sessions_per_user(2));
        let app = app_with_local_login(&sessions);
        let log_in = async |browser: &mut Browser| match local {
            true => browser.post("/own").await,
            false => browser.log_in(&world.sandbox, JANE).await,
        };
        let mut devices = [(); 2].map(|()| Browser::new(&app, &world.sandbox));
        for device in &mut devices {
            log_in(device).await;
        }
        let [first, second] = &mut devices;
        let replaced = second.clone();
        for _ in 0..3 {
            log_in(second).await;
            assert_eq!(second.fetch("/me").await.status(), StatusCode::OK);
            assert_eq!(first.fetch("/me").await.status(), StatusCode::OK, "local: {local}");
        }
        assert_eq!(replaced.clone().fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn each_origin_of_an_app_has_its_own_limit_of_sessions_per_user() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let limit = |one: SessionsBuilder| one.shared_store(store.clone()).max_sessions_per_user(2);
    let here = world.replica(limit);
    let there = world.replica(|one| limit(one).redirect_uri("https://b.test/auth/callback"));
    let apps = [app(&here), app(&there)];
    let mut begun = Vec::new();
    for origin in [0, 1, 1, 0, 0] {
        begun.push(marys([&here, &there][origin], &apps[origin], &world).await.unwrap());
    }
    let mut statuses = Vec::new();
    for browser in &mut begun {
        statuses.push(browser.fetch("/me").await.status() == StatusCode::OK);
    }
    assert_eq!(statuses, [false, true, true, true, true], "the oldest of three has ended");
}

#[tokio::test]
async fn a_login_with_a_hook_counts_once_towards_the_limit_of_cookie_sessions() {
    let world = World::with(
        |sandbox| sandbox,
        |sessions| {
            sessions
                .max_sessions_per_user(2)
                .on_login(|login| async move { Ok(login.identity().session().in_cookie().into()) })
        },
    );
    for number in 0..4 {
        let browser = world.logged_in(JANE).await;
        assert_eq!(browser.names_and_values().len() < 160, number >= 2, "{number}");
    }
}

/// Creates a local session of Mary's, and returns its browser.
async fn marys(
    sessions: &Sessions,
    app: &Router,
    world: &World,
) -> Result<Browser, CreateSessionError> {
    let cookies = sessions.create(LocalSession::new(mary()), &HeaderMap::new()).await?;
    let mut response = Response::new(Bytes::new());
    cookies.set(response.headers_mut());
    let mut browser = Browser::new(app, &world.sandbox);
    browser.store_cookies(&response);
    Ok(browser)
}

#[tokio::test]
async fn concurrent_logins_of_one_user_do_not_exceed_the_limit() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let limit = |one: SessionsBuilder| one.shared_store(store.clone()).max_sessions_per_user(3);
    let sessions = world.replica(limit);
    let app = app(&sessions);
    store.yield_before_each();
    let begun = join_all((0..60).map(|_| marys(&sessions, &app, &world))).await;
    assert!(begun.iter().any(Result::is_err), "some are rejected, because of concurrent changes");
    let mut live = 0;
    for mut browser in begun.into_iter().flatten() {
        live += usize::from(browser.fetch("/me").await.status() == StatusCode::OK);
    }
    assert_eq!(live, 3);
}

/// Three sessions of Mary's, of which each login from now on leaves one, and a replica that no login
/// has reached.
struct Excess {
    world: World,
    store: FlakyStore,
    begun: Vec<Browser>,
}

impl Excess {
    async fn new() -> Self {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let sessions = world.replica(|one| one.shared_store(store.clone()));
        let app = app(&sessions);
        let mut begun = Vec::new();
        for _ in 0..3 {
            begun.push(marys(&sessions, &app, &world).await.unwrap());
        }
        Self { world, store, begun }
    }

    async fn log_in_by(&self, connection: &FlakyStore) -> Browser {
        let limit = |one: SessionsBuilder| one.shared_store(connection.clone());
        let sessions = self.world.replica(|one| limit(one).max_sessions_per_user(1));
        marys(&sessions, &app(&sessions), &self.world).await.unwrap()
    }

    /// Whether they are alive at a replica that has no copy of them.
    async fn are_alive(&self) -> Vec<bool> {
        let app = app(&self.world.replica(|one| one.shared_store(self.store.clone())));
        let mut alive = Vec::new();
        for browser in &self.begun {
            alive.push(browser.at(&app).fetch("/me").await.status() == StatusCode::OK);
        }
        alive
    }
}

#[tokio::test]
async fn an_end_of_a_session_over_the_limit_that_fails_prevents_no_other() {
    let excess = Excess::new().await;
    // The session is removed, but its end is not published.
    excess.store.reject(Some(KeyNamespace::Revocation));
    excess.log_in_by(&excess.store).await;
    assert_eq!(excess.are_alive().await, [false; 3]);
}

#[tokio::test]
async fn sessions_over_the_limit_that_could_not_be_ended_are_ended_by_the_next_login() {
    let mut excess = Excess::new().await;
    let lost = excess.store.other_connection();
    excess.store.fail_puts(b"ended", usize::MAX);
    excess.store.reject(Some(KeyNamespace::Revocation));
    let new = excess.log_in_by(&lost).await;
    // Without its background tasks.
    lost.set_cut_off(true);
    excess.store.fail_puts(b"ended", 0);
    excess.store.reject(None);
    excess.begun.push(new);
    assert_eq!(excess.are_alive().await, [true; 4]);
    let last = excess.log_in_by(&excess.store).await;
    excess.begun.push(last);
    assert_eq!(excess.are_alive().await, [false, false, false, false, true]);
}

#[tokio::test]
async fn a_session_that_a_replica_of_the_store_lacks_counts_towards_the_limit_for_a_minute() {
    for (age, is_counted) in [(30, true), (90, false)] {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let sessions =
            world.replica(|one| one.shared_store(store.clone()).max_sessions_per_user(2));
        let app = app(&sessions);
        let first = marys(&sessions, &app, &world).await.unwrap();
        world.advance(1);
        let before = store.keys();
        let second = marys(&sessions, &app, &world).await.unwrap();
        world.advance(age);
        store.hide(store.keys().difference(&before).cloned());
        let third = marys(&sessions, &app, &world).await.unwrap();
        store.hide([]);
        let is_in = async |browser: &Browser| browser.clone().fetch("/me").await.status();
        // The oldest one ends, unless the store has lost another.
        let expected = if is_counted { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        assert_eq!(is_in(&first).await, expected, "{age}");
        assert_eq!(is_in(&third).await, StatusCode::OK);
        if is_counted {
            assert_eq!(is_in(&second).await, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_session_that_has_just_ended_on_another_replica_does_not_count_towards_the_limit() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let limit = |one: SessionsBuilder| one.shared_store(store.clone()).max_sessions_per_user(2);
    let [first, second] = [(); 2].map(|()| world.replica(limit));
    let [app, other] = [&first, &second].map(app);
    let kept = marys(&first, &app, &world).await.unwrap();
    let mut ended = marys(&first, &app, &world).await.unwrap().at(&other);
    // The first replica does not learn of the end from the log.
    store.reject(Some(KeyNamespace::Revocation));
    assert_eq!(ended.post("/logout").await.status(), StatusCode::SEE_OTHER);
    store.reject(None);
    let new = marys(&first, &app, &world).await.unwrap();
    for browser in [kept, new] {
        assert_eq!(browser.clone().fetch("/me").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn the_end_of_a_stored_session_is_dropped_after_an_hour_and_the_session_stays_ended() {
    let replicas = Replicas::new();
    let [first, second] = &replicas.apps;
    let mut browser = marys(&replicas.sessions[0], first, &replicas.world).await.unwrap();
    let mut copies = [first, second].map(|app| browser.at(app));
    for copy in &mut copies {
        assert_eq!(copy.fetch("/me").await.status(), StatusCode::OK);
    }
    assert_eq!(browser.post("/logout").await.status(), StatusCode::SEE_OTHER);
    // The second replica serves no requests while the log has the logout.
    replicas.world.advance(61 * 60);
    for _ in 0..2 {
        for copy in &mut copies {
            assert_eq!(copy.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
        }
        replicas.world.advance(61 * 60);
    }
}

#[tokio::test]
async fn a_stored_session_is_used_without_the_store_until_its_end_could_be_dropped() {
    let replicas = Replicas::new();
    let app = &replicas.apps[0];
    let mut browser = marys(&replicas.sessions[0], app, &replicas.world).await.unwrap();
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    replicas.store.set_down(true);
    for _ in 0..9 {
        replicas.world.advance(6 * 60);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
    replicas.world.advance(60);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    replicas.store.set_down(false);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn sessions_beyond_the_limit_of_cookie_sessions_per_user_are_stored() {
    let world = World::with(|sandbox| sandbox, |sessions| sessions.max_sessions_per_user(2));
    let is_stored = |browser: &Browser| browser.names_and_values().len() < 160;
    let mut all = Vec::new();
    for number in 0..5 {
        let browser = world.logged_in(JANE).await;
        assert_eq!(is_stored(&browser), number >= 2);
        all.push(browser);
    }
    assert!(!is_stored(&world.logged_in(JOHN).await));
    let mut statuses = Vec::new();
    for browser in &all {
        statuses.push(browser.clone().fetch("/me").await.status() == StatusCode::OK);
    }
    assert_eq!(statuses, [true, true, false, true, true], "two of each kind");
    let copy = all[3].clone();
    assert_eq!(all[3].post("/logout").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(copy.clone().fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    // They are counted for as long as a session can last.
    world.advance(30 * 24 * 60 * 60);
    assert!(!is_stored(&world.logged_in(JANE).await));
}

#[tokio::test]
async fn a_full_store_blocks_no_logout_and_no_revocation() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = world.replica(|one| one.shared_store(store.clone()).store_backed());
    let app = app(&sessions);
    let mut browser = Browser::new(&app, &world.sandbox);
    for namespace in [KeyNamespace::Refresh, KeyNamespace::Session] {
        browser.log_in(&world.sandbox, JANE).await;
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        let copy = browser.clone();
        store.reject(Some(namespace));
        assert_eq!(browser.post("/logout").await.status(), StatusCode::SEE_OTHER);
        assert_eq!(copy.clone().fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
        store.reject(None);
    }
}
