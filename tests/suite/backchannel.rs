//! Back-channel logouts, and sessions that a user ends from another browser.

use std::time::Duration;

use axum::body::Body;
use axum::routing::get;
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::session::{ActiveSessionsError, LocalSession, User};
use tower_scalekit::{RequireSession, Sandbox, Session, Sessions};

use crate::store::FlakyStore;
use crate::support::{
    Browser, FETCH, JANE, JOHN, NAVIGATION, Reading as _, World, app, request, send,
};

const PATH: &str = "/auth/backchannel-logout";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A signed logout token.
pub(crate) fn logout_token(sandbox: &Sandbox, id: &str, changes: &Value) -> String {
    sandbox.tokens().sign(claims(sandbox, id, changes))
}

/// Claims of a logout token of this session.
fn claims(sandbox: &Sandbox, id: &str, changes: &Value) -> Value {
    let now = sandbox.clock().clock().now().unix_timestamp();
    let mut claims = json!({
        "iss": sandbox.environment_url(), "aud": sandbox.client_id(), "jti": id,
        "iat": now, "exp": now + 120,
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let members = claims.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    claims
}

fn logout_request(body: impl Into<Body>) -> Request<Body> {
    let mut request = request(Method::POST, PATH, &[FORM]);
    *request.body_mut() = body.into();
    request
}

pub(crate) async fn send_logout_token(app: &Router, token: &str) -> Response<Bytes> {
    send(app, logout_request(format!("logout_token={token}"))).await
}

fn assert_rejected(response: &Response<Bytes>, what: &str) {
    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{what}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let rejection = response.extensions().get::<RouteRejection<LoginError>>().unwrap();
    assert_eq!(rejection.error(), &LoginError::InvalidLogoutToken, "{what}");
}

async fn me(browser: &Browser) -> Value {
    browser.clone().fetch("/me").await.json()
}

async fn is_in(browser: &Browser) -> bool {
    browser.clone().fetch("/me").await.status() == StatusCode::OK
}

#[tokio::test]
async fn a_logout_token_ends_only_the_session_of_its_sid() {
    let world = World::new();
    let (jane, janes_phone) = (world.logged_in(JANE).await, world.logged_in(JANE).await);
    let john = world.logged_in(JOHN).await;
    let sid = &me(&jane).await["sid"];
    let token = world.sandbox.tokens().sign(claims(
        &world.sandbox,
        "t1",
        &json!({"sid": sid, "sub": "usr_x"}),
    ));
    let response = send_logout_token(&world.app, &token).await;
    assert_eq!(
        (response.status(), response.header("cache-control")),
        (StatusCode::OK, Some("no-store"))
    );
    assert!(!is_in(&jane).await && is_in(&janes_phone).await && is_in(&john).await);
    let navigation = jane.clone().send(Method::GET, "/me", &NAVIGATION).await;
    assert_eq!(navigation.status(), StatusCode::FOUND);

    // Without a session, all of the user's.
    world.advance(1);
    let jane = world.logged_in(JANE).await;
    let sub = &me(&jane).await["sub"];
    let token = world.sandbox.tokens().sign(claims(&world.sandbox, "t2", &json!({"sub": sub})));
    assert_eq!(send_logout_token(&world.app, &token).await.status(), StatusCode::OK);
    assert!(!is_in(&jane).await && !is_in(&janes_phone).await && is_in(&john).await);

    // A token is accepted once: a new login stays valid.
    world.advance(1);
    let jane = world.logged_in(JANE).await;
    assert_rejected(&send_logout_token(&world.app, &token).await, "replayed");
    assert!(is_in(&jane).await);
}

#[tokio::test]
async fn a_late_logout_token_ends_no_later_login() {
    let world = World::new();
    let old = world.logged_in(JANE).await;
    let sub = me(&old).await["sub"].clone();
    let token = world.sandbox.tokens().sign(claims(&world.sandbox, "t", &json!({"sub": sub})));
    world.advance(100);
    let new = world.logged_in(JANE).await;
    assert_eq!(send_logout_token(&world.app, &token).await.status(), StatusCode::OK);
    assert!(!is_in(&old).await && is_in(&new).await);
}

#[tokio::test]
async fn an_invalid_logout_token_ends_nothing() {
    let world = World::new();
    let jane = world.logged_in(JANE).await;
    let sid = me(&jane).await["sid"].clone();
    let sign = |changes: &Value| {
        let mut changes = changes.clone();
        changes.as_object_mut().unwrap().entry("sid").or_insert(sid.clone());
        world.sandbox.tokens().sign(claims(&world.sandbox, "t", &changes))
    };
    for changes in [
        json!({"iss": "https://evil.test"}),
        json!({"aud": "skc_other"}),
        json!({"aud": [world.sandbox.client_id(), "skc_other"]}),
        json!({"aud": null}),
        json!({"exp": 1}),
        json!({"events": null}),
        json!({"nonce": "n"}),
        json!({"jti": null}),
    ] {
        assert_rejected(
            &send_logout_token(&world.app, &sign(&changes)).await,
            &changes.to_string(),
        );
    }
    assert_rejected(
        &send_logout_token(&world.app, &world.sandbox.tokens().access_token(JANE)).await,
        "access token",
    );
    assert_rejected(
        &send_logout_token(&world.app, &world.sandbox.tokens().id_token(JANE, None)).await,
        "ID token",
    );
    let good = sign(&json!({}));
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    assert_rejected(&send_logout_token(&world.app, &forged).await, "forged");
    let unsigned = json!({"alg": "none"});
    let unsigned = world
        .sandbox
        .tokens()
        .sign_with_header(unsigned, claims(&world.sandbox, "t", &json!({"sid": sid})));
    assert_rejected(&send_logout_token(&world.app, &unsigned).await, "alg none");
    assert_rejected(&send_logout_token(&world.app, "rubbish").await, "rubbish");

    for (body, status) in [
        (String::new(), StatusCode::BAD_REQUEST),
        (format!("token={good}"), StatusCode::BAD_REQUEST),
        (format!("logout_token={good}&logout_token={good}"), StatusCode::BAD_REQUEST),
        (format!("logout_token={}", "x".repeat(70_000)), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        assert_eq!(send(&world.app, logout_request(body)).await.status(), status);
    }
    let mut json = request(Method::POST, PATH, &[("content-type", "application/json")]);
    *json.body_mut() = format!("logout_token={good}").into();
    assert_eq!(send(&world.app, json).await.status(), StatusCode::BAD_REQUEST);
    let get = request(Method::GET, &format!("{PATH}?logout_token={good}"), &FETCH);
    let get = send(&world.app, get).await;
    assert_eq!((get.status(), get.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("POST")));
    assert!(is_in(&jane).await);
    assert_eq!(send_logout_token(&world.app, &good).await.status(), StatusCode::OK);
    assert!(!is_in(&jane).await);
}

#[tokio::test]
async fn a_logout_token_that_cannot_be_processed_is_503_and_accepted_later() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let replica = || world.replica(|one| one.shared_store(store.clone()));
    let apps = [app(&replica()), app(&replica())];
    let mut jane = Browser::new(&apps[0], &world.sandbox);
    jane.log_in(&world.sandbox, JANE).await;
    let sid = me(&jane).await["sid"].clone();
    let token = world.sandbox.tokens().sign(claims(&world.sandbox, "t", &json!({"sid": sid})));

    world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    let response = send_logout_token(&apps[1], &token).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.header("retry-after").is_some());
    world.sandbox.faults().clear(Endpoint::Keys);
    world.advance(2);
    store.set_down(true);
    assert_eq!(send_logout_token(&apps[1], &token).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!is_in(&jane.at(&apps[1])).await, "this replica needs no store for it");
    store.set_down(false);
    assert!(is_in(&jane).await);
    assert_eq!(send_logout_token(&apps[1], &token).await.status(), StatusCode::OK);
    world.advance(2);
    assert!(!is_in(&jane).await, "the other replica has read the revocation");
}

/// What a page of active sessions does: lists them, and ends the selected one.
fn with_my_sessions(sessions: &Sessions) -> Router {
    async fn list(session: Session, Extension(sessions): Extension<Sessions>) -> Json<Value> {
        let mine = sessions.active_sessions(&session).await.unwrap();
        Json(mine.iter().map(|one| json!({"id": one.id, "current": one.is_current})).collect())
    }
    async fn end(
        session: Session,
        Extension(sessions): Extension<Sessions>,
        id: String,
    ) -> StatusCode {
        match sessions.revoke_active_session(&session, &id).await {
            Ok(()) => StatusCode::NO_CONTENT,
            Err(ActiveSessionsError::NotFound) => StatusCode::NOT_FOUND,
            Err(error) => panic!("{error}"),
        }
    }
    Router::new()
        .route("/mine", get(list).post(end))
        .route_layer(RequireSession::new(sessions))
        .layer(Extension(sessions.clone()))
        .merge(app(sessions))
}

async fn mine(browser: &Browser) -> Vec<Value> {
    browser.clone().fetch("/mine").await.json().as_array().unwrap().clone()
}

async fn end(browser: &Browser, id: &Value) -> StatusCode {
    let mut request = browser.request(Method::POST, "/mine", &FETCH);
    *request.body_mut() = id.as_str().unwrap().to_owned().into();
    send(browser.app(), request).await.status()
}

/// Three sessions of one user and one of another; the first ends the second.
async fn a_person_ends_a_session_from_afar(own: [Browser; 3], stranger: Browser) {
    let [here, phone, tablet] = &own;
    let listed = mine(here).await;
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert_eq!(listed.iter().filter(|one| one["current"] == true).count(), 1);
    let current = |listed: Vec<Value>| {
        listed.into_iter().find(|one| one["current"] == true).unwrap()["id"].clone()
    };
    let of_stranger = current(mine(&stranger).await);
    assert_eq!(end(here, &of_stranger).await, StatusCode::NOT_FOUND);
    assert_eq!(end(here, &json!("ses_404")).await, StatusCode::NOT_FOUND);
    assert!(is_in(&stranger).await);

    let of_phone = current(mine(phone).await);
    assert_eq!(end(here, &of_phone).await, StatusCode::NO_CONTENT);
    assert!(!is_in(phone).await && is_in(here).await && is_in(tablet).await);
    assert!(is_in(&stranger).await);
    let left = mine(here).await;
    assert!(left.len() == 2 && left.iter().all(|one| one["id"] != of_phone), "{left:?}");
}

#[tokio::test]
async fn active_sessions_are_listed_and_ended_here_and_at_the_environment() {
    let world = World::new();
    let app = with_my_sessions(&world.sessions);
    let mut own = Vec::new();
    for _ in 0..3 {
        own.push(world.logged_in(JANE).await.at(&app));
        world.advance(1);
    }
    let stranger = world.logged_in(JOHN).await.at(&app);
    let phone = me(&own[1]).await["sid"].as_str().unwrap().to_owned();
    a_person_ends_a_session_from_afar(own.try_into().unwrap_or_else(|_| panic!()), stranger).await;
    let details = world.sandbox.scalekit().api().sessions().get(&phone).await.unwrap();
    assert_eq!(details.status.unwrap().as_str(), "revoked");
}

#[tokio::test]
async fn ending_an_active_session_continues_when_the_client_disconnects() {
    let world = World::new();
    let app = with_my_sessions(&world.sessions);
    let here = world.logged_in(JANE).await.at(&app);
    let phone = world.logged_in(JANE).await.at(&app);
    let mut ending = Box::pin(async { end(&here, &me(&phone).await["sid"]).await });
    while world.sandbox.requests().count(Endpoint::Api) == 0 {
        assert!(futures::poll!(&mut ending).is_pending());
        tokio::task::yield_now().await;
    }
    drop(ending);
    world.sessions.shutdown(Duration::from_secs(60)).await.unwrap();
    assert!(!is_in(&phone).await && is_in(&here).await);
}

#[tokio::test]
async fn active_local_sessions_are_listed_and_ended() {
    let world = World::new();
    let app = with_my_sessions(&world.sessions);
    let begin = async |name: &str| {
        let mut user = User::default();
        user.id = format!("usr_{name}");
        let cookies = world.sessions.create(LocalSession::new(user), &Default::default()).await;
        let mut response = Response::new(Bytes::new());
        cookies.unwrap().set(response.headers_mut());
        let mut browser = Browser::new(&app, &world.sandbox);
        browser.store_cookies(&response);
        world.advance(1);
        browser
    };
    let own = [begin("mary").await, begin("mary").await, begin("mary").await];
    let stranger = begin("mallory").await;
    begin("ruth").await;
    world.sessions.revoke_user("usr_ruth").await.unwrap();
    world.advance(2);
    assert_eq!(mine(&begin("ruth").await).await.len(), 1, "the other one was revoked");
    a_person_ends_a_session_from_afar(own, stranger).await;
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 0);
}
