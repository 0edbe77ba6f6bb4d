//! Controls of users and organizations.

use std::sync::Arc;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::machines::{MachineClient, NewMachineClient};
use crate::sandbox::state::sessions::SessionEnd;
use crate::sandbox::state::users::{NewUser, SandboxOrganization, SandboxUser};

/// Users and their sessions. Returned by [`Sandbox::users`](crate::sandbox::Sandbox::users).
#[derive(Clone, Copy, Debug)]
pub struct Users<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl Users<'_> {
    /// All users.
    #[must_use]
    pub fn list(&self) -> Vec<SandboxUser> {
        self.environment.lock().users.all.clone()
    }

    /// The user with this e-mail address.
    #[must_use]
    pub fn get(&self, email: &str) -> Option<SandboxUser> {
        self.environment.lock().users.find(email).cloned()
    }

    /// Adds a user, or replaces the one with the same address.
    ///
    /// ```
    /// use tower_scalekit::sandbox::{NewUser, Sandbox};
    ///
    /// let sandbox = Sandbox::new();
    /// sandbox.users().add("ada@acme.test");
    /// let grace = NewUser::new("grace@globex.test").name("Grace", "Hopper").roles(["auditor"]);
    /// assert_eq!(sandbox.users().add(grace).organization_name, "Globex");
    /// ```
    pub fn add(&self, user: impl Into<NewUser>) -> SandboxUser {
        self.environment.lock().add_user(user.into())
    }

    /// Changes a user, such as their roles. Tokens issued or refreshed from now on contain the
    /// change. Returns whether the user exists.
    pub fn update(&self, email: &str, change: impl FnOnce(&mut SandboxUser)) -> bool {
        // The caller's code runs on a copy: it may use the sandbox itself.
        let Some(mut user) = self.get(email) else { return false };
        change(&mut user);
        self.environment
            .lock()
            .users
            .all
            .iter_mut()
            .find(|known| known.id == user.id)
            .map(|known| *known = user)
            .is_some()
    }

    /// Removes a user and revokes their sessions. Returns whether the user existed.
    pub fn remove(&self, email: &str) -> bool {
        let mut state = self.environment.lock();
        state.end_sessions_of(email);
        let before = state.users.all.len();
        state.users.all.retain(|user| !user.email.eq_ignore_ascii_case(email));
        state.users.all.len() < before
    }

    /// Revokes a session (`ses_…`, the `sid` of its tokens): its refresh tokens fail with
    /// `invalid_grant` and its browser has to sign in again. Returns whether it was active.
    pub fn revoke_session(&self, session_id: &str) -> bool {
        self.environment.lock().end_session(session_id, SessionEnd::Revoked)
    }

    /// Revokes all sessions of a user and returns how many were active.
    pub fn revoke_sessions(&self, email: &str) -> usize {
        self.environment.lock().end_sessions_of(email)
    }
}

/// Organizations. Returned by [`Sandbox::organizations`](crate::sandbox::Sandbox::organizations).
#[derive(Clone, Copy, Debug)]
pub struct SandboxOrganizations<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl SandboxOrganizations<'_> {
    /// All organizations.
    #[must_use]
    pub fn list(&self) -> Vec<SandboxOrganization> {
        self.environment.lock().users.organizations.clone()
    }

    /// Adds an organization with a connection. Users whose address has one of `domains` sign up
    /// into it.
    ///
    /// ```
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// let sandbox = Sandbox::new();
    /// let initech = sandbox.organizations().add("Initech", &["initech.test"]);
    /// assert_eq!(sandbox.organizations().list().last(), Some(&initech));
    /// ```
    pub fn add(&self, name: &str, domains: &[&str]) -> SandboxOrganization {
        let mut organization = SandboxOrganization::new(name, domains);
        organization.made_at = Some(self.environment.now());
        self.environment.lock().add_organization(organization, ["CUSTOM", "OIDC"])
    }

    /// Adds a machine client of an organization (`org_…`), which gets tokens at `/oauth/token` by
    /// the client-credentials grant.
    ///
    /// ```
    /// use tower_scalekit::sandbox::{NewMachineClient, Sandbox};
    ///
    /// let sandbox = Sandbox::new();
    /// let acme = sandbox.organizations().list().remove(0);
    /// let client = NewMachineClient::new().audience("https://api.example.com").scopes(["read"]);
    /// let client = sandbox.organizations().add_machine_client(&acme.id, client);
    /// assert!(client.id.starts_with("m2morg_"));
    /// ```
    pub fn add_machine_client(
        &self,
        organization_id: &str,
        client: NewMachineClient,
    ) -> MachineClient {
        let client = MachineClient::new(organization_id, client, self.environment.now());
        self.environment.lock().machines.push(client.clone());
        client
    }
}

#[cfg(test)]
mod tests {
    use crate::sandbox::Sandbox;

    #[test]
    fn a_user_can_be_changed_and_removed() {
        let sandbox = Sandbox::new();
        assert!(sandbox.users().update("john@acme.test", |john| john.roles = vec!["admin".into()]));
        assert_eq!(sandbox.users().get("JOHN@acme.test").unwrap().roles, ["admin"]);
        assert!(sandbox.users().remove("john@acme.test"));
        assert!(!sandbox.users().remove("john@acme.test"));
    }
}
