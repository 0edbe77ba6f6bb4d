//! Login, sessions and bearer tokens for an upstream in any language: this app authenticates the
//! requests of a reverse proxy. `nginx.conf` beside this file is the proxy's configuration.
//!
//! `cargo run --example forward_auth` with the proxy's URL as `PUBLIC_URL`. Without the SCALEKIT_
//! variables it runs on an embedded sandbox; the README lists all settings.

#[path = "../common/mod.rs"]
mod common;

use axum::Router;
use tower_scalekit::{ForwardAuth, RequireAuth, RequireSession, RequireToken, Sessions};

use crate::common::OrExit as _;

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .cookie_name("forward_auth")
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .shared_store(setup.store.clone())
        .build()
        .or_exit(2);
    // User tokens have the client ID as their audience, unless the dashboard configures others.
    let token = RequireToken::for_audience(&setup.scalekit, setup.scalekit.client_id())
        .or_exit(2)
        .reject_revoked(&sessions.revocations());

    let session_or_token = RequireAuth::new(RequireSession::new(&sessions), token);
    let verify = ForwardAuth::nginx().service(session_or_token);
    let app = Router::new().route_service("/auth/verify", verify).merge(sessions.routes());
    setup.serve(app).await;
    common::finish(sessions.shutdown(common::SHUTDOWN)).await;
}
