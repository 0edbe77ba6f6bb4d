use axum::{Router, routing::get};
use tower_scalekit::http_client::HttpClient;
use tower_scalekit::token::TokenVerifier;
use tower_scalekit::{ConfigError, Principal, RequireToken};

pub(crate) fn legacy<S: Clone + Send + Sync + 'static>(
    http: impl HttpClient,
) -> Result<Router<S>, ConfigError> {
    let keycloak = TokenVerifier::for_issuer(
        "https://id.example.com/realms/acme",
        "https://id.example.com/realms/acme/protocol/openid-connect/certs",
        http,
    );
    Ok(Router::new()
        .route("/legacy", get(|principal: Principal| async move { principal.subject().to_owned() }))
        .route_layer(RequireToken::new(keycloak.audience("legacy-api").build()?)))
}
