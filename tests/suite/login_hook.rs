//! The app's hook, which decides on each login before its session is created.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::sandbox::Endpoint;
use tower_scalekit::session::{
    LocalSession, LoginDecision, LoginHookError, SessionsBuilder, User, VerifiedLogin,
};
use tower_scalekit::shared_store::KeyNamespace;

use crate::backchannel::{logout_token, send_logout_token};
use crate::store::FlakyStore;
use crate::support::{
    Browser, JANE, JOHN, Reading as _, World, app, login_error, parameter, settle, with_parameters,
};

type Decided = Result<LoginDecision, LoginHookError>;
type Decide = fn(&VerifiedLogin) -> Decided;

/// A hook with a decision that tests change, and the logins that it was called for.
#[derive(Clone)]
struct Hook {
    decide: Arc<Mutex<Decide>>,
    calls: Arc<Mutex<Vec<VerifiedLogin>>>,
}

impl Hook {
    fn new(decide: Decide) -> Self {
        Self { decide: Arc::new(Mutex::new(decide)), calls: Arc::default() }
    }

    fn on(&self, sessions: SessionsBuilder) -> SessionsBuilder {
        let hook = self.clone();
        sessions.on_login(move |login: VerifiedLogin| {
            hook.calls.lock().unwrap().push(login.clone());
            // Released before the call, which may panic.
            let decide = *hook.decide.lock().unwrap();
            async move { decide(&login) }
        })
    }

    fn set(&self, decide: Decide) {
        *self.decide.lock().unwrap() = decide;
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

fn accept(_: &VerifiedLogin) -> Decided {
    Ok(LoginDecision::accept().app_claim("plan", "pro").app_claim("id", 7))
}

fn deny(_: &VerifiedLogin) -> Decided {
    Err(LoginHookError::Denied)
}

fn unavailable(_: &VerifiedLogin) -> Decided {
    Err(LoginHookError::unavailable("the database is away"))
}

fn world(hook: &Hook) -> World {
    World::with(|sandbox| sandbox, |sessions| hook.on(sessions))
}

/// Logs in at the environment, and returns the URL of the callback.
async fn at_the_callback(world: &World, browser: &mut Browser) -> String {
    let authorization = browser.start_login("/login?return_to=/me").await;
    world.sandbox.log_in(&authorization, JANE).unwrap()
}

/// The same, with a new world whose app has a shared store.
async fn at_the_callback_with_store(hook: &Hook) -> (World, FlakyStore, Browser, String) {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = world.replica(|one| hook.on(one).shared_store(store.clone()));
    let mut browser = Browser::new(&app(&sessions), &world.sandbox);
    let callback = at_the_callback(&world, &mut browser).await;
    (world, store, browser, callback)
}

#[tokio::test]
async fn an_accepted_login_keeps_its_tokens_and_the_apps_claims() {
    for store_backed in [false, true] {
        let hook = Hook::new(accept);
        let world = World::with(
            |sandbox| sandbox,
            |sessions| match store_backed {
                true => hook.on(sessions).store_backed(),
                false => hook.on(sessions),
            },
        );
        let mut browser = world.logged_in(JANE).await;
        let me = browser.fetch("/me").await.json();
        assert_eq!(me["app"], json!({"plan": "pro", "id": 7}));
        assert!(me["sid"].as_str().unwrap().starts_with("ses_"));
        assert_eq!(browser.names_and_values().len() < 250, store_backed);

        // Roles change at the environment; the app's claims stay.
        world.sandbox.users().update(JANE, |user| user.roles = vec!["auditor".to_owned()]);
        world.advance(295);
        let refreshed = browser.fetch("/me").await.json();
        assert_eq!((&refreshed["roles"], &refreshed["app"]), (&json!(["auditor"]), &me["app"]));
        assert_ne!(refreshed["jti"], me["jti"]);
        assert_eq!(hook.calls(), 1, "a refresh is no login");
    }
}

#[tokio::test]
async fn the_hook_sees_the_identity_and_the_claims_of_the_access_token() {
    let hook = Hook::new(|login| {
        let (identity, principal) = (login.identity(), login.principal());
        assert_eq!(identity.user().email, JANE);
        assert_eq!(identity.user().id, principal.subject());
        assert_eq!(identity.organization_id(), principal.organization_id());
        assert!(principal.permissions().contains(&"workspace_data:read".to_owned()));
        assert!(principal.raw_claims()["jti"].as_str().unwrap().starts_with("tkn_"));
        Ok(LoginDecision::accept())
    });
    let world = world(&hook);
    let mut browser = world.logged_in(JANE).await;
    assert_eq!(browser.fetch("/me").await.json()["app"], json!({}));
    let login = hook.calls.lock().unwrap().pop().unwrap();
    assert!(!format!("{login:?}").contains(JANE), "{login:?}");
}

#[tokio::test]
async fn the_hook_can_create_a_session_of_the_apps_own() {
    let hook = Hook::new(|login| {
        let mut user = User::default();
        user.id = "7".to_owned();
        user.email.clone_from(&login.identity().user().email);
        let local = LocalSession::new(user).roles(["member"]).app_claim("plan", "free");
        Ok(LoginDecision::from(local).app_claim("seats", 3))
    });
    let world = world(&hook);
    let mut browser = world.logged_in(JANE).await;
    let asked = world.sandbox.requests().count(Endpoint::Token);
    world.advance(3600);
    let me = browser.fetch("/me").await.json();
    assert_eq!((&me["sub"], &me["roles"]), (&json!("7"), &json!(["member"])));
    assert_eq!(me["app"], json!({"plan": "free", "seats": 3}));
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), asked, "it has no tokens");
}

#[tokio::test]
async fn a_late_logout_token_ends_no_later_session_of_the_apps_own() {
    let hook = Hook::new(|login| Ok(LocalSession::new(login.identity().user().clone()).into()));
    let world = world(&hook);
    let mut old = world.logged_in(JANE).await;
    let sub = old.fetch("/me").await.json()["sub"].clone();
    let token = logout_token(&world.sandbox, "t", &json!({"sub": sub}));
    world.advance(100);
    let mut new = world.logged_in(JANE).await;
    assert_eq!(send_logout_token(&world.app, &token).await.status(), StatusCode::OK);
    assert_eq!(old.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(new.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_denied_user_can_log_in_with_another_account() {
    let hook = Hook::new(|login| match login.identity().user().email.as_str() {
        JANE => deny(login),
        _ => accept(login),
    });
    let world = world(&hook);
    let mut browser = world.browser();
    let callback = at_the_callback(&world, &mut browser).await;
    let denied = browser.open(&callback).await;
    assert_eq!(
        (denied.status(), login_error(&denied)),
        (StatusCode::FORBIDDEN, LoginError::LoginDenied)
    );
    assert_eq!(browser.names(), [""; 0], "the attempt has ended");
    assert_eq!(browser.open(&callback).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(hook.calls(), 1);

    // Without `prompt`, the environment would log Jane in again.
    let retry = "/login?return_to=%2Fme&prompt=login";
    assert!(denied.text().contains(&retry.replace('&', "&amp;")), "{}", denied.text());
    let authorization = browser.start_login(retry).await;
    assert_eq!(parameter(&authorization, "prompt").as_deref(), Some("login"));
    let callback = world.sandbox.log_in(&authorization, JOHN).unwrap();
    assert_eq!(browser.open(&callback).await.location(), "/me");
    assert_eq!(browser.fetch("/me").await.json()["email"], JOHN);
}

#[tokio::test]
async fn a_denied_login_has_the_status_and_page_of_the_app() {
    let hook = Hook::new(deny);
    let world = world(&hook);
    let callback = world.sessions.callback().on_rejection(|context| {
        let is_denied = *context.rejection().error() == LoginError::LoginDenied;
        let retry = context.rejection().retry_url().unwrap_or_default().to_owned();
        // With the cookies that end the attempt.
        let mut response = context.into_default_response();
        if is_denied {
            *response.status_mut() = StatusCode::PAYMENT_REQUIRED;
            *response.body_mut() = format!("Ask for an invitation. {retry}").into();
        }
        response
    });
    let app = axum::Router::new()
        .route_service("/login", world.sessions.login())
        .route_service("/auth/callback", callback);
    let mut browser = Browser::new(&app, &world.sandbox);
    let target = at_the_callback(&world, &mut browser).await;
    let denied = browser.open(&target).await;
    assert_eq!(denied.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(denied.text(), "Ask for an invitation. /login?return_to=%2Fme&prompt=login");
    assert_eq!(login_error(&denied), LoginError::LoginDenied);
    assert_eq!(browser.names(), [""; 0]);
}

#[tokio::test]
async fn a_login_is_kept_while_the_hook_is_unavailable() {
    let hook = Hook::new(unavailable);
    let world = World::with(|sandbox| sandbox, |sessions| sessions);
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let apps =
        [(); 2].map(|()| app(&world.replica(|one| hook.on(one).shared_store(store.clone()))));
    let mut browser = Browser::new(&apps[0], &world.sandbox);
    let callback = at_the_callback(&world, &mut browser).await;
    for _ in 0..2 {
        let response = browser.open(&callback).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(login_error(&response), LoginError::LoginHookUnavailable);
        assert!(response.header("retry-after").is_some());
        assert!(!response.text().contains("database"));
        assert_eq!(browser.names_with("_login_").len(), 1, "the attempt is kept");
        assert_eq!(browser.names_with("_session"), [""; 0]);
    }
    assert!(!format!("{:?}", store.seen()).contains(JANE), "it is sealed");
    // The user reloads the page. Another replica serves it.
    hook.set(accept);
    let mut browser = browser.at(&apps[1]);
    let done = browser.open(&callback).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(browser.fetch("/me").await.json()["app"]["plan"], "pro");
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1, "a code works once");
    assert_eq!(hook.calls(), 3);

    let again = browser.open(&callback).await;
    assert_eq!((again.status(), again.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(hook.calls(), 3);
}

#[tokio::test]
async fn a_kept_login_is_for_its_browser_code_and_time_only() {
    let hook = Hook::new(unavailable);
    let world = world(&hook);
    let mut browser = world.browser();
    let callback = at_the_callback(&world, &mut browser).await;
    assert_eq!(login_error(&browser.open(&callback).await), LoginError::LoginHookUnavailable);
    hook.set(accept);
    let rejected = [
        (world.browser(), callback.clone()),
        (browser.clone(), with_parameters(&callback, &[("code", "another")])),
        (browser.clone(), with_parameters(&callback, &[("iss", "https://evil.test")])),
    ];
    for (mut other, target) in rejected {
        let response = other.open(&target).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{target}");
        assert_eq!(other.names_with("_session"), [""; 0]);
    }
    assert_eq!(browser.open(&callback).await.location(), "/me");

    let mut browser = world.browser();
    hook.set(unavailable);
    let callback = at_the_callback(&world, &mut browser).await;
    browser.open(&callback).await;
    let name = browser.names_with("_login_").remove(0);
    browser.keep_expired(&name);
    hook.set(accept);
    world.advance(601);
    assert_eq!(login_error(&browser.open(&callback).await), LoginError::StateMismatch);
}

#[tokio::test]
async fn a_kept_login_is_not_lost_while_the_store_is_unavailable() {
    let hook = Hook::new(unavailable);
    let (world, store, mut browser, callback) = at_the_callback_with_store(&hook).await;
    assert_eq!(login_error(&browser.open(&callback).await), LoginError::LoginHookUnavailable);
    hook.set(accept);
    store.fail_reads(KeyNamespace::LoginAttempt, 1);
    let response = browser.open(&callback).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(login_error(&response), LoginError::Unavailable);
    assert!(response.header("retry-after").is_some());
    assert_eq!(browser.names_with("_login_").len(), 1, "the attempt is kept");
    assert_eq!(browser.open(&callback).await.location(), "/me");
    assert_eq!(browser.fetch("/me").await.json()["app"]["plan"], "pro");
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1, "the code is not spent again");
}

#[tokio::test]
async fn a_kept_login_that_is_revoked_begins_no_session() {
    let hook = Hook::new(unavailable);
    let world = world(&hook);
    let mut browser = world.browser();
    let callback = at_the_callback(&world, &mut browser).await;
    browser.open(&callback).await;
    let id = hook.calls.lock().unwrap()[0].identity().user().id.clone();
    world.sessions.revoke_user(&id).await.unwrap();
    hook.set(accept);
    assert_eq!(login_error(&browser.open(&callback).await), LoginError::StateMismatch);
    assert_eq!(browser.names_with("_session"), [""; 0]);
    assert_eq!(hook.calls(), 1, "the app learns of no login");
}

#[tokio::test]
async fn a_login_that_another_replica_keeps_meanwhile_can_be_retried() {
    let hook = Hook::new(unavailable);
    let (world, store, mut browser, callback) = at_the_callback_with_store(&hook).await;
    let replica = world.replica(|one| hook.on(one).shared_store(store.clone()));
    let mut other = browser.at(&app(&replica));
    let claim = store.hold_next_write(KeyNamespace::LoginAttempt);
    let target = callback.clone();
    let other = tokio::spawn(async move {
        let response = other.open(&target).await;
        (other, response)
    });
    settle().await;
    assert_eq!(login_error(&browser.open(&callback).await), LoginError::LoginHookUnavailable);
    claim.notify_one();
    let (mut other, response) = other.await.unwrap();
    assert_eq!(login_error(&response), LoginError::InProgress);
    assert_eq!(other.names_with("_login_").len(), 1, "the attempt is kept");
    hook.set(accept);
    assert_eq!(other.open(&callback).await.location(), "/me");
}

#[tokio::test]
async fn a_rejection_of_the_environment_is_returned_while_the_store_is_down() {
    let hook = Hook::new(accept);
    let (_world, store, mut browser, callback) = at_the_callback_with_store(&hook).await;
    let state = parameter(&callback, "state").unwrap();
    store.set_down(true);
    let denied = browser.open(&format!("/auth/callback?state={state}&error=access_denied")).await;
    assert!(
        matches!(login_error(&denied), LoginError::AuthorizationFailed { .. }),
        "{}",
        denied.text()
    );
}

#[tokio::test]
async fn a_login_that_cannot_be_kept_ends() {
    let hook = Hook::new(unavailable);
    let (_world, store, mut browser, callback) = at_the_callback_with_store(&hook).await;
    store.reject(Some(KeyNamespace::LoginAttempt));
    let response = browser.open(&callback).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(login_error(&response), LoginError::Interrupted);
    assert_eq!(browser.names(), [""; 0], "the code is spent");
}

#[tokio::test(start_paused = true)]
async fn a_slow_hook_is_cancelled_after_thirty_seconds() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let world = World::with(
        |sandbox| sandbox,
        |sessions| {
            sessions.on_login(move |login: VerifiedLogin| {
                let call = counted.fetch_add(1, Ordering::SeqCst);
                async move {
                    if call == 0 {
                        std::future::pending::<()>().await;
                    }
                    accept(&login)
                }
            })
        },
    );
    let mut browser = world.browser();
    let callback = at_the_callback(&world, &mut browser).await;
    let began = Instant::now();
    let response = browser.open(&callback).await;
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    assert_eq!(login_error(&response), LoginError::LoginHookUnavailable);
    assert!(response.header("retry-after").is_some());
    assert_eq!(browser.open(&callback).await.location(), "/me");
}

#[tokio::test]
async fn a_panic_of_the_hook_is_500_and_the_user_can_log_in_again() {
    let hook = Hook::new(|_| panic!("a bug of the app"));
    let world = world(&hook);
    let mut browser = world.browser();
    let callback = at_the_callback(&world, &mut browser).await;
    let response = browser.open(&callback).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(login_error(&response), LoginError::Misconfigured);
    assert!(!response.text().contains("a bug"));
    assert_eq!(browser.names(), [""; 0]);
    hook.set(accept);
    let done = browser.log_in(&world.sandbox, JANE).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
}

#[tokio::test]
async fn the_apps_claims_are_limited_to_two_kilobytes() {
    // `{"k":"…"}` has eight more bytes than the value.
    let decisions: [(Decide, bool); 3] = [
        (|_| Ok(LoginDecision::accept().app_claim("k", "v".repeat(2040))), true),
        (|_| Ok(LoginDecision::accept().app_claim("k", "v".repeat(2041))), false),
        (|login| Ok(login.identity().session().app_claim("k", "v".repeat(2041)).into()), false),
    ];
    for (decide, fits) in decisions {
        let world = world(&Hook::new(decide));
        let mut browser = world.browser();
        let callback = at_the_callback(&world, &mut browser).await;
        let response = browser.open(&callback).await;
        let expected = if fits { 303 } else { 500 };
        assert_eq!(response.status(), expected, "{}", response.text());
        assert_eq!(browser.names_with("_session").is_empty(), !fits);
    }
}

#[tokio::test]
async fn an_accepted_login_counts_towards_the_limit_of_cookie_sessions() {
    let hook = Hook::new(accept);
    let world =
        World::with(|sandbox| sandbox, |sessions| hook.on(sessions).max_sessions_per_user(2));
    for number in 0..4 {
        let browser = world.logged_in(JANE).await;
        assert_eq!(browser.names_and_values().len() < 250, number >= 2, "{number}");
    }
}

#[tokio::test]
async fn a_switch_can_be_retried_while_the_hook_is_unavailable() {
    let hook = Hook::new(accept);
    let world = world(&hook);
    let mut browser = world.logged_in(JANE).await;
    let authorization = browser.start_login("/login?return_to=/me").await;
    let callback = world.sandbox.log_in(&authorization, JOHN).unwrap();
    let asked = browser.open(&callback).await;
    hook.set(unavailable);
    let response = browser.decide(&asked, "switch").await;
    assert_eq!(login_error(&response), LoginError::LoginHookUnavailable);
    assert_eq!(browser.fetch("/me").await.json()["email"], JANE);
    hook.set(accept);
    assert_eq!(browser.decide(&asked, "switch").await.location(), "/me");
    assert_eq!(browser.fetch("/me").await.json()["email"], JOHN);
}
