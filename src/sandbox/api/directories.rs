//! `/api/v1/organizations/{organization_id}/directories`, its users and groups.
//!
//! Users and groups are listed oldest first. A page token contains the number of the page's first
//! item, so that additions and removals between two requests shift nothing, even if that item is
//! removed.

use std::collections::HashMap;

use super::organizations::known_organization;
use super::paging::PageRequest;
use super::{ApiErrorResponse, ApiResult, enabled_state, parse, timestamp};
use crate::sandbox::directories::events::user_data;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::directories::Directory;
use crate::sandbox::state::directory_records::{SandboxDirectoryGroup, SandboxDirectoryUser};
use serde_json::{Value, json};

pub(super) fn list(state: &State, organization_id: &str) -> ApiResult {
    known_organization(state, organization_id)?;
    let directories: Vec<_> =
        state.directories.of(organization_id).map(|directory| details(state, directory)).collect();
    Ok(json!({ "directories": directories }))
}

pub(super) fn get(state: &State, organization_id: &str, id: &str) -> ApiResult {
    let directory = known_directory(state, organization_id, id)?;
    Ok(json!({ "directory": details(state, directory) }))
}

/// If the directory is already in the requested state, the response says so.
pub(super) fn set_enabled(
    state: &mut State,
    organization_id: &str,
    id: &str,
    enabled: bool,
) -> ApiResult {
    known_directory(state, organization_id, id)?;
    let is_changed = state.set_directory_enabled(id, enabled) == Some(true);
    Ok(enabled_state("directory", is_changed, enabled))
}

pub(super) fn users(
    state: &State,
    organization_id: &str,
    directory_id: &str,
    query: &Parameters,
) -> ApiResult {
    let updated_after = parse::time(query, "updated_after")?;
    let include_detail = parse::flag(query, "include_detail")?;
    known_directory(state, organization_id, directory_id)?;
    let sizes = state.directories.sizes(directory_id);
    let found: Vec<_> = state
        .directories
        .users_of(directory_id)
        .filter(|(_, user)| updated_after.is_none_or(|time| time < user.updated_at))
        .filter(|(_, user)| query.get("directory_group_id").is_none_or(|id| user.is_in(id)))
        .collect();
    PageRequest::parse(query, 10, 30)?
        .by_number("users", &found, |user| user_details(state, user, &sizes, include_detail))
}

pub(super) fn groups(
    state: &State,
    organization_id: &str,
    directory_id: &str,
    query: &Parameters,
) -> ApiResult {
    let updated_after = parse::time(query, "updated_after")?;
    let include_detail = parse::flag(query, "include_detail")?;
    let include_external = parse::flag(query, "include_external_groups")?;
    known_directory(state, organization_id, directory_id)?;
    let sizes = state.directories.sizes(directory_id);
    let found: Vec<_> = state
        .directories
        .groups_of(directory_id)
        .filter(|(_, group)| updated_after.is_none_or(|time| time < group.updated_at))
        .filter(|(_, group)| include_external || !group.external)
        .collect();
    PageRequest::parse(query, 10, 30)?
        .by_number("groups", &found, |group| group_details(group, &sizes, include_detail))
}

fn known_directory<'a>(
    state: &'a State,
    organization_id: &str,
    id: &str,
) -> ApiResult<&'a Directory> {
    known_organization(state, organization_id)?;
    state
        .directories
        .get(parse::id(id, "dir_", "directory_id must start with dir_")?)
        .filter(|known| known.organization_id == organization_id)
        .ok_or(ApiErrorResponse::not_found("directory not found"))
}

/// `directoriesDirectory`
fn details(state: &State, directory: &Directory) -> Value {
    let groups: Vec<_> = state
        .directories
        .groups_of(&directory.id)
        .filter(|(_, group)| !group.external)
        .map(|(_, group)| group.updated_at)
        .collect();
    let users: Vec<_> =
        state.directories.users_of(&directory.id).map(|(_, user)| user.updated_at).collect();
    let [group_updated_at, user_updated_at] =
        [&groups, &users].map(|times| times.iter().copied().max());
    without_nulls(json!({
        "id": directory.id,
        "name": "Okta",
        "organization_id": directory.organization_id,
        "enabled": directory.enabled,
        "directory_type": "SCIM",
        "directory_provider": "OKTA",
        "directory_endpoint":
            format!("{}/api/v1/directories/{}/scim/v2", state.environment_url, directory.id),
        "groups_tracked": "ALL",
        "total_groups": groups.len(),
        "total_users": users.len(),
        "stats": without_nulls(json!({
            "total_groups": groups.len(),
            "total_users": users.len(),
            "group_updated_at": group_updated_at.map(timestamp),
            "user_updated_at": user_updated_at.map(timestamp),
        })),
        "last_synced_at": group_updated_at.max(user_updated_at).map(timestamp),
        "secrets": [],
    }))
    .into()
}

/// `directoriesDirectoryUser`
fn user_details(
    state: &State,
    user: &SandboxDirectoryUser,
    sizes: &HashMap<&str, usize>,
    include_detail: bool,
) -> Value {
    without_nulls(json!({
        "id": user.id,
        "email": user.email,
        "emails": [user.email],
        "preferred_username": user.preferred_username,
        "given_name": user.given_name,
        "family_name": user.family_name,
        "updated_at": timestamp(user.updated_at),
        "groups": state
            .directories
            .tracked_groups_of(user)
            .map(|group| group_details(group, sizes, false))
            .collect::<Vec<_>>(),
        "user_detail": include_detail.then(|| user_data(&state.directories, user)),
    }))
    .into()
}

/// `directoriesDirectoryGroup`
fn group_details(
    group: &SandboxDirectoryGroup,
    sizes: &HashMap<&str, usize>,
    include_detail: bool,
) -> Value {
    without_nulls(json!({
        "id": group.id,
        "display_name": group.display_name,
        "total_users": sizes.get(group.id.as_str()).copied().unwrap_or_default(),
        "updated_at": timestamp(group.updated_at),
        "group_detail": include_detail.then(|| without_nulls(json!({
            "id": group.dp_id,
            "displayName": group.display_name,
            "externalId": group.external_id,
        }))),
    }))
    .into()
}
