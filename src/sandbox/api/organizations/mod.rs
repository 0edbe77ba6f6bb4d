//! `/api/v1/organizations`
//!
//! They are listed oldest first. A page token contains the number of the page's first item, so that
//! additions and removals between two requests shift nothing.

mod changes;
mod settings;

use bytes::Bytes;
use http::Request;
use serde_json::{Map, Value, json};

use super::paging::PageRequest;
use super::{ApiErrorResponse, ApiResult, checked, timestamp};
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::portal::Features;
use crate::sandbox::state::users::SandboxOrganization;

pub(super) use self::changes::{create, delete, update};
pub(super) use self::settings::{
    session_policy, update as update_settings, update_session_policy, update_user_management,
};

pub(super) fn list(environment: &Environment, request: &Request<Bytes>) -> ApiResult {
    let query = Parameters::from_query(request);
    let page = PageRequest::parse(&query, 10, 100)?;
    let external_id = query.get("external_id");
    let state = environment.lock();
    let found: Vec<_> = state
        .users
        .organizations
        .iter()
        .filter(|organization| {
            external_id.is_none_or(|id| organization.external_id.as_deref() == Some(id))
        })
        .collect();
    let start = match &page.from {
        None => 0,
        Some(from) => {
            let from: u64 = from
                .strip_prefix("organizations:")
                .and_then(|from| from.parse().ok())
                .ok_or(ApiErrorResponse::invalid("page_token belongs to another list"))?;
            found.partition_point(|organization| organization.number < from)
        }
    };
    Ok(page.response(
        "organizations",
        &found,
        start,
        |organization| format!("organizations:{}", organization.number),
        |organization| details(&state, organization),
    ))
}

pub(super) fn get(environment: &Environment, id: &str) -> ApiResult {
    let state = environment.lock();
    let organization = known_organization(&state, id)?;
    Ok(json!({ "organization": details(&state, organization) }))
}

pub(super) fn get_external(environment: &Environment, external_id: &str) -> ApiResult {
    let state = environment.lock();
    let mut all = state.users.organizations.iter();
    let organization = all
        .find(|organization| organization.external_id.as_deref() == Some(external_id))
        .ok_or(UNKNOWN_ORGANIZATION)?;
    Ok(json!({ "organization": details(&state, organization) }))
}

/// A link to the organization's admin portal; without features, to all of it.
pub(super) fn portal_link(
    environment: &Environment,
    id: &str,
    request: &Request<Bytes>,
) -> ApiResult {
    let query = Parameters::from_query(request);
    let named: Vec<_> = query.all("features").collect();
    if named.iter().any(|name| !matches!(*name, "dir_sync" | "sso")) {
        return Err(ApiErrorResponse::invalid("features are dir_sync and sso"));
    }
    let has = |name| named.is_empty() || named.contains(&name);
    let features = Features { sso: has("sso"), dir_sync: has("dir_sync") };
    let now = environment.now();
    let mut state = environment.lock();
    let id = known_organization(&state, id)?.id.clone();
    let link = state.portal_link(&id, features, now);
    let expire_time = timestamp(link.expires_at);
    Ok(json!({
        "link": { "id": link.id, "location": link.location, "expire_time": expire_time },
    }))
}

pub(super) fn known_organization<'a>(
    state: &'a State,
    id: &str,
) -> Result<&'a SandboxOrganization, ApiErrorResponse> {
    let id = checked(id, "org_", "organization_id must start with org_")?;
    state.users.organization(id).ok_or(UNKNOWN_ORGANIZATION)
}

const UNKNOWN_ORGANIZATION: ApiErrorResponse =
    ApiErrorResponse::not_found("organization not found");

/// `organizationsOrganization`
fn details(state: &State, organization: &SandboxOrganization) -> Value {
    let mut details = Map::new();
    let mut set = |name: &str, value: Value| details.insert(name.to_owned(), value);
    set("id", json!(organization.id));
    set("display_name", json!(organization.display_name));
    if let Some(external_id) = &organization.external_id {
        set("external_id", json!(external_id));
    }
    if let Some(slug) = &organization.slug {
        set("slug", json!(slug));
    }
    if let Some(logo_url) = &organization.logo_url {
        set("logo_url", json!(logo_url));
    }
    set("region_code", json!("US"));
    let made_at = organization.made_at.unwrap_or(state.directories.since);
    set("create_time", timestamp(made_at));
    set("update_time", timestamp(organization.changed_at.unwrap_or(made_at)));
    set("metadata", json!(organization.metadata));
    let synced = state.directories.of(&organization.id).any(|directory| directory.enabled);
    let sso = state.connections.of(&organization.id).any(|connection| connection.enabled);
    let features = json!([
        { "name": "sso", "enabled": sso },
        { "name": "dir_sync", "enabled": synced },
    ]);
    set("settings", json!({ "features": features }));
    details.into()
}
