//! Logins that are not confirmed in time.

use super::*;

#[tokio::test]
async fn a_login_waits_sealed_for_at_most_ten_minutes() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = World::with(|sandbox| sandbox, |sessions| sessions.shared_store(store.clone()));
    let (mut browser, asked) = asked(&world).await;
    let waiting =
        store.seen().into_iter().filter(|(key, _)| key.namespace() == KeyNamespace::PendingLogin);
    let (of_user, waiting): (Vec<_>, Vec<_>) =
        waiting.partition(|(key, _)| key.id().contains(".of "));
    assert_eq!(of_user.len(), 1, "{of_user:?}");
    let [(key, value)] = &waiting[..] else { panic!("{waiting:?}") };
    // A reader of the store has neither the tokens nor the cookie.
    assert!(!String::from_utf8_lossy(value).contains(JOHN));
    assert!(!browser.cookie_header().contains(key.id()));
    let cookie = browser.names_with("_switch_").remove(0);
    browser.keep_expired(&cookie);
    let switch = action(&browser, &asked, "switch").await;
    world.advance(600);
    // Jane's session stays, so the browser is redirected into the app.
    let late = post(&mut browser, &switch).await;
    assert_eq!((late.status(), late.location()), (StatusCode::SEE_OTHER, "/"));
    assert_eq!(email(&browser).await.as_deref(), Some(JANE));
}

#[tokio::test]
async fn a_login_that_is_not_confirmed_in_time_is_revoked_with_the_next_login_or_logout() {
    for (target, others) in [("/auth/callback", 3), ("/logout", 1), (PAGE, 1)] {
        let world = World::new();
        let (mut browser, asked) = asked(&world).await;
        let visit = async |browser: &mut Browser| match target {
            PAGE => browser.open(asked.location()).await,
            "/auth/callback" => browser.log_in(&world.sandbox, JANE).await,
            target => browser.open(target).await,
        };
        world.advance(599);
        visit(&mut browser.clone()).await;
        world.sessions.shutdown(MINUTE).await.unwrap();
        world.advance(1);
        assert_eq!(browser.names_with("_switch_").len(), 1);
        visit(&mut browser).await;
        assert_eq!(browser.names_with("_switch_"), [""; 0], "{target}");
        world.sessions.shutdown(MINUTE).await.unwrap();
        assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 0, "revoked by {target}");
        assert_eq!(
            world.sandbox.users().revoke_sessions(JANE),
            others,
            "no other session is revoked"
        );
    }
}

#[tokio::test]
async fn a_login_revokes_no_session_at_the_environment_that_it_may_use() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    // The environment continues the same session at the next login.
    let log_in = async |browser: &mut Browser, email: &str| {
        for kind in [TokenKind::AccessToken, TokenKind::IdToken] {
            let same = TokenFault::WithClaim("sid".to_owned(), json!("ses_same"));
            world.sandbox.tokens().add_fault(kind, same);
        }
        browser.log_in(&world.sandbox, email).await
    };
    for email in [JANE, JOHN] {
        let asked = log_in(&mut browser, JOHN).await;
        assert!(asked.location().starts_with(PAGE), "{asked:?}");
        world.advance(600);
        let before = world.sandbox.requests().count(Endpoint::Api);
        browser.open("/login").await;
        world.sessions.shutdown(MINUTE).await.unwrap();
        assert_eq!(browser.names_with("_switch_").len(), 1, "it waits for the callback");
        let done = log_in(&mut browser, email).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER);
        world.sessions.shutdown(MINUTE).await.unwrap();
        assert_eq!(world.sandbox.requests().count(Endpoint::Api), before, "{email}");
        assert_eq!(browser.names_with("_switch_").len(), usize::from(email == JOHN));
    }
}

#[tokio::test]
async fn removing_an_expired_login_revokes_no_session_that_the_user_switches_to() {
    for (second_session, revoked) in [("ses_same", 0), ("ses_other", 1)] {
        let store = FlakyStore::new(Sandbox::new().clock().clock());
        let world = World::with(|sandbox| sandbox, |sessions| sessions.shared_store(store.clone()));
        let mut browser = world.logged_in(JANE).await;
        let log_in = async |browser: &mut Browser, session: &str| {
            for kind in [TokenKind::AccessToken, TokenKind::IdToken] {
                let fault = TokenFault::WithClaim("sid".to_owned(), json!(session));
                world.sandbox.tokens().add_fault(kind, fault);
            }
            browser.log_in(&world.sandbox, JOHN).await
        };
        log_in(&mut browser, "ses_same").await;
        world.advance(500);
        let asked = log_in(&mut browser, second_session).await;
        let switch = action(&browser, &asked, "switch").await;
        world.advance(101);
        assert_eq!(email(&browser).await.as_deref(), Some(JANE));
        let before = world.sandbox.requests().count(Endpoint::Api);
        // The removal is slow.
        let held = store.hold_next(When::BeforeIt);
        let switching = tokio::spawn(async move { post(&mut browser, &switch).await });
        settle().await;
        held.notify_one();
        assert_eq!(switching.await.unwrap().location(), "/me");
        world.sessions.shutdown(MINUTE).await.unwrap();
        let requests = world.sandbox.requests().count(Endpoint::Api);
        assert_eq!(requests - before, revoked, "{second_session}");
    }
}

#[tokio::test]
async fn while_the_current_session_cannot_be_loaded_no_session_is_revoked_that_it_may_use() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = World::with(
        |sandbox| sandbox,
        |sessions| sessions.shared_store(store.clone()).store_backed(),
    );
    let mut browser = world.logged_in(JANE).await;
    let log_in = async |browser: &mut Browser| {
        for kind in [TokenKind::AccessToken, TokenKind::IdToken] {
            let same = TokenFault::WithClaim("sid".to_owned(), json!("ses_same"));
            world.sandbox.tokens().add_fault(kind, same);
        }
        browser.log_in(&world.sandbox, JOHN).await
    };
    let asked = log_in(&mut browser).await;
    assert!(asked.location().starts_with(PAGE), "{asked:?}");
    // The environment continues the same session at the next login.
    browser.remove_cookie(world.sessions.cookie_name());
    assert_eq!(log_in(&mut browser).await.location(), "/me");
    world.advance(600);
    // This replica has no copy of the session.
    let replica = world.replica(|one| one.shared_store(store.clone()).store_backed());
    let before = world.sandbox.requests().count(Endpoint::Api);
    store.fail_next_read(KeyNamespace::Session);
    browser.at(&app(&replica)).open(asked.location()).await;
    replica.shutdown(MINUTE).await.unwrap();
    assert_eq!(world.sandbox.requests().count(Endpoint::Api), before);
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
}

#[tokio::test]
async fn without_the_store_no_session_is_revoked_that_the_user_may_switch_to() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = World::with(|sandbox| sandbox, |sessions| sessions.shared_store(store.clone()));
    let mut browser = world.logged_in(JANE).await;
    let log_in = async |browser: &mut Browser, email: &str, session: &str| {
        for kind in [TokenKind::AccessToken, TokenKind::IdToken] {
            let fault = TokenFault::WithClaim("sid".to_owned(), json!(session));
            world.sandbox.tokens().add_fault(kind, fault);
        }
        browser.log_in(&world.sandbox, email).await
    };
    log_in(&mut browser, JOHN, "ses_same").await;
    world.advance(500);
    let asked = log_in(&mut browser, JOHN, "ses_same").await;
    world.advance(101);
    let before = world.sandbox.requests().count(Endpoint::Api);
    // The first login has expired, and is removed with the next one. Its session is that of the
    // second, which cannot be read.
    store.fail_next_read(KeyNamespace::PendingLogin);
    assert_eq!(log_in(&mut browser, JANE, "ses_jane").await.location(), "/me");
    world.sessions.shutdown(MINUTE).await.unwrap();
    assert_eq!(world.sandbox.requests().count(Endpoint::Api), before);
    assert_eq!(browser.decide(&asked, "switch").await.location(), "/me");
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
}
