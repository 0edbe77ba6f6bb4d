//! Routes that require a recent login (RFC 9470).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{Method, StatusCode};
use serde_json::Value;
use tower_scalekit::challenge::AcrValue;
use tower_scalekit::clock::ManualClock;
use tower_scalekit::require_session::SessionRejection;
use tower_scalekit::require_token::TokenRejection;
use tower_scalekit::sandbox::TokenKind;
use tower_scalekit::session::{LocalSession, LoginDecision};
use tower_scalekit::shared_store::MemoryStore;
use tower_scalekit::{RequireAuth, RequireSession, Session, Sessions};

use crate::clocks::scalekit;
use crate::support::{
    Browser, CALLBACK, FETCH, JANE, JOHN, NAVIGATION, Reading as _, World, parameter, request,
    request_with_token, sandbox_builder, secret, send, token_layer,
};

const LIMIT: Duration = Duration::from_secs(300);
const AGAIN: &str = "/login?return_to=%2Fpassword%3Fa%3Db&prompt=login";

/// An app with a page that requires an authentication within five minutes.
fn app(sessions: &Sessions) -> Router {
    app_within(sessions, LIMIT)
}

fn app_within(sessions: &Sessions, limit: Duration) -> Router {
    Router::new()
        .route("/password", get(authenticated_at).post(authenticated_at))
        .route_layer(RequireSession::new(sessions).authenticated_within(limit))
        .merge(crate::support::app(sessions))
}

async fn authenticated_at(session: Session) -> String {
    session.authenticated_at().map(|at| at.unix_timestamp().to_string()).unwrap_or_default()
}

/// Completes the login at this path, and returns where it ends.
async fn log_in(browser: &mut Browser, world: &World, login: &str) -> String {
    let authorization = browser.start_login(login).await;
    let prompt = parameter(&authorization, "prompt");
    assert_eq!(prompt.as_deref(), login.contains("prompt=login").then_some("login"));
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let done = browser.open(&callback).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
    done.location().to_owned()
}

fn with_auth_time(world: &World, seconds_ago: i64) {
    let clock = world.sandbox.clock().clock();
    world.sandbox.tokens().edit(TokenKind::IdToken, move |token| {
        let at = clock.now().unix_timestamp() - seconds_ago;
        token.claims.insert("auth_time".to_owned(), at.into());
    });
}

#[tokio::test]
async fn a_navigation_logs_in_again_once_and_returns() {
    let world = World::new();
    let mut jane = world.logged_in(JANE).await.at(&app(&world.sessions));
    // The environment may have completed this login without Jane.
    let page = jane.open("/password?a=b").await;
    assert_eq!((page.status(), page.location()), (StatusCode::FOUND, AGAIN));
    assert!(matches!(page.extensions().get(), Some(SessionRejection::OutdatedAuthentication(_))));
    page.assert_private();
    assert_eq!(log_in(&mut jane, &world, AGAIN).await, "/password?a=b");
    assert_eq!(jane.open("/password?a=b").await.status(), StatusCode::OK);

    world.advance(299);
    assert_eq!(jane.open("/password?a=b").await.status(), StatusCode::OK);
    world.advance(2);
    assert_eq!(jane.open("/password?a=b").await.location(), AGAIN);
    assert_eq!(jane.fetch("/me").await.status(), StatusCode::OK, "other routes");
    assert_eq!(log_in(&mut jane, &world, AGAIN).await, "/password?a=b");
    assert_eq!(jane.open("/password?a=b").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_login_for_such_a_page_requires_credentials_from_the_start() {
    let world = World::new();
    let mut browser = world.browser().at(&app(&world.sessions));
    assert_eq!(browser.open("/password?a=b").await.location(), AGAIN);
    log_in(&mut browser, &world, AGAIN).await;
    assert_eq!(browser.open("/password?a=b").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn scripts_get_401_and_forms_a_page() {
    let world = World::new();
    let mut jane = world.logged_in(JANE).await.at(&app(&world.sessions));
    let response = jane.fetch("/password").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.json()["error"], "insufficient_user_authentication");
    let challenge = response.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer error=\"insufficient_user_authentication\""));
    assert!(challenge.ends_with("max_age=\"300\""), "{challenge}");
    let form = [("sec-fetch-mode", "navigate"), ("sec-fetch-site", "same-origin")];
    let form = jane.send(Method::POST, "/password", &form).await;
    assert_eq!(form.status(), StatusCode::UNAUTHORIZED);
    assert!(form.text().contains("/login?prompt=login"), "{}", form.text());
    let other_site = [("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")];
    let other_site = jane.send(Method::POST, "/password", &other_site).await;
    assert_eq!(other_site.status(), StatusCode::FORBIDDEN);
    let prefetch = jane.send(Method::GET, "/password", &[("sec-purpose", "prefetch")]).await;
    assert_eq!(prefetch.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_refresh_does_not_change_when_the_user_authenticated() {
    for stored in [false, true] {
        let world = World::with(
            |sandbox| sandbox.access_token_lifetime(Duration::from_secs(60)),
            |sessions| if stored { sessions.store_backed() } else { sessions },
        );
        let mut jane = world.browser().at(&app(&world.sessions));
        log_in(&mut jane, &world, AGAIN).await;
        let before = jane.fetch("/password").await.text();
        assert!(!before.is_empty());
        world.advance(61);
        let refreshed = jane.fetch("/password").await;
        assert_eq!(world.sandbox.requests().refreshes(), 1);
        assert_eq!(refreshed.text(), before);
        // An outdated one is rejected without a refresh.
        world.advance(300);
        assert_eq!(jane.fetch("/password").await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(world.sandbox.requests().refreshes(), 1);
    }
}

#[tokio::test]
async fn the_auth_time_of_the_id_token_decides() {
    let world = World::new();
    with_auth_time(&world, 299);
    let mut jane = world.logged_in(JANE).await.at(&app(&world.sessions));
    assert_eq!(jane.open("/password").await.status(), StatusCode::OK, "no other login is needed");
    world.advance(2);
    assert_eq!(jane.open("/password").await.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn an_environment_that_does_not_ask_for_credentials_leads_to_403() {
    for limit in [LIMIT, Duration::ZERO] {
        let world = World::new();
        with_auth_time(&world, 3600);
        let mut jane = world.logged_in(JANE).await.at(&app_within(&world.sessions, limit));
        assert_eq!(jane.open("/password?a=b").await.location(), AGAIN);
        log_in(&mut jane, &world, AGAIN).await;
        world.advance(1);
        let page = jane.open("/password?a=b").await;
        assert_eq!(page.status(), StatusCode::FORBIDDEN);
        let reason = page.extensions().get();
        assert!(matches!(reason, Some(SessionRejection::AuthenticationNotRenewed(_))));
        assert!(page.text().contains(&AGAIN.replace('&', "&amp;")), "{}", page.text());
        let script = jane.fetch("/password").await;
        assert_eq!(script.status(), StatusCode::FORBIDDEN);
        assert_eq!(script.json()["error"], "insufficient_user_authentication");
        // Later, the user may try again.
        world.advance(301);
        assert_eq!(jane.open("/password?a=b").await.status(), StatusCode::FOUND);
    }
}

#[tokio::test]
async fn the_shortest_limit_is_a_minute_in_which_a_login_can_return() {
    let world = World::new();
    let limit = Duration::from_secs(5);
    let mut jane = world.logged_in(JANE).await.at(&app_within(&world.sessions, limit));
    for _ in 0..3 {
        assert_eq!(jane.open("/password?a=b").await.location(), AGAIN);
        assert_eq!(log_in(&mut jane, &world, AGAIN).await, "/password?a=b");
        for seconds in [0, 10, 49] {
            world.advance(seconds);
            assert_eq!(jane.open("/password?a=b").await.status(), StatusCode::OK, "{seconds}");
        }
        // Then the user can log in again, without a 403 in between.
        world.advance(2);
    }
}

#[tokio::test]
async fn a_session_that_the_app_creates_begins_with_an_authentication() {
    let world = World::new();
    let app = app(&world.sessions);
    let mut user = tower_scalekit::session::User::default();
    user.id = "usr_own".to_owned();
    let cookies = world.sessions.create(LocalSession::new(user), &Default::default()).await;
    let mut response = http::Response::new(bytes::Bytes::new());
    cookies.unwrap().set(response.headers_mut());
    let mut browser = world.browser().at(&app);
    browser.store_cookies(&response);
    assert_eq!(browser.open("/password").await.status(), StatusCode::OK);
    world.advance(301);
    assert_eq!(browser.open("/password").await.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn a_hooks_session_has_the_authentication_of_its_login() {
    for accept in [false, true] {
        let world = World::with(
            |sandbox| sandbox,
            |sessions| {
                sessions.on_login(move |login| async move {
                    let mut user = tower_scalekit::session::User::default();
                    user.id = format!("own-{}", login.identity().user().id);
                    Ok(match accept {
                        true => LoginDecision::accept(),
                        false => LocalSession::new(user).into(),
                    })
                })
            },
        );
        let mut jane = world.browser().at(&app(&world.sessions));
        log_in(&mut jane, &world, "/login").await;
        assert_eq!(jane.open("/password?a=b").await.location(), AGAIN);
        log_in(&mut jane, &world, AGAIN).await;
        assert_eq!(jane.open("/password").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_login_as_another_user_is_confirmed_and_has_its_own_authentication() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await.at(&app(&world.sessions));
    let authorization = browser.start_login(AGAIN).await;
    let callback = world.sandbox.log_in(&authorization, JOHN).unwrap();
    let asked = browser.open(&callback).await;
    let done = browser.decide(&asked, "switch").await;
    assert_eq!(done.location(), "/password?a=b");
    assert_eq!(browser.open("/password").await.status(), StatusCode::OK);
    assert_eq!(browser.fetch("/me").await.json()["email"], JOHN);
}

#[tokio::test]
async fn a_clock_that_is_stepped_makes_no_authentication_recent_and_no_loop() {
    let world = World::new();
    let mut jane = world.browser().at(&app(&world.sessions));
    log_in(&mut jane, &world, AGAIN).await;
    let opened = async |jane: &mut Browser| jane.open("/password").await.status();
    let step = |seconds| world.sandbox.clock().step(time::Duration::seconds(seconds));
    step(-59);
    assert_eq!(opened(&mut jane).await, StatusCode::OK);
    step(-2);
    // It began with a login that has required credentials: another one might loop.
    assert_eq!(opened(&mut jane).await, StatusCode::FORBIDDEN);
    step(61);
    assert_eq!(opened(&mut jane).await, StatusCode::OK);
    step(301);
    assert_eq!(opened(&mut jane).await, StatusCode::FOUND);
}

#[tokio::test]
async fn replicas_whose_clocks_differ_accept_or_reject_without_a_loop() {
    for (seconds, status) in [
        (0, StatusCode::OK),
        (59, StatusCode::OK),
        (-59, StatusCode::OK),
        // It is unknown how old the authentication is.
        (61, StatusCode::FORBIDDEN),
        // It is older than five minutes for the other replica.
        (-600, StatusCode::FOUND),
    ] {
        let sandbox = sandbox_builder().build();
        let now = sandbox.clock().clock().now();
        let store = Arc::new(MemoryStore::new(sandbox.clock().clock()));
        // The first one agrees with the environment.
        let clocks =
            [0, -seconds].map(|ahead| ManualClock::at(now + time::Duration::seconds(ahead)));
        let [first, other] = clocks.map(|clock| {
            let builder = Sessions::builder(scalekit(&sandbox, &clock)).secret(secret(1));
            let sessions = builder.redirect_uri(CALLBACK).shared_store(store.clone()).build();
            app(&sessions.unwrap())
        });
        let mut browser = Browser::new(&first, &sandbox);
        let authorization = browser.start_login(AGAIN).await;
        let callback = sandbox.log_in(&authorization, JANE).unwrap();
        assert_eq!(browser.open(&callback).await.status(), StatusCode::SEE_OTHER);
        let page = send(&other, browser.request(Method::GET, "/password", &NAVIGATION)).await;
        assert_eq!(page.status(), status, "{seconds}");
    }
}

#[tokio::test]
async fn a_token_needs_a_recent_auth_time_and_an_accepted_acr() {
    let world = World::new();
    let layer = token_layer(&world.sandbox)
        .authenticated_within(LIMIT)
        .acr_values(["urn:mfa", "phr"].map(|value| AcrValue::new(value).unwrap()));
    let app = Router::new().route("/", get(|| async {})).route_layer(layer);
    let now = world.sandbox.clock().clock().now().unix_timestamp();
    let respond = async |auth_time: Value, acr: Value| {
        let mut draft = world.sandbox.tokens().access_token_draft(JANE);
        draft.claims.insert("auth_time".to_owned(), auth_time);
        draft.claims.insert("acr".to_owned(), acr);
        let token = format!("Bearer {}", world.sandbox.tokens().sign_draft(&draft));
        let headers = [&FETCH[..], &[("authorization", &token)]].concat();
        send(&app, request(Method::GET, "/", &headers)).await
    };
    for seconds in [0, 300, -60] {
        let response = respond((now - seconds).into(), "phr".into()).await;
        assert_eq!(response.status(), StatusCode::OK, "{seconds}");
    }
    let recent: Value = now.into();
    for (auth_time, acr) in [
        (Value::Null, "phr".into()),
        ((now - 301).into(), "phr".into()),
        ((now + 61).into(), "phr".into()),
        (now.to_string().into(), "phr".into()),
        (recent.clone(), Value::Null),
        (recent.clone(), "urn:pwd".into()),
        (recent, 7.into()),
    ] {
        let response = respond(auth_time.clone(), acr.clone()).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{auth_time} {acr}");
        let challenge = response.header("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"insufficient_user_authentication\""), "{challenge}");
        assert!(challenge.contains("max_age=\"300\", acr_values=\"urn:mfa phr\""), "{challenge}");
        let reason = response.extensions().get();
        assert!(matches!(reason, Some(TokenRejection::InsufficientUserAuthentication { .. })));
    }
}

#[tokio::test]
async fn a_rule_of_the_session_holds_for_the_tokens_of_the_same_route() {
    let world = World::new();
    let session = RequireSession::new(&world.sessions).authenticated_within(LIMIT);
    let layer = RequireAuth::new(session, token_layer(&world.sandbox));
    let app = Router::new().route("/", get(|| async {})).route_layer(layer);
    let token = format!("Bearer {}", world.sandbox.tokens().access_token(JANE));
    let headers = [&FETCH[..], &[("authorization", &token)]].concat();
    let response = send(&app, request(Method::GET, "/", &headers)).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let challenge = response.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"insufficient_user_authentication\""), "{challenge}");
}

#[tokio::test]
async fn a_token_that_is_cached_becomes_too_old() {
    let world = World::new();
    let layer = token_layer(&world.sandbox).authenticated_within(Duration::from_secs(60));
    let app = Router::new().route("/", get(|| async {})).route_layer(layer);
    let mut draft = world.sandbox.tokens().access_token_draft(JANE);
    let now = world.sandbox.clock().clock().now().unix_timestamp();
    draft.claims.insert("auth_time".to_owned(), now.into());
    let token = world.sandbox.tokens().sign_draft(&draft);
    let respond = async || send(&app, request_with_token("/", &token)).await.status();
    assert_eq!((respond().await, respond().await), (StatusCode::OK, StatusCode::OK));
    world.advance(61);
    assert_eq!(respond().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_prompted_login_that_the_app_identifies_is_an_authentication() {
    let world = World::new();
    let mut browser = world.browser().at(&app(&world.sessions));
    assert_eq!(browser.open("/password?a=b").await.location(), AGAIN);
    let authorization = browser.start_login(AGAIN).await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let (parts, _) = browser.request(Method::GET, &callback, &NAVIGATION).into_parts();
    let login = world.sessions.callback().identify(&parts).await.unwrap();
    let cookies = world.sessions.create(login.identity.session(), &parts.headers).await.unwrap();
    let mut response = http::Response::new(bytes::Bytes::new());
    cookies.set(response.headers_mut());
    login.cookies.set(response.headers_mut());
    browser.store_cookies(&response);
    assert_eq!(browser.open("/password?a=b").await.status(), StatusCode::OK);
}
