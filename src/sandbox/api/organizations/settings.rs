//! Features, session policy and limits of an organization.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{UNKNOWN_ORGANIZATION, details, known_organization};
use crate::sandbox::api::{ApiErrorResponse, ApiResult, parse};
use crate::sandbox::state::State;
use crate::sandbox::state::users::SandboxOrganization;

/// `sso` and `dir_sync` enable or disable all connections or directories.
pub(in crate::sandbox::api) fn update(state: &mut State, id: &str, body: &[u8]) -> ApiResult {
    #[derive(Deserialize)]
    struct Body {
        features: Vec<Feature>,
    }
    #[derive(Deserialize)]
    struct Feature {
        name: String,
        enabled: bool,
    }
    let Body { features } = parse::body(body, "the body has no features")?;
    known_organization(state, id)?;
    let connections: Vec<_> = state.connections.of(id).map(|known| known.id.clone()).collect();
    let directories: Vec<_> = state.directories.of(id).map(|known| known.id.clone()).collect();
    for Feature { name, enabled } in features {
        match name.as_str() {
            "sso" => {
                for id in &connections {
                    state.set_connection_enabled(id, enabled);
                }
            }
            "dir_sync" => {
                for id in &directories {
                    state.set_directory_enabled(id, enabled);
                }
            }
            _ => return Err(ApiErrorResponse::invalid("features are dir_sync and sso")),
        }
    }
    Ok(json!({ "organization": details(state, known_organization(state, id)?) }))
}

pub(in crate::sandbox::api) fn session_policy(state: &State, id: &str) -> ApiResult {
    Ok(json!({ "policy": policy(known_organization(state, id)?) }))
}

/// The timeouts are stored, but sessions have no limits here.
pub(in crate::sandbox::api) fn update_session_policy(
    state: &mut State,
    id: &str,
    body: &[u8],
) -> ApiResult {
    let body: Value = parse::body(body, "the body is not a session policy")?;
    known_organization(state, id)?;
    let organization = state
        .users
        .organizations
        .iter_mut()
        .find(|known| known.id == id)
        .ok_or(UNKNOWN_ORGANIZATION)?;
    organization.session_policy = match body.get("policy_source").and_then(Value::as_str) {
        Some("APPLICATION") => None,
        Some("CUSTOM") => Some(in_minutes(body)?),
        _ => return Err(ApiErrorResponse::invalid("policy_source is unknown")),
    };
    Ok(json!({ "policy": policy(organization) }))
}

pub(in crate::sandbox::api) fn update_user_management(
    state: &State,
    id: &str,
    body: &[u8],
) -> ApiResult {
    let body: Value = parse::body(body, "the body has no settings")?;
    known_organization(state, id)?;
    let limit = body
        .pointer("/settings/max_allowed_users")
        .and_then(Value::as_i64)
        .ok_or(ApiErrorResponse::invalid("max_allowed_users is missing"))?;
    Ok(json!({ "settings": { "max_allowed_users": limit } }))
}

/// `organizationsOrganizationSessionPolicySettings`
fn policy(organization: &SandboxOrganization) -> Value {
    match &organization.session_policy {
        None => json!({ "policy_source": "APPLICATION" }),
        Some(policy) => policy.clone(),
    }
}

/// "Responses always return minutes."
fn in_minutes(mut policy: Value) -> ApiResult {
    let Some(members) = policy.as_object_mut() else { return Ok(policy) };
    for name in ["absolute_session_timeout", "idle_session_timeout"] {
        let unit = format!("{name}_unit");
        let minutes = match members.get(&unit).and_then(Value::as_str) {
            Some("DAYS") => 24 * 60,
            Some("HOURS") => 60,
            Some("MINUTES") | None => 1,
            Some(_) => return Err(ApiErrorResponse::invalid("a unit is unknown")),
        };
        if let Some(count) = members.get(name).and_then(Value::as_i64) {
            members.insert(name.to_owned(), json!(count.saturating_mul(minutes)));
            members.insert(unit, json!("MINUTES"));
        }
    }
    Ok(policy)
}
