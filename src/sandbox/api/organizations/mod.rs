//! `/api/v1/organizations`
//!
//! They are listed oldest first. A page token contains the number of the page's first item, so that
//! additions and removals between two requests shift nothing.

mod changes;
mod settings;

use serde_json::{Value, json};

use super::paging::PageRequest;
use super::{ApiErrorResponse, ApiResult, parse, timestamp};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::portal::{Features, PortalLink};
use crate::sandbox::state::users::SandboxOrganization;

pub(super) use self::changes::{create, delete, update};
pub(super) use self::settings::{
    session_policy, update as update_settings, update_session_policy, update_user_management,
};

pub(super) fn list(state: &State, query: &Parameters) -> ApiResult {
    let page = PageRequest::parse(query, 10, 100)?;
    let found: Vec<_> = state
        .users
        .organizations
        .iter()
        .filter(|known| query.admits("external_id", known.external_id.as_deref()))
        .map(|known| (known.number, known))
        .collect();
    page.by_number("organizations", &found, |organization| details(state, organization))
}

pub(super) fn get(state: &State, id: &str) -> ApiResult {
    let organization = known_organization(state, id)?;
    Ok(json!({ "organization": details(state, organization) }))
}

pub(super) fn get_external(state: &State, external_id: &str) -> ApiResult {
    let organization = state
        .users
        .organizations
        .iter()
        .find(|organization| organization.external_id.as_deref() == Some(external_id))
        .ok_or(UNKNOWN_ORGANIZATION)?;
    Ok(json!({ "organization": details(state, organization) }))
}

/// A link to the organization's admin portal; without features, to all of it.
pub(super) fn portal_link(state: &mut State, id: &str, query: &Parameters) -> ApiResult {
    let mut features = Features::default();
    for name in query.all("features") {
        match name {
            "dir_sync" => features.dir_sync = true,
            "sso" => features.sso = true,
            _ => return Err(ApiErrorResponse::invalid("features are dir_sync and sso")),
        }
    }
    if query.get("features").is_none() {
        features = Features { sso: true, dir_sync: true };
    }
    known_organization(state, id)?;
    let PortalLink { id, location, expires_at } = state.portal_link(id, features);
    Ok(json!({
        "link": { "id": id, "location": location, "expire_time": timestamp(expires_at) },
    }))
}

pub(super) fn known_organization<'a>(
    state: &'a State,
    id: &str,
) -> ApiResult<&'a SandboxOrganization> {
    parse::id(id, "org_", "organization_id must start with org_")?;
    state.users.organization(id).ok_or(UNKNOWN_ORGANIZATION)
}

const UNKNOWN_ORGANIZATION: ApiErrorResponse =
    ApiErrorResponse::not_found("organization not found");

/// `organizationsOrganization`
fn details(state: &State, organization: &SandboxOrganization) -> Value {
    let made_at = organization.made_at.unwrap_or(state.directories.since);
    let has_sso = state.connections.of(&organization.id).any(|connection| connection.enabled);
    let has_dir_sync = state.directories.of(&organization.id).any(|directory| directory.enabled);
    without_nulls(json!({
        "id": organization.id,
        "display_name": organization.display_name,
        "external_id": organization.external_id,
        "slug": organization.slug,
        "logo_url": organization.logo_url,
        "region_code": "US",
        "create_time": timestamp(made_at),
        "update_time": timestamp(organization.changed_at.unwrap_or(made_at)),
        "metadata": organization.metadata,
        "settings": {
            "features": [
                { "name": "sso", "enabled": has_sso },
                { "name": "dir_sync", "enabled": has_dir_sync },
            ],
        },
    }))
    .into()
}
