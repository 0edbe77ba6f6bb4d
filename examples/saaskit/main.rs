//! A web app with hosted login, sessions that are refreshed automatically, and logout.
//!
//! `cargo run --example saaskit`, then open the printed URL. Without the SCALEKIT_ variables it
//! runs on an embedded sandbox; the README lists all settings.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/me.rs"]
mod me;
#[path = "../common/page.rs"]
mod page;
mod pages;

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tower_scalekit::auth_routes::ReturnTo;
use tower_scalekit::session::Deprovisioning;
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::{
    Principal, RequireAuth, RequireScope, RequireSession, RequireToken, Session, Sessions,
    WebhookVerify,
};

use crate::common::OrExit as _;

const WEBHOOKS: &str = "/webhooks/scalekit";
/// How long ago a user may have logged in to change settings.
const RECENTLY: Duration = Duration::from_secs(5 * 60);

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .cookie_name("saaskit")
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .shared_store(setup.store.clone())
        .build()
        .or_exit(2);

    let verified = setup
        .webhook_secret(WEBHOOKS)
        .map(|secret| WebhookVerify::new(secret).deduplicate(setup.store.clone()));

    // User tokens have the client ID as their audience, unless the dashboard configures others.
    let token = RequireToken::for_audience(&setup.scalekit, setup.scalekit.client_id())
        .or_exit(2)
        .reject_revoked(&sessions.revocations());
    let session_or_token = RequireAuth::new(RequireSession::new(&sessions), token);
    let may_write =
        RequireScope::all_permissions(["workspace_data:write"]).on_rejection(page::forbidden);
    let app = Router::new()
        .route("/dashboard", get(dashboard))
        .route("/organizations", get(organizations))
        .with_state(sessions.clone())
        .route("/api/me", get(me::me))
        .route_layer(RequireSession::new(&sessions))
        .merge(
            Router::new()
                .route("/settings", get(settings))
                .route_layer(RequireSession::new(&sessions).authenticated_within(RECENTLY)),
        )
        .merge(
            Router::new()
                .route("/api/admin", get(admin))
                .route_layer(may_write)
                .route_layer(session_or_token),
        )
        .merge(
            Router::new()
                .route("/", get(home))
                .route_layer(RequireSession::new(&sessions).optional()),
        )
        .merge(sessions.routes())
        .merge(verified.clone().map(|layer| webhooks(layer, &sessions)).unwrap_or_default())
        .fallback(page::not_found);
    setup.serve(app).await;
    common::finish(sessions.shutdown(common::SHUTDOWN)).await;
    if let Some(verified) = verified {
        common::finish(verified.shutdown(common::SHUTDOWN)).await;
    }
}

/// Logs out users who are removed from their organization's directory.
fn webhooks(verified: WebhookVerify, sessions: &Sessions) -> Router {
    Router::new()
        .route(WEBHOOKS, post(deprovision))
        .route_layer(verified)
        .with_state(Deprovisioning::new(sessions))
}

async fn deprovision(
    State(deprovisioning): State<Deprovisioning>,
    event: WebhookEvent,
) -> StatusCode {
    match deprovisioning.apply(&event).await {
        Ok(_) => StatusCode::NO_CONTENT,
        // The environment sends the event again.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn home(session: Option<Session>) -> Html<String> {
    Html(pages::home(session.as_ref()))
}

async fn dashboard(session: Session) -> Html<String> {
    Html(pages::dashboard(&session))
}

/// The organizations of the user. Each link moves the session to one of them.
async fn organizations(
    State(sessions): State<Sessions>,
    session: Session,
) -> Result<Html<String>, StatusCode> {
    let organizations = sessions.organizations(&session).await.map_err(|error| {
        tracing::warn!(%error);
        StatusCode::SERVICE_UNAVAILABLE
    })?;
    let here = ReturnTo::parse(&common::at("/organizations"));
    let links: Vec<_> = organizations
        .into_iter()
        .map(|one| {
            let url = sessions.switch_organization_url(&one.organization_id);
            let url = match &here {
                Some(here) => url.return_to(here),
                None => url,
            };
            let name = one.display_name.unwrap_or_else(|| one.organization_id.clone());
            (name, url.to_string(), one.organization_id)
        })
        .collect();
    Ok(Html(pages::organizations(&session, &links)))
}

async fn settings(session: Session) -> Html<String> {
    Html(pages::settings(&session))
}

/// For browsers with a session, and for API clients with a bearer token.
async fn admin(principal: Principal, session: Option<Session>) -> Json<Value> {
    let name = match &session {
        Some(session) => session.user().display_name(),
        None => principal.subject(),
    };
    Json(json!({ "message": format!("{name} may write workspace data") }))
}
