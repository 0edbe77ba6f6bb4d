//! A web app with hosted login, sessions that renew themselves, and logout.
//!
//! `cargo run --example saaskit`, then open the printed address. Without the SCALEKIT_ variables
//! it runs on an embedded sandbox; the README lists all settings.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/me.rs"]
mod me;
mod pages;

use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tower_scalekit::{RequireScope, RequireSession, Session, Sessions};

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .build();
    let sessions = common::or_exit(2, sessions);

    let admin = get(admin).layer(RequireScope::all_permissions(["workspace_data:write"]));
    let app = Router::new()
        .route("/dashboard", get(dashboard))
        .route("/api/me", get(me::me))
        .route("/api/admin", admin)
        .route_layer(RequireSession::new(&sessions))
        .merge(
            Router::new()
                .route("/", get(home))
                .route_layer(RequireSession::new(&sessions).optional()),
        )
        .merge(sessions.routes());
    setup.serve(app).await;
}

async fn home(session: Option<Session>) -> Html<String> {
    Html(pages::home(session.as_ref()))
}

async fn dashboard(session: Session) -> Html<String> {
    Html(pages::dashboard(&session))
}

async fn admin(session: Session) -> Json<Value> {
    Json(
        json!({ "message": format!("{} may write workspace data", session.user().display_name()) }),
    )
}
