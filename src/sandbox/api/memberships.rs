//! `/api/v1/memberships` and `/api/v1/invites`; roles and permissions of members.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::organizations::known_organization;
use super::user_key::Key;
use super::{ApiErrorResponse, ApiResult, created, parse, respond, timestamp};
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::memberships::{Invitation, Membership, MembershipDetails};
use crate::sandbox::state::users::SandboxUser;
use crate::sandbox::users::details::{details, member_roles};

const NO_MEMBER: ApiErrorResponse =
    ApiErrorResponse::not_found("the user is not a member of the organization");

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[&str],
) -> Option<Response<Bytes>> {
    Some(respond(match (request.method(), resource) {
        (method, ["memberships", "organizations", organization, "users", id]) => {
            return one(environment, method, request, organization, Key::Id(id));
        }
        (method, ["memberships", "organizations", organization, "users:external", id]) => {
            return one(environment, method, request, organization, Key::External(id));
        }
        (&Method::PATCH, ["invites", "organizations", organization, "users", id, "resend"]) => {
            let sent = resend(environment, organization, id);
            return Some(
                sent.map_or_else(|rejected| rejected.info_response(), |body| respond(Ok(body))),
            );
        }
        (&Method::GET, ["organizations", organization, "users", id, "roles"]) => {
            let state = environment.lock();
            member(&state, organization, Key::Id(id))
                .map(|member| json!({ "roles": member_roles(&state, &member) }))
        }
        (&Method::GET, ["organizations", organization, "users", id, "permissions"]) => {
            let state = environment.lock();
            member(&state, organization, Key::Id(id))
                .map(|member| json!({ "permissions": member_permissions(&state, &member) }))
        }
        _ => return None,
    }))
}

fn one(
    environment: &Environment,
    method: &Method,
    request: &Request<Bytes>,
    organization_id: &str,
    key: Key<'_>,
) -> Option<Response<Bytes>> {
    Some(match *method {
        Method::DELETE => respond(delete(environment, organization_id, key)),
        Method::PATCH => respond(update(environment, organization_id, key, request)),
        Method::POST => created(create(environment, organization_id, key, request)),
        _ => return None,
    })
}

/// The user as a member of the organization.
fn member(
    state: &State,
    organization_id: &str,
    key: Key<'_>,
) -> Result<SandboxUser, ApiErrorResponse> {
    known_organization(state, organization_id)?;
    key.find(state)?.at(organization_id).ok_or(NO_MEMBER)
}

fn create(
    environment: &Environment,
    organization_id: &str,
    key: Key<'_>,
    request: &Request<Bytes>,
) -> ApiResult {
    let invites = invites(request)?;
    let written = MembershipFields::read(request)?;
    let now = environment.now();
    let mut state = environment.lock();
    known_organization(&state, organization_id)?;
    let user = key.find(&state)?;
    if user.at(organization_id).is_some() {
        return Err(ApiErrorResponse::conflict("the user is a member"));
    }
    let id = user.id.clone();
    let membership = written.membership(&state, organization_id, invites, now)?;
    if let Some(user) = state.users.with_id_mut(&id) {
        user.join(membership);
        user.changed_at = Some(now);
    }
    joined(&mut state, &id, organization_id, now)
}

/// Sends the invitation or announces the membership, and responds with the user.
pub(super) fn joined(
    state: &mut State,
    user_id: &str,
    organization_id: &str,
    now: OffsetDateTime,
) -> ApiResult {
    match state.send_invitation(user_id, organization_id, false, now) {
        Some(invited) => state.emit_membership("user.organization_invitation", &invited, now),
        None => {
            let member = member(state, organization_id, Key::Id(user_id))?;
            state.emit_membership("user.organization_membership_created", &member, now);
        }
    }
    Ok(json!({ "user": details(state, Key::Id(user_id).find(state)?, now) }))
}

fn update(
    environment: &Environment,
    organization_id: &str,
    key: Key<'_>,
    request: &Request<Bytes>,
) -> ApiResult {
    let written = MembershipFields::read(request)?;
    let now = environment.now();
    let mut state = environment.lock();
    let member = member(&state, organization_id, key)?;
    let roles = written.roles(&state, organization_id)?;
    let permissions =
        roles.as_ref().map(|roles| state.roles.permissions_of(organization_id, roles));
    let changed = state.users.with_id_mut(&member.id).and_then(|user| {
        user.changed_at = Some(now);
        user.change_at(organization_id, |user| {
            user.roles = roles.unwrap_or_else(|| user.roles.clone());
            user.permissions = permissions.unwrap_or_else(|| user.permissions.clone());
            if let Some(metadata) = written.metadata {
                user.membership.metadata = metadata;
            }
            user.clone()
        })
    });
    if let Some(changed) = changed {
        state.emit_membership("user.organization_membership_updated", &changed, now);
    }
    Ok(json!({ "user": details(&state, key.find(&state)?, now) }))
}

fn delete(environment: &Environment, organization_id: &str, key: Key<'_>) -> ApiResult {
    let now = environment.now();
    let mut state = environment.lock();
    let member = member(&state, organization_id, key)?;
    state.remove_member(&member.id, organization_id, now);
    Ok(json!({}))
}

fn resend(environment: &Environment, organization_id: &str, user_id: &str) -> ApiResult {
    let now = environment.now();
    let mut state = environment.lock();
    if member(&state, organization_id, Key::Id(user_id))?.membership.is_active() {
        return Err(ApiErrorResponse::not_found("the user has no pending invitation"));
    }
    let user = state.send_invitation(user_id, organization_id, true, now).ok_or(NO_MEMBER)?;
    let invitation = user.membership.invitation.as_ref().ok_or(NO_MEMBER)?;
    Ok(json!({
        "invite": without_nulls(json!({
            "organization_id": organization_id,
            "user_id": user_id,
            "status": user.membership.status(now).to_ascii_lowercase(),
            "created_at": timestamp(invitation.created_at),
            "expires_at": timestamp(invitation.expires_at),
            "inviter_email": invitation.inviter_email,
            "resent_at": invitation.resent_at.map(timestamp),
            "resent_count": invitation.resent_count,
        })),
    }))
}

/// `usersPermission`, of each permission of the member.
fn member_permissions(state: &State, member: &SandboxUser) -> Vec<Value> {
    let of = |name: &String| match state.roles.permission(name) {
        Some(known) => {
            json!({ "id": known.id, "name": name, "description": known.description })
        }
        None => json!({ "name": name }),
    };
    member.permissions.iter().map(of).collect()
}

/// Whether an invitation is sent, which is the default.
pub(super) fn invites(request: &Request<Bytes>) -> Result<bool, ApiErrorResponse> {
    let query = Parameters::from_query(request);
    match query.get("send_invitation_email") {
        None => Ok(true),
        Some(_) => parse::flag(&query, "send_invitation_email"),
    }
}

/// Membership fields of a request.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct MembershipFields {
    roles: Option<Vec<RoleName>>,
    metadata: Option<BTreeMap<String, String>>,
    inviter_email: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct RoleName {
    name: String,
}

impl MembershipFields {
    fn read(request: &Request<Bytes>) -> Result<Self, ApiErrorResponse> {
        serde_json::from_slice(request.body())
            .map_err(|_| ApiErrorResponse::invalid("the body is not a membership"))
    }

    /// The names of the roles, if they exist.
    fn roles(
        &self,
        state: &State,
        organization_id: &str,
    ) -> Result<Option<Vec<String>>, ApiErrorResponse> {
        parse::metadata(self.metadata.as_ref())?;
        let Some(roles) = &self.roles else { return Ok(None) };
        if roles.iter().any(|role| state.roles.get(Some(organization_id), &role.name).is_none()) {
            return Err(ApiErrorResponse::invalid("a role does not exist"));
        }
        Ok(Some(roles.iter().map(|role| role.name.clone()).collect()))
    }

    pub(super) fn membership(
        self,
        state: &State,
        organization_id: &str,
        invites: bool,
        now: OffsetDateTime,
    ) -> Result<Membership, ApiErrorResponse> {
        let default = || vec![state.roles.default_member(organization_id).to_owned()];
        let roles = self
            .roles(state, organization_id)?
            .filter(|roles| !roles.is_empty())
            .unwrap_or_else(default);
        let organization = known_organization(state, organization_id)?;
        Ok(Membership {
            organization_id: organization.id.clone(),
            organization_name: organization.display_name.clone(),
            permissions: state.roles.permissions_of(organization_id, &roles),
            roles,
            details: MembershipDetails {
                metadata: self.metadata.unwrap_or_default(),
                joined_at: (!invites).then_some(now),
                invitation: invites.then(|| Invitation::new(self.inviter_email, now)),
            },
        })
    }
}
