//! `/api/v1/users` and `/api/v1/organizations/{organization_id}/users`.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::memberships::{self, MembershipFields};
use super::organizations::known_organization;
use super::paging::PageRequest;
use super::user_key::Key;
use super::{ApiErrorResponse, ApiResult, created, parse, respond};
use crate::sandbox::environment::Environment;
use crate::sandbox::forms::is_email_address;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::users::{NewUser, SandboxUser};
use crate::sandbox::users::details::details;

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[&str],
) -> Option<Response<Bytes>> {
    Some(respond(match (request.method(), resource) {
        (&Method::GET, ["users"]) => list(environment, request, None, None),
        (&Method::GET, ["users:search"]) => search(environment, request, None),
        (method, ["users", id]) => one(environment, method, request, Key::Id(id))?,
        (method, ["users:external", id]) => one(environment, method, request, Key::External(id))?,
        (&Method::GET, ["organizations", id, "users"]) => {
            list(environment, request, Some(id), None)
        }
        (&Method::GET, ["organizations", id, "users:search"]) => {
            search(environment, request, Some(id))
        }
        (&Method::POST, ["organizations", id, "users"]) => {
            return Some(created(create(environment, id, request)));
        }
        _ => return None,
    }))
}

/// Oldest first; `query` is in lower case.
fn list(
    environment: &Environment,
    request: &Request<Bytes>,
    organization_id: Option<&str>,
    query: Option<&str>,
) -> ApiResult {
    let parameters = Parameters::from_query(request);
    let page = match query {
        None => PageRequest::parse(&parameters, 10, 100)?,
        Some(_) => PageRequest::parse(&parameters, 30, 30)?,
    };
    let now = environment.now();
    let state = environment.lock();
    if let Some(id) = organization_id {
        known_organization(&state, id)?;
    }
    let matches = |user: &SandboxUser, query: &str| {
        [Some(&user.email), Some(&user.id), user.external_id.as_ref()]
            .into_iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(query))
    };
    let found: Vec<_> = state
        .users
        .all
        .iter()
        .filter(|user| organization_id.is_none_or(|id| user.at(id).is_some()))
        .filter(|user| query.is_none_or(|query| matches(user, query)))
        .collect();
    let start = match &page.from {
        None => 0,
        Some(from) => found
            .iter()
            .position(|user| user.id == *from)
            .ok_or(ApiErrorResponse::invalid("page_token belongs to another list"))?,
    };
    let id = |user: &&SandboxUser| user.id.clone();
    Ok(page.response("users", &found, start, id, |user| details(&state, user, now)))
}

fn search(
    environment: &Environment,
    request: &Request<Bytes>,
    organization_id: Option<&str>,
) -> ApiResult {
    let parameters = Parameters::from_query(request);
    let query = parameters.get("query").unwrap_or_default().to_lowercase();
    if !(3..=100).contains(&query.chars().count()) {
        return Err(ApiErrorResponse::invalid("query must have 3 to 100 characters"));
    }
    list(environment, request, organization_id, Some(&query))
}

fn one(
    environment: &Environment,
    method: &Method,
    request: &Request<Bytes>,
    key: Key<'_>,
) -> Option<ApiResult> {
    Some(match *method {
        Method::DELETE => delete(environment, key),
        Method::GET => {
            let state = environment.lock();
            key.find(&state).map(|user| json!({ "user": details(&state, user, environment.now()) }))
        }
        Method::PATCH => update(environment, key, request),
        _ => return None,
    })
}

fn create(environment: &Environment, organization_id: &str, request: &Request<Bytes>) -> ApiResult {
    let invites = memberships::invites(request)?;
    let written = UserFields::read(request)?;
    let email = written.email.clone().unwrap_or_default().to_lowercase();
    if !is_email_address(&email) {
        return Err(ApiErrorResponse::invalid("email is not an address"));
    }
    let now = environment.now();
    let mut state = environment.lock();
    known_organization(&state, organization_id)?;
    if state.users.find(&email).is_some() {
        return Err(ApiErrorResponse::conflict("a user has this email"));
    }
    written.check(&state, "")?;
    let membership = written.membership.clone().unwrap_or_default();
    let membership = membership.membership(&state, organization_id, invites, now)?;
    let new = NewUser::new(&email).organization_id(organization_id);
    let id = state.add_user(new).id;
    if let Some(user) = state.users.with_id_mut(&id) {
        user.leave(organization_id);
        user.join(membership);
        user.made_at = Some(now);
        written.apply_to(user);
    }
    memberships::joined(&mut state, &id, organization_id, now)
}

fn update(environment: &Environment, key: Key<'_>, request: &Request<Bytes>) -> ApiResult {
    let written = UserFields::read(request)?;
    let now = environment.now();
    let mut state = environment.lock();
    let id = key.find(&state)?.id.clone();
    written.check(&state, &id)?;
    if let Some(user) = state.users.with_id_mut(&id) {
        written.apply_to(user);
        user.changed_at = Some(now);
    }
    // The external ID may have changed.
    Ok(json!({ "user": details(&state, Key::Id(&id).find(&state)?, now) }))
}

fn delete(environment: &Environment, key: Key<'_>) -> ApiResult {
    let now = environment.now();
    let mut state = environment.lock();
    let user = key.find(&state)?.clone();
    state.revoke_sessions_of(&user.id, now);
    for member in user.memberships() {
        state.emit_membership("user.organization_membership_deleted", &member, now);
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
    fn read(request: &Request<Bytes>) -> Result<Self, ApiErrorResponse> {
        serde_json::from_slice(request.body())
            .map_err(|_| ApiErrorResponse::invalid("the body is not a user"))
    }

    fn check(&self, state: &State, id: &str) -> Result<(), ApiErrorResponse> {
        parse::metadata(self.metadata.as_ref())?;
        let Some(external_id) = &self.external_id else { return Ok(()) };
        match Key::External(external_id).find(state) {
            Ok(other) if other.id != id => {
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
        let mut text =
            |name: &str| profile.remove(name).and_then(|value| value.as_str().map(str::to_owned));
        let (given, family, full) = (text("given_name"), text("family_name"), text("name"));
        let is_named = given.is_some() || family.is_some();
        user.given_name = given.unwrap_or_else(|| user.given_name.clone());
        user.family_name = family.unwrap_or_else(|| user.family_name.clone());
        if let Some(name) = full {
            user.name = name;
        } else if is_named {
            user.name = format!("{} {}", user.given_name, user.family_name).trim().to_owned();
        }
        user.profile.extend(profile);
    }
}
