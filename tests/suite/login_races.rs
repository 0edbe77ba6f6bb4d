//! Revocations that arrive while a verified login waits for the login hook or the user.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};
use tokio::sync::{Notify, oneshot};
use tower_scalekit::api::passwordless::VerifiedEmail;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::sandbox::Endpoint;
use tower_scalekit::session::{
    LocalSession, LoginDecision, LoginHookError, User, VerifiedIdentity,
};
use tower_scalekit::{PasswordlessLogin, Sessions};

use crate::store::FlakyStore;
use crate::support::{
    Browser, FETCH, JANE, JOHN, Reading as _, World, app, login_error, send, set_cookies, settle,
};

/// What is revoked during a login.
#[derive(Clone, Copy, Debug)]
enum Revoked {
    Nothing,
    Session,
    User,
}

impl Revoked {
    async fn revoke(self, sessions: &Sessions, identity: &VerifiedIdentity) {
        match self {
            Self::Nothing => {}
            Self::Session => sessions.revoke_session(identity.session_id().unwrap()).await.unwrap(),
            Self::User => sessions.revoke_user(&identity.user().id).await.unwrap(),
        }
    }
}

/// Two replicas of an app whose login hook waits for the test.
struct HookedApp {
    world: World,
    sessions: [Sessions; 2],
    apps: [Router; 2],
    called: oneshot::Receiver<VerifiedIdentity>,
    proceed: Arc<Notify>,
}

impl HookedApp {
    fn new(session: fn(&VerifiedIdentity) -> LocalSession) -> Self {
        let world = World::with(|sandbox| sandbox.modular_sso(), |sessions| sessions);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let (call, called) = oneshot::channel();
        let (call, proceed) = (Arc::new(Mutex::new(Some(call))), Arc::new(Notify::new()));
        let sessions = [(); 2].map(|()| {
            let (call, proceed) = (Arc::clone(&call), Arc::clone(&proceed));
            world.replica(|sessions| {
                sessions.shared_store(store.clone()).on_login(move |login| {
                    let identity = login.identity().clone();
                    let call = call.lock().unwrap().take();
                    let proceed = Arc::clone(&proceed);
                    async move {
                        if let Some(call) = call {
                            call.send(identity.clone()).unwrap();
                            proceed.notified().await;
                        }
                        Ok(session(&identity).into())
                    }
                })
            })
        });
        let apps = sessions.each_ref().map(app);
        Self { world, sessions, apps, called, proceed }
    }
}

/// The app has its own user IDs.
fn own_session(identity: &VerifiedIdentity) -> LocalSession {
    let mut user = User::default();
    user.id = "42".to_owned();
    user.email.clone_from(&identity.user().email);
    LocalSession::new(user)
}

#[tokio::test]
async fn a_revocation_during_the_login_hook_ends_the_login() {
    for session in [VerifiedIdentity::session as fn(&_) -> _, own_session, |identity| {
        own_session(identity).in_cookie()
    }] {
        for revoked in [Revoked::Nothing, Revoked::Session, Revoked::User] {
            for (replica, later) in [(0, 0), (1, 0), (1, 2)] {
                let mut hooked = HookedApp::new(session);
                let mut browser = Browser::new(&hooked.apps[0], &hooked.world.sandbox);
                let authorization = browser.start_login("/login?return_to=/me").await;
                let callback = hooked.world.sandbox.log_in(&authorization, JANE).unwrap();
                let mut opening = Box::pin(browser.open(&callback));
                let identity = tokio::select! {
                    identity = &mut hooked.called => identity.unwrap(),
                    response = &mut opening => panic!("the hook is not called: {response:?}"),
                };
                revoked.revoke(&hooked.sessions[replica], &identity).await;
                hooked.world.advance(later);
                hooked.proceed.notify_one();
                let done = opening.await;
                let case = format!("{revoked:?} on replica {replica}, {later} s");
                let is_revoked = !matches!(revoked, Revoked::Nothing);
                // Other replicas learn of it within two seconds.
                if is_revoked && (replica == 0 || later > 0) {
                    assert_eq!(done.status(), StatusCode::BAD_REQUEST, "{case}");
                    let rejection = done.extensions().get::<RouteRejection<LoginError>>().unwrap();
                    assert_eq!(rejection.error(), &LoginError::StateMismatch, "{case}");
                } else if !is_revoked {
                    assert_eq!(done.status(), StatusCode::SEE_OTHER, "{case}");
                }
                hooked.world.advance(2);
                let expected = if is_revoked { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
                for replica in [0, 1] {
                    assert_eq!(browser.status_at(&hooked.apps[replica]).await, expected, "{case}");
                }
                // A later login is unaffected.
                let again = browser.log_in(&hooked.world.sandbox, JANE).await;
                assert_eq!(again.status(), StatusCode::SEE_OTHER, "{case}");
                assert_eq!(browser.status_at(&hooked.apps[1]).await, StatusCode::OK, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_whose_hook_is_slow_can_be_reloaded_on_another_replica() {
    let hooked = HookedApp::new(VerifiedIdentity::session);
    let mut browser = Browser::new(&hooked.apps[0], &hooked.world.sandbox);
    let authorization = browser.start_login("/login?return_to=/me").await;
    let callback = hooked.world.sandbox.log_in(&authorization, JANE).unwrap();
    let mut reloaded = browser.at(&hooked.apps[1]);
    let first = callback.clone();
    let first = tokio::spawn(async move { browser.open(&first).await });
    hooked.called.await.unwrap();
    // The hook takes longer than a request waits.
    for _ in 0..2 {
        let response = reloaded.open(&callback).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", response.text());
        assert!(response.header("retry-after").is_some());
        let rejection = response.extensions().get::<RouteRejection<LoginError>>().unwrap();
        assert_eq!(rejection.error(), &LoginError::InProgress);
        assert_eq!(reloaded.names_with("_login_").len(), 1, "the attempt continues");
    }
    let mut waiting = reloaded.clone();
    let again = callback.clone();
    let waiting = tokio::spawn(async move { waiting.open(&again).await });
    settle().await;
    hooked.proceed.notify_one();
    let (first, second) = (first.await.unwrap(), waiting.await.unwrap());
    for response in [&first, &second] {
        assert_eq!((response.status(), response.location()), (StatusCode::SEE_OTHER, "/me"));
        assert_eq!(set_cookies(response.headers()), set_cookies(first.headers()));
    }
    assert_eq!(hooked.world.sandbox.requests().count(Endpoint::Token), 1);
    // Later, a browser without its session learns that the login was completed.
    hooked.world.advance(11);
    let response = reloaded.open(&callback).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn a_login_in_progress_on_another_replica_keeps_its_attempt_beside_a_session() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let (waits, proceed) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let apps = [(); 2].map(|()| {
        let (waits, proceed) = (Arc::clone(&waits), Arc::clone(&proceed));
        app(&world.replica(|sessions| {
            sessions.shared_store(store.clone()).on_login(move |_| {
                let (waits, proceed) = (waits.load(Ordering::SeqCst), Arc::clone(&proceed));
                async move {
                    if waits {
                        proceed.notified().await;
                    }
                    Ok(LoginDecision::accept())
                }
            })
        }))
    });
    let mut browser = world.logged_in_at(&apps[0], JANE).await;
    waits.store(true, Ordering::SeqCst);
    let authorization = browser.start_login("/login?return_to=/me").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let mut other = browser.at(&apps[1]);
    let target = callback.clone();
    let first = tokio::spawn(async move { browser.open(&target).await });
    settle().await;
    let response = other.open(&callback).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(login_error(&response), LoginError::InProgress);
    assert_eq!(other.names_with("_login_").len(), 1, "the attempt continues");
    proceed.notify_one();
    assert_eq!(first.await.unwrap().location(), "/me");
    assert_eq!(other.open(&callback).await.location(), "/me");
}

#[tokio::test(start_paused = true)]
async fn a_login_that_fails_for_a_request_that_waits_can_be_reloaded() {
    for endpoint_fails in [false, true] {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let proceed = Arc::new(Notify::new());
        let is_down = Arc::new(AtomicBool::new(!endpoint_fails));
        let apps = [(); 2].map(|()| {
            let (proceed, is_down) = (Arc::clone(&proceed), Arc::clone(&is_down));
            app(&world.replica(|sessions| {
                sessions.shared_store(store.clone()).on_login(move |_| {
                    let (proceed, is_down) = (Arc::clone(&proceed), Arc::clone(&is_down));
                    async move {
                        if is_down.load(Ordering::SeqCst) {
                            proceed.notified().await;
                            return Err(LoginHookError::unavailable("the database is away"));
                        }
                        Ok(LoginDecision::accept())
                    }
                })
            }))
        });
        let mut browser = Browser::new(&apps[0], &world.sandbox);
        let authorization = browser.start_login("/login?return_to=/me").await;
        let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
        let mut waiting = browser.at(&apps[1]);
        let mut held = Some(world.sandbox.faults().hold(Endpoint::Token));
        let open = |mut browser: Browser| {
            let callback = callback.clone();
            tokio::spawn(async move { browser.open(&callback).await })
        };
        let first = open(browser.clone());
        settle().await;
        // The call to the token endpoint times out while the second request waits.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let second = open(waiting.clone());
        settle().await;
        if !endpoint_fails {
            held = None;
            settle().await;
            proceed.notify_one();
        }
        for response in [first.await.unwrap(), second.await.unwrap()] {
            let case = format!("{endpoint_fails}: {}", response.text());
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{case}");
            assert!(set_cookies(response.headers()).is_empty(), "{case}");
        }
        drop(held);
        is_down.store(false, Ordering::SeqCst);
        assert_eq!(waiting.open(&callback).await.location(), "/me", "{endpoint_fails}");
    }
}

#[tokio::test]
async fn a_revocation_during_the_hook_of_a_login_by_email_ends_the_login() {
    for is_revoked in [false, true] {
        let world = World::new();
        let (call, mut called) = oneshot::channel::<()>();
        let (call, proceed) = (Mutex::new(Some(call)), Arc::new(Notify::new()));
        let login = PasswordlessLogin::builder(&world.sessions).start_page("/in");
        let proceeds = Arc::clone(&proceed);
        let login = login.code_page("/code").on_login(move |verified| {
            let (call, proceed) = (call.lock().unwrap().take(), Arc::clone(&proceeds));
            async move {
                let _ = call.map(|call| call.send(()));
                proceed.notified().await;
                Ok(verified.session())
            }
        });
        let app = world.app.clone().merge(login.build().unwrap().routes());
        let mut browser = world.browser().at(&app);
        submit(&mut browser, "send", JANE).await;
        let code = world.sandbox.mail().outbox().remove(0).code.unwrap();
        let mut verifying = Box::pin(submit(&mut browser, "verify", &code));
        tokio::select! {
            called = &mut called => called.unwrap(),
            response = &mut verifying => panic!("the hook is not called: {response:?}"),
        }
        if is_revoked {
            world.sessions.revoke_user(JANE).await.unwrap();
        }
        proceed.notify_one();
        let done = verifying.await;
        let expected = if is_revoked { StatusCode::BAD_REQUEST } else { StatusCode::SEE_OTHER };
        assert_eq!(done.status(), expected, "{}", done.text());
        assert_eq!(browser.fetch("/me").await.status() == StatusCode::OK, !is_revoked);
    }
}

#[tokio::test]
async fn a_login_by_email_that_waits_for_confirmation_ends_with_a_revocation() {
    for is_revoked in [false, true] {
        let world = World::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let login = PasswordlessLogin::builder(&world.sessions)
            .start_page("/in")
            .code_page("/code")
            .on_login(move |verified: VerifiedEmail| {
                counted.fetch_add(1, Ordering::SeqCst);
                async move { Ok(verified.session()) }
            })
            .build()
            .unwrap();
        let app = world.app.clone().merge(login.routes());
        let mut browser = world.logged_in(JANE).await.at(&app);
        submit(&mut browser, "send", JOHN).await;
        let code = world.sandbox.mail().outbox().remove(0).code.unwrap();
        let asked = submit(&mut browser, "verify", &code).await;
        if is_revoked {
            world.sessions.revoke_user(JOHN).await.unwrap();
        }
        let done = browser.decide(&asked, "switch").await;
        let expected = if is_revoked { StatusCode::BAD_REQUEST } else { StatusCode::SEE_OTHER };
        assert_eq!(done.status(), expected, "{}", done.text());
        let user = browser.fetch("/me").await.json()["email"].clone();
        assert_eq!(user, if is_revoked { JANE } else { JOHN });
        assert_eq!(calls.load(Ordering::SeqCst), usize::from(!is_revoked), "the app learns of it");
    }
}

#[tokio::test]
async fn a_revocation_while_the_environment_issues_the_tokens_ends_the_login() {
    let world = World::new();
    let jane = world.sandbox.users().get(JANE).unwrap().id;
    let mut browser = world.browser();
    let authorization = browser.start_login("/login?return_to=/me").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let held = world.sandbox.faults().hold(Endpoint::Token);
    let revoked = async {
        settle().await;
        assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1);
        world.sessions.revoke_user(&jane).await.unwrap();
        drop(held);
    };
    let (done, ()) = futures::future::join(browser.open(&callback), revoked).await;
    assert_eq!(done.status(), StatusCode::BAD_REQUEST);
    let rejection = done.extensions().get::<RouteRejection<LoginError>>().unwrap();
    assert_eq!(rejection.error(), &LoginError::StateMismatch);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_revocation_while_the_app_identifies_the_user_covers_the_session_of_that_login() {
    let world = World::new();
    let jane = world.sandbox.users().get(JANE).unwrap().id;
    let mut browser = world.browser();
    let authorization = browser.start_login("/login").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let (parts, _) = browser.request(Method::GET, &callback, &FETCH).into_parts();
    let login = world.sessions.callback().identify(&parts).await.unwrap();
    world.sessions.revoke_user(&jane).await.unwrap();
    let session = login.identity.session();
    let cookies = world.sessions.create(session, &parts.headers).await.unwrap();
    let mut response = http::Response::new(bytes::Bytes::new());
    cookies.set(response.headers_mut());
    browser.store_cookies(&response);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_revocation_while_the_environment_verifies_a_code_ends_the_login() {
    let world = World::new();
    let login = PasswordlessLogin::builder(&world.sessions)
        .start_page("/in")
        .code_page("/code")
        .build()
        .unwrap();
    let app = world.app.clone().merge(login.routes());
    let mut browser = world.browser().at(&app);
    submit(&mut browser, "send", JANE).await;
    let code = world.sandbox.mail().outbox().remove(0).code.unwrap();
    let before = world.sandbox.requests().count(Endpoint::Api);
    let held = world.sandbox.faults().hold(Endpoint::Api);
    let revoked = async {
        settle().await;
        assert_eq!(world.sandbox.requests().count(Endpoint::Api), before + 1);
        world.sessions.revoke_user(JANE).await.unwrap();
        drop(held);
    };
    let (done, ()) = futures::future::join(submit(&mut browser, "verify", &code), revoked).await;
    assert_eq!(done.status(), StatusCode::BAD_REQUEST, "{}", done.text());
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

/// Sends a form of the login by e-mail.
async fn submit(browser: &mut Browser, form: &str, value: &str) -> http::Response<bytes::Bytes> {
    let field = if form == "send" { "email" } else { "code" };
    let mut request = browser.request(
        Method::POST,
        &format!("/passwordless/{form}"),
        &[
            ("accept", "text/html,*/*;q=0.8"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/x-www-form-urlencoded"),
        ],
    );
    *request.body_mut() = format!("{field}={}", value.replace('@', "%40")).into();
    let response = send(browser.app(), request).await;
    browser.store_cookies(&response);
    response
}
