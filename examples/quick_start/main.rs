use axum::{Router, routing::get};
use tower_scalekit::{ConfigError, RequireSession, Scalekit, Session, SessionSecret, Sessions};

fn app(scalekit: Scalekit) -> Result<Router, ConfigError> {
    let sessions = Sessions::builder(scalekit)
        .secret(SessionSecret::from_env_or_generate("SESSION_SECRET")?)
        .redirect_uri("http://localhost:3000/auth/callback")
        .build()?;
    Ok(Router::new()
        .route("/", get(async |session: Session| format!("Hello {}", session.user().email)))
        .route_layer(RequireSession::new(&sessions))
        .merge(sessions.routes())) // /login, /auth/callback, /logout and five more
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = app(Scalekit::from_env_or_sandbox().await?)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}
