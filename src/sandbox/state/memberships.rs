//! Memberships of users in organizations.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;

use crate::sandbox::state::ids::random_token;

/// "Invitations expire after 15 days by default."
const INVITATION_LIFETIME: Duration = Duration::from_secs(15 * 24 * 3600);

/// A membership of an organization that is not the user's first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) organization_id: String,
    pub(crate) organization_name: String,
    pub(crate) roles: Vec<String>,
    pub(crate) permissions: Vec<String>,
    pub(crate) details: MembershipDetails,
}

/// What a membership has beside roles and permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MembershipDetails {
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) joined_at: Option<OffsetDateTime>,
    /// `None` for users who were never invited.
    pub(crate) invitation: Option<Invitation>,
}

impl MembershipDetails {
    pub(crate) fn is_active(&self) -> bool {
        self.invitation.as_ref().is_none_or(|invitation| invitation.accepted_at.is_some())
    }

    /// `commonsMembershipStatus`
    pub(crate) fn status(&self, now: OffsetDateTime) -> &'static str {
        match &self.invitation {
            Some(invitation) if invitation.is_open(now) => "PENDING_INVITE",
            Some(invitation) if invitation.accepted_at.is_none() => "INVITE_EXPIRED",
            _ => "ACTIVE",
        }
    }
}

/// An invitation by e-mail.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Invitation {
    pub(crate) token: String,
    pub(crate) inviter_email: Option<String>,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) expires_at: OffsetDateTime,
    pub(crate) accepted_at: Option<OffsetDateTime>,
    pub(crate) resent_at: Option<OffsetDateTime>,
    pub(crate) resent_count: u32,
}

impl Invitation {
    pub(crate) fn new(inviter_email: Option<String>, now: OffsetDateTime) -> Self {
        Self {
            token: random_token(),
            inviter_email,
            created_at: now,
            expires_at: now + INVITATION_LIFETIME,
            accepted_at: None,
            resent_at: None,
            resent_count: 0,
        }
    }

    /// Whether it can be accepted.
    pub(crate) fn is_open(&self, now: OffsetDateTime) -> bool {
        self.accepted_at.is_none() && now < self.expires_at
    }

    /// A reminder; a new invitation if it has expired.
    pub(crate) fn resend(&mut self, now: OffsetDateTime) {
        if now >= self.expires_at {
            *self = Self {
                resent_count: self.resent_count,
                ..Self::new(self.inviter_email.take(), now)
            };
        }
        self.resent_at = Some(now);
        self.resent_count += 1;
    }
}

// Manual impl: the token is a credential.
impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}
