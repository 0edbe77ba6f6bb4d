//! Features, session policy and limits of an organization.

use bytes::Bytes;
use http::Request;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{details, known_organization};
use crate::sandbox::api::{ApiErrorResponse, ApiResult};
use crate::sandbox::environment::Environment;
use crate::sandbox::state::users::SandboxOrganization;

/// `sso` and `dir_sync` enable or disable all connections or directories.
pub(in crate::sandbox::api) fn update(
    environment: &Environment,
    id: &str,
    request: &Request<Bytes>,
) -> ApiResult {
    #[derive(Deserialize)]
    struct Body {
        features: Vec<Feature>,
    }
    #[derive(Deserialize)]
    struct Feature {
        name: String,
        enabled: bool,
    }
    let body: Body = serde_json::from_slice(request.body())
        .map_err(|_| ApiErrorResponse::invalid("the body has no features"))?;
    let now = environment.now();
    let mut state = environment.lock();
    let organization = known_organization(&state, id)?.clone();
    for feature in body.features {
        match feature.name.as_str() {
            "sso" => {
                let ids: Vec<_> =
                    state.connections.of(id).map(|connection| connection.id.clone()).collect();
                for id in ids {
                    state.set_connection_enabled(&id, feature.enabled, now);
                }
            }
            "dir_sync" => {
                let ids: Vec<_> =
                    state.directories.of(id).map(|directory| directory.id.clone()).collect();
                for id in ids {
                    state.set_directory_enabled(&id, feature.enabled, now);
                }
            }
            _ => return Err(ApiErrorResponse::invalid("features are dir_sync and sso")),
        }
    }
    Ok(json!({ "organization": details(&state, &organization) }))
}

pub(in crate::sandbox::api) fn session_policy(environment: &Environment, id: &str) -> ApiResult {
    let state = environment.lock();
    Ok(json!({ "policy": policy(known_organization(&state, id)?) }))
}

/// The timeouts are stored, but sessions have no limits here.
pub(in crate::sandbox::api) fn update_session_policy(
    environment: &Environment,
    id: &str,
    request: &Request<Bytes>,
) -> ApiResult {
    let body: Value = serde_json::from_slice(request.body())
        .map_err(|_| ApiErrorResponse::invalid("the body is not a session policy"))?;
    let mut state = environment.lock();
    known_organization(&state, id)?;
    let organization = state.users.organizations.iter_mut().find(|known| known.id == id);
    let organization = organization.ok_or(super::UNKNOWN_ORGANIZATION)?;
    organization.session_policy = match body.get("policy_source").and_then(Value::as_str) {
        Some("APPLICATION") => None,
        Some("CUSTOM") => Some(in_minutes(body)?),
        _ => return Err(ApiErrorResponse::invalid("policy_source is unknown")),
    };
    Ok(json!({ "policy": policy(organization) }))
}

pub(in crate::sandbox::api) fn update_user_management(
    environment: &Environment,
    id: &str,
    request: &Request<Bytes>,
) -> ApiResult {
    let body: Value = serde_json::from_slice(request.body())
        .map_err(|_| ApiErrorResponse::invalid("the body has no settings"))?;
    known_organization(&environment.lock(), id)?;
    let limit = body.pointer("/settings/max_allowed_users").and_then(Value::as_i64);
    let limit = limit.ok_or(ApiErrorResponse::invalid("max_allowed_users is missing"))?;
    Ok(json!({ "settings": { "max_allowed_users": limit } }))
}

/// `organizationsOrganizationSessionPolicySettings`
fn policy(organization: &SandboxOrganization) -> Value {
    let application = || json!({ "policy_source": "APPLICATION" });
    organization.session_policy.clone().unwrap_or_else(application)
}

/// "Responses always return minutes."
fn in_minutes(mut policy: Value) -> Result<Value, ApiErrorResponse> {
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
