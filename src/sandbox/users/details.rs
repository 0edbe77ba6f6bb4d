//! Users as JSON, in responses of the API and in events.

use serde_json::{Map, Value, json};

use crate::sandbox::respond::{members, timestamp, without_nulls};
use crate::sandbox::state::State;
use crate::sandbox::state::users::SandboxUser;

/// `usersUser`
pub(crate) fn details(state: &State, user: &SandboxUser) -> Value {
    let mut details = common(state, user);
    details.insert(
        "memberships".to_owned(),
        user.memberships().map(|member| membership(state, &member)).collect(),
    );
    details.into()
}

/// The user without memberships.
pub(crate) fn common(state: &State, user: &SandboxUser) -> Map<String, Value> {
    let made_at = user.made_at.unwrap_or(state.directories.since);
    let mut profile = members(json!({
        "id": format!("usp_{}", user.id.trim_start_matches("usr_")),
        "name": user.name,
        "given_name": user.given_name,
        "family_name": user.family_name,
        "email_verified": user.last_login_at.is_some() || user.membership.is_active(),
    }));
    profile.extend(user.profile.clone());
    without_nulls(json!({
        "id": user.id,
        "email": user.email,
        "external_id": user.external_id,
        "create_time": timestamp(made_at),
        "update_time": timestamp(user.changed_at.unwrap_or(made_at)),
        "last_login_time": user.last_login_at.map(timestamp),
        "metadata": user.metadata,
        "user_profile": profile,
    }))
}

/// `commonsOrganizationMembership`, of the user's first organization.
fn membership(state: &State, member: &SandboxUser) -> Value {
    let details = &member.membership;
    let invitation = details.invitation.as_ref();
    let joined_at = details.joined_at.or(member.made_at).unwrap_or(state.directories.since);
    without_nulls(json!({
        "organization_id": member.organization_id,
        "name": member.organization_name,
        "display_name": member.organization_name,
        "membership_status": details.status(state.now),
        "roles": member_roles(state, member),
        "permissions": member.permissions,
        "metadata": details.metadata,
        "join_time": details.is_active().then(|| timestamp(joined_at)),
        "created_at": invitation.map(|invitation| timestamp(invitation.created_at)),
        "accepted_at": invitation.and_then(|invitation| invitation.accepted_at).map(timestamp),
        "expires_at": invitation.map(|invitation| timestamp(invitation.expires_at)),
        "inviter_email": invitation.and_then(|invitation| invitation.inviter_email.as_deref()),
        "provisioning_method": if invitation.is_some() { "invitation" } else { "direct_provision" },
    }))
    .into()
}

/// `commonsRole`, of each role of the member.
pub(crate) fn member_roles(state: &State, member: &SandboxUser) -> Vec<Value> {
    member
        .roles
        .iter()
        .map(|name| match state.roles.get(Some(&member.organization_id), name) {
            Some(role) => {
                json!({ "id": role.id, "name": name, "display_name": role.display_name })
            }
            None => json!({ "name": name }),
        })
        .collect()
}
