//! Creating, changing and deleting organizations, which causes no events.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::{details, known_organization};
use crate::sandbox::api::{ApiErrorResponse, ApiResult, parse};
use crate::sandbox::state::State;
use crate::sandbox::state::users::SandboxOrganization;

pub(in crate::sandbox::api) fn create(state: &mut State, body: &[u8]) -> ApiResult {
    let written = OrganizationFields::read(body)?;
    let mut organization = SandboxOrganization::new("", &[]);
    organization.made_at = Some(state.now);
    written.check(state, &organization.id)?;
    written.apply_to(&mut organization);
    check_name(&organization)?;
    let organization = state.users.add_organization(organization);
    Ok(json!({ "organization": details(state, &organization) }))
}

pub(in crate::sandbox::api) fn update(state: &mut State, id: &str, body: &[u8]) -> ApiResult {
    let mut organization = known_organization(state, id)?.clone();
    let written = OrganizationFields::read(body)?;
    written.check(state, id)?;
    written.apply_to(&mut organization);
    check_name(&organization)?;
    organization.changed_at = Some(state.now);
    let response = json!({ "organization": details(state, &organization) });
    if let Some(known) = state.users.organizations.iter_mut().find(|known| known.id == id) {
        *known = organization;
    }
    Ok(response)
}

/// Deletes its roles, connections and directories, and the users who have no other organization.
/// Ends its users' sessions.
pub(in crate::sandbox::api) fn delete(state: &mut State, id: &str) -> ApiResult {
    known_organization(state, id)?;
    let members: Vec<_> = state
        .users
        .all
        .iter()
        .filter(|user| user.at(id).is_some())
        .map(|user| user.id.clone())
        .collect();
    for user in &members {
        state.revoke_sessions_at(user, id);
    }
    state.users.all.retain_mut(|user| !user.leave(id) || !user.organization_id.is_empty());
    state.roles.all.retain(|role| role.organization_id.as_deref() != Some(id));
    state.users.organizations.retain(|known| known.id != id);
    state.connections.all.retain(|known| known.organization_id != id);
    state.domains.retain(|known| known.organization_id != id);
    state.machines.retain(|known| known.organization_id != id);
    state.directories.remove_those_of(id);
    Ok(json!({}))
}

/// Organization fields of a body.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OrganizationFields {
    display_name: Option<String>,
    external_id: Option<String>,
    slug: Option<String>,
    logo_url: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
}

impl OrganizationFields {
    fn read(body: &[u8]) -> ApiResult<Self> {
        parse::body(body, "the body is not an organization")
    }

    /// Validates the limits of the API's reference, and uniqueness.
    fn check(&self, state: &State, id: &str) -> ApiResult<()> {
        if !self.logo_url.as_deref().is_none_or(is_logo_url) {
            return Err(ApiErrorResponse::invalid(
                "logo_url must be https and at most 1024 characters",
            ));
        }
        if !self.slug.as_deref().is_none_or(is_slug) {
            return Err(ApiErrorResponse::invalid("slug must be a label or host name"));
        }
        parse::metadata(self.metadata.as_ref())?;
        if state.users.organizations.iter().filter(|other| other.id != id).any(|other| {
            is_taken(self.external_id.as_deref(), other.external_id.as_deref())
                || is_taken(self.slug.as_deref(), other.slug.as_deref())
        }) {
            return Err(ApiErrorResponse::conflict("another organization has the same value"));
        }
        Ok(())
    }

    /// Empty text removes a value.
    fn apply_to(self, organization: &mut SandboxOrganization) {
        for (own, written) in [
            (&mut organization.external_id, self.external_id),
            (&mut organization.slug, self.slug),
            (&mut organization.logo_url, self.logo_url),
        ] {
            if let Some(written) = written {
                *own = Some(written).filter(|written| !written.is_empty());
            }
        }
        if let Some(name) = self.display_name {
            organization.display_name = name;
        }
        if let Some(metadata) = self.metadata {
            organization.metadata = metadata;
        }
    }
}

/// Whether another organization has this value already.
fn is_taken(written: Option<&str>, other: Option<&str>) -> bool {
    written.is_some_and(|written| !written.is_empty() && other == Some(written))
}

fn check_name(organization: &SandboxOrganization) -> ApiResult<()> {
    if (1..=200).contains(&organization.display_name.chars().count()) {
        return Ok(());
    }
    Err(ApiErrorResponse::invalid("display_name must be between 1 and 200 characters"))
}

fn is_logo_url(text: &str) -> bool {
    text.is_empty() || (text.starts_with("https://") && text.len() <= 1024)
}

fn is_slug(text: &str) -> bool {
    text.is_empty() || (text.len() <= 253 && text.split('.').all(is_label))
}

/// A DNS label.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
