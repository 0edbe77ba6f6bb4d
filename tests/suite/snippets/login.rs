use axum::{Router, routing::get};
use tower_scalekit::{ConfigError, RequireSession, Session, Sessions};

pub(crate) fn pages<S: Clone + Send + Sync + 'static>(
    sessions: &Sessions,
) -> Result<Router<S>, ConfigError> {
    Ok(Router::new()
        .route(
            "/dashboard",
            get(|session: Session| async move { format!("Hello {}", session.user().email) }),
        )
        .route_layer(RequireSession::new(sessions))
        .merge(sessions.routes())) // /login, /auth/callback, /logout and four more
}
