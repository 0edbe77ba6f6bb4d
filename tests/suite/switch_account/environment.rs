//! Which session at the environment is revoked with a login that is not confirmed.

use futures::TryStreamExt as _;
use tower_scalekit::Sessions;
use tower_scalekit::clock::ManualClock;

use super::*;
use crate::clocks::scalekit;
use crate::support::{CALLBACK, sandbox_builder, secret};

/// Logs in as John, with this session of the environment, which completes the login without him.
async fn continued(world: &World, browser: &mut Browser, session: &str) -> Response<Bytes> {
    for kind in [TokenKind::AccessToken, TokenKind::IdToken] {
        let fault = TokenFault::WithClaim("sid".to_owned(), json!(session));
        world.sandbox.tokens().add_fault(kind, fault);
    }
    let asked = browser.log_in(&world.sandbox, JOHN).await;
    world.sandbox.tokens().clear_faults();
    assert!(asked.location().starts_with(PAGE), "{asked:?}");
    asked
}

/// The ID of John's newest session at the environment.
async fn newest_session(world: &World) -> String {
    let john = world.sandbox.users().get(JOHN).unwrap().id;
    let sessions = world.sandbox.scalekit().api().sessions().list_for_user(&john).stream();
    sessions.try_collect::<Vec<_>>().await.unwrap().remove(0).session_id
}

async fn is_active(world: &World, session: &str) -> bool {
    world.sessions.shutdown(MINUTE).await.unwrap();
    let details = world.sandbox.scalekit().api().sessions().get(session).await.unwrap();
    details.expired_at.is_none()
}

#[tokio::test]
async fn a_session_that_another_app_uses_is_not_revoked() {
    for is_decided in [false, true] {
        let world = World::new();
        let mut other_app = world.logged_in(JOHN).await;
        let session = other_app.fetch("/me").await.json()["sid"].as_str().unwrap().to_owned();
        world.advance(60);
        let mut browser = world.logged_in(JANE).await;
        let asked = continued(&world, &mut browser, &session).await;
        if is_decided {
            assert_eq!(browser.decide(&asked, "keep").await.location(), "/me");
        } else {
            world.advance(600);
            browser.open(asked.location()).await;
        }
        assert_eq!(browser.names_with("_switch_"), [""; 0]);
        assert_eq!(email(&browser).await.as_deref(), Some(JANE));
        assert!(is_active(&world, &session).await, "{is_decided}");
    }
}

#[tokio::test]
async fn keep_spares_the_session_of_a_login_that_waits_in_another_tab() {
    for buttons in [["keep", "keep"], ["keep", "switch"]] {
        let world = World::new();
        let mut browser = world.logged_in(JANE).await;
        let first = browser.log_in(&world.sandbox, JOHN).await;
        let session = newest_session(&world).await;
        world.advance(30);
        let second = continued(&world, &mut browser, &session).await;
        assert_eq!(browser.decide(&first, buttons[0]).await.location(), "/me");
        assert!(is_active(&world, &session).await, "the second login may use it");
        assert_eq!(browser.decide(&second, buttons[1]).await.location(), "/me");
        // The first login has created it.
        assert_eq!(is_active(&world, &session).await, buttons[1] == "switch", "{buttons:?}");
    }
}

#[tokio::test]
async fn an_expired_login_leaves_its_session_to_a_later_one_that_revokes_it() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    browser.log_in(&world.sandbox, JOHN).await;
    let session = newest_session(&world).await;
    world.advance(600);
    let second = continued(&world, &mut browser, &session).await;
    browser.open(second.location()).await;
    assert_eq!(browser.names_with("_switch_").len(), 1);
    assert!(is_active(&world, &session).await);
    browser.decide(&second, "keep").await;
    assert!(!is_active(&world, &session).await);
}

#[tokio::test]
async fn without_the_store_keep_can_be_pressed_again() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = World::with(|sandbox| sandbox, |sessions| sessions.shared_store(store.clone()));
    let mut browser = world.logged_in(JANE).await;
    let first = browser.log_in(&world.sandbox, JOHN).await;
    let session = newest_session(&world).await;
    let second = continued(&world, &mut browser, &session).await;
    let keep = action(&browser, &first, "keep").await;
    // The login of this request is read before those in other tabs.
    let held = store.hold_next(When::AfterIt);
    let mut pressed = browser.clone();
    let pressing = tokio::spawn(async move { post(&mut pressed, &keep).await });
    settle().await;
    store.fail_reads(KeyNamespace::PendingLogin, 1);
    held.notify_one();
    let failed = pressing.await.unwrap();
    assert_eq!(failed.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(is_active(&world, &session).await);
    for asked in [&first, &second] {
        assert_eq!(browser.decide(asked, "keep").await.location(), "/me");
    }
    assert!(!is_active(&world, &session).await);
}

#[tokio::test]
async fn clocks_that_differ_do_not_make_a_session_older_or_newer_than_a_login() {
    for seconds in [-40, 40] {
        let sandbox = sandbox_builder().build();
        let now = sandbox.clock().clock().now();
        let clock = ManualClock::at(now + time::Duration::seconds(seconds));
        let sessions = Sessions::builder(scalekit(&sandbox, &clock))
            .secret(secret(1))
            .redirect_uri(CALLBACK)
            .build()
            .unwrap();
        let world = World { app: app(&sessions), sandbox, sessions };
        world.logged_in(JOHN).await;
        let of_other_app = newest_session(&world).await;
        for clock in [world.sandbox.clock(), &clock] {
            clock.advance(Duration::from_secs(20));
        }
        let mut browser = world.logged_in(JANE).await;
        let asked = continued(&world, &mut browser, &of_other_app).await;
        browser.decide(&asked, "keep").await;
        assert!(is_active(&world, &of_other_app).await, "{seconds}");

        // Other sessions are older.
        world.advance(1);
        let asked = browser.log_in(&world.sandbox, JOHN).await;
        let session = newest_session(&world).await;
        browser.decide(&asked, "keep").await;
        assert!(!is_active(&world, &session).await, "{seconds}");
    }
}
