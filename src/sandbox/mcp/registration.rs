//! Dynamic client registration (RFC 7591), open to all clients.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::sandbox::environment::Environment;
use crate::sandbox::respond;
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
    let client = environment.lock().resources.clients.register(resource_id, metadata);
    match client {
        Some(client) => {
            let issued_at = environment.now().unix_timestamp();
            respond::json(StatusCode::CREATED, &registered(&client, issued_at))
        }
        None => {
            let reason = "no more clients can register at this sandbox";
            rejection(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", reason)
        }
    }
}

/// The client's registration, which may contain less than requested.
fn registered(client: &Client, issued_at: i64) -> Value {
    let metadata = &client.metadata;
    let response_types: &[&str] =
        if client.may_use("authorization_code") { &["code"] } else { &[] };
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    set("client_id", json!(client.id));
    set("client_id_issued_at", json!(issued_at));
    if let Some(secret) = &client.secret {
        set("client_secret", json!(secret.expose()));
        set("client_secret_expires_at", json!(0));
    }
    if let Some(name) = &metadata.name {
        set("client_name", json!(name));
    }
    set("redirect_uris", json!(metadata.redirect_uris));
    set("grant_types", json!(metadata.grant_types));
    set("response_types", json!(response_types));
    set("token_endpoint_auth_method", json!(metadata.auth_method));
    if let Some(scope) = &metadata.scope {
        set("scope", json!(scope));
    }
    if metadata.is_bound {
        set("dpop_bound_access_tokens", json!(true));
    }
    body.into()
}

fn rejection(status: StatusCode, error: &str, description: &str) -> Response<Bytes> {
    respond::json(status, &json!({ "error": error, "error_description": description }))
}
