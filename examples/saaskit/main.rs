//! A web app with hosted login, sessions that renew themselves, and logout.
//!
//! `cargo run --example saaskit`, then open the printed address. Without the SCALEKIT_ variables
//! it runs on an embedded sandbox; the README lists all settings.

#[path = "../common/mod.rs"]
mod common;
mod pages;

use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
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
        .route("/api/me", get(me))
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

async fn me(session: Session) -> Json<Value> {
    let (user, principal) = (session.user(), session.principal());
    let mut me = json!({
        "subject": principal.subject(),
        "email": Some(&user.email).filter(|email| !email.is_empty()),
        "organization_id": principal.organization_id(),
        "session_id": principal.session_id(),
        "client_id": principal.client_id(),
        "roles": principal.roles(),
        "permissions": principal.permissions(),
        "scopes": principal.scopes(),
        "expires_at": principal.expires_at().format(&Rfc3339).ok(),
    });
    if let Some(members) = me.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    Json(me)
}
