//! `/api/v1/connections` and `/api/v1/organizations/{organization_id}/connections`.

use serde_json::{Value, json};

use super::organizations::known_organization;
use super::{ApiErrorResponse, ApiResult, enabled_state, parse};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::connections::SandboxConnection;

/// Only enabled ones, unless all are requested.
pub(super) fn list(state: &State, query: &Parameters) -> ApiResult {
    let all = match query.get("include") {
        None => false,
        Some("all") => true,
        Some(_) => return Err(ApiErrorResponse::invalid("include must be all or absent")),
    };
    let connections: Vec<_> = state
        .connections
        .iter()
        .filter(|connection| {
            (all || connection.enabled)
                && query.admits("organization_id", Some(&connection.organization_id))
                && query.get("domain").is_none_or(|domain| connection.has_domain(domain))
        })
        .map(|connection| list_details(state, connection))
        .collect();
    Ok(json!({ "connections": connections }))
}

pub(super) fn get(state: &State, organization_id: &str, id: &str) -> ApiResult {
    let connection = known_connection(state, organization_id, id)?;
    Ok(json!({ "connection": details(state, connection) }))
}

/// If the connection is already in the requested state, the response says so.
pub(super) fn set_enabled(
    state: &mut State,
    organization_id: &str,
    id: &str,
    enabled: bool,
) -> ApiResult {
    known_connection(state, organization_id, id)?;
    let is_changed = state.set_connection_enabled(id, enabled) == Some(true);
    Ok(enabled_state("connection", is_changed, enabled))
}

pub(super) fn delete(state: &mut State, organization_id: &str, id: &str) -> ApiResult {
    known_connection(state, organization_id, id)?;
    state.delete_connection(id);
    Ok(json!({}))
}

fn known_connection<'a>(
    state: &'a State,
    organization_id: &str,
    id: &str,
) -> ApiResult<&'a SandboxConnection> {
    known_organization(state, organization_id)?;
    state
        .connections
        .get(parse::id(id, "conn_", "connection_id must start with conn_")?)
        .filter(|known| known.organization_id == organization_id)
        .ok_or(ApiErrorResponse::not_found("connection not found"))
}

/// `connectionsListConnection`
fn list_details(state: &State, connection: &SandboxConnection) -> Value {
    json!({
        "id": connection.id,
        "key_id": connection.id,
        "organization_id": connection.organization_id,
        "organization_name": state.users.organization_name(&connection.organization_id),
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
        "domains": connection.domains.iter().map(|domain| json!({
            "domain": domain,
            "organization_id": connection.organization_id,
            "verification_status": "AUTO_VERIFIED",
        })).collect::<Vec<_>>(),
        "test_connection_uri": format!("{}/idp/{}", state.environment_url, connection.id),
    })
}
