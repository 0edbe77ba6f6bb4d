//! `/api/v1/connections` and `/api/v1/organizations/{organization_id}/connections`.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::organizations::known_organization;
use super::{ApiErrorResponse, ApiResult, checked, enabled_state};
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::connections::SandboxConnection;

/// Only enabled ones, unless all are requested.
pub(super) fn list(environment: &Environment, request: &Request<Bytes>) -> ApiResult {
    let query = Parameters::from_query(request);
    let all = match query.get("include") {
        None => false,
        Some("all") => true,
        Some(_) => return Err(ApiErrorResponse::invalid("include must be all or absent")),
    };
    let (organization_id, domain) = (query.get("organization_id"), query.get("domain"));
    let state = environment.lock();
    let connections: Vec<_> = state
        .connections
        .iter()
        .filter(|connection| {
            (all || connection.enabled)
                && organization_id.is_none_or(|id| connection.organization_id == id)
                && domain.is_none_or(|domain| {
                    connection.domains.iter().any(|d| d.eq_ignore_ascii_case(domain))
                })
        })
        .map(|connection| list_details(&state, connection))
        .collect();
    Ok(json!({ "connections": connections }))
}

pub(super) fn get(environment: &Environment, organization_id: &str, id: &str) -> ApiResult {
    let state = environment.lock();
    let connection = known_connection(&state, organization_id, id)?;
    Ok(json!({ "connection": details(&state, connection) }))
}

/// If the connection is already in the requested state, the response says so.
pub(super) fn set_enabled(
    environment: &Environment,
    organization_id: &str,
    id: &str,
    enabled: bool,
) -> ApiResult {
    let now = environment.now();
    let mut state = environment.lock();
    known_connection(&state, organization_id, id)?;
    let is_changed = state.set_connection_enabled(id, enabled, now) == Some(true);
    Ok(enabled_state("connection", is_changed, enabled))
}

pub(super) fn delete(environment: &Environment, organization_id: &str, id: &str) -> ApiResult {
    let now = environment.now();
    let mut state = environment.lock();
    known_connection(&state, organization_id, id)?;
    state.delete_connection(id, now);
    Ok(json!({}))
}

fn known_connection<'a>(
    state: &'a State,
    organization_id: &str,
    id: &str,
) -> Result<&'a SandboxConnection, ApiErrorResponse> {
    let organization = known_organization(state, organization_id)?;
    state
        .connections
        .get(checked(id, "conn_", "connection_id must start with conn_")?)
        .filter(|known| known.organization_id == organization.id)
        .ok_or(ApiErrorResponse::not_found("connection not found"))
}

/// `connectionsListConnection`
fn list_details(state: &State, connection: &SandboxConnection) -> Value {
    let organization = state.users.organization(&connection.organization_id);
    let organization_name = organization.map_or("", |organization| &organization.display_name);
    json!({
        "id": connection.id,
        "key_id": connection.id,
        "organization_id": connection.organization_id,
        "organization_name": organization_name,
        "provider": connection.provider,
        "provider_key": connection.provider.to_ascii_lowercase(),
        "type": connection.connection_type,
        "status": "COMPLETED",
        "enabled": connection.enabled,
        "domains": connection.domains,
        "mcp_server_url": "",
    })
}

/// `connectionsConnection`
fn details(state: &State, connection: &SandboxConnection) -> Value {
    let domains = connection.domains.iter().map(|domain| {
        json!({
            "domain": domain,
            "organization_id": connection.organization_id,
            "verification_status": "AUTO_VERIFIED",
        })
    });
    json!({
        "id": connection.id,
        "key_id": connection.id,
        "organization_id": connection.organization_id,
        "provider": connection.provider,
        "provider_key": connection.provider.to_ascii_lowercase(),
        "type": connection.connection_type,
        "status": "COMPLETED",
        "configuration_type": "MANUAL",
        "enabled": connection.enabled,
        "debug_enabled": false,
        "domains": domains.collect::<Vec<_>>(),
        "test_connection_uri": format!("{}/idp/{}", state.environment_url, connection.id),
    })
}
