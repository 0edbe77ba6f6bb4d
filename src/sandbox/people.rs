//! Organizations and users: the seeded ones, and those a test or a visitor adds.

use std::collections::BTreeMap;

use serde_json::Value;
use time::OffsetDateTime;

use super::Sandbox;
use super::connections::Connection;
use super::environment::new_id;

impl Sandbox {
    /// All organizations.
    #[must_use]
    pub fn organizations(&self) -> Vec<Organization> {
        self.environment.lock().people.organizations.clone()
    }

    /// All users.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        self.environment.lock().people.users.clone()
    }

    /// The user with this e-mail address.
    #[must_use]
    pub fn user(&self, email: &str) -> Option<User> {
        self.environment.lock().people.find(email).cloned()
    }

    /// Adds an organization with a connection; users whose address ends in one of `domains` sign up
    /// into it.
    pub fn add_organization(&self, name: &str, domains: &[&str]) -> Organization {
        let mut organization = Organization::new(name, domains);
        organization.made_at = Some(self.environment.now());
        self.environment.lock().people.found_with_sso(organization, ["CUSTOM", "OIDC"])
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
        self.environment.lock().people.add(user.into())
    }

    /// Changes a user, say their roles; tokens issued from now on, refreshed ones too, show it.
    /// Says whether there is such a user.
    pub fn update_user(&self, email: &str, change: impl FnOnce(&mut User)) -> bool {
        // The caller's code runs on a copy: it may use the sandbox itself.
        let Some(mut user) = self.user(email) else { return false };
        change(&mut user);
        let mut state = self.environment.lock();
        let found = state.people.users.iter_mut().find(|known| known.id == user.id);
        found.map(|known| *known = user).is_some()
    }

    /// Removes a user and ends their sessions. Says whether there was one.
    pub fn remove_user(&self, email: &str) -> bool {
        let now = self.environment.now();
        let mut state = self.environment.lock();
        state.end_sessions_of(email, now);
        let before = state.people.users.len();
        state.people.users.retain(|user| !user.email.eq_ignore_ascii_case(email));
        state.people.users.len() < before
    }
}

/// A customer's organization.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Organization {
    /// `org_…`, the `oid` of tokens.
    pub id: String,
    /// The application's own id for it, the `xoid` of tokens.
    pub external_id: Option<String>,
    /// Its name.
    pub display_name: String,
    /// E-mail domains whose users belong to it.
    pub domains: Vec<String>,
    /// `conn_…`, the connection its users sign in through and the `amr` of their ID tokens.
    pub connection_id: String,
    /// Its part of a redirect URI with a wildcard.
    pub slug: Option<String>,
    /// Address of its logo.
    pub logo_url: Option<String>,
    /// What the application keeps with it.
    pub metadata: BTreeMap<String, String>,
    /// Its place among all that ever were.
    pub(super) number: u64,
    /// `None` is when the environment was made, or nothing has changed since.
    pub(super) made_at: Option<OffsetDateTime>,
    pub(super) changed_at: Option<OffsetDateTime>,
}

impl Organization {
    pub(super) fn new(name: &str, domains: &[&str]) -> Self {
        Self {
            id: new_id("org"),
            external_id: None,
            display_name: name.to_owned(),
            domains: domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(),
            connection_id: new_id("conn"),
            slug: None,
            logo_url: None,
            metadata: BTreeMap::new(),
            number: 0,
            made_at: None,
            changed_at: None,
        }
    }
}

/// A user of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// `usr_…`, the `sub` of tokens.
    pub id: String,
    /// The application's own id for the user, the `xuid` of access tokens.
    pub external_id: Option<String>,
    /// The address the user signs in with, in lower case.
    pub email: String,
    /// The full name.
    pub name: String,
    /// The given name.
    pub given_name: String,
    /// The family name.
    pub family_name: String,
    /// The organization the user is a member of.
    pub organization_id: String,
    /// That organization's name.
    pub organization_name: String,
    /// Role names in that organization.
    pub roles: Vec<String>,
    /// What the roles allow, as `resource:action`.
    pub permissions: Vec<String>,
    /// More claims for the access token, as a dashboard's "Token claims" add them.
    pub claims: BTreeMap<String, Value>,
}

/// A user to add; what is not said is made up from the address.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewUser {
    email: String,
    external_id: Option<String>,
    given_name: Option<String>,
    family_name: Option<String>,
    organization_id: Option<String>,
    roles: Vec<String>,
    permissions: Vec<String>,
    claims: BTreeMap<String, Value>,
}

impl NewUser {
    /// A member who may read workspace data, as one who signs up.
    pub fn new(email: &str) -> Self {
        Self {
            email: email.to_ascii_lowercase(),
            external_id: None,
            given_name: None,
            family_name: None,
            organization_id: None,
            roles: vec!["member".to_owned()],
            permissions: vec!["workspace_data:read".to_owned()],
            claims: BTreeMap::new(),
        }
    }

    /// One more claim for the user's access tokens.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// The application's own id for the user.
    pub fn external_id(mut self, id: &str) -> Self {
        self.external_id = Some(id.to_owned());
        self
    }

    /// Given and family name. The default is the first part of the address, capitalised.
    pub fn name(mut self, given: &str, family: &str) -> Self {
        self.given_name = Some(given.to_owned());
        self.family_name = Some(family.to_owned());
        self
    }

    /// The organization to join. The default is the one with the address's domain; without one, a
    /// new organization with that domain is made.
    pub fn organization_id(mut self, id: &str) -> Self {
        self.organization_id = Some(id.to_owned());
        self
    }

    /// What the user may do. The default is `workspace_data:read`.
    pub fn permissions<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.permissions = names.into_iter().map(Into::into).collect();
        self
    }

    /// The user's roles. The default is `member`.
    pub fn roles<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.roles = names.into_iter().map(Into::into).collect();
        self
    }
}

impl From<&str> for NewUser {
    fn from(email: &str) -> Self {
        Self::new(email)
    }
}

/// Everybody the environment knows.
#[derive(Debug)]
pub(super) struct People {
    pub(super) organizations: Vec<Organization>,
    pub(super) connections: Vec<Connection>,
    pub(super) users: Vec<User>,
    next_number: u64,
}

impl People {
    /// The organizations and users every sandbox starts with.
    pub(super) fn seeded() -> Self {
        let acme = Organization {
            id: "org_59615193906282635".to_owned(),
            external_id: Some("ext_org_123".to_owned()),
            connection_id: "conn_59615255777705100".to_owned(),
            ..Organization::new("Acme", &["acme.test"])
        };
        let globex = Organization {
            id: "org_59615194007076620".to_owned(),
            connection_id: "conn_59615256201461900".to_owned(),
            ..Organization::new("Globex", &["globex.test"])
        };
        let test = Organization {
            id: "org_70087756646187150".to_owned(),
            connection_id: "conn_70087756662964366".to_owned(),
            ..Organization::new("Test Organization", &["example.com", "example.org"])
        };
        let mut people =
            Self { organizations: vec![], connections: vec![], users: vec![], next_number: 0 };
        people.found_with_sso(acme, ["OKTA", "SAML"]);
        people.found_with_sso(globex, ["MICROSOFT_AD", "OIDC"]);
        people.found_with_sso(test, ["IDP_SIMULATOR", "OIDC"]);
        let everything = ["workspace_data:read", "workspace_data:write"];
        let seed = [
            ("usr_63261014140912135", NewUser::new("jane@acme.test").name("Jane", "Roe")),
            ("usr_63261014241575432", NewUser::new("john@acme.test").name("John", "Doe")),
            ("usr_63261014325461513", NewUser::new("gita@globex.test").name("Gita", "Rao")),
            ("usr_63261014409347594", NewUser::new("john@example.com").name("John", "Doe")),
            ("usr_63261014493233675", NewUser::new("mina@example.org").name("Mina", "Berg")),
        ];
        for (id, user) in seed {
            let user = match user.email.as_str() {
                "john@acme.test" | "john@example.com" | "mina@example.org" => user,
                _ => user.roles(["admin"]).permissions(everything),
            };
            people.add(user);
            if let Some(user) = people.users.last_mut() {
                id.clone_into(&mut user.id);
            }
        }
        people
    }

    pub(super) fn find(&self, email: &str) -> Option<&User> {
        self.users.iter().find(|user| user.email.eq_ignore_ascii_case(email))
    }

    pub(super) fn organization(&self, id: &str) -> Option<&Organization> {
        self.organizations.iter().find(|organization| organization.id == id)
    }

    /// Adds an organization and its connection, of this provider and type.
    fn found_with_sso(&mut self, organization: Organization, sso: [&str; 2]) -> Organization {
        let [provider, connection_type] = sso;
        self.connections.push(Connection::of(&organization, provider, connection_type));
        self.found(organization)
    }

    /// Adds an organization.
    pub(super) fn found(&mut self, mut organization: Organization) -> Organization {
        organization.number = self.next_number;
        self.next_number += 1;
        self.organizations.push(organization.clone());
        organization
    }

    pub(super) fn with_domain(&self, domain: &str) -> Option<&Organization> {
        let owns = |organization: &&Organization| {
            organization.domains.iter().any(|own| own.eq_ignore_ascii_case(domain))
        };
        self.organizations.iter().find(owns)
    }

    /// The user with the address, signed up if there was none.
    pub(super) fn find_or_add(&mut self, new: NewUser) -> User {
        let known = self.find(&new.email).cloned();
        known.unwrap_or_else(|| self.add(new))
    }

    fn add(&mut self, new: NewUser) -> User {
        let (local, domain) = new.email.rsplit_once('@').unwrap_or((&new.email, "example.test"));
        let asked = new.organization_id.as_deref().and_then(|id| self.organization(id));
        let organization = match asked.or_else(|| self.with_domain(domain)) {
            Some(organization) => organization.clone(),
            None => {
                let name = capitalised(domain.split('.').next().unwrap_or(domain));
                let mut organization = Organization::new(&name, &[domain]);
                // An id that was asked for and is unknown is kept: a test may want to choose it.
                if let Some(id) = new.organization_id {
                    organization.id = id;
                }
                self.found_with_sso(organization, ["CUSTOM", "OIDC"])
            }
        };
        let given_name = new.given_name.unwrap_or_else(|| capitalised(local));
        let family_name = new.family_name.unwrap_or_default();
        let known = self.find(&new.email).map(|user| user.id.clone());
        let user = User {
            id: known.unwrap_or_else(|| new_id("usr")),
            external_id: new.external_id,
            name: format!("{given_name} {family_name}").trim().to_owned(),
            given_name,
            family_name,
            organization_id: organization.id,
            organization_name: organization.display_name,
            roles: new.roles,
            permissions: new.permissions,
            claims: new.claims,
            email: new.email,
        };
        self.users.retain(|known| known.email != user.email);
        self.users.push(user.clone());
        user
    }
}

pub(super) fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_user_joins_the_organization_of_the_domain_or_founds_one() {
        let mut people = People::seeded();
        assert_eq!(people.add("ADA@ACME.test".into()).organization_name, "Acme");
        let peter = people.add("peter@initech.test".into());
        assert_eq!((peter.name.as_str(), peter.organization_name.as_str()), ("Peter", "Initech"));
        let milton = people.add("milton@initech.test".into());
        assert_eq!(milton.organization_id, peter.organization_id);
    }

    #[test]
    fn adding_the_same_address_again_keeps_the_id() {
        let mut people = People::seeded();
        let (count, id) = (people.users.len(), people.find("jane@acme.test").unwrap().id.clone());
        assert_eq!(people.add(NewUser::new("Jane@acme.test").roles(["x"])).id, id);
        assert_eq!(people.users.len(), count);
    }

    #[test]
    fn a_user_can_be_changed_and_removed() {
        let sandbox = Sandbox::new();
        assert!(sandbox.update_user("john@acme.test", |john| john.roles = vec!["admin".into()]));
        assert_eq!(sandbox.user("JOHN@acme.test").unwrap().roles, ["admin"]);
        assert!(sandbox.remove_user("john@acme.test"));
        assert!(!sandbox.remove_user("john@acme.test"));
    }
}
