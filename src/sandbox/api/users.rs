//! `/api/v1/users` and `/api/v1/organizations/{organization_id}/users`.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::memberships::{self, MembershipFields};
use super::organizations::known_organization;
use super::paging::PageRequest;
use super::user_key::Key;
use super::{ApiErrorResponse, ApiRequest, ApiResult, created, parse, respond};
use crate::sandbox::forms::is_email_address;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::users::{NewUser, SandboxUser};
use crate::sandbox::users::details::details;

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(state: &mut State, request: &ApiRequest<'_>) -> Option<Response<Bytes>> {
    let ApiRequest { query, body, .. } = request;
    Some(respond(match (request.method, request.resource) {
        (&Method::GET, ["users"]) => list(state, query, None, None),
        (&Method::GET, ["users:search"]) => search(state, query, None),
        (method, [kind @ ("users" | "users:external"), id]) => {
            let key = if *kind == "users" { Key::Id(id) } else { Key::External(id) };
            match *method {
                Method::DELETE => delete(state, key),
                Method::GET => get(state, key),
                Method::PATCH => update(state, key, body),
                _ => return None,
            }
        }
        (&Method::GET, ["organizations", id, "users"]) => list(state, query, Some(id), None),
        (&Method::GET, ["organizations", id, "users:search"]) => search(state, query, Some(id)),
        (&Method::POST, ["organizations", id, "users"]) => {
            return Some(created(create(state, id, request)));
        }
        _ => return None,
    }))
}

/// Oldest first; `text` is in lower case.
fn list(
    state: &State,
    query: &Parameters,
    organization_id: Option<&str>,
    text: Option<&str>,
) -> ApiResult {
    let page = match text {
        None => PageRequest::parse(query, 10, 100)?,
        Some(_) => PageRequest::parse(query, 30, 30)?,
    };
    if let Some(id) = organization_id {
        known_organization(state, id)?;
    }
    let found: Vec<_> = state
        .users
        .all
        .iter()
        .filter(|user| organization_id.is_none_or(|id| user.at(id).is_some()))
        .filter(|user| text.is_none_or(|text| matches(user, text)))
        .collect();
    page.by_id("users", &found, |user| user.id.clone(), |user| details(state, user))
}

/// Whether address or IDs of the user contain this text.
fn matches(user: &SandboxUser, text: &str) -> bool {
    [Some(&user.email), Some(&user.id), user.external_id.as_ref()]
        .into_iter()
        .flatten()
        .any(|own| own.to_lowercase().contains(text))
}

fn search(state: &State, query: &Parameters, organization_id: Option<&str>) -> ApiResult {
    let text = query.get("query").unwrap_or_default().to_lowercase();
    if !(3..=100).contains(&text.chars().count()) {
        return Err(ApiErrorResponse::invalid("query must have 3 to 100 characters"));
    }
    list(state, query, organization_id, Some(&text))
}

fn get(state: &State, key: Key<'_>) -> ApiResult {
    Ok(json!({ "user": details(state, key.find(state)?) }))
}

fn create(state: &mut State, organization_id: &str, request: &ApiRequest<'_>) -> ApiResult {
    let invites = memberships::invites(&request.query)?;
    let written = UserFields::read(request.body)?;
    let email = written.email.clone().unwrap_or_default().to_lowercase();
    if !is_email_address(&email) {
        return Err(ApiErrorResponse::invalid("email is not an address"));
    }
    known_organization(state, organization_id)?;
    if state.users.find(&email).is_some() {
        return Err(ApiErrorResponse::conflict("a user has this email"));
    }
    written.check(state, "")?;
    let membership = written.membership.clone().unwrap_or_default().membership(
        state,
        organization_id,
        invites,
    )?;
    let id = state.add_user(NewUser::new(&email).organization_id(organization_id)).id;
    if let Some(user) = state.users.with_id_mut(&id) {
        user.leave(organization_id);
        user.join(membership);
        user.made_at = Some(state.now);
        written.apply_to(user);
    }
    memberships::joined(state, &id, organization_id)
}

fn update(state: &mut State, key: Key<'_>, body: &[u8]) -> ApiResult {
    let written = UserFields::read(body)?;
    let id = key.find(state)?.id.clone();
    written.check(state, &id)?;
    if let Some(user) = state.users.with_id_mut(&id) {
        written.apply_to(user);
        user.changed_at = Some(state.now);
    }
    // The external ID may have changed.
    Ok(json!({ "user": details(state, Key::Id(&id).find(state)?) }))
}

fn delete(state: &mut State, key: Key<'_>) -> ApiResult {
    let user = key.find(state)?.clone();
    state.revoke_sessions_of(&user.id);
    for member in user.memberships() {
        state.emit_membership("user.organization_membership_deleted", &member);
    }
    state.users.all.retain(|known| known.id != user.id);
    Ok(json!({}))
}

/// User fields of a request.
#[derive(Default, Deserialize)]
#[serde(default)]
struct UserFields {
    email: Option<String>,
    external_id: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    membership: Option<MembershipFields>,
    user_profile: BTreeMap<String, Value>,
}

impl UserFields {
    fn read(body: &[u8]) -> ApiResult<Self> {
        parse::body(body, "the body is not a user")
    }

    fn check(&self, state: &State, id: &str) -> ApiResult<()> {
        parse::metadata(self.metadata.as_ref())?;
        match self.external_id.as_ref().and_then(|id| state.users.with_external_id(id)) {
            Some(other) if other.id != id => {
                Err(ApiErrorResponse::conflict("another user has this external_id"))
            }
            _ => Ok(()),
        }
    }

    fn apply_to(self, user: &mut SandboxUser) {
        if let Some(external_id) = self.external_id {
            user.external_id = Some(external_id).filter(|id| !id.is_empty());
        }
        if let Some(metadata) = self.metadata {
            user.metadata = metadata;
        }
        let mut profile = self.user_profile;
        let [given_name, family_name, name] = ["given_name", "family_name", "name"]
            .map(|name| profile.remove(name).and_then(|value| Some(value.as_str()?.to_owned())));
        let is_renamed = given_name.is_some() || family_name.is_some();
        if let Some(given_name) = given_name {
            user.given_name = given_name;
        }
        if let Some(family_name) = family_name {
            user.family_name = family_name;
        }
        if let Some(name) = name {
            user.name = name;
        } else if is_renamed {
            user.name = format!("{} {}", user.given_name, user.family_name).trim().to_owned();
        }
        user.profile.extend(profile);
    }
}
