use super::VerifiedIdentity;
use crate::token::Principal;

/// A login whose tokens were verified, before its session is created. Passed to the hook of
/// [`on_login`](super::SessionsBuilder::on_login). Cheap to clone.
#[derive(Clone, Debug)]
pub struct VerifiedLogin {
    identity: VerifiedIdentity,
    principal: Principal,
}

impl VerifiedLogin {
    pub(super) fn new(identity: VerifiedIdentity, principal: Principal) -> Self {
        Self { identity, principal }
    }

    /// Returns the user, from the ID token. It creates a [`LocalSession`](super::LocalSession) for
    /// apps whose sessions are their own.
    #[must_use]
    pub fn identity(&self) -> &VerifiedIdentity {
        &self.identity
    }

    /// Returns roles, permissions and all other claims of the access token. After modular single
    /// sign-on it has no roles and no organization: the identity has the organization.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}
