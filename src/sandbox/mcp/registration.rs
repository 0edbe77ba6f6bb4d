//! Dynamic client registration (RFC 7591), open to all clients.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::sandbox::environment::Environment;
use crate::sandbox::respond::{self, without_nulls};
use crate::sandbox::state::clients::{Client, ClientMetadata};

pub(crate) fn register(
    environment: &Environment,
    request: &Request<Bytes>,
    resource_id: &str,
) -> Response<Bytes> {
    let document = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
    let metadata = match ClientMetadata::parse(&document, "client_secret_basic") {
        Ok(metadata) => metadata,
        Err(rejected) => {
            return rejection(StatusCode::BAD_REQUEST, rejected.error, rejected.description);
        }
    };
    match environment.lock().resources.clients.register(resource_id, metadata) {
        Some(client) => {
            let issued_at = environment.now().unix_timestamp();
            respond::json(StatusCode::CREATED, &registered(&client, issued_at))
        }
        None => rejection(
            StatusCode::TOO_MANY_REQUESTS,
            "temporarily_unavailable",
            "no more clients can register at this sandbox",
        ),
    }
}

/// The client's registration, which may contain less than requested.
fn registered(client: &Client, issued_at: i64) -> Value {
    let metadata = &client.metadata;
    without_nulls(json!({
        "client_id": client.id,
        "client_id_issued_at": issued_at,
        "client_secret": client.secret.as_ref().map(|secret| secret.expose()),
        "client_secret_expires_at": client.secret.as_ref().map(|_| 0),
        "client_name": metadata.name,
        "redirect_uris": metadata.redirect_uris,
        "grant_types": metadata.grant_types,
        "response_types": client.may_use("authorization_code").then_some("code").as_slice(),
        "token_endpoint_auth_method": metadata.auth_method,
        "scope": metadata.scope,
        "dpop_bound_access_tokens": metadata.is_bound.then_some(true),
    }))
    .into()
}

fn rejection(status: StatusCode, error: &str, description: &str) -> Response<Bytes> {
    respond::json(status, &json!({ "error": error, "error_description": description }))
}
