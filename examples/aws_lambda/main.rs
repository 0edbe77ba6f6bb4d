//! An app on AWS Lambda, behind a function URL or an HTTP API of API Gateway.
//!
//! Build it with `cargo lambda build --release`, and set the SCALEKIT_ variables, `SESSION_SECRET`
//! and `PUBLIC_URL`, the address of the function without a slash at its end. Locally, `cargo lambda
//! watch` runs it.
//!
//! Sessions are in cookies, so instances share them without a store. Each instance has its own
//! revocations and refreshes: with more than one, add `.shared_store(..)` of a Redis server, and
//! keep the instances that it can reach in one VPC.

use std::error::Error;
use std::process;

use axum::Router;
use axum::routing::get;
use tower_scalekit::error::ConfigProblem;
use tower_scalekit::{
    ConfigError, RequireSession, Scalekit, Session, SessionSecret, Sessions, env,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let app = app().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        process::exit(2)
    });
    lambda_http::run(app).await
}

fn app() -> Result<Router, ConfigError> {
    let (scalekit, secret) =
        env::all((Scalekit::from_env(), SessionSecret::from_env("SESSION_SECRET")))?;
    let public_url =
        env::var("PUBLIC_URL")?.ok_or(ConfigProblem::Missing { setting: "PUBLIC_URL" })?;
    let sessions = Sessions::builder(scalekit)
        .secret(secret)
        .redirect_uri(format!("{}/auth/callback", public_url.expose()))
        .build()?;
    Ok(Router::new()
        .route("/", get(async |session: Session| format!("Hello {}", session.user().email)))
        .route_layer(RequireSession::new(&sessions))
        .merge(sessions.routes()))
}
