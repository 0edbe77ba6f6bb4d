//! `/api/v1/organizations/{organization_id}/directories`, its users and groups.
//!
//! Users and groups are listed oldest first. A page token contains the number of the page's first
//! item, so that additions and removals between two requests shift nothing, even if that item is
//! removed.

use std::collections::HashMap;

use bytes::Bytes;
use http::Request;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::organizations::known_organization;
use super::paging::PageRequest;
use super::{ApiErrorResponse, ApiResult, checked, enabled_state, parse, timestamp};
use crate::sandbox::directories::events::user_data;
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::directories::Directory;
use crate::sandbox::state::directory_records::{SandboxDirectoryGroup, SandboxDirectoryUser};

pub(super) fn list(environment: &Environment, organization_id: &str) -> ApiResult {
    let state = environment.lock();
    let directories: Vec<_> = state
        .directories
        .of(&known_organization(&state, organization_id)?.id)
        .map(|directory| details(&state, directory))
        .collect();
    Ok(json!({ "directories": directories }))
}

pub(super) fn get(environment: &Environment, organization_id: &str, id: &str) -> ApiResult {
    let state = environment.lock();
    let directory = known_directory(&state, organization_id, id)?;
    Ok(json!({ "directory": details(&state, directory) }))
}

/// If the directory is already in the requested state, the response says so.
pub(super) fn set_enabled(
    environment: &Environment,
    organization_id: &str,
    id: &str,
    enabled: bool,
) -> ApiResult {
    let now = environment.now();
    let mut state = environment.lock();
    known_directory(&state, organization_id, id)?;
    let is_changed = state.set_directory_enabled(id, enabled, now) == Some(true);
    Ok(enabled_state("directory", is_changed, enabled))
}

pub(super) fn users(
    environment: &Environment,
    organization_id: &str,
    directory_id: &str,
    request: &Request<Bytes>,
) -> ApiResult {
    let query = Parameters::from_query(request);
    let updated_after = parse::time(&query, "updated_after")?;
    let include_detail = parse::flag(&query, "include_detail")?;
    let group_id = query.get("directory_group_id");
    let state = environment.lock();
    let directory = known_directory(&state, organization_id, directory_id)?;
    let sizes = state.directories.sizes(directory_id);
    let is_wanted = |user: &SandboxDirectoryUser| {
        is_after(user.updated_at, updated_after) && group_id.is_none_or(|id| user.is_in(id))
    };
    let users = state.directories.users_of(&directory.id);
    let found: Vec<_> = users.filter(|(_, user)| is_wanted(user)).collect();
    listed(&query, &found, "users", |user| user_details(&state, user, &sizes, include_detail))
}

pub(super) fn groups(
    environment: &Environment,
    organization_id: &str,
    directory_id: &str,
    request: &Request<Bytes>,
) -> ApiResult {
    let query = Parameters::from_query(request);
    let updated_after = parse::time(&query, "updated_after")?;
    let include_detail = parse::flag(&query, "include_detail")?;
    let include_external = parse::flag(&query, "include_external_groups")?;
    let state = environment.lock();
    let directory = known_directory(&state, organization_id, directory_id)?;
    let sizes = state.directories.sizes(directory_id);
    let is_wanted = |group: &SandboxDirectoryGroup| {
        is_after(group.updated_at, updated_after) && (include_external || !group.external)
    };
    let groups = state.directories.groups_of(&directory.id);
    let found: Vec<_> = groups.filter(|(_, group)| is_wanted(group)).collect();
    listed(&query, &found, "groups", |group| group_details(group, &sizes, include_detail))
}

fn known_directory<'a>(
    state: &'a State,
    organization_id: &str,
    id: &str,
) -> Result<&'a Directory, ApiErrorResponse> {
    let organization = known_organization(state, organization_id)?;
    state
        .directories
        .get(checked(id, "dir_", "directory_id must start with dir_")?)
        .filter(|known| known.organization_id == organization.id)
        .ok_or(ApiErrorResponse::not_found("directory not found"))
}

fn is_after(updated_at: OffsetDateTime, time: Option<OffsetDateTime>) -> bool {
    time.is_none_or(|time| time < updated_at)
}

/// The requested page of a list.
fn listed<T>(
    query: &Parameters,
    found: &[(u64, &T)],
    name: &'static str,
    details: impl Fn(&T) -> Value,
) -> ApiResult {
    let page = PageRequest::parse(query, 10, 30)?;
    let start = match &page.from {
        None => 0,
        Some(from) => {
            let from = from
                .strip_prefix(name)
                .and_then(|from| from.strip_prefix(':'))
                .and_then(|from| from.parse::<u64>().ok())
                .ok_or(ApiErrorResponse::invalid("page_token belongs to another list"))?;
            found.partition_point(|(number, _)| *number < from)
        }
    };
    let id = |(number, _): &_| format!("{name}:{number}");
    Ok(page.response(name, found, start, id, |(_, item)| details(item)))
}

/// `directoriesDirectory`
fn details(state: &State, directory: &Directory) -> Value {
    let url = &state.environment_url;
    let tracked = |group: &SandboxDirectoryGroup| !group.external;
    let groups: Vec<_> = state
        .directories
        .groups_of(&directory.id)
        .map(|(_, group)| group)
        .filter(|group| tracked(group))
        .collect();
    let users: Vec<_> = state.directories.users_of(&directory.id).map(|(_, user)| user).collect();
    let mut stats = json!({ "total_groups": groups.len(), "total_users": users.len() });
    let changes = [
        ("group_updated_at", groups.iter().map(|group| group.updated_at).max()),
        ("user_updated_at", users.iter().map(|user| user.updated_at).max()),
    ];
    let last_synced_at = changes.iter().filter_map(|(_, time)| *time).max();
    if let Some(stats) = stats.as_object_mut() {
        let known = changes.iter().filter_map(|(name, time)| Some((*name, (*time)?)));
        stats.extend(known.map(|(name, time)| (name.to_owned(), timestamp(time))));
    }
    let mut details = json!({
        "id": directory.id,
        "name": "Okta",
        "organization_id": directory.organization_id,
        "enabled": directory.enabled,
        "directory_type": "SCIM",
        "directory_provider": "OKTA",
        "directory_endpoint": format!("{url}/api/v1/directories/{}/scim/v2", directory.id),
        "groups_tracked": "ALL",
        "total_groups": groups.len(),
        "total_users": users.len(),
        "stats": stats,
        "secrets": [],
    });
    if let (Some(details), Some(time)) = (details.as_object_mut(), last_synced_at) {
        details.insert("last_synced_at".to_owned(), timestamp(time));
    }
    details
}

/// `directoriesDirectoryUser`
fn user_details(
    state: &State,
    user: &SandboxDirectoryUser,
    sizes: &HashMap<&str, usize>,
    include_detail: bool,
) -> Value {
    let mut details = Map::new();
    let mut set = |name: &str, value: Value| details.insert(name.to_owned(), value);
    set("id", json!(user.id));
    set("email", json!(user.email));
    set("emails", json!([user.email]));
    set("preferred_username", json!(user.preferred_username));
    set("given_name", json!(user.given_name));
    set("family_name", json!(user.family_name));
    set("updated_at", timestamp(user.updated_at));
    let groups = state.directories.tracked_groups_of(user);
    set("groups", groups.map(|group| group_details(group, sizes, false)).collect());
    if include_detail {
        set("user_detail", user_data(&state.directories, user));
    }
    details.into()
}

/// `directoriesDirectoryGroup`
fn group_details(
    group: &SandboxDirectoryGroup,
    sizes: &HashMap<&str, usize>,
    include_detail: bool,
) -> Value {
    let mut details = Map::new();
    let mut set = |name: &str, value: Value| details.insert(name.to_owned(), value);
    set("id", json!(group.id));
    set("display_name", json!(group.display_name));
    set("total_users", json!(sizes.get(group.id.as_str()).copied().unwrap_or_default()));
    set("updated_at", timestamp(group.updated_at));
    if include_detail {
        let mut detail = json!({ "id": group.dp_id, "displayName": group.display_name });
        if let (Some(detail), Some(id)) = (detail.as_object_mut(), &group.external_id) {
            detail.insert("externalId".to_owned(), json!(id));
        }
        set("group_detail", detail);
    }
    details.into()
}
