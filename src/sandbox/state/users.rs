//! Organizations and users.

use std::collections::BTreeMap;
use std::{iter, mem};

use serde_json::Value;
use time::OffsetDateTime;

use crate::sandbox::state::ids::new_id;
use crate::sandbox::state::memberships::{Membership, MembershipDetails};

/// An organization: a customer of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxOrganization {
    /// `org_…`, the `oid` of tokens.
    pub id: String,
    /// The application's own ID of it, the `xoid` of tokens.
    pub external_id: Option<String>,
    /// Its name.
    pub display_name: String,
    /// E-mail domains whose users belong to it.
    pub domains: Vec<String>,
    /// `conn_…`, the connection its users sign in through and the `amr` of their ID tokens.
    pub connection_id: String,
    /// Its part of a wildcard redirect URI.
    pub slug: Option<String>,
    /// URL of its logo.
    pub logo_url: Option<String>,
    /// The application's metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its number, which is never reused.
    pub(crate) number: u64,
    /// `None` for the time when the environment was created.
    pub(crate) made_at: Option<OffsetDateTime>,
    pub(crate) changed_at: Option<OffsetDateTime>,
    /// Its own policy, as in the API.
    pub(crate) session_policy: Option<Value>,
}

impl SandboxOrganization {
    pub(crate) fn new(name: &str, domains: &[&str]) -> Self {
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
            session_policy: None,
        }
    }
}

/// A user of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxUser {
    /// `usr_…`, the `sub` of tokens.
    pub id: String,
    /// The application's own ID of the user, the `xuid` of access tokens.
    pub external_id: Option<String>,
    /// The address the user signs in with, in lower case.
    pub email: String,
    /// The full name.
    pub name: String,
    /// The given name.
    pub given_name: String,
    /// The family name.
    pub family_name: String,
    /// The first organization that the user is a member of; empty without one.
    pub organization_id: String,
    /// That organization's name.
    pub organization_name: String,
    /// Role names in that organization.
    pub roles: Vec<String>,
    /// The permissions of the roles, as `resource:action`.
    pub permissions: Vec<String>,
    /// Additional claims of the access token, as with a dashboard's "Token claims".
    pub claims: BTreeMap<String, Value>,
    /// The fields of the profile in the API that have no field here.
    pub(crate) profile: BTreeMap<String, Value>,
    /// The application's metadata.
    pub(crate) metadata: BTreeMap<String, String>,
    /// `None` for the time when the environment was created.
    pub(crate) made_at: Option<OffsetDateTime>,
    pub(crate) changed_at: Option<OffsetDateTime>,
    pub(crate) last_login_at: Option<OffsetDateTime>,
    /// Of the first organization.
    pub(crate) membership: MembershipDetails,
    /// Memberships of further organizations.
    pub(crate) others: Vec<Membership>,
}

impl SandboxUser {
    /// Changes the user as a member of this organization, which is the first one meanwhile.
    pub(crate) fn change_at<T>(
        &mut self,
        organization_id: &str,
        change: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        if organization_id.is_empty() {
            return None;
        }
        if self.organization_id == organization_id {
            return Some(change(self));
        }
        let index =
            self.others.iter().position(|other| other.organization_id == organization_id)?;
        self.swap(index);
        let result = change(self);
        self.swap(index);
        Some(result)
    }

    fn swap(&mut self, index: usize) {
        let Some(other) = self.others.get_mut(index) else { return };
        mem::swap(&mut self.organization_id, &mut other.organization_id);
        mem::swap(&mut self.organization_name, &mut other.organization_name);
        mem::swap(&mut self.roles, &mut other.roles);
        mem::swap(&mut self.permissions, &mut other.permissions);
        mem::swap(&mut self.membership, &mut other.details);
    }

    /// The user as a member of this organization, invited or active.
    pub(crate) fn at(&self, organization_id: &str) -> Option<Self> {
        self.clone().change_at(organization_id, |user| user.clone())
    }

    /// The user as an active member of this organization.
    pub(crate) fn active_at(&self, organization_id: &str) -> Option<Self> {
        self.at(organization_id).filter(|user| user.membership.is_active())
    }

    /// The user as an invited or active member of each organization.
    pub(crate) fn memberships(&self) -> impl Iterator<Item = Self> {
        iter::once(&self.organization_id)
            .chain(self.others.iter().map(|other| &other.organization_id))
            .filter_map(|id| self.at(id))
    }

    pub(crate) fn join(&mut self, membership: Membership) {
        self.others.push(membership);
        if self.organization_id.is_empty() {
            self.swap(0);
            self.others.remove(0);
        }
    }

    /// Returns whether the user was a member.
    pub(crate) fn leave(&mut self, organization_id: &str) -> bool {
        if organization_id.is_empty() || self.at(organization_id).is_none() {
            return false;
        }
        if self.organization_id == organization_id {
            if self.others.is_empty() {
                self.others.push(Membership::default());
            }
            self.swap(0);
        }
        self.others.retain(|other| other.organization_id != organization_id);
        true
    }
}

/// A user to add. Defaults are derived from the address.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewUser {
    pub(crate) email: String,
    pub(crate) external_id: Option<String>,
    given_name: Option<String>,
    family_name: Option<String>,
    pub(crate) organization_id: Option<String>,
    roles: Vec<String>,
    permissions: Vec<String>,
    claims: BTreeMap<String, Value>,
}

impl NewUser {
    /// Creates a member who may read workspace data, like a user who signs up.
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

    /// Adds a claim to the user's access tokens.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the application's own ID of the user. Default: none.
    pub fn external_id(mut self, id: &str) -> Self {
        self.external_id = Some(id.to_owned());
        self
    }

    /// Sets given and family name. Default: the first part of the address, capitalized.
    pub fn name(mut self, given: &str, family: &str) -> Self {
        self.given_name = Some(given.to_owned());
        self.family_name = Some(family.to_owned());
        self
    }

    /// Sets the organization to join. Default: the one with the address's domain, or a new
    /// organization with that domain.
    pub fn organization_id(mut self, id: &str) -> Self {
        self.organization_id = Some(id.to_owned());
        self
    }

    /// Sets the user's permissions. Default: `workspace_data:read`.
    pub fn permissions<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.permissions = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the user's roles. Default: `member`.
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

/// All organizations and users.
#[derive(Debug, Default)]
pub(crate) struct Users {
    pub(crate) organizations: Vec<SandboxOrganization>,
    pub(crate) all: Vec<SandboxUser>,
    next_number: u64,
}

impl Users {
    pub(crate) fn find(&self, email: &str) -> Option<&SandboxUser> {
        self.all.iter().find(|user| user.email.eq_ignore_ascii_case(email))
    }

    /// Returns the user with this ID of the application.
    pub(crate) fn with_external_id(&self, id: &str) -> Option<&SandboxUser> {
        self.all.iter().find(|user| user.external_id.as_deref() == Some(id))
    }

    pub(crate) fn with_id(&self, id: &str) -> Option<&SandboxUser> {
        self.all.iter().find(|user| user.id == id)
    }

    pub(crate) fn with_id_mut(&mut self, id: &str) -> Option<&mut SandboxUser> {
        self.all.iter_mut().find(|user| user.id == id)
    }

    pub(crate) fn organization(&self, id: &str) -> Option<&SandboxOrganization> {
        self.organizations.iter().find(|organization| organization.id == id)
    }

    /// The display name of an organization; empty without one.
    pub(crate) fn organization_name(&self, id: &str) -> &str {
        self.organization(id).map_or("", |organization| &organization.display_name)
    }

    pub(crate) fn add_organization(
        &mut self,
        mut organization: SandboxOrganization,
    ) -> SandboxOrganization {
        organization.number = self.next_number;
        self.next_number += 1;
        self.organizations.push(organization.clone());
        organization
    }

    pub(crate) fn with_domain(&self, domain: &str) -> Option<&SandboxOrganization> {
        self.organizations.iter().find(|organization| {
            organization.domains.iter().any(|own| own.eq_ignore_ascii_case(domain))
        })
    }

    /// Adds a user of an organization, or replaces the one with the same address.
    pub(crate) fn add(&mut self, new: NewUser, organization: SandboxOrganization) -> SandboxUser {
        let local = new.email.rsplit_once('@').map_or(&*new.email, |(local, _)| local);
        let given_name = new.given_name.unwrap_or_else(|| capitalized(local));
        let family_name = new.family_name.unwrap_or_default();
        let user = SandboxUser {
            id: self.find(&new.email).map_or_else(|| new_id("usr"), |known| known.id.clone()),
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
            profile: BTreeMap::new(),
            metadata: BTreeMap::new(),
            made_at: None,
            changed_at: None,
            last_login_at: None,
            membership: MembershipDetails::default(),
            others: Vec::new(),
        };
        self.all.retain(|known| known.email != user.email);
        self.all.push(user.clone());
        user
    }
}

pub(crate) fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
