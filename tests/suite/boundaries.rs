//! Environments, apps, sessions and webhook endpoints that share a secret, cookie names and a
//! store: a cookie, token or stored value of one is rejected by the others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tower_scalekit::session::{
    LocalSession, LoginDecision, LoginHookError, SessionsBuilder, User, VerifiedLogin,
};
use tower_scalekit::shared_store::KeyNamespace;
use tower_scalekit::{
    ConnectAccount, IdpInitiatedRedirect, RequireSession, Sandbox, Scalekit, Session, Sessions,
    WebhookVerify,
};

use crate::backchannel::logout_token;
use crate::store::FlakyStore;
use crate::support::{
    Browser, CALLBACK, FETCH, JANE, JOHN, NAVIGATION, Reading as _, World, app, request,
    sandbox_builder, secret, send, set_cookies,
};
use crate::webhooks;

const V1: &str = include_str!("../data/sealed/v1.json");

fn globex() -> Sandbox {
    sandbox_builder().environment_url("https://globex.scalekit.test").build()
}

fn other_client(sandbox: &Sandbox) -> Scalekit {
    Scalekit::builder(sandbox.environment_url(), "skc_other", "hush")
        .http_client(sandbox.client())
        .clock(sandbox.clock().clock())
        .build()
        .unwrap()
}

fn builder(scalekit: Scalekit) -> SessionsBuilder {
    Sessions::builder(scalekit).secret(secret(1)).redirect_uri(CALLBACK)
}

async fn deny(_: VerifiedLogin) -> Result<LoginDecision, LoginHookError> {
    Err(LoginHookError::Denied)
}

/// Sessions with the same secret and cookie name that otherwise share nothing.
fn strangers(store: Option<&FlakyStore>) -> Vec<(&'static str, Sessions)> {
    let (acme, globex) = (sandbox_builder().build(), globex());
    let base = || builder(acme.scalekit());
    let all = [
        ("base", base()),
        ("other environment", builder(globex.scalekit())),
        ("other client", builder(other_client(&acme))),
        ("other origin", base().redirect_uri("https://www.example.com/auth/callback")),
        ("other path", base().redirect_uri("https://app.example.com/shop/auth/callback")),
        (
            "base path",
            base().redirect_uri("https://app.example.com/shop/auth/callback").base_path("/"),
        ),
        ("login hook", base().on_login(deny)),
        ("named", base().name("staff")),
        ("named as the default is derived", base().name("login hook")),
        ("named, in another environment", builder(globex.scalekit()).name("staff")),
    ];
    all.map(|(what, builder)| {
        let builder = match store {
            Some(store) => builder.shared_store(store.clone()),
            None => builder,
        };
        (what, builder.build().unwrap())
    })
    .into()
}

/// Those that share no keys in a store, except that the revocations of one without a name do not depend
/// on whether it has a login hook.
const SCOPES: [&str; 5] = ["base", "other environment", "other client", "login hook", "named"];

fn user(id: &str) -> LocalSession {
    let mut user = User::default();
    user.id = id.to_owned();
    user.email = JANE.to_owned();
    LocalSession::new(user).organization_id("org_1").session_id("ses_1")
}

/// The `Cookie` header of a new session.
async fn begin(sessions: &Sessions, local: LocalSession) -> HeaderValue {
    let mut headers = HeaderMap::new();
    sessions.create(local, &HeaderMap::new()).await.unwrap().set(&mut headers);
    let [cookie] = set_cookies(&headers)[..] else { panic!("one cookie: {headers:?}") };
    cookie.split(';').next().unwrap().parse().unwrap()
}

async fn status(sessions: &Sessions, cookie: &HeaderValue, headers: &[(&str, &str)]) -> StatusCode {
    let mut request = request(Method::GET, "/me", headers);
    request.headers_mut().insert(header::COOKIE, cookie.clone());
    send(&app(sessions), request).await.status()
}

#[tokio::test]
async fn a_cookie_is_valid_only_for_the_sessions_that_set_it() {
    let all = strangers(None);
    for (what, sessions) in &all {
        let cookie = begin(sessions, user("1").in_cookie()).await;
        for (other_what, other) in &all {
            let expected = if what == other_what { StatusCode::OK } else { StatusCode::FOUND };
            let status = status(other, &cookie, &NAVIGATION).await;
            assert_eq!(status, expected, "{what} at {other_what}");
        }
    }
}

#[tokio::test]
async fn a_stored_session_is_valid_only_for_the_sessions_that_stored_it() {
    let store = FlakyStore::new(sandbox_builder().build().clock().clock());
    let all = strangers(Some(&store));
    for (what, sessions) in &all {
        let cookie = begin(sessions, user("1")).await;
        for (other_what, other) in &all {
            let expected = if what == other_what { StatusCode::OK } else { StatusCode::FOUND };
            let status = status(other, &cookie, &NAVIGATION).await;
            assert_eq!(status, expected, "{what} at {other_what}");
        }
    }
}

#[tokio::test]
async fn a_login_attempt_is_valid_only_for_the_sessions_that_began_it() {
    let world = World::new();
    let hooked = app(&world.replica(|sessions| sessions.on_login(deny)));
    let mut browser = world.browser();
    let authorization = browser.start_login("/login").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let elsewhere = browser.at(&hooked).open(&callback).await;
    assert_eq!(elsewhere.status(), StatusCode::BAD_REQUEST);
    assert_eq!(browser.open(&callback).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn replicas_and_their_next_release_share_cookies() {
    let world = World::new();
    let cookie = begin(&world.sessions, user("1").in_cookie()).await;
    // Settings that do not affect which users are admitted may change from release to release.
    let next = world.replica(|sessions| {
        sessions
            .secret(secret(40))
            .previous_secret(secret(1))
            .login_path("/start")
            .base_path("/")
            .absolute_lifetime(std::time::Duration::from_secs(3600))
            .scopes(["openid", "email"])
    });
    for sessions in [world.replica(|sessions| sessions), next] {
        assert_eq!(status(&sessions, &cookie, &FETCH).await, StatusCode::OK);
    }
    // With the same name, they share cookies although only one of them has the hook.
    let named = world.replica(|sessions| sessions.name("app").on_login(deny));
    let cookie = begin(&named, user("1").in_cookie()).await;
    let verifies_only = world.replica(|sessions| sessions.name("app"));
    assert_eq!(status(&verifies_only, &cookie, &FETCH).await, StatusCode::OK);
}

#[tokio::test]
async fn a_cookie_of_format_version_1_leads_to_a_login() {
    let world = World::new();
    let texts: serde_json::Value = serde_json::from_str(V1).unwrap();
    for kind in ["session", "local", "reference"] {
        let mut browser = world.browser();
        browser.put_cookie(world.sessions.cookie_name(), texts[kind].as_str().unwrap());
        let response = browser.open("/me").await;
        assert_eq!(response.status(), StatusCode::FOUND, "{kind}");
        assert_eq!(response.location(), "/login?return_to=%2Fme");
        assert_eq!(browser.log_in(&world.sandbox, JANE).await.status(), StatusCode::SEE_OTHER);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn two_apps_on_one_host_with_the_same_cookie_name_log_out_only_their_own_users() {
    let world = World::new();
    let other = world.replica(|sessions| sessions.secret(secret(99)));
    let other_app = app(&other);
    let name = world.sessions.cookie_name();
    let jane = world.logged_in(JANE).await;
    let before = jane.cookie(name).map(str::to_owned);
    for (method, path, status) in [
        (Method::GET, "/login", StatusCode::FOUND),
        (Method::GET, "/me", StatusCode::FOUND),
        (Method::GET, "/maybe", StatusCode::OK),
        (Method::GET, "/auth/callback?code=c&state=s", StatusCode::BAD_REQUEST),
        (Method::POST, "/auth/refresh", StatusCode::UNAUTHORIZED),
        (Method::GET, "/logout", StatusCode::SEE_OTHER),
    ] {
        let mut there = jane.at(&other_app);
        let response = there.send(method, path, &NAVIGATION).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(there.cookie(name).map(str::to_owned), before, "{path}");
        assert_eq!(there.at(&world.app).fetch("/me").await.json()["email"], JANE, "{path}");
    }
    // If the browser has both, as with different paths or domains, each app finds its own.
    let mut john = Browser::new(&other_app, &world.sandbox);
    john.log_in(&world.sandbox, JOHN).await;
    for (first, second) in [(&jane, &john), (&john, &jane)] {
        let cookies = format!("{}; {}", first.cookie_header(), second.cookie_header());
        for (app, email) in [(&world.app, JANE), (&other_app, JOHN)] {
            let headers = [("cookie", cookies.as_str()), ("accept", "*/*")];
            let response = send(app, request(Method::GET, "/me", &headers)).await;
            assert_eq!(response.json()["email"], email);
        }
    }
}

/// Every use of the store by sessions: logins, refreshes, indexes, revocations and IdP-initiated
/// logins.
async fn use_everything(sessions: &Sessions) {
    for local in [user("1"), user("1").in_cookie()] {
        begin(sessions, local).await;
    }
    sessions.revoke_user("1").await.unwrap();
    sessions.revoke_session("ses_1").await.unwrap();
    sessions.revoke_organization("org_1").await.unwrap();
}

#[tokio::test]
async fn keys_in_the_store_contain_their_owner() {
    let clock = sandbox_builder().build().clock().clock();
    let mut owners = HashMap::<bool, HashSet<String>>::new();
    let count = strangers(None).len();
    for index in 0..count {
        let store = FlakyStore::new(clock.clone());
        let (what, sessions) = strangers(Some(&store)).remove(index);
        use_everything(&sessions).await;
        let keys = store.keys();
        assert!(keys.len() >= 3, "{what}: {keys:?}");
        for key in &keys {
            let scope = key.id().split_once('.').unwrap().0.to_owned();
            owners.entry(key.namespace() == KeyNamespace::Revocation).or_default().insert(scope);
        }
        let scopes: HashSet<_> = keys
            .iter()
            .filter(|key| key.namespace() != KeyNamespace::Revocation)
            .map(|key| key.id().split_once('.').unwrap().0)
            .collect();
        assert_eq!(scopes.len(), 1, "{what}");
    }
    // Origin and paths are not part of it: a revocation applies to all origins of the app.
    assert_eq!(owners[&false].len(), count - 3);
    assert_eq!(owners[&true].len(), count - 4, "with and without a login hook");
}

#[tokio::test]
async fn revocations_affect_only_their_own_sessions() {
    for ending in SCOPES {
        let store = FlakyStore::new(sandbox_builder().build().clock().clock());
        let all = strangers(Some(&store));
        let mut cookies = Vec::new();
        for (what, sessions) in all.iter().filter(|(what, _)| SCOPES.contains(what)) {
            cookies.push((what, sessions, begin(sessions, user("1")).await));
        }
        let (_, ends) = all.iter().find(|(what, _)| *what == ending).unwrap();
        use_everything(ends).await;
        for (what, sessions, cookie) in &cookies {
            let is_shared = ["base", "login hook"].iter().all(|one| [ending, what].contains(one));
            let expected = match **what == ending || is_shared {
                true => StatusCode::UNAUTHORIZED,
                false => StatusCode::OK,
            };
            assert_eq!(status(sessions, cookie, &FETCH).await, expected, "{ending} ends {what}");
        }
    }
}

#[tokio::test]
async fn active_sessions_list_only_their_own_sessions() {
    let store = FlakyStore::new(sandbox_builder().build().clock().clock());
    let all = strangers(Some(&store));
    for (what, sessions) in all.into_iter().filter(|(what, _)| SCOPES.contains(what)) {
        let cookie = begin(&sessions, user("1")).await;
        let count = {
            let sessions = sessions.clone();
            move |session: Session| async move {
                Json(sessions.active_sessions(&session).await.unwrap().len())
            }
        };
        let app =
            Router::new().route("/count", get(count)).route_layer(RequireSession::new(&sessions));
        let mut request = request(Method::GET, "/count", &FETCH);
        request.headers_mut().insert(header::COOKIE, cookie);
        assert_eq!(send(&app, request).await.json(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_revocation_reaches_replicas_and_no_other_app() {
    let sandbox = sandbox_builder().build();
    let store = FlakyStore::new(sandbox.clock().clock());
    let sessions = |name: &str| {
        builder(sandbox.scalekit()).name(name).shared_store(store.clone()).build().unwrap()
    };
    let [customers, replica, staff] = ["customers", "customers", "staff"].map(sessions);
    let customer = begin(&customers, user("1")).await;
    let employee = begin(&staff, user("1")).await;
    customers.revoke_user("1").await.unwrap();
    sandbox.clock().advance(std::time::Duration::from_secs(3));
    assert_eq!(status(&replica, &customer, &FETCH).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&staff, &employee, &FETCH).await, StatusCode::OK);
}

#[tokio::test]
async fn idp_initiated_logins_and_logout_tokens_are_accepted_once_by_each_app() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    world.sandbox.idp().set_initiate_login_url("https://app.example.com/login");
    let connection = world.sandbox.connections().list().remove(0);
    let idp_login = world
        .sandbox
        .idp()
        .login_token(tower_scalekit::sandbox::NewIdpInitiatedLogin::new(&connection.id));
    let logout = logout_token(&world.sandbox, "t1", &serde_json::json!({"sid": "ses_1"}));
    for name in ["customers", "staff"] {
        let sessions = world.replica(|sessions| sessions.name(name).shared_store(store.clone()));
        let app = app(&sessions).layer(IdpInitiatedRedirect::new(&sessions));
        let mut browser = Browser::new(&app, &world.sandbox);
        let redirected = browser.open(&format!("/login?idp_initiated_login={idp_login}")).await;
        assert!(redirected.location().contains("/oauth/authorize?"), "{name}");
        let again = browser.open(&format!("/login?idp_initiated_login={idp_login}")).await;
        assert_eq!(again.location(), "/login", "{name}");
        for expected in [StatusCode::OK, StatusCode::BAD_REQUEST] {
            let form = [("content-type", "application/x-www-form-urlencoded")];
            let mut request = request(Method::POST, "/auth/backchannel-logout", &form);
            *request.body_mut() = format!("logout_token={logout}").into();
            assert_eq!(send(&app, request).await.status(), expected, "{name}");
        }
    }
}

#[tokio::test]
async fn accounts_of_local_users_with_the_same_id_are_not_shared() {
    let sandbox = sandbox_builder().build();
    let identifier = async |sessions: Sessions, cookie: HeaderValue| {
        let connect = ConnectAccount::builder(&sessions, "gmail").build().unwrap();
        let handler = move |session: Session| std::future::ready(connect.identifier(&session));
        let app =
            Router::new().route("/", get(handler)).route_layer(RequireSession::new(&sessions));
        let mut request = request(Method::GET, "/", &FETCH);
        request.headers_mut().insert(header::COOKIE, cookie);
        send(&app, request).await.text()
    };
    let mut identifiers = HashSet::new();
    for name in ["customers", "staff"] {
        let sessions = builder(sandbox.scalekit()).name(name).build().unwrap();
        let cookie = begin(&sessions, user("1")).await;
        let local = identifier(sessions.clone(), cookie).await;
        assert!(local.ends_with(".1"), "{local}");
        identifiers.insert(local);
        // The environment's own IDs are unique.
        let cookie = sandbox.session_cookie(&sessions, JANE).await;
        assert_eq!(identifier(sessions, cookie).await, sandbox.users().get(JANE).unwrap().id);
    }
    assert_eq!(identifiers.len(), 2);
}

/// A webhook route that counts the messages it handles.
fn endpoint(layer: WebhookVerify, store: &FlakyStore) -> (Router, Arc<AtomicUsize>) {
    let handled = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&handled);
    let handle = move || {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(StatusCode::NO_CONTENT)
    };
    let layer = layer.deduplicate(store.clone());
    (Router::new().route("/webhook", post(handle)).layer(layer), handled)
}

fn message(number: u8) -> Request<axum::body::Body> {
    let now = webhooks::clock().clock().now().unix_timestamp();
    webhooks::signed("webhook", "msg_1", now, "{}", number)
}

async fn deliver(app: &Router, number: u8) -> Response<Bytes> {
    let response = send(app, message(number)).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    response
}

#[tokio::test]
async fn two_endpoints_on_one_store_handle_the_same_message_each() {
    let clock = webhooks::clock();
    let store = FlakyStore::new(clock.clock());
    let layer = |number| WebhookVerify::new(webhooks::secret(number)).clock(clock.clock());
    for number in [1, 2] {
        let (app, handled) = endpoint(layer(number), &store);
        let (replica, handled_there) = endpoint(layer(number), &store);
        deliver(&app, number).await;
        deliver(&app, number).await;
        deliver(&replica, number).await;
        let handled = (handled.load(Ordering::SeqCst), handled_there.load(Ordering::SeqCst));
        assert_eq!(handled, (1, 0), "{number}");
    }
}

#[tokio::test]
async fn a_message_is_handled_once_while_the_secret_is_changed() {
    let clock = webhooks::clock();
    let layer = |number| WebhookVerify::new(webhooks::secret(number)).clock(clock.clock());
    let rotating = || {
        [
            layer(1),
            layer(1).additional_secret(webhooks::secret(2)),
            layer(2).additional_secret(webhooks::secret(1)).additional_secret(webhooks::secret(1)),
            layer(2),
        ]
    };
    // Delivered first to one replica of a rolling deployment, then to the next and again to the
    // first.
    for first in 0..3 {
        let store = FlakyStore::new(clock.clock());
        let apps = rotating().map(|layer| endpoint(layer, &store));
        let handled = || apps.iter().map(|(_, n)| n.load(Ordering::SeqCst)).sum::<usize>();
        let signing = [1, 1, 2, 2];
        for index in [first, first + 1, first] {
            deliver(&apps[index].0, signing[index]).await;
        }
        assert_eq!(handled(), 1, "{first}");
    }
}
