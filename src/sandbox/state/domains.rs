//! Domains of organizations.

use time::OffsetDateTime;

use crate::sandbox::state::State;
use crate::sandbox::state::ids::new_id;
use crate::sandbox::state::users::SandboxOrganization;

/// Users log in through the organization's identity provider.
pub(crate) const ORGANIZATION_DOMAIN: &str = "ORGANIZATION_DOMAIN";

/// Users may join the organization.
pub(crate) const ALLOWED_EMAIL_DOMAIN: &str = "ALLOWED_EMAIL_DOMAIN";

/// A domain of an organization.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    pub(crate) id: String,
    pub(crate) organization_id: String,
    pub(crate) domain: String,
    pub(crate) domain_type: &'static str,
    /// As in the API.
    pub(crate) status: &'static str,
    pub(crate) made_at: OffsetDateTime,
    pub(crate) changed_at: OffsetDateTime,
}

impl Domain {
    pub(crate) fn new(
        organization_id: &str,
        domain: &str,
        domain_type: &'static str,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            id: new_id("dom"),
            organization_id: organization_id.to_owned(),
            domain: domain.to_ascii_lowercase(),
            domain_type,
            status: if domain_type == ORGANIZATION_DOMAIN { "PENDING" } else { "AUTO_VERIFIED" },
            made_at: now,
            changed_at: now,
        }
    }

    /// The verified domains that an organization is added with.
    pub(crate) fn of(organization: &SandboxOrganization, now: OffsetDateTime) -> Vec<Self> {
        organization
            .domains
            .iter()
            .map(|domain| Self {
                status: "AUTO_VERIFIED",
                ..Self::new(&organization.id, domain, ORGANIZATION_DOMAIN, now)
            })
            .collect()
    }

    pub(crate) fn is_verified(&self) -> bool {
        self.status != "PENDING"
    }
}

impl State {
    pub(crate) fn domains_of<'a>(
        &'a self,
        organization_id: &'a str,
    ) -> impl Iterator<Item = &'a Domain> {
        self.domains.iter().filter(move |domain| domain.organization_id == organization_id)
    }

    /// Adds a domain, which is used from now on if it is verified.
    pub(crate) fn add_domain(&mut self, domain: Domain) {
        self.domains.push(domain.clone());
        if domain.is_verified() {
            self.use_domain(&domain);
        }
    }

    /// Verifies a pending domain. Returns whether there is one.
    pub(crate) fn verify_domain(&mut self, id: &str) -> bool {
        let Some(domain) =
            self.domains.iter_mut().find(|domain| domain.id == id && !domain.is_verified())
        else {
            return false;
        };
        domain.status = "VERIFIED";
        domain.changed_at = self.now;
        let domain = domain.clone();
        self.use_domain(&domain);
        true
    }

    pub(crate) fn remove_domain(&mut self, id: &str) {
        let Some(index) = self.domains.iter().position(|domain| domain.id == id) else { return };
        let removed = self.domains.remove(index);
        self.change_domains(&removed.organization_id, |list, _| {
            list.retain(|known| *known != removed.domain);
        });
    }

    /// Routes users of the domain to the connection of the organization, or lets them join only.
    fn use_domain(&mut self, domain: &Domain) {
        let is_routed = domain.domain_type == ORGANIZATION_DOMAIN;
        self.change_domains(&domain.organization_id, |list, of_connection| {
            if (is_routed || !of_connection) && !list.contains(&domain.domain) {
                list.push(domain.domain.clone());
            }
        });
    }

    /// Changes the domains of the organization's connections, and those that its users join from.
    fn change_domains(
        &mut self,
        organization_id: &str,
        mut change: impl FnMut(&mut Vec<String>, bool),
    ) {
        for connection in &mut self.connections.all {
            if connection.organization_id == organization_id {
                change(&mut connection.domains, true);
            }
        }
        for organization in &mut self.users.organizations {
            if organization.id == organization_id {
                change(&mut organization.domains, false);
            }
        }
    }
}
