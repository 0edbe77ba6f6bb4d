//! Creating, changing and deleting organizations, which causes no events.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Request;
use serde::Deserialize;
use serde_json::json;

use super::{details, known_organization};
use crate::sandbox::api::{ApiErrorResponse, ApiResult, parse};
use crate::sandbox::environment::Environment;
use crate::sandbox::state::State;
use crate::sandbox::state::users::SandboxOrganization;

pub(in crate::sandbox::api) fn create(
    environment: &Environment,
    request: &Request<Bytes>,
) -> ApiResult {
    let written = OrganizationFields::read(request)?;
    let name = written.display_name.as_deref().unwrap_or_default();
    let mut organization = SandboxOrganization::new(name, &[]);
    organization.made_at = Some(environment.now());
    let mut state = environment.lock();
    written.check(&state, &organization.id)?;
    written.apply_to(&mut organization);
    check_name(&organization)?;
    let organization = state.users.add_organization(organization);
    Ok(json!({ "organization": details(&state, &organization) }))
}

pub(in crate::sandbox::api) fn update(
    environment: &Environment,
    id: &str,
    request: &Request<Bytes>,
) -> ApiResult {
    let now = environment.now();
    let mut state = environment.lock();
    let mut organization = known_organization(&state, id)?.clone();
    let written = OrganizationFields::read(request)?;
    written.check(&state, id)?;
    written.apply_to(&mut organization);
    check_name(&organization)?;
    organization.changed_at = Some(now);
    let response = json!({ "organization": details(&state, &organization) });
    let known = state.users.organizations.iter_mut().find(|known| known.id == id);
    known.into_iter().for_each(|known| known.clone_from(&organization));
    Ok(response)
}

/// Deletes its roles, connections and directories, and the users who have no other organization.
/// Ends its users' sessions.
pub(in crate::sandbox::api) fn delete(environment: &Environment, id: &str) -> ApiResult {
    let now = environment.now();
    let mut state = environment.lock();
    let id = known_organization(&state, id)?.id.clone();
    let members: Vec<_> = state
        .users
        .all
        .iter()
        .filter(|user| user.at(&id).is_some())
        .map(|user| user.id.clone())
        .collect();
    for user in &members {
        state.revoke_sessions_at(user, &id, now);
    }
    state.users.all.retain_mut(|user| !user.leave(&id) || !user.organization_id.is_empty());
    state.roles.all.retain(|role| role.organization_id.as_deref() != Some(&id));
    state.users.organizations.retain(|known| known.id != id);
    state.connections.0.retain(|known| known.organization_id != id);
    state.domains.retain(|known| known.organization_id != id);
    state.machines.retain(|known| known.organization_id != id);
    state.directories.remove_those_of(&id);
    Ok(json!({}))
}

/// Organization fields of a request.
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
    fn read(request: &Request<Bytes>) -> Result<Self, ApiErrorResponse> {
        serde_json::from_slice(request.body())
            .map_err(|_| ApiErrorResponse::invalid("the body is not an organization"))
    }

    /// Validates the limits of the API's reference, and uniqueness.
    fn check(&self, state: &State, id: &str) -> Result<(), ApiErrorResponse> {
        let logo_url = self.logo_url.as_deref().filter(|url| !url.is_empty());
        if logo_url.is_some_and(|url| !url.starts_with("https://") || url.len() > 1024) {
            return Err(ApiErrorResponse::invalid(
                "logo_url must be https and at most 1024 characters",
            ));
        }
        let slug = self.slug.as_deref().filter(|slug| !slug.is_empty());
        if slug.is_some_and(|slug| slug.len() > 253 || !slug.split('.').all(is_label)) {
            return Err(ApiErrorResponse::invalid("slug must be a label or host name"));
        }
        parse::metadata(self.metadata.as_ref())?;
        let has = |own: &Option<String>, wanted: &Option<String>| {
            wanted.as_ref().is_some_and(|wanted| !wanted.is_empty() && own.as_ref() == Some(wanted))
        };
        let mut others = state.users.organizations.iter().filter(|known| known.id != id);
        let taken = others.any(|other| {
            has(&other.external_id, &self.external_id) || has(&other.slug, &self.slug)
        });
        if taken {
            Err(ApiErrorResponse::conflict("another organization has the same value"))
        } else {
            Ok(())
        }
    }

    fn apply_to(self, organization: &mut SandboxOrganization) {
        let set = |own: &mut Option<String>, written: Option<String>| {
            if let Some(written) = written {
                *own = Some(written).filter(|written| !written.is_empty());
            }
        };
        set(&mut organization.external_id, self.external_id);
        set(&mut organization.slug, self.slug);
        set(&mut organization.logo_url, self.logo_url);
        if let Some(name) = self.display_name {
            organization.display_name = name;
        }
        if let Some(metadata) = self.metadata {
            organization.metadata = metadata;
        }
    }
}

fn check_name(organization: &SandboxOrganization) -> Result<(), ApiErrorResponse> {
    if (1..=200).contains(&organization.display_name.chars().count()) {
        return Ok(());
    }
    Err(ApiErrorResponse::invalid("display_name must be between 1 and 200 characters"))
}

/// A DNS label.
fn is_label(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
