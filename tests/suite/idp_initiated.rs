//! IdP-initiated logins, and attacks on them.

mod errors;

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures::future::join_all;
use http::{Method, Request, Response, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::{ServiceExt as _, service_fn};
use tower_layer::Layer as _;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::clock::ManualClock;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::oauth::SsoError;
use tower_scalekit::sandbox::{Endpoint, Fault, TokenFault};
use tower_scalekit::session::SessionsBuilder;
use tower_scalekit::shared_store::KeyNamespace;
use tower_scalekit::token::TokenError;
use tower_scalekit::{IdpInitiatedRedirect, Sandbox, Scalekit, Sessions};
use url::Url;

use crate::store::FlakyStore;
use crate::support::{
    CALLBACK, JANE, JOHN, NAVIGATION, Reading as _, World, app, login_error, noise, parameter,
    request, secret, send, set_cookies,
};

/// A world whose app accepts IdP-initiated logins.
fn world() -> World {
    world_with(|sessions| sessions)
}

fn world_with(change: impl FnOnce(SessionsBuilder) -> SessionsBuilder) -> World {
    let mut world = World::with(|sandbox| sandbox, change);
    world.app = login_app(&world.sessions);
    world
}

fn login_app(sessions: &Sessions) -> Router {
    app(sessions).layer(IdpInitiatedRedirect::new(sessions))
}

fn now(sandbox: &Sandbox) -> i64 {
    sandbox.clock().clock().now().unix_timestamp()
}

/// A token of an IdP-initiated login in organization Acme, with these changes.
pub(crate) fn login_token_with(sandbox: &Sandbox, changes: Value) -> String {
    let acme = &sandbox.organizations().list()[0];
    let now = now(sandbox);
    let mut claims = json!({
        "iss": "https://app.example.com", "organization_id": acme.id,
        "connection_id": acme.connection_id, "login_hint": JANE,
        "iat": now, "nbf": now, "exp": now + 300,
    });
    let Value::Object(changes) = changes else { panic!("{changes}") };
    for (name, value) in changes {
        claims[name] = value;
    }
    sandbox.tokens().sign(claims)
}

fn at_login(token: &str) -> String {
    format!("/login?idp_initiated_login={token}")
}

fn assert_no_session(response: &Response<Bytes>) {
    let cookies = set_cookies(response.headers());
    assert!(!cookies.iter().any(|line| line.contains("_session")), "{cookies:?}");
    response.assert_private();
    assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
}

#[tokio::test]
async fn an_idp_initiated_login_becomes_a_login_of_the_app() {
    let world = world();
    let acme = world.sandbox.organizations().list()[0].clone();
    for at in ["/login", "/auth/callback", "/me"] {
        let mut browser = world.browser();
        let token = login_token_with(&world.sandbox, json!({"relay_state": "/me?tab=2", "n": at}));
        let started = browser.open(&format!("{at}?idp_initiated_login={token}")).await;
        assert_eq!(started.status(), StatusCode::FOUND, "{at}: {}", started.text());
        assert_no_session(&started);
        let url = started.location();
        assert!(url.starts_with(&format!("{}/oauth/authorize?", world.sandbox.environment_url())));
        let value = |name| parameter(url, name).unwrap();
        assert_eq!(value("connection_id"), acme.connection_id);
        assert_eq!(value("organization_id"), acme.id);
        assert_eq!(value("login_hint"), JANE);
        assert!(
            parameter(url, "relay_state").is_none()
                && parameter(url, "idp_initiated_login").is_none()
        );
        for secret in ["state", "nonce", "code_challenge"] {
            assert!(value(secret).len() >= 43, "{secret}");
        }

        let callback = world.sandbox.log_in(url, JANE).unwrap();
        let completed = browser.open(&callback).await;
        assert_eq!(completed.status(), StatusCode::SEE_OTHER, "{}", completed.text());
        assert_eq!(completed.location(), "/me?tab=2");
        assert_eq!(browser.names(), ["__Host-scalekit_session"]);
    }
}

#[tokio::test]
async fn a_code_beside_an_idp_initiated_login_is_not_exchanged() {
    let world = world();
    let token = login_token_with(&world.sandbox, json!({}));
    let target = format!("/auth/callback?code=stolen&state=s&idp_initiated_login={token}");
    let started = world.browser().open(&target).await;
    assert_eq!(started.status(), StatusCode::FOUND);
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 0);
}

#[tokio::test]
async fn a_second_use_is_an_ordinary_login_on_every_replica() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = world_with(|sessions| sessions.shared_store(store.clone()));
    let other = login_app(&world.replica(|sessions| sessions.shared_store(store.clone())));
    let token = login_token_with(&world.sandbox, json!({}));
    let mut browser = world.browser();
    let first = browser.open(&at_login(&token)).await;
    assert!(first.location().contains("connection_id="));
    for app in [&world.app, &other] {
        let again = browser.at(app).open(&at_login(&token)).await;
        assert_eq!((again.status(), again.location()), (StatusCode::FOUND, "/login"));
        assert_no_session(&again);
    }
    let plain = browser.open("/login").await;
    assert_eq!(parameter(plain.location(), "connection_id"), None);
    // The token itself is not stored.
    let kept =
        store.seen().into_keys().filter(|key| key.namespace() == KeyNamespace::IdpInitiatedLogin);
    assert_eq!(kept.count(), 1);
    assert!(!format!("{:?}", store.seen()).contains(&token));
}

#[tokio::test]
async fn a_used_token_stays_used_on_a_replica_whose_clock_is_behind() {
    let time = ManualClock::running();
    let store = FlakyStore::new(time.clock());
    let mut world = World::with(
        |sandbox| sandbox.clock(time.clone()),
        |sessions| sessions.shared_store(store.clone()),
    );
    world.app = login_app(&world.sessions);
    let behind = ManualClock::at(time.clock().now() - time::Duration::seconds(55));
    let id = world.sandbox.client_id();
    let client_secret = world.sandbox.client_secret().clone();
    let scalekit = Scalekit::builder(world.sandbox.environment_url(), id, client_secret)
        .http_client(world.sandbox.client())
        .clock(behind.clock());
    let sessions = Sessions::builder(scalekit.build().unwrap())
        .secret(secret(1))
        .redirect_uri(CALLBACK)
        .shared_store(store.clone());
    let other = login_app(&sessions.build().unwrap());

    let [used, unused] =
        [1, 2].map(|n| at_login(&login_token_with(&world.sandbox, json!({ "n": n }))));
    let mut browser = world.browser();
    assert!(browser.start_login(&used).await.contains("connection_id="));
    for clock in [&time, &behind] {
        clock.advance(Duration::from_secs(301));
    }
    assert_eq!(browser.open(&used).await.status(), StatusCode::BAD_REQUEST, "it has expired");
    // On the other replica it has not expired, but is used.
    assert_eq!(browser.at(&other).open(&used).await.location(), "/login");
    assert!(browser.at(&other).start_login(&unused).await.contains("connection_id="));
}

#[tokio::test]
async fn of_fifty_concurrent_uses_one_is_the_first() {
    let world = world();
    let target = at_login(&login_token_with(&world.sandbox, json!({})));
    let uses = (0..50).map(|_| send(&world.app, request(Method::GET, &target, &NAVIGATION)));
    let responses = join_all(uses).await;
    assert!(responses.iter().all(|response| response.status() == StatusCode::FOUND));
    let redirected =
        responses.iter().filter(|response| response.location().contains("connection_id="));
    assert_eq!(redirected.count(), 1);
}

#[tokio::test]
async fn while_the_store_is_unavailable_it_is_an_ordinary_login() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = world_with(|sessions| sessions.shared_store(store.clone()));
    store.set_down(true);
    let target = at_login(&login_token_with(&world.sandbox, json!({})));
    let response = world.browser().open(&target).await;
    assert_eq!((response.status(), response.location()), (StatusCode::FOUND, "/login"));
}

#[tokio::test]
async fn no_other_token_starts_an_idp_initiated_login() {
    let world = world();
    let sandbox = &world.sandbox;
    let elsewhere = Sandbox::new();
    elsewhere.keys().rotate();
    let draft_with = |fault: TokenFault| {
        let mut draft = sandbox.tokens().access_token_draft(JANE);
        draft.claims.clear();
        let exp = now(sandbox) + 300;
        draft.claims.extend([
            ("connection_id".to_owned(), json!("conn_1")),
            ("exp".to_owned(), json!(exp)),
        ]);
        fault.apply(&mut draft);
        sandbox.tokens().sign_draft(&draft)
    };
    let mut cut = login_token_with(sandbox, json!({}));
    cut.pop();
    let rejected = [
        ("an access token", sandbox.tokens().access_token(JANE)),
        ("an ID token", sandbox.tokens().id_token(JANE, Some("n"))),
        ("a machine's token", sandbox.tokens().m2m_token(&["todo:read"])),
        ("expired", login_token_with(sandbox, json!({"exp": now(sandbox)}))),
        ("without an expiry", login_token_with(sandbox, json!({"exp": null}))),
        ("an expiry in words", login_token_with(sandbox, json!({"exp": "tomorrow"}))),
        ("a year long", login_token_with(sandbox, json!({"exp": now(sandbox) + 31_536_000}))),
        ("not yet valid", login_token_with(sandbox, json!({"nbf": now(sandbox) + 61}))),
        ("for another client", login_token_with(sandbox, json!({"aud": ["skc_other"]}))),
        ("with a subject", login_token_with(sandbox, json!({"sub": "usr_1"}))),
        ("unsigned", draft_with(TokenFault::Unsigned)),
        ("signed with the client secret", draft_with(TokenFault::SignedWithClientSecret)),
        ("signed by another key", login_token_with(&elsewhere, json!({}))),
        ("cut off", cut),
        ("no token", "no.token.here".to_owned()),
        ("ten kilobytes", "x".repeat(10_000)),
    ];
    let mut browser = world.logged_in(JANE).await;
    let session = browser.cookie_header();
    for (what, token) in rejected {
        let response = browser.open(&at_login(&token)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{what}");
        assert!(
            matches!(login_error(&response), LoginError::InvalidIdpInitiatedLogin { .. }),
            "{what}"
        );
        assert_no_session(&response);
        assert!(!response.text().contains(&token), "{what} is shown");
        assert_eq!(browser.cookie_header(), session, "{what}");
        assert!(response.text().contains("href=\"/login\""));
    }
    let token = login_token_with(sandbox, json!({}));
    let twice = format!("/login?idp_initiated_login={token}&idp_initiated_login=x");
    assert_eq!(login_error(&browser.open(&twice).await), LoginError::InvalidRequest);
    // None of these has spent it.
    assert!(browser.open(&at_login(&token)).await.location().contains("connection_id="));
}

#[tokio::test]
async fn the_issuer_is_checked_if_configured() {
    const APP: &str = "https://app.example.com";
    const OTHER: &str = "https://other.example.com";
    let world = World::new();
    let environment = world.sandbox.environment_url();
    let any = || IdpInitiatedRedirect::new(&world.sessions);
    for (layer, accepted) in [
        (any(), vec![APP, &environment, OTHER]),
        (any().issuer(APP), vec![APP]),
        (any().issuer(&environment), vec![&environment]),
        (any().issuer(APP).issuer(&environment), vec![APP, &environment]),
    ] {
        let app = app(&world.sessions).layer(layer);
        for issuer in [APP, &environment, OTHER] {
            // Each is another token.
            world.advance(1);
            let target = at_login(&login_token_with(&world.sandbox, json!({ "iss": issuer })));
            let response = send(&app, request(Method::GET, &target, &NAVIGATION)).await;
            if accepted.contains(&issuer) {
                assert_eq!(response.status(), StatusCode::FOUND, "{issuer} of {accepted:?}");
                assert!(response.location().contains("connection_id="));
            } else {
                let error = TokenError::InvalidIssuer;
                assert_eq!(login_error(&response), LoginError::InvalidIdpInitiatedLogin { error });
            }
        }
    }
}

#[tokio::test]
async fn the_identity_of_an_idp_initiated_login_is_verified_for_an_app_with_its_own_sessions() {
    let world = world();
    let mut browser = world.browser();
    let token = login_token_with(&world.sandbox, json!({"relay_state": "/reports"}));
    // The token names a user, which proves nothing: another user logs in.
    let authorization = browser.start_login(&at_login(&token)).await;
    let callback = world.sandbox.log_in(&authorization, JOHN).unwrap();
    let (returned, _) = browser.request(Method::GET, &callback, &NAVIGATION).into_parts();
    let login = world.sessions.callback().identify(&returned).await.unwrap();
    assert_eq!(login.identity.user().email, JOHN);
    assert_eq!(login.return_to.as_str(), "/reports");
    let mut response = Response::new(Bytes::new());
    login.cookies.set(response.headers_mut());
    assert_no_session(&response);
    browser.store_cookies(&response);
    assert_eq!(browser.names(), [""; 0], "the attempt has ended");
    world.advance(10);
    let again = world.sessions.callback().identify(&returned).await.unwrap_err();
    assert_eq!(again.error(), Some(&LoginError::StateMismatch));
}

#[tokio::test]
async fn logins_before_the_clock_is_set_back_do_not_count_after_it() {
    let world = world();
    let mut browser = world.browser();
    for number in 0..6 {
        let target = at_login(&login_token_with(&world.sandbox, json!({ "n": number })));
        assert_eq!(browser.open(&target).await.status(), StatusCode::FOUND, "{number}");
        if number == 2 {
            world.sandbox.clock().step(time::Duration::hours(-1));
        }
    }
    let last = at_login(&login_token_with(&world.sandbox, json!({ "n": 6 })));
    assert_eq!(login_error(&browser.open(&last).await), LoginError::RedirectLoop);
}

#[tokio::test]
async fn unavailable_keys_are_503() {
    let world = world();
    world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    let target = at_login(&login_token_with(&world.sandbox, json!({})));
    let response = world.browser().open(&target).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.header("retry-after").is_some());
    assert_eq!(login_error(&response), LoginError::Unavailable);
}

#[tokio::test]
async fn other_methods_and_requests_reach_the_inner_service() {
    let world = world();
    let token = login_token_with(&world.sandbox, json!({}));
    for (method, target) in [
        (Method::POST, format!("/maybe?idp_initiated_login={token}")),
        (Method::GET, "/maybe?idp_initiated_login=".to_owned()),
        (Method::GET, "/maybe?q=idp_initiated_login".to_owned()),
        (Method::GET, "/maybe?q=error".to_owned()),
    ] {
        let response = send(&world.app, request(method, &target, &NAVIGATION)).await;
        assert!(response.extensions().get::<RouteRejection<LoginError>>().is_none(), "{target}");
        assert_ne!(response.status(), StatusCode::FOUND, "{target}");
    }
    // A link checker's `HEAD` request does not spend the token.
    let head = request(Method::HEAD, &at_login(&token), &NAVIGATION);
    assert_eq!(send(&world.app, head).await.status(), StatusCode::FOUND);
    let redirected = world.browser().open(&at_login(&token)).await;
    assert!(redirected.location().contains("connection_id="));
}

/// Hostile content of a signed token: a customer's identity provider controls parts of it.
fn hostile_text() -> impl Strategy<Value = String> {
    let nasty = "[\"'<>&=#?%+ \r\n\t\u{0}\u{7f}\u{85}\u{2028};,\\\\/:@é𝄞a-z]{0,40}";
    prop_oneof![
        nasty.prop_map(|text: String| text),
        ".{0,60}",
        Just(noise(700).collect::<String>()),
        Just("&redirect_uri=https://evil.test&state=x".to_owned()),
        Just("\r\nSet-Cookie: a=b".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_text_stays_one_parameter(
        connection in hostile_text(),
        organization in hostile_text(),
        hint in hostile_text(),
        relay_state in hostile_text(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let world = world();
            let token = login_token_with(&world.sandbox, json!({
                "connection_id": connection, "organization_id": organization,
                "login_hint": hint, "relay_state": relay_state,
            }));
            let response = world.browser().open(&at_login(&token)).await;
            if response.status() == StatusCode::BAD_REQUEST {
                let nothing = connection.is_empty() && organization.is_empty();
                let too_long = |text: &String| text.len() > 320;
                assert!(nothing || too_long(&connection) || too_long(&organization) || token.len() > 16 * 1024);
                return;
            }
            assert_eq!(response.status(), StatusCode::FOUND);
            let location = response.location();
            assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{location}");
            assert!(location.len() < 8 * 1024);
            let url = Url::parse(location).unwrap();
            assert_eq!(url.origin().ascii_serialization(), world.sandbox.environment_url());
            assert_eq!(url.fragment(), None);
            let names: Vec<_> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
            let expected = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            assert_eq!(parameter(location, "connection_id"), expected(&connection));
            assert_eq!(parameter(location, "organization_id"), expected(&organization));
            assert_eq!(parameter(location, "login_hint"), expected(&hint).filter(|text| text.len() <= 320));
            for cookie in set_cookies(response.headers()) {
                assert!(cookie.starts_with("__Host-scalekit_login_"), "{cookie}");
            }
        });
    }

    #[test]
    fn hostile_text_in_a_login_url_stays_one_parameter(text in hostile_text()) {
        let world = World::new();
        let address = world.sessions.login_url().domain_hint(&text).login_hint(&text).to_string();
        prop_assert!(address.bytes().all(|byte| byte.is_ascii_graphic()), "{}", address);
        prop_assert_eq!(parameter(&address, "domain_hint"), Some(text.clone()));
        prop_assert_eq!(parameter(&address, "login_hint"), Some(text));
    }
}
