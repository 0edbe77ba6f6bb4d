//! Single sign-on for an app that manages its own users and sessions.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tower_scalekit::Sessions;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::http_client::HttpClient as _;
use tower_scalekit::oauth::{ErrorOrigin, LogoutRequest, SsoError};
use tower_scalekit::sandbox::{Endpoint, TokenFault, TokenKind};
use tower_scalekit::session::{LocalSession, LoginHookError, User, VerifiedIdentity};

use crate::store::FlakyStore;
use crate::support::{
    Browser, NAVIGATION, Reading as _, World, login_error, parameter, send, set_cookies, settle,
};

const ANA: &str = "ana@example.com";
const HOUR: u64 = 3600;

/// A world whose logins create local sessions of eight hours.
fn world() -> World {
    admitting(|identity| {
        let session = identity.session().lifetime(Duration::from_secs(8 * HOUR));
        Ok(session.roles(["member"]))
    })
}

/// Logins of the app's own sessions need no refresh token.
const SCOPES: [&str; 3] = ["openid", "profile", "email"];

fn admitting(
    admit: impl Fn(VerifiedIdentity) -> Result<LocalSession, LoginHookError> + Send + Sync + 'static,
) -> World {
    World::with(
        |sandbox| sandbox.modular_sso(),
        |sessions| {
            sessions.scopes(SCOPES).on_login(move |login| {
                std::future::ready(admit(login.identity().clone()).map(Into::into))
            })
        },
    )
}

async fn at_the_callback(world: &World, browser: &mut Browser, target: &str) -> String {
    let authorization = browser.start_login(target).await;
    world.sandbox.log_in(&authorization, ANA).unwrap()
}

fn parts(browser: &Browser, target: &str) -> Parts {
    browser.request(Method::GET, target, &NAVIGATION).into_parts().0
}

#[tokio::test]
async fn a_login_becomes_a_local_session() {
    let world = world();
    let mut browser = world.browser();
    let authorization = browser.start_login("/login?domain_hint=example.com&return_to=/me").await;
    let scope = parameter(&authorization, "scope").unwrap();
    assert_eq!(scope, "openid profile email");
    let callback = world.sandbox.log_in(&authorization, ANA).unwrap();
    let completed = browser.open(&callback).await;
    assert_eq!((completed.status(), completed.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(browser.names(), ["__Host-scalekit_session"]);

    let me = browser.fetch("/me").await.json();
    let subject = me["sub"].as_str().unwrap();
    assert!(subject.starts_with("conn_") && subject.contains(';'), "{subject}");
    assert_eq!((&me["email"], &me["roles"][0]), (&ANA.into(), &"member".into()));
    assert!(me["sid"].as_str().unwrap().starts_with("ses_"));

    // Its tokens have expired long ago, and none are requested.
    let asked = world.sandbox.requests().count(Endpoint::Token);
    world.advance(8 * HOUR - 1);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), asked);
    world.advance(1);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_of_a_known_user_has_the_apps_user_id() {
    let world = admitting(|identity| {
        let mut user = User::default();
        user.id = format!("{}/7", identity.organization_id().unwrap());
        user.email = identity.user().email.clone();
        Ok(identity.session_of(user))
    });
    let organization = world.sandbox.organizations().list();
    let organization =
        organization.iter().find(|one| one.domains.contains(&"example.com".into())).unwrap();
    let mut browser = world.browser();
    let target = format!("/login?organization_id={}", organization.id);
    let callback = at_the_callback(&world, &mut browser, &target).await;
    browser.open(&callback).await;
    let me = browser.fetch("/me").await.json();
    assert_eq!(me["sub"], format!("{}/7", organization.id));

    // The environment's logout refers to its own session ID.
    world.sessions.revoke_session(me["sid"].as_str().unwrap()).await.unwrap();
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_user_whom_the_hook_denies_gets_a_403_and_no_session() {
    let world = admitting(|identity| match identity.connection_id() {
        Some(connection) if connection.starts_with("conn_") => Err(LoginHookError::Denied),
        _ => Ok(identity.session()),
    });
    let mut browser = world.browser();
    let callback = at_the_callback(&world, &mut browser, "/login?domain_hint=example.com").await;
    let response = browser.open(&callback).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(login_error(&response), LoginError::LoginDenied);
    assert!(response.text().contains("This account is not allowed to use the app"));
    assert_eq!(browser.names(), [""; 0], "the attempt is over");
    response.assert_private();
}

#[tokio::test]
async fn a_denied_login_keeps_the_previous_session() {
    let rejecting = Arc::new(AtomicBool::new(false));
    let rejects = Arc::clone(&rejecting);
    let world = admitting(move |identity| match rejects.load(Ordering::SeqCst) {
        true => Err(LoginHookError::Denied),
        false => Ok(identity.session()),
    });
    let mut browser = world.browser();
    let callback = at_the_callback(&world, &mut browser, "/login?domain_hint=example.com").await;
    browser.open(&callback).await;
    let (session, me) = (browser.cookie_header(), browser.fetch("/me").await.json());

    rejecting.store(true, Ordering::SeqCst);
    let callback = at_the_callback(&world, &mut browser, "/login?domain_hint=example.com").await;
    let response = browser.open(&callback).await;
    assert_eq!(login_error(&response), LoginError::LoginDenied);
    assert!(!set_cookies(response.headers()).iter().any(|line| line.contains("_session")));
    assert_eq!(browser.cookie_header(), session, "only the attempt has ended");
    assert_eq!(browser.fetch("/me").await.json(), me);
}

#[tokio::test]
async fn the_hook_is_not_called_before_the_tokens_are_verified() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let world = admitting(move |identity| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(identity.session())
    });
    for fault in [
        TokenFault::InvalidNonce,
        TokenFault::InvalidAudience,
        TokenFault::InvalidIssuer,
        TokenFault::InvalidSignature,
        TokenFault::MissingSubject,
        TokenFault::Unsigned,
        TokenFault::Expired,
    ] {
        world.sandbox.tokens().clear_faults();
        world.sandbox.tokens().add_fault(TokenKind::IdToken, fault.clone());
        let mut browser = world.browser();
        let callback =
            at_the_callback(&world, &mut browser, "/login?domain_hint=example.com").await;
        let response = browser.open(&callback).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{fault:?}");
        assert!(!set_cookies(response.headers()).iter().any(|line| line.contains("_session")));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn identify_returns_the_identity_and_sets_no_session_cookie() {
    let world = World::with(|sandbox| sandbox.modular_sso(), |sessions| sessions);
    let mut browser = world.browser();
    let target = "/login?domain_hint=example.com&return_to=/reports";
    let callback = at_the_callback(&world, &mut browser, target).await;
    let login = world.sessions.callback().identify(&parts(&browser, &callback)).await.unwrap();
    assert_eq!(login.return_to.as_str(), "/reports");
    let identity = &login.identity;
    assert_eq!(identity.user().email, ANA);
    let subject = format!("{};", identity.connection_id().unwrap());
    assert!(identity.user().id.starts_with(&subject));
    assert!(identity.organization_id().unwrap().starts_with("org_"));
    assert!(!format!("{login:?}").contains(ANA), "{login:?}");

    let mut response = Response::new(Bytes::new());
    login.cookies.set(response.headers_mut());
    browser.store_cookies(&response);
    assert_eq!(browser.names(), [""; 0], "the attempt has ended, and no session was created");
    response.assert_private();
    assert_eq!(
        response.header("referrer-policy"),
        Some("no-referrer"),
        "the address is not sent to other sites"
    );

    // The rejections of the callback.
    for (target, expected) in [
        (callback.as_str(), LoginError::StateMismatch),
        ("/auth/callback", LoginError::InvalidRequest),
        ("/auth/callback?code=c", LoginError::InvalidRequest),
        (
            "/auth/callback?error=user_not_active",
            LoginError::AuthorizationFailed { error: Some(SsoError::UserNotActive) },
        ),
    ] {
        let rejection =
            world.sessions.callback().identify(&parts(&browser, target)).await.unwrap_err();
        assert_eq!(rejection.error(), Some(&expected), "{target}");
        let response = rejection.into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{target}");
        assert_eq!(login_error(&response), expected, "{target}");
    }
}

#[tokio::test]
async fn identify_continues_when_its_client_disconnects_for_a_second_request() {
    for is_late in [false, true] {
        let world = World::with(|sandbox| sandbox.modular_sso(), |sessions| sessions);
        let mut browser = world.browser();
        let target = "/login?domain_hint=example.com&return_to=/reports";
        let callback = at_the_callback(&world, &mut browser, target).await;
        let (route, parts) = (world.sessions.callback(), parts(&browser, &callback));
        let held = world.sandbox.faults().hold(Endpoint::Token);
        let (first, first_parts) = (route.clone(), parts.clone());
        let first = tokio::spawn(async move { first.identify(&first_parts).await.map(drop) });
        settle().await;
        assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1);
        first.abort();
        let login = if is_late {
            drop(held);
            settle().await;
            route.identify(&parts).await
        } else {
            let release = async {
                settle().await;
                drop(held);
            };
            futures::future::join(route.identify(&parts), release).await.0
        };
        assert_eq!(login.unwrap().identity.user().email, ANA);
        assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1);
        world.advance(10);
        let rejection = route.identify(&parts).await.unwrap_err();
        assert_eq!(rejection.error(), Some(&LoginError::StateMismatch), "ten seconds later");
    }
}

#[tokio::test(start_paused = true)]
async fn identify_returns_the_same_login_on_another_replica() {
    let world = World::with(|sandbox| sandbox.modular_sso(), |sessions| sessions);
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let replicas = [(); 2].map(|()| world.replica(|one| one.shared_store(store.clone())));
    let routes = replicas.each_ref().map(Sessions::callback);
    for is_late in [false, true] {
        let mut browser = world.browser();
        let target = "/login?domain_hint=example.com&return_to=/reports";
        let callback = at_the_callback(&world, &mut browser, target).await;
        let parts = parts(&browser, &callback);
        let (first, second) = if is_late {
            (routes[0].identify(&parts).await, routes[1].identify(&parts).await)
        } else {
            store.yield_before_each();
            futures::future::join(routes[0].identify(&parts), routes[1].identify(&parts)).await
        };
        let [first, second] = [first.unwrap(), second.unwrap()];
        assert_eq!(second.identity.raw_claims(), first.identity.raw_claims());
        assert_eq!(second.id_token_hint.expose(), first.id_token_hint.expose());
        assert_eq!(second.return_to.as_str(), "/reports");
        // Not in another browser, and not later.
        let other = self::parts(&world.browser(), &callback);
        assert!(routes[1].identify(&other).await.is_err());
        world.advance(11);
        let rejection = routes[1].identify(&parts).await.unwrap_err();
        assert_eq!(rejection.error(), Some(&LoginError::StateMismatch));
    }
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 2);
}

#[tokio::test]
async fn identify_restarts_a_login_that_needs_interaction() {
    let world = World::new();
    let mut browser = world.browser();
    let authorization = browser.start_login("/login?prompt=none&return_to=/me").await;
    let state = parameter(&authorization, "state").unwrap();
    let target = format!("/auth/callback?error=login_required&state={state}");
    let rejection =
        world.sessions.callback().identify(&parts(&browser, &target)).await.unwrap_err();
    assert_eq!(rejection.error(), None, "the login continues");
    let response = rejection.into_response();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.location(), "/login?return_to=%2Fme");
}

#[tokio::test]
async fn debug_output_of_identity_and_rejection_omits_the_return_page() {
    let world = World::with(|sandbox| sandbox.modular_sso(), |sessions| sessions);
    let mut browser = world.browser();
    let target = "/login?domain_hint=example.com&return_to=/invited%3Ftoken=hush";
    let callback = at_the_callback(&world, &mut browser, target).await;
    let login = world.sessions.callback().identify(&parts(&browser, &callback)).await.unwrap();
    assert_eq!(login.return_to.as_str(), "/invited?token=hush");
    let shown = format!("{login:?}");
    assert!(shown.contains("/invited") && !shown.contains("hush"), "{shown}");

    world.advance(10);
    let rejection =
        world.sessions.callback().identify(&parts(&browser, &callback)).await.unwrap_err();
    let shown = format!("{rejection:?}");
    let state = parameter(&callback, "state").unwrap();
    assert!(shown.contains("StateMismatch"), "{shown}");
    assert!(!shown.contains("hush") && !shown.contains(&state[..8]), "{shown}");
    assert!(rejection.into_response().text().contains("hush"), "the page leads there");
}

#[tokio::test]
async fn an_error_of_the_organization_refers_users_to_their_administrator() {
    let world = world();
    for (code, text) in [
        ("invalid_saml_response", "administrator"),
        ("no_active_connections", "administrator"),
        ("access_denied", "cancelled"),
        ("server_error", "not completed"),
    ] {
        let mut browser = world.browser();
        let authorization = browser.start_login("/login").await;
        let state = parameter(&authorization, "state").unwrap();
        let target =
            format!("/auth/callback?error={code}&error_description=Call%20555&state={state}");
        let response = browser.open(&target).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(response.text().contains(text), "{code}: {}", response.text());
        assert!(!response.text().contains("555"));
    }
    assert_eq!(SsoError::from("invalid_redirect_uri").origin(), ErrorOrigin::Application);
}

/// Logs out as a browser does: opens the environment's page and returns.
async fn log_out(world: &World, browser: &mut Browser) -> String {
    let out = browser.open("/logout").await;
    assert_eq!(out.status(), StatusCode::SEE_OTHER);
    let request = Request::get(out.location()).body(Bytes::new()).unwrap();
    let back = world.sandbox.client().send(request).await.unwrap();
    let landed = browser.open(back.location()).await;
    assert_eq!(landed.status(), StatusCode::SEE_OTHER, "{}", landed.text());
    assert_eq!(browser.names(), [""; 0]);
    landed.location().to_owned()
}

#[tokio::test]
async fn logout_of_a_local_session_ends_the_scalekit_session_that_it_began_with() {
    // Whatever session the hook returns, and wherever it is kept.
    for session in [
        |identity: VerifiedIdentity| identity.session(),
        |identity: VerifiedIdentity| identity.session().in_cookie(),
        |_| {
            let mut user = User::default();
            user.id = "7".to_owned();
            LocalSession::new(user)
        },
    ] {
        let world = admitting(move |identity| Ok(session(identity)));
        let mut browser = world.browser();
        let callback =
            at_the_callback(&world, &mut browser, "/login?domain_hint=example.com").await;
        browser.open(&callback).await;
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        assert_eq!(log_out(&world, &mut browser).await, "https://app.example.com/");
        assert_eq!(world.sandbox.users().revoke_sessions(ANA), 0, "it has ended there too");
    }
}

#[tokio::test]
async fn a_local_session_ends_with_its_scalekit_session() {
    let seen = Arc::new(Mutex::new(None));
    let sees = Arc::clone(&seen);
    let world = admitting(move |identity| {
        let mut user = User::default();
        user.id = "7".to_owned();
        *sees.lock().unwrap() = Some(identity);
        Ok(LocalSession::new(user))
    });
    for by_user in [false, true] {
        let mut browser = world.browser();
        let target = "/login?domain_hint=example.com";
        let callback = at_the_callback(&world, &mut browser, target).await;
        browser.open(&callback).await;
        assert_eq!(browser.fetch("/me").await.json()["sub"], "7");
        let identity = seen.lock().unwrap().take().unwrap();
        match by_user {
            true => world.sessions.revoke_user(&identity.user().id).await.unwrap(),
            false => world.sessions.revoke_session(identity.session_id().unwrap()).await.unwrap(),
        }
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED, "{by_user}");
    }
}

#[tokio::test]
async fn logout_of_a_session_without_a_scalekit_login_stays_in_the_app() {
    let world = World::new();
    let mut user = User::default();
    user.id = "7".to_owned();
    let cookies = world.sessions.create(LocalSession::new(user), &HeaderMap::new()).await.unwrap();
    let mut response = Response::new(Bytes::new());
    cookies.set(response.headers_mut());
    let mut browser = world.browser();
    browser.store_cookies(&response);
    let out = browser.open("/logout").await;
    assert_eq!((out.status(), out.location()), (StatusCode::SEE_OTHER, "https://app.example.com/"));
    assert_eq!(browser.names(), [""; 0]);
}

#[tokio::test]
async fn a_completed_login_has_a_logout_hint() {
    let world = World::with(|sandbox| sandbox.modular_sso(), |sessions| sessions);
    let mut browser = world.browser();
    let callback = at_the_callback(&world, &mut browser, "/login?domain_hint=example.com").await;
    let login = world.sessions.callback().identify(&parts(&browser, &callback)).await.unwrap();
    let hint = login.id_token_hint.expose().to_owned();
    assert!(!format!("{login:?}").contains(&hint[..20]), "{login:?}");
    let mut sessions_end = browser.clone();

    // With a session of the app's own ...
    let url = world
        .sandbox
        .scalekit()
        .logout_url(&LogoutRequest::new().id_token_hint(login.id_token_hint.clone()));
    assert_eq!(parameter(url.as_str(), "id_token_hint"), Some(hint.clone()));
    // ... or with one of this crate.
    let session = login.identity.session().id_token_hint(login.id_token_hint);
    let cookies = world.sessions.create(session, &HeaderMap::new()).await.unwrap();
    let mut response = Response::new(Bytes::new());
    cookies.set(response.headers_mut());
    sessions_end.store_cookies(&response);
    let out = sessions_end.open("/logout").await;
    assert_eq!(parameter(out.location(), "id_token_hint"), Some(hint));
}

#[tokio::test]
async fn a_new_login_ends_the_previous_local_session() {
    let world = world();
    let mut browser = world.browser();
    let callback = at_the_callback(&world, &mut browser, "/login?domain_hint=example.com").await;
    browser.open(&callback).await;
    let old = browser.clone();
    let callback = at_the_callback(&world, &mut browser, "/login?domain_hint=example.com").await;
    browser.open(&callback).await;
    let stolen = old.request(Method::GET, "/me", &NAVIGATION);
    assert_eq!(send(&world.app, stolen).await.status(), StatusCode::FOUND);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}
