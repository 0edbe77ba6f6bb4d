//! Invitations of users to organizations, and the end of memberships.

use crate::sandbox::state::State;
use crate::sandbox::state::mail::OutboxMail;
use crate::sandbox::state::users::SandboxUser;

impl State {
    /// The invited user of a link, as a member of the organization. Accepted invitations are
    /// returned, too: they lead to a login.
    pub(crate) fn invited(&self, token: &str) -> Option<SandboxUser> {
        self.users.all.iter().flat_map(SandboxUser::memberships).find(|user| {
            user.membership.invitation.as_ref().is_some_and(|invitation| {
                invitation.token == token
                    && (invitation.is_open(self.now) || invitation.accepted_at.is_some())
            })
        })
    }

    /// Makes the invited user a member. Returns whether the invitation is open and theirs.
    pub(crate) fn accept_invitation(&mut self, token: &str, user_id: &str) -> bool {
        let Some(invited) = self.invited(token).filter(|user| user.id == user_id) else {
            return false;
        };
        if invited.membership.is_active() {
            return true;
        }
        let accepted = self.users.with_id_mut(user_id).and_then(|user| {
            user.change_at(&invited.organization_id, |user| {
                user.membership.joined_at = Some(self.now);
                if let Some(invitation) = &mut user.membership.invitation {
                    invitation.accepted_at = Some(self.now);
                }
                user.clone()
            })
        });
        if let Some(user) = &accepted {
            self.emit_membership("user.organization_membership_created", user);
        }
        accepted.is_some()
    }

    /// Sends the e-mail of the user's invitation to this organization; `again` as a reminder.
    pub(crate) fn send_invitation(
        &mut self,
        user_id: &str,
        organization_id: &str,
        again: bool,
    ) -> Option<SandboxUser> {
        let user = self.users.with_id_mut(user_id)?.change_at(organization_id, |user| {
            let invitation = user.membership.invitation.as_mut()?;
            if again {
                invitation.resend(self.now);
            }
            Some(user.clone())
        })??;
        let invitation = user.membership.invitation.clone()?;
        self.mail.keep(OutboxMail {
            email: user.email.clone(),
            code: None,
            link: Some(format!("{}/invitations/{}", self.environment_url, invitation.token)),
            template: "INVITATION".to_owned(),
            template_variables: [
                ("organization", Some(user.organization_name.clone())),
                ("inviter", invitation.inviter_email),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
            sent_at: self.now,
            expires_at: invitation.expires_at,
        });
        Some(user)
    }

    /// Removes a user from an organization and ends the user's sessions there. Returns the user as
    /// the member, if there is one.
    pub(crate) fn remove_member(
        &mut self,
        user_id: &str,
        organization_id: &str,
    ) -> Option<SandboxUser> {
        let user = self.users.with_id_mut(user_id)?;
        let removed = user.at(organization_id)?;
        user.leave(organization_id);
        user.changed_at = Some(self.now);
        self.revoke_sessions_at(user_id, organization_id);
        self.emit_membership("user.organization_membership_deleted", &removed);
        Some(removed)
    }
}
