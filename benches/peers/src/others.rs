//! Other crates that protect a route.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use huskarl_axum::layers::ValidatorLayer;
use huskarl_axum::resource_server::core::crypto::verifier::{JwsVerifier, JwsVerifierPlatform};
use huskarl_axum::resource_server::core::platform::MaybeSendBoxFuture;
use huskarl_axum::resource_server::core::{EndpointUrl, Error};
use huskarl_axum::resource_server::validator::rfc9068::Rfc9068Validator;
use huskarl_crypto_native::NativeVerifierPlatform;
use jsonwebtoken_10 as jsonwebtoken;
use serde_json::{Map, Value};
use tower_oauth2_resource_server::server::OAuth2ResourceServer;
use tower_oauth2_resource_server::tenant::TenantConfiguration;

use crate::tokens::{AUDIENCE, ISSUER, Issuer};

type Claims = Map<String, Value>;

fn route() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// The route behind each crate, with a name.
pub async fn routes(issuer: &Issuer) -> Vec<(&'static str, Router)> {
    // axum-jose and axum-jwt-auth choose different backends: the faster one for both.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();

    let tenant = TenantConfiguration::static_builder(issuer.jwks().to_string());
    let server = <OAuth2ResourceServer<Claims>>::builder()
        .add_tenant(tenant.audiences(&[AUDIENCE]).build().unwrap())
        .build()
        .await
        .unwrap();

    let jwks: jsonwebtoken::jwk::JwkSet = serde_json::from_value(issuer.jwks()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    let key = jsonwebtoken::DecodingKey::from_jwk(&jwks.keys[0]).unwrap();
    let decoder = axum_jwt_auth::LocalDecoder::new(vec![key], validation).unwrap();
    let decoder: axum_jwt_auth::Decoder<Claims> = Arc::new(decoder);

    let jose = axum_jose::AuthorizationLayer::with_local_jwk_set(
        jwks,
        ISSUER.parse().unwrap(),
        AUDIENCE.to_owned(),
    );

    let platform = Arc::new(NativeVerifierPlatform);
    let jwk = serde_json::from_value(issuer.jwk()).unwrap();
    let verifier = platform.create_verifier_from_jwk(jwk).await.unwrap();
    let factory = move |_: Option<&EndpointUrl>,
                        _: Arc<dyn JwsVerifierPlatform>|
          -> MaybeSendBoxFuture<'static, Result<Arc<dyn JwsVerifier>, Error>> {
        let verifier = verifier.clone();
        Box::pin(async move { Ok(verifier) })
    };
    let validator = Rfc9068Validator::builder()
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .jws_verifier_factory(factory)
        .jws_verifier_platform(platform)
        .build()
        .await
        .unwrap();
    let validator = ValidatorLayer::builder().validator(validator).build();

    let extracting = Router::new()
        .route("/", get(|_: axum_jwt_auth::Claims<Claims>| async { "hello" }))
        .with_state(decoder);
    vec![
        ("tower-oauth2-resource-server", route().layer(server.into_layer())),
        ("axum-jwt-auth, extractor", extracting),
        ("axum-jose", route().layer(jose)),
        ("huskarl-axum", route().layer(validator.authenticated())),
    ]
}
