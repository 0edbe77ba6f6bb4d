//! `GET /.well-known/openid-configuration` and `GET /keys`.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;

use crate::sandbox::environment::Environment;
use crate::sandbox::oauth::dpop;
use crate::sandbox::respond;
use crate::sandbox::state::authorization::SCOPES;

pub(crate) fn openid_configuration(environment: &Environment) -> Response<Bytes> {
    let issuer = environment.lock().environment_url.clone();
    let document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/oauth/authorize"),
        "token_endpoint": format!("{issuer}/oauth/token"),
        "end_session_endpoint": format!("{issuer}/oidc/logout"),
        "jwks_uri": format!("{issuer}/keys"),
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
        "dpop_signing_alg_values_supported": dpop::ALGORITHMS,
        "prompt_values_supported": ["none", "login", "create", "select_account"],
        "claims_supported": [
            "iss", "aud", "azp", "sub", "oid", "exp", "iat", "at_hash", "c_hash", "nonce", "amr",
            "email", "email_verified", "name", "given_name", "family_name", "locale", "sid", "xoid"
        ],
    });
    respond::json(StatusCode::OK, &document)
}

pub(crate) fn keys(environment: &Environment) -> Response<Bytes> {
    respond::json(StatusCode::OK, &environment.lock().keys.jwks())
}
