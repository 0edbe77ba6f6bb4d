//! Calls an API in the user's name. The login hook adds what the app knows of the user to the session,
//! and each call has the session's access token.
//!
//! `cargo run --example call_api`, then open the printed URL. The API is in the same process, at
//! `/reports`.

#[path = "common/mod.rs"]
mod common;

use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Redirect;
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _};
use tower_scalekit::add_access_token::AddAccessTokenService;
use tower_scalekit::session::{LoginDecision, LoginHookError, VerifiedLogin};
use tower_scalekit::token::Principal;
use tower_scalekit::{AddAccessToken, RequireSession, RequireToken, Session, Sessions};

use crate::common::OrExit as _;

/// A client that adds the token, and the URL that it calls.
#[derive(Clone)]
struct Reports {
    client: AddAccessTokenService<Client<HttpConnector, Full<Bytes>>>,
    url: String,
}

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .shared_store(setup.store.clone())
        .cookie_name("call_api")
        // Otherwise only the claims of access tokens are kept.
        .retain_access_token()
        .on_login(add_plan)
        .build()
        .or_exit(2);

    let port = setup.listener.local_addr().or_exit(1).port();
    let origin = format!("http://127.0.0.1:{port}");
    let client = Client::builder(TokioExecutor::new()).build_http();
    // The token is sent to this origin only.
    let client = AddAccessToken::new([&origin]).or_exit(2).layer(client);
    let reports = Reports { client, url: format!("{origin}/reports") };

    let scalekit = &setup.scalekit;
    let token = RequireToken::for_audience(scalekit, scalekit.client_id()).or_exit(2);
    let app = Router::new()
        .route("/api/me", get(me))
        .with_state(reports)
        .route_layer(RequireSession::new(&sessions))
        .merge(Router::new().route("/reports", get(api)).route_layer(token))
        .route("/", get(|| async { Redirect::to(&common::at("/api/me")) }))
        .merge(sessions.routes());
    setup.serve(app).await;
    common::finish(sessions.shutdown(common::SHUTDOWN)).await;
}

/// Called once for each login, before the session is created. An app asks its database here, and may
/// deny the login.
async fn add_plan(login: VerifiedLogin) -> Result<LoginDecision, LoginHookError> {
    let plan = if login.principal().organization_id().is_some() { "team" } else { "free" };
    Ok(LoginDecision::accept().app_claim("plan", plan))
}

async fn me(State(reports): State<Reports>, session: Session) -> Result<Json<Value>, StatusCode> {
    // For a client without the layer. A token that is about to expire is refreshed first.
    let token = session.access_token().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let report = call(&reports, &session).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(json!({
        "email": session.user().email,
        "plan": session.app_claims().get("plan"),
        "token_expires_at": token.expires_at().unix_timestamp(),
        "report": report,
    })))
}

async fn call(reports: &Reports, session: &Session) -> Result<Value, Box<dyn std::error::Error>> {
    let mut request = Request::get(&reports.url).body(Full::default())?;
    request.extensions_mut().insert(session.clone());
    let response = reports.client.clone().oneshot(request).await?;
    Ok(serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?)
}

/// The API, which verifies the token itself.
async fn api(principal: Principal) -> Json<Value> {
    Json(json!({ "title": "Today", "reader": principal.subject() }))
}
