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
async fn each_step_of_a_confirmation_removes_the_cookies_of_expired_logins() {
    for button in [None, Some("keep"), Some("switch")] {
        let world = World::new();
        let (mut browser, _) = asked(&world).await;
        world.advance(300);
        let second = browser.log_in(&world.sandbox, JOHN).await;
        let target = match button {
            Some(button) => action(&browser, &second, button).await,
            None => second.location().to_owned(),
        };
        assert_eq!(browser.names_with("_switch_").len(), 2);
        world.advance(301);
        match button {
            Some(_) => post(&mut browser, &target).await,
            None => browser.open(&target).await,
        };
        let left = usize::from(button.is_none());
        assert_eq!(browser.names_with("_switch_").len(), left, "{button:?}");
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
    let app = app(&replica);
    let before = world.sandbox.requests().count(Endpoint::Api);
    for (failing, removed) in [(usize::MAX, 0), (0, 1)] {
        store.fail_reads(KeyNamespace::Session, failing);
        let mut here = browser.at(&app);
        let left = here.names_with("_switch_").len();
        here.open(asked.location()).await;
        assert_eq!(here.names_with("_switch_").len(), left - removed);
        replica.shutdown(MINUTE).await.unwrap();
        assert_eq!(world.sandbox.requests().count(Endpoint::Api), before);
    }
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
}

#[tokio::test]
async fn a_login_whose_expiry_the_store_missed_is_revoked_by_a_later_request_of_the_browser() {
    for has_copy in [true, false] {
        let store = FlakyStore::new(Sandbox::new().clock().clock());
        let world = World::with(
            |sandbox| sandbox,
            |sessions| sessions.shared_store(store.clone()).store_backed(),
        );
        let (mut browser, _) = asked(&world).await;
        let replica = world.replica(|one| one.shared_store(store.clone()).store_backed());
        if !has_copy {
            browser = browser.at(&app(&replica));
        }
        world.advance(600);
        store.set_down(true);
        browser.open("/logout").await;
        store.set_down(false);
        assert_eq!(browser.names_with("_switch_").len(), 1, "{has_copy}");
        let all = [&world.sessions, &replica];
        for sessions in all {
            sessions.shutdown(MINUTE).await.unwrap();
        }
        assert_eq!(browser.log_in(&world.sandbox, JANE).await.location(), "/me");
        assert_eq!(browser.names_with("_switch_"), [""; 0], "{has_copy}");
        for sessions in all {
            sessions.shutdown(MINUTE).await.unwrap();
        }
        assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 0, "revoked, {has_copy}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_login_is_revoked_if_the_store_removes_it_without_a_response() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = World::with(|sandbox| sandbox, |sessions| sessions.shared_store(store.clone()));
    let (mut browser, asked) = asked(&world).await;
    world.advance(600);
    let claim = store.hold_next_write(KeyNamespace::PendingLogin);
    let visiting = tokio::spawn(async move {
        browser.open(asked.location()).await;
        browser
    });
    settle().await;
    let claimed = store.hold_next(When::AfterIt);
    claim.notify_one();
    settle().await;
    let _removed = store.hold_next(When::AfterIt);
    claimed.notify_one();
    assert_eq!(visiting.await.unwrap().names_with("_switch_"), [""; 0]);
    world.sessions.shutdown(MINUTE).await.unwrap();
    assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 0, "revoked");
}

/// Jane's browser, in which logins as five other users have completed.
async fn with_five_logins(world: &World) -> (Browser, Vec<String>) {
    let mut browser = world.logged_in(JANE).await;
    let others: Vec<_> = (0..5).map(|number| format!("other-{number}@acme.test")).collect();
    for other in &others {
        world.sandbox.users().add(NewUser::new(other));
        let asked = browser.log_in(&world.sandbox, other).await;
        assert!(asked.location().starts_with(PAGE), "{asked:?}");
    }
    (browser, others)
}

#[tokio::test]
async fn all_expired_logins_are_revoked_at_once() {
    for next in [JANE, JOHN] {
        let world = World::new();
        let (mut browser, others) = with_five_logins(&world).await;
        world.advance(600);
        browser.log_in(&world.sandbox, next).await;
        world.sessions.shutdown(MINUTE).await.unwrap();
        for other in &others {
            assert_eq!(world.sandbox.users().revoke_sessions(other), 0, "{next} {other}");
        }
    }
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
    store.fail_reads(KeyNamespace::PendingLogin, 1);
    assert_eq!(log_in(&mut browser, JANE, "ses_jane").await.location(), "/me");
    world.sessions.shutdown(MINUTE).await.unwrap();
    assert_eq!(world.sandbox.requests().count(Endpoint::Api), before);
    assert_eq!(browser.decide(&asked, "switch").await.location(), "/me");
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
}
