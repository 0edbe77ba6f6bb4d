//! A user's API key, from the page that creates it to its end.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::{Html, Redirect};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tower_scalekit::api::api_keys::{ApiKeysApi, NewApiKey};
use tower_scalekit::clock::ManualClock;
use tower_scalekit::require_token::ApiKeyVerifier;
use tower_scalekit::{
    Principal, RequireAuth, RequireSession, RequireToken, Sandbox, Session, SessionSecret, Sessions,
};

use crate::app::Environment;
use crate::browser::Browser;

/// Serves an app with a page for keys, and an API for sessions, tokens and keys. Returns its URL.
async fn serve(sandbox: &Sandbox) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let scalekit = sandbox.scalekit();
    let sessions = Sessions::builder(scalekit.clone())
        .secret(SessionSecret::generate().unwrap())
        .redirect_uri(format!("{url}/auth/callback"));
    let sessions = sessions.build().unwrap();
    let token = RequireToken::for_audience(&scalekit, scalekit.client_id()).unwrap();
    let token = token.api_keys(&ApiKeyVerifier::new(&scalekit));
    let either = RequireAuth::new(RequireSession::new(&sessions), token);
    let app = Router::new()
        .route("/keys", get(page).post(create))
        .route("/keys/revoke", post(revoke))
        .with_state(scalekit.api().api_keys())
        .route_layer(RequireSession::new(&sessions))
        .merge(Router::new().route("/reports", get(reports)).route_layer(either))
        .merge(sessions.routes());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn page() -> Html<&'static str> {
    Html("<!doctype html><title>Keys</title><form method=post><button>Create a key</button></form>")
}

async fn create(State(keys): State<ApiKeysApi>, session: Session) -> Html<String> {
    let mut new = NewApiKey::new(session.principal().organization_id().unwrap());
    new.user_id = Some(session.principal().subject().to_owned());
    let key = keys.create(&new).await.unwrap();
    Html(format!(
        "<!doctype html><title>Your key</title><p>Shown once: <code>{}</code>
         <form method=post action=\"/keys/revoke?id={}\"><button>Revoke</button></form>",
        key.token.expose(),
        key.token_id,
    ))
}

#[derive(serde::Deserialize)]
struct Key {
    id: String,
}

async fn revoke(State(keys): State<ApiKeysApi>, Query(key): Query<Key>) -> Redirect {
    keys.invalidate(&key.id).await.unwrap();
    Redirect::to("/keys")
}

async fn reports(principal: Principal) -> Json<Value> {
    Json(json!([format!("{:?}", principal.credential()), principal.subject()]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_creates_a_key_and_revokes_it() {
    let Some(browser) = Browser::open().await else { return };
    let clock = ManualClock::at(OffsetDateTime::now_utc());
    let environment = Environment::serve(Sandbox::builder().clock(clock).build()).await;
    let sandbox = &environment.sandbox;
    let url = serve(sandbox).await;
    browser.go(&format!("{url}/keys")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&format!("{url}/keys")).await;
    browser.click("form button").await;
    browser.shows(&["Shown once"]).await;
    let key = browser.evaluate("document.querySelector('code').textContent").await;
    let key = key.as_str().unwrap();
    // As another client: without the cookies of the session.
    let call = format!(
        "fetch('/reports', {{ headers: {{ authorization: 'Bearer {key}' }}, credentials: 'omit' }})
         .then(async response => [response.status, await response.json()])"
    );
    let jane = sandbox.users().get("jane@acme.test").unwrap().id;
    assert_eq!(browser.evaluate(&call).await, json!([200, ["ApiKey", jane]]));
    browser.click("form button").await;
    browser.arrives_at(&format!("{url}/keys")).await;
    sandbox.clock().advance(Duration::from_secs(2));
    let rejected = browser.evaluate(&call).await;
    assert_eq!((&rejected[0], &rejected[1]["error"]), (&json!(401), &json!("invalid_token")));
    // The session of the same user goes on, and is no fallback for the key.
    assert_eq!(browser.fetch("/reports", 1).await[0]["body"], json!(["Session", jane]));
    let beside = call.replace("'omit'", "'include'");
    assert_eq!(browser.evaluate(&beside).await[0], 401);
}
