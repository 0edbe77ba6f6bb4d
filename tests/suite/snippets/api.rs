use axum::{Router, routing::get};
use tower_scalekit::{ConfigError, Principal, RequireScope, RequireToken, Scalekit};

pub(crate) fn api<S: Clone + Send + Sync + 'static>(
    scalekit: &Scalekit,
) -> Result<Router<S>, ConfigError> {
    let verifier = scalekit
        .token_verifier()
        .audience("https://api.example.com")
        .machine_tokens() // those of machine clients that were created without an audience
        .build()?;
    Ok(Router::new()
        .route(
            "/deployments",
            get(|principal: Principal| async move { principal.subject().to_owned() }),
        )
        .route_layer(RequireScope::all(["read:deployments"]))
        .route_layer(RequireToken::new(verifier)))
}
