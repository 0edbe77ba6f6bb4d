//! Logins of another user than the session's, which the user confirms on a page of the app.

mod claims;
mod environment;
mod expiry;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join;
use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::json;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::sandbox::{
    Endpoint, Fault, NewIdpInitiatedLogin, NewUser, TokenFault, TokenKind,
};
use tower_scalekit::session::{LocalSession, LoginHookError, User, VerifiedLogin};
use tower_scalekit::shared_store::{KeyNamespace, SharedStore as _};
use tower_scalekit::{IdpInitiatedRedirect, Sandbox};

use crate::store::{FlakyStore, When};
use crate::support::{
    Browser, FETCH, JANE, JOHN, NAVIGATION, Reading as _, World, app, login_error, send,
    set_cookies, settle,
};

const MINUTE: Duration = Duration::from_secs(60);
const PAGE: &str = "/auth/switch-account?attempt=";

async fn email(browser: &Browser) -> Option<String> {
    let me = browser.clone().fetch("/me").await;
    (me.status() == StatusCode::OK).then(|| me.json()["email"].as_str().unwrap().to_owned())
}

/// Jane's browser, in which a login as John has completed.
async fn asked(world: &World) -> (Browser, Response<Bytes>) {
    let mut browser = world.logged_in(JANE).await;
    let asked = browser.log_in(&world.sandbox, JOHN).await;
    assert!(asked.location().starts_with(PAGE), "{asked:?}");
    asked.assert_private();
    (browser, asked)
}

async fn post(browser: &mut Browser, target: &str) -> Response<Bytes> {
    let form = [("sec-fetch-mode", "navigate"), ("sec-fetch-site", "same-origin"), NAVIGATION[0]];
    browser.send(Method::POST, target, &form).await
}

/// The action of a button's form.
async fn action(browser: &Browser, asked: &Response<Bytes>, button: &str) -> String {
    let page = browser.clone().open(asked.location()).await.text();
    let session = page.split("&amp;session=").nth(1).unwrap().split('&').next().unwrap();
    format!("{}&session={session}&action={button}", asked.location())
}

#[tokio::test]
async fn a_login_as_another_user_leaves_the_session_until_the_user_switches() {
    let world = World::new();
    let (mut browser, asked) = asked(&world).await;
    assert_eq!(email(&browser).await.as_deref(), Some(JANE));
    let page = browser.open(asked.location()).await;
    page.assert_private();
    assert!(page.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    for text in ["logged in to app.example.com as jane@acme.test", "login is for john@acme.test"] {
        assert!(page.text().contains(text), "{}", page.text());
    }
    assert_eq!(email(&browser).await.as_deref(), Some(JANE), "the page alone changes nothing");

    let old = browser.clone();
    let done = browser.decide(&asked, "switch").await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    done.assert_private();
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
    assert_eq!(email(&old).await, None, "the other session has ended");
    assert_eq!(browser.names(), [world.sessions.cookie_name()]);
    // Its tokens are those of the login.
    world.advance(400);
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
}

#[tokio::test]
async fn keep_discards_the_login_and_revokes_its_session_at_the_environment() {
    let world = World::new();
    let (mut browser, asked) = asked(&world).await;
    let mut too_late = browser.clone();
    let switch = action(&browser, &asked, "switch").await;
    let done = browser.decide(&asked, "keep").await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(email(&browser).await.as_deref(), Some(JANE));
    assert_eq!(browser.names(), [world.sessions.cookie_name()]);
    assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 0, "revoked");
    assert_eq!(world.sandbox.users().revoke_sessions(JANE), 1, "no other session is revoked");
    let rejected = post(&mut too_late, &switch).await;
    assert_eq!(login_error(&rejected), LoginError::StateMismatch);
}

#[tokio::test(start_paused = true)]
async fn keep_revokes_the_session_when_the_api_fails_or_the_client_disconnects() {
    for disconnects in [false, true] {
        let world = World::new();
        let (mut browser, asked) = asked(&world).await;
        let keep = action(&browser, &asked, "keep").await;
        world.sandbox.faults().add_times(
            Endpoint::Api,
            3,
            Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
        );
        if disconnects {
            let form = [NAVIGATION[0], ("sec-fetch-site", "same-origin")];
            let request = browser.request(Method::POST, &keep, &form);
            let mut response = Box::pin(send(browser.app(), request));
            assert!(futures::poll!(&mut response).is_pending());
        } else {
            assert_eq!(post(&mut browser, &keep).await.location(), "/me");
        }
        world.sessions.shutdown(MINUTE).await.unwrap();
        assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 0, "revoked");
        assert_eq!(email(&browser).await.as_deref(), Some(JANE));
    }
}

#[tokio::test]
async fn no_confirmation_is_required_for_the_same_user_in_any_organization() {
    let world = World::new();
    let globex = world.sandbox.organizations().list()[1].id.clone();
    let mut browser = world.logged_in(JANE).await;
    let first = browser.cookie_header();
    for kind in [TokenKind::AccessToken, TokenKind::IdToken] {
        let other = TokenFault::WithClaim("oid".to_owned(), json!(globex));
        world.sandbox.tokens().add_fault(kind, other);
    }
    let done = browser.log_in(&world.sandbox, JANE).await;
    assert_eq!(done.location(), "/me");
    assert_ne!(browser.cookie_header(), first);
    assert_eq!(email(&browser).await.as_deref(), Some(JANE));
}

#[tokio::test]
async fn no_confirmation_is_required_if_the_session_has_ended() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let sid = browser.fetch("/me").await.json()["sid"].as_str().unwrap().to_owned();
    world.sessions.revoke_session(&sid).await.unwrap();
    assert_eq!(browser.log_in(&world.sandbox, JOHN).await.location(), "/me");
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));

    // It was not used for too long.
    let world = World::with(|sandbox| sandbox, |sessions| sessions.idle_timeout(5 * MINUTE));
    let mut browser = world.logged_in(JANE).await;
    world.advance(301);
    assert_eq!(browser.log_in(&world.sandbox, JOHN).await.location(), "/me");
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
}

#[tokio::test]
async fn an_idp_initiated_login_requires_confirmation_too() {
    let mut world = World::new();
    world.app = app(&world.sessions).layer(IdpInitiatedRedirect::new(&world.sessions));
    world.sandbox.idp().set_initiate_login_url("https://app.example.com/login");
    let acme = world.sandbox.organizations().list()[0].clone();
    for target in [
        world.sandbox.idp().login_url(NewIdpInitiatedLogin::new(&acme.connection_id)).unwrap(),
        format!("/login?connection_id={}", acme.connection_id),
    ] {
        let mut browser = world.logged_in(JANE).await;
        let authorization = browser.start_login(&target).await;
        let callback = world.sandbox.log_in(&authorization, JOHN).unwrap();
        let asked = browser.open(&callback).await;
        assert!(asked.location().starts_with(PAGE), "{target}");
        assert_eq!(email(&browser).await.as_deref(), Some(JANE));
    }
}

#[tokio::test]
async fn only_the_same_browser_can_decide_and_only_from_the_apps_page() {
    let world = World::new();
    let (browser, asked) = asked(&world).await;
    let switch = action(&browser, &asked, "switch").await;
    let keep = action(&browser, &asked, "keep").await;
    let before = browser.cookie_header();
    for headers in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("origin", "https://evil.test")],
        [("referer", "https://evil.test/")],
    ] {
        for target in [&switch, &keep] {
            let mut browser = browser.clone();
            let rejected = browser.send(Method::POST, target, &headers).await;
            assert_eq!(rejected.status(), StatusCode::FORBIDDEN, "{headers:?}");
            assert_eq!(login_error(&rejected), LoginError::CrossSite);
            assert_eq!(browser.cookie_header(), before);
        }
    }
    for target in [&switch, &keep] {
        // A link shows the page, but decides nothing.
        let mut browser = browser.clone();
        assert_eq!(browser.open(target).await.status(), StatusCode::OK);
        assert_eq!(browser.cookie_header(), before);
        // Another browser does not have this login.
        let mut nobody = world.browser();
        assert_eq!(login_error(&post(&mut nobody, target).await), LoginError::StateMismatch);
        let mut john = world.logged_in(JOHN).await;
        let there = post(&mut john, target).await;
        assert_eq!((there.status(), there.location()), (StatusCode::SEE_OTHER, "/"));
        assert_eq!(set_cookies(there.headers()), [""; 0]);
    }
    for (method, target, expected) in [
        (Method::POST, asked.location(), LoginError::InvalidRequest),
        (Method::POST, &format!("{switch}&action=keep"), LoginError::InvalidRequest),
        (Method::GET, "/auth/switch-account", LoginError::InvalidRequest),
        (Method::DELETE, &switch, LoginError::MethodNotAllowed { allow: "GET, HEAD, POST" }),
    ] {
        let rejected = browser.clone().send(method, target, &FETCH).await;
        assert_eq!(login_error(&rejected), expected, "{target}");
    }
    assert_eq!(email(&browser).await.as_deref(), Some(JANE));
}

#[tokio::test]
async fn a_decision_about_another_session_than_the_page_showed_is_not_applied() {
    let world = World::new();
    world.sandbox.users().add(NewUser::new("ada@acme.test"));
    let (mut browser, asked) = asked(&world).await;
    let switch = action(&browser, &asked, "switch").await;
    // In another tab, Ada has replaced Jane.
    let other = browser.log_in(&world.sandbox, "ada@acme.test").await;
    browser.decide(&other, "switch").await;
    assert_eq!(email(&browser).await.as_deref(), Some("ada@acme.test"));
    let again = post(&mut browser, &switch).await;
    assert_eq!((again.status(), again.location()), (StatusCode::SEE_OTHER, asked.location()));
    assert!(browser.open(again.location()).await.text().contains("as ada@acme.test"));
    assert_eq!(email(&browser).await.as_deref(), Some("ada@acme.test"));
    browser.decide(&again, "switch").await;
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
}

#[tokio::test]
async fn a_double_click_switches_once() {
    let world = World::new();
    let (browser, asked) = asked(&world).await;
    let switch = action(&browser, &asked, "switch").await;
    let (mut one, mut two) = (browser.clone(), browser.clone());
    let (first, second) = join(post(&mut one, &switch), post(&mut two, &switch)).await;
    assert_eq!(set_cookies(first.headers()), set_cookies(second.headers()));
    let mut late = browser.clone();
    assert_eq!(post(&mut late, &switch).await.location(), "/me");
    for browser in [&one, &two, &late] {
        assert_eq!(email(browser).await.as_deref(), Some(JOHN));
    }
    assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 1);
}

#[tokio::test]
async fn a_late_click_sets_no_cookies_of_a_session_that_has_ended() {
    let world = World::new();
    let (browser, asked) = asked(&world).await;
    let switch = action(&browser, &asked, "switch").await;
    let mut first = browser.clone();
    post(&mut first, &switch).await;
    assert!(first.post("/logout").await.status().is_redirection());
    let late = post(&mut browser.clone(), &switch).await;
    assert_eq!((late.status(), late.location()), (StatusCode::SEE_OTHER, "/me"));
    let cookies = set_cookies(late.headers());
    assert!(cookies.iter().all(|cookie| cookie.contains("Max-Age=0")), "{cookies:?}");
    assert!(cookies.iter().any(|cookie| cookie.contains("_switch_")), "{cookies:?}");
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_confirmed_on_two_replicas_begins_one_session() {
    let world = World::with(|sandbox| sandbox, |sessions| sessions);
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let apps = [(); 2].map(|()| app(&world.replica(|one| one.shared_store(store.clone()))));
    let mut browser = Browser::new(&apps[0], &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let asked = browser.log_in(&world.sandbox, JOHN).await;
    let switch = action(&browser, &asked, "switch").await;
    store.yield_before_each();
    let [mut one, mut two] = apps.each_ref().map(|app| browser.at(app));
    let (first, second) = join(post(&mut one, &switch), post(&mut two, &switch)).await;
    // The second click, after that.
    let third = post(&mut browser.at(&apps[1]), &switch).await;
    for response in [&first, &second, &third] {
        assert_eq!((response.status(), response.location()), (StatusCode::SEE_OTHER, "/me"));
        // Whichever of them the browser receives.
        assert_eq!(set_cookies(response.headers()), set_cookies(first.headers()));
    }
    browser.store_cookies(&third);
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
    assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 1);
}

#[tokio::test]
async fn a_login_that_could_not_begin_can_be_confirmed_again() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = world.replica(|one| one.shared_store(store.clone()).store_backed());
    let app = app(&sessions);
    let mut browser = Browser::new(&app, &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let asked = browser.log_in(&world.sandbox, JOHN).await;
    let switch = action(&browser, &asked, "switch").await;
    store.reject(Some(KeyNamespace::Session));
    let failed = post(&mut browser, &switch).await;
    assert!(failed.status().is_server_error(), "{failed:?}");
    store.reject(None);
    let done = post(&mut browser, &switch).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
}

#[tokio::test]
async fn the_oldest_of_too_many_pending_logins_is_revoked() {
    let world = World::new();
    let (mut browser, first) = asked(&world).await;
    let mut waiting = Vec::new();
    for number in 1..=5 {
        world.advance(1);
        let other = format!("other-{number}@acme.test");
        world.sandbox.users().add(NewUser::new(&other));
        waiting.push(browser.log_in(&world.sandbox, &other).await);
    }
    for asked in &waiting {
        assert!(asked.location().starts_with(PAGE), "{asked:?}");
    }
    world.sessions.shutdown(MINUTE).await.unwrap();
    assert_eq!(browser.names_with("_switch_").len(), 5);
    assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 0, "revoked");
    let late = browser.open(first.location()).await;
    assert_eq!((late.status(), late.location()), (StatusCode::SEE_OTHER, "/"));
    browser.decide(&waiting[4], "switch").await;
    // Later logins do not affect a login that was confirmed.
    world.advance(601);
    browser.log_in(&world.sandbox, "other-5@acme.test").await;
    world.sessions.shutdown(MINUTE).await.unwrap();
    assert_eq!(browser.names_with("_switch_"), [""; 0]);
    for (number, alive) in [(1, 0), (4, 0), (5, 2)] {
        let other = format!("other-{number}@acme.test");
        assert_eq!(world.sandbox.users().revoke_sessions(&other), alive, "{other}");
    }
}

#[tokio::test]
async fn the_logins_of_one_user_that_wait_in_many_browsers_are_limited() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = World::with(|sandbox| sandbox, |sessions| sessions.shared_store(store.clone()));
    world.sandbox.users().add(NewUser::new("ada@acme.test"));
    let jane = world.logged_in(JANE).await;
    let log_in = async |email: &str| {
        let mut browser = jane.clone();
        let asked = browser.log_in(&world.sandbox, email).await;
        assert!(asked.location().starts_with(PAGE), "{asked:?}");
        (browser, asked)
    };
    let (mut other, asked_of_other) = log_in("ada@acme.test").await;
    let mut all = Vec::new();
    for _ in 0..25 {
        all.push(log_in(JOHN).await);
    }
    world.sessions.shutdown(MINUTE).await.unwrap();
    let mut waiting = 0;
    for key in store.keys().into_iter().filter(|key| !key.id().contains(".of ")) {
        let is_login = key.namespace() == KeyNamespace::PendingLogin;
        waiting += usize::from(is_login && store.get(&key).await.unwrap().is_some());
    }
    assert_eq!(waiting, 21);
    assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 20, "the others are revoked");
    let (browser, asked) = &mut all[4];
    assert_eq!(browser.open(asked.location()).await.status(), StatusCode::BAD_REQUEST);
    let (browser, asked) = &mut all[5];
    assert_eq!(browser.open(asked.location()).await.status(), StatusCode::OK);
    assert_eq!(email(browser).await.as_deref(), Some(JANE));
    other.decide(&asked_of_other, "switch").await;
    assert_eq!(email(&other).await.as_deref(), Some("ada@acme.test"));
}

#[tokio::test]
async fn the_oldest_of_a_users_logins_is_revoked_though_the_next_one_cannot_be_stored() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = World::with(|sandbox| sandbox, |sessions| sessions.shared_store(store.clone()));
    let jane = world.logged_in(JANE).await;
    for _ in 0..20 {
        let asked = jane.clone().log_in(&world.sandbox, JOHN).await;
        assert!(asked.location().starts_with(PAGE), "{asked:?}");
    }
    let list = store.hold_next_write(KeyNamespace::PendingLogin);
    let (mut browser, sandbox) = (jane.clone(), world.sandbox.clone());
    let failing = tokio::spawn(async move { browser.log_in(&sandbox, JOHN).await });
    settle().await;
    let login = store.hold_next_write(KeyNamespace::PendingLogin);
    list.notify_one();
    settle().await;
    store.fail_next(1);
    login.notify_one();
    assert_eq!(login_error(&failing.await.unwrap()), LoginError::Interrupted);
    world.sessions.shutdown(MINUTE).await.unwrap();
    assert_eq!(world.sandbox.users().revoke_sessions(JOHN), 20, "one of 21 is revoked");
}

#[tokio::test]
async fn a_user_who_was_revoked_while_the_login_waited_is_not_logged_in() {
    let world = World::new();
    let (mut browser, asked) = asked(&world).await;
    let john = world.sandbox.users().get(JOHN).unwrap().id;
    world.sessions.revoke_user(&john).await.unwrap();
    let rejected = browser.decide(&asked, "switch").await;
    assert_eq!(login_error(&rejected), LoginError::StateMismatch);
    assert_eq!(email(&browser).await.as_deref(), Some(JANE));
}

#[tokio::test]
async fn while_the_store_is_down_no_login_replaces_another_users_session() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = World::with(|sandbox| sandbox, |sessions| sessions.shared_store(store.clone()));
    let mut browser = world.logged_in(JANE).await;
    let authorization = browser.start_login("/login?return_to=/me").await;
    let callback = world.sandbox.log_in(&authorization, JOHN).unwrap();
    store.reject(Some(KeyNamespace::PendingLogin));
    let rejected = browser.open(&callback).await;
    assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(login_error(&rejected), LoginError::Interrupted);
    assert_eq!(email(&browser).await.as_deref(), Some(JANE));
}

#[tokio::test]
async fn the_login_hook_is_called_after_the_user_has_switched() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let world = World::with(
        |sandbox| sandbox.modular_sso(),
        |sessions| {
            sessions.on_login(move |login: VerifiedLogin| {
                let call = counted.fetch_add(1, Ordering::SeqCst);
                std::future::ready(match call {
                    // The app has its own user IDs.
                    0 | 1 => {
                        let mut user = User::default();
                        user.id = format!("{call}");
                        user.email.clone_from(&login.identity().user().email);
                        Ok(LocalSession::new(user).into())
                    }
                    _ => Err(LoginHookError::Denied),
                })
            })
        },
    );
    let log_in = async |browser: &mut Browser, email: &str| {
        let authorization = browser.start_login("/login?return_to=/me").await;
        let callback = world.sandbox.log_in(&authorization, email).unwrap();
        browser.open(&callback).await
    };
    let mut browser = world.browser();
    assert_eq!(log_in(&mut browser, JANE).await.location(), "/me");
    let asked = log_in(&mut browser, JOHN).await;
    assert!(asked.location().starts_with(PAGE), "{asked:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 1, "nothing is created before the user decides");
    browser.decide(&asked, "switch").await;
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(email(&browser).await.as_deref(), Some(JOHN));
    // The Scalekit user is the same, whatever ID the app's session has, so no confirmation is
    // required.
    let rejected = log_in(&mut browser, JOHN).await;
    assert_eq!(login_error(&rejected), LoginError::LoginDenied);
}

#[tokio::test]
async fn identify_leaves_the_decision_to_the_app() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let authorization = browser.start_login("/login").await;
    let callback = world.sandbox.log_in(&authorization, JOHN).unwrap();
    let (parts, _) = browser.request(Method::GET, &callback, &NAVIGATION).into_parts();
    let login = world.sessions.callback().identify(&parts).await.unwrap();
    assert_eq!(login.identity.user().email, JOHN);
    assert_eq!(email(&browser).await.as_deref(), Some(JANE));
}

#[tokio::test]
async fn a_local_session_is_not_replaced_without_confirmation() {
    let world = World::new();
    let mut user = User::default();
    user.id = "7".to_owned();
    user.name = Some("Jane <b>".to_owned());
    let cookies = world.sessions.create(LocalSession::new(user), &HeaderMap::new()).await.unwrap();
    let mut response = Response::new(Bytes::new());
    cookies.set(response.headers_mut());
    let mut browser = world.browser();
    browser.store_cookies(&response);
    let asked = browser.log_in(&world.sandbox, JOHN).await;
    let page = browser.open(asked.location()).await.text();
    assert!(page.contains("Stay logged in as Jane &lt;b&gt;"), "{page}");
}

#[tokio::test]
async fn the_confirmation_page_can_be_customized() {
    let world = World::with(
        |sandbox| sandbox,
        |sessions| {
            sessions.switch_account_path("/who").switch_account_page(|confirmation| {
                format!(
                    "{:?} {} {} {}",
                    confirmation.current_account(),
                    confirmation.new_account(),
                    confirmation.keep_action(),
                    confirmation.switch_action(),
                )
            })
        },
    );
    let mut browser = world.logged_in(JANE).await;
    let asked = browser.log_in(&world.sandbox, JOHN).await;
    assert!(asked.location().starts_with("/who?attempt="));
    let page = browser.open(asked.location()).await.text();
    let words: HashSet<_> = page.split(' ').collect();
    assert!(words.contains("Some(\"jane@acme.test\")") && words.contains(JOHN), "{page}");
    let action = page.split(' ').next_back().unwrap();
    assert_eq!(post(&mut browser, action).await.location(), "/me");
    let request = browser.request(Method::GET, "/me", &FETCH);
    assert_eq!(send(&world.app, request).await.json()["email"], JOHN);
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 2);
}
