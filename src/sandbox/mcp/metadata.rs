//! The authorization server's metadata (RFC 8414) of a resource.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;

use crate::sandbox::environment::Environment;
use crate::sandbox::oauth::dpop;
use crate::sandbox::respond;
use crate::sandbox::state::authorization::SCOPES;
use crate::sandbox::state::clients::{AUTH_METHODS, GRANT_TYPES};

pub(crate) fn document(environment: &Environment, id: &str) -> Response<Bytes> {
    let state = environment.lock();
    let (url, issuer) = (&state.environment_url, state.resource_issuer(id));
    let own_scopes = state.resources.get(id).into_iter().flat_map(|resource| &resource.scopes);
    let document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/oauth/authorize"),
        "token_endpoint": format!("{issuer}/oauth/token"),
        "jwks_uri": format!("{url}/keys"),
        "registration_endpoint": format!("{url}/api/v1/resources/{id}/clients:register"),
        "scopes_supported":
            SCOPES.into_iter().chain(own_scopes.map(String::as_str)).collect::<Vec<_>>(),
        "response_types_supported": ["code"],
        "grant_types_supported": GRANT_TYPES,
        "code_challenge_methods_supported": ["S256"],
        "dpop_signing_alg_values_supported": dpop::ALGORITHMS,
        "token_endpoint_auth_methods_supported": AUTH_METHODS,
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": state.resources.clients.has_documents(),
    });
    respond::json(StatusCode::OK, &document)
}
