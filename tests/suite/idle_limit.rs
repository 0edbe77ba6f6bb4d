//! Use extends the idle limit of a session, also while a part of the system is unavailable.

use std::time::Duration;

use http::StatusCode;
use tower_scalekit::session::SessionsBuilder;

use crate::store::FlakyStore;
use crate::stored::app_with_local_login;
use crate::support::{Browser, JANE, World};

const IDLE: Duration = Duration::from_secs(600);

/// Sessions that end after ten minutes without use, in this store.
fn idle(world: &World, store: &FlakyStore) -> axum::Router {
    idle_with(world, store, |sessions| sessions)
}

fn idle_with(
    world: &World,
    store: &FlakyStore,
    change: impl FnOnce(SessionsBuilder) -> SessionsBuilder,
) -> axum::Router {
    let builder = |one: SessionsBuilder| change(one.shared_store(store.clone()).idle_timeout(IDLE));
    app_with_local_login(&world.replica(builder))
}

#[tokio::test]
async fn a_requested_refresh_keeps_every_kind_of_session_alive() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let app = idle(&world, &store);
    for path in ["/own", "/own/cookie", "/login"] {
        let mut browser = Browser::new(&app, &world.sandbox);
        match path {
            "/login" => drop(browser.log_in(&world.sandbox, JANE).await),
            own => drop(browser.post(own).await),
        }
        for _ in 0..4 {
            world.advance(400);
            let refreshed = browser.post("/auth/refresh").await;
            assert_eq!(refreshed.status(), StatusCode::NO_CONTENT, "{path}");
        }
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{path}");
    }
}
