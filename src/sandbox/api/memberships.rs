//! `/api/v1/memberships` and `/api/v1/invites`; roles and permissions of members.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::organizations::known_organization;
use super::user_key::Key;
use super::{
    ApiErrorResponse, ApiRequest, ApiResult, created, parse, respond, respond_with_info, timestamp,
};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::memberships::{Invitation, Membership, MembershipDetails};
use crate::sandbox::state::users::SandboxUser;
use crate::sandbox::users::details::{details, member_roles};

const NO_MEMBER: ApiErrorResponse =
    ApiErrorResponse::not_found("the user is not a member of the organization");

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(state: &mut State, request: &ApiRequest<'_>) -> Option<Response<Bytes>> {
    let ApiRequest { body, .. } = request;
    Some(respond(match (request.method, request.resource) {
        (
            method,
            ["memberships", "organizations", organization, kind @ ("users" | "users:external"), id],
        ) => {
            let key = if *kind == "users" { Key::Id(id) } else { Key::External(id) };
            match *method {
                Method::DELETE => delete(state, organization, key),
                Method::PATCH => update(state, organization, key, body),
                Method::POST => {
                    return Some(created(create(state, organization, key, request)));
                }
                _ => return None,
            }
        }
        (&Method::PATCH, ["invites", "organizations", organization, "users", id, "resend"]) => {
            return Some(respond_with_info(resend(state, organization, id)));
        }
        (&Method::GET, ["organizations", organization, "users", id, "roles"]) => {
            member(state, organization, Key::Id(id))
                .map(|member| json!({ "roles": member_roles(state, &member) }))
        }
        (&Method::GET, ["organizations", organization, "users", id, "permissions"]) => {
            member(state, organization, Key::Id(id))
                .map(|member| json!({ "permissions": member_permissions(state, &member) }))
        }
        _ => return None,
    }))
}

/// The user as a member of the organization.
fn member(state: &State, organization_id: &str, key: Key<'_>) -> ApiResult<SandboxUser> {
    known_organization(state, organization_id)?;
    key.find(state)?.at(organization_id).ok_or(NO_MEMBER)
}

fn create(
    state: &mut State,
    organization_id: &str,
    key: Key<'_>,
    request: &ApiRequest<'_>,
) -> ApiResult {
    let invites = invites(&request.query)?;
    let written = MembershipFields::read(request.body)?;
    known_organization(state, organization_id)?;
    let user = key.find(state)?;
    if user.at(organization_id).is_some() {
        return Err(ApiErrorResponse::conflict("the user is a member"));
    }
    let id = user.id.clone();
    let membership = written.membership(state, organization_id, invites)?;
    if let Some(user) = state.users.with_id_mut(&id) {
        user.join(membership);
        user.changed_at = Some(state.now);
    }
    joined(state, &id, organization_id)
}

/// Sends the invitation or announces the membership, and responds with the user.
pub(super) fn joined(state: &mut State, user_id: &str, organization_id: &str) -> ApiResult {
    match state.send_invitation(user_id, organization_id, false) {
        Some(invited) => state.emit_membership("user.organization_invitation", &invited),
        None => {
            let member = member(state, organization_id, Key::Id(user_id))?;
            state.emit_membership("user.organization_membership_created", &member);
        }
    }
    Ok(json!({ "user": details(state, Key::Id(user_id).find(state)?) }))
}

fn update(state: &mut State, organization_id: &str, key: Key<'_>, body: &[u8]) -> ApiResult {
    let written = MembershipFields::read(body)?;
    let member = member(state, organization_id, key)?;
    let roles = written.roles(state, organization_id)?;
    let changed = state.users.with_id_mut(&member.id).and_then(|user| {
        user.changed_at = Some(state.now);
        user.change_at(organization_id, |user| {
            if let Some(roles) = roles {
                user.permissions = state.roles.permissions_of(organization_id, &roles);
                user.roles = roles;
            }
            if let Some(metadata) = written.metadata {
                user.membership.metadata = metadata;
            }
            user.clone()
        })
    });
    if let Some(changed) = changed {
        state.emit_membership("user.organization_membership_updated", &changed);
    }
    Ok(json!({ "user": details(state, key.find(state)?) }))
}

fn delete(state: &mut State, organization_id: &str, key: Key<'_>) -> ApiResult {
    let member = member(state, organization_id, key)?;
    state.remove_member(&member.id, organization_id);
    Ok(json!({}))
}

fn resend(state: &mut State, organization_id: &str, user_id: &str) -> ApiResult {
    if member(state, organization_id, Key::Id(user_id))?.membership.is_active() {
        return Err(ApiErrorResponse::not_found("the user has no pending invitation"));
    }
    let user = state.send_invitation(user_id, organization_id, true).ok_or(NO_MEMBER)?;
    let invitation = user.membership.invitation.as_ref().ok_or(NO_MEMBER)?;
    Ok(json!({
        "invite": without_nulls(json!({
            "organization_id": organization_id,
            "user_id": user_id,
            "status": user.membership.status(state.now).to_ascii_lowercase(),
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
    member
        .permissions
        .iter()
        .map(|name| match state.roles.permission(name) {
            Some(known) => {
                json!({ "id": known.id, "name": name, "description": known.description })
            }
            None => json!({ "name": name }),
        })
        .collect()
}

/// Whether an invitation is sent, which is the default.
pub(super) fn invites(query: &Parameters) -> ApiResult<bool> {
    match query.get("send_invitation_email") {
        None => Ok(true),
        Some(_) => parse::flag(query, "send_invitation_email"),
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
    fn read(body: &[u8]) -> ApiResult<Self> {
        parse::body(body, "the body is not a membership")
    }

    /// The names of the roles, if they exist.
    fn roles(&self, state: &State, organization_id: &str) -> ApiResult<Option<Vec<String>>> {
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
    ) -> ApiResult<Membership> {
        let roles = self
            .roles(state, organization_id)?
            .filter(|roles| !roles.is_empty())
            .unwrap_or_else(|| vec![state.roles.default_member(Some(organization_id)).to_owned()]);
        let organization = known_organization(state, organization_id)?;
        Ok(Membership {
            organization_id: organization.id.clone(),
            organization_name: organization.display_name.clone(),
            permissions: state.roles.permissions_of(organization_id, &roles),
            roles,
            details: MembershipDetails {
                metadata: self.metadata.unwrap_or_default(),
                joined_at: (!invites).then_some(state.now),
                invitation: invites.then(|| Invitation::new(self.inviter_email, state.now)),
            },
        })
    }
}
