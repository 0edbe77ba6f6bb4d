//! Ends of sessions that the shared store has confirmed, and then lost in a failover.

use std::time::Duration;

use axum::Router;
use http::StatusCode;
use tokio::time::sleep;
use tower_scalekit::Sessions;

use crate::store::{FlakyStore, Loses};
use crate::support::{Browser, JANE, World, app};

struct Scene {
    world: World,
    store: FlakyStore,
    store_backed: bool,
    sessions: Sessions,
    browser: Browser,
}

impl Scene {
    /// A user who is logged in.
    async fn new(store_backed: bool) -> Self {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let sessions = start(&world, &store, store_backed);
        let mut browser = Browser::new(&app(&sessions), &world.sandbox);
        let done = browser.log_in(&world.sandbox, JANE).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER);
        Self { world, store, store_backed, sessions, browser }
    }

    /// A replica that starts now.
    fn start(&self) -> Router {
        app(&start(&self.world, &self.store, self.store_backed))
    }

    /// Advances both clocks.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.world.advance(1);
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Asserts that no replica accepts the cookie, now and when the log has dropped the end of a
    /// stored session.
    async fn assert_ended(&self) {
        let started_before = self.start();
        for _ in 0..2 {
            for app in [self.browser.app(), &started_before, &self.start()] {
                let response = self.browser.at(app).fetch("/me").await;
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{}", self.store_backed);
            }
            self.pass(61 * 60).await;
        }
    }
}

fn start(world: &World, store: &FlakyStore, store_backed: bool) -> Sessions {
    world.replica(|one| {
        let one = one.shared_store(store.clone());
        if store_backed { one.store_backed() } else { one }
    })
}

#[tokio::test(start_paused = true)]
async fn a_lost_logout_ends_every_copy_after_a_minute() {
    for store_backed in [false, true] {
        let scene = Scene::new(store_backed).await;
        scene.store.lose(Loses::Everything);
        let logout = scene.browser.clone().post("/logout").await;
        assert_eq!(logout.status(), StatusCode::SEE_OTHER);
        scene.store.lose(Loses::Nothing);
        scene.pass(62).await;
        scene.assert_ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_logout_is_repeated_at_shutdown() {
    for store_backed in [false, true] {
        let scene = Scene::new(store_backed).await;
        scene.store.lose(Loses::Everything);
        let logout = scene.browser.clone().post("/logout").await;
        assert_eq!(logout.status(), StatusCode::SEE_OTHER);
        scene.store.lose(Loses::Nothing);
        assert_eq!(scene.sessions.shutdown(Duration::from_secs(1)).await, Ok(()));
        scene.assert_ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_logout_is_repeated_until_the_store_accepts_it() {
    for store_backed in [false, true] {
        let scene = Scene::new(store_backed).await;
        scene.store.lose(Loses::Everything);
        let logout = scene.browser.clone().post("/logout").await;
        assert_eq!(logout.status(), StatusCode::SEE_OTHER);
        scene.store.lose(Loses::Nothing);
        scene.store.set_down(true);
        scene.pass(80).await;
        scene.store.set_down(false);
        scene.pass(10).await;
        scene.assert_ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_whose_entry_in_the_log_is_lost_ends_every_copy_after_a_minute() {
    for revokes_user in [false, true] {
        let scene = Scene::new(false).await;
        let user = scene.world.sandbox.users().get(JANE).unwrap().id;
        scene.store.lose(Loses::Logs);
        if revokes_user {
            scene.sessions.revoke_user(&user).await.unwrap();
        } else {
            assert_eq!(scene.browser.clone().post("/logout").await.status(), StatusCode::SEE_OTHER);
        }
        scene.store.lose(Loses::Nothing);
        scene.pass(62).await;
        scene.assert_ended().await;
        // A login after the revocation is unaffected.
        let mut browser = Browser::new(&scene.start(), &scene.world.sandbox);
        browser.log_in(&scene.world.sandbox, JANE).await;
        for app in [scene.browser.app(), &scene.start()] {
            assert_eq!(browser.at(app).fetch("/me").await.status(), StatusCode::OK);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_is_published_late_and_then_lost_ends_every_copy_after_a_minute() {
    let scene = Scene::new(false).await;
    let user = scene.world.sandbox.users().get(JANE).unwrap().id;
    scene.store.set_down(true);
    assert!(scene.sessions.revoke_user(&user).await.is_err());
    // Longer than the check of a revocation is repeated.
    scene.pass(180).await;
    scene.store.lose(Loses::Logs);
    scene.store.set_down(false);
    scene.pass(1).await;
    scene.store.lose(Loses::Nothing);
    scene.pass(62).await;
    let started = scene.start();
    let response = scene.browser.at(&started).fetch("/me").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    scene.assert_ended().await;
}
