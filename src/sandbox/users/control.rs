//! Controls of users and organizations.

use crate::sandbox::Sandbox;
use crate::sandbox::state::users::{NewUser, Organization, User};

impl Sandbox {
    /// All organizations.
    #[must_use]
    pub fn organizations(&self) -> Vec<Organization> {
        self.environment.lock().users.organizations.clone()
    }

    /// All users.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        self.environment.lock().users.all.clone()
    }

    /// The user with this e-mail address.
    #[must_use]
    pub fn user(&self, email: &str) -> Option<User> {
        self.environment.lock().users.find(email).cloned()
    }

    /// Adds an organization with a connection; users whose address ends in one of `domains` sign up
    /// into it.
    pub fn add_organization(&self, name: &str, domains: &[&str]) -> Organization {
        let mut organization = Organization::new(name, domains);
        organization.made_at = Some(self.environment.now());
        self.environment.lock().add_organization(organization, ["CUSTOM", "OIDC"])
    }

    /// Adds a user, or replaces the one with the same address.
    ///
    /// ```
    /// use tower_scalekit::sandbox::{NewUser, Sandbox};
    ///
    /// let sandbox = Sandbox::new();
    /// sandbox.add_user("ada@acme.test");
    /// let grace = NewUser::new("grace@globex.test").name("Grace", "Hopper").roles(["auditor"]);
    /// assert_eq!(sandbox.add_user(grace).organization_name, "Globex");
    /// ```
    pub fn add_user(&self, user: impl Into<NewUser>) -> User {
        self.environment.lock().add_user(user.into())
    }

    /// Changes a user, say their roles; tokens issued from now on, refreshed ones too, show it.
    /// Says whether there is such a user.
    pub fn update_user(&self, email: &str, change: impl FnOnce(&mut User)) -> bool {
        // The caller's code runs on a copy: it may use the sandbox itself.
        let Some(mut user) = self.user(email) else { return false };
        change(&mut user);
        let mut state = self.environment.lock();
        let found = state.users.all.iter_mut().find(|known| known.id == user.id);
        found.map(|known| *known = user).is_some()
    }

    /// Removes a user and ends their sessions. Says whether there was one.
    pub fn remove_user(&self, email: &str) -> bool {
        let now = self.environment.now();
        let mut state = self.environment.lock();
        state.end_sessions_of(email, now);
        let before = state.users.all.len();
        state.users.all.retain(|user| !user.email.eq_ignore_ascii_case(email));
        state.users.all.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_can_be_changed_and_removed() {
        let sandbox = Sandbox::new();
        assert!(sandbox.update_user("john@acme.test", |john| john.roles = vec!["admin".into()]));
        assert_eq!(sandbox.user("JOHN@acme.test").unwrap().roles, ["admin"]);
        assert!(sandbox.remove_user("john@acme.test"));
        assert!(!sandbox.remove_user("john@acme.test"));
    }
}
