//! Connections: each signs in the users of one organization through its identity provider.

use crate::sandbox::state::users::SandboxOrganization;

/// A connection of an organization to its identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxConnection {
    /// `conn_…`
    pub id: String,
    /// The organization that it belongs to.
    pub organization_id: String,
    /// The identity provider, as in the API: `OKTA`.
    pub provider: String,
    /// The protocol, as in the API: `OIDC` or `SAML`.
    pub connection_type: String,
    /// The e-mail domains of its users.
    pub domains: Vec<String>,
    /// Whether users can sign in through it.
    pub enabled: bool,
}

impl SandboxConnection {
    /// The enabled connection of an organization.
    pub(crate) fn new(
        organization: &SandboxOrganization,
        provider: &str,
        connection_type: &str,
    ) -> Self {
        Self {
            id: organization.connection_id.clone(),
            organization_id: organization.id.clone(),
            provider: provider.to_owned(),
            connection_type: connection_type.to_owned(),
            domains: organization.domains.clone(),
            enabled: true,
        }
    }

    /// The display name of the identity provider.
    pub(crate) fn provider_name(&self) -> &str {
        match self.provider.as_str() {
            "IDP_SIMULATOR" => "IdP Simulator",
            "MICROSOFT_AD" => "Microsoft Entra ID",
            "OKTA" => "Okta",
            _ => "Identity provider",
        }
    }

    pub(crate) fn has_domain(&self, domain: &str) -> bool {
        self.domains.iter().any(|own| own.eq_ignore_ascii_case(domain))
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) all: Vec<SandboxConnection>,
}

impl Connections {
    pub(crate) fn get(&self, id: &str) -> Option<&SandboxConnection> {
        self.all.iter().find(|connection| connection.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut SandboxConnection> {
        self.all.iter_mut().find(|connection| connection.id == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SandboxConnection> {
        self.all.iter()
    }

    pub(crate) fn of<'a>(
        &'a self,
        organization_id: &'a str,
    ) -> impl Iterator<Item = &'a SandboxConnection> {
        self.all.iter().filter(move |known| known.organization_id == organization_id)
    }

    /// The enabled connection of a domain, compared exactly: that of `acme.test` does not match
    /// `mail.acme.test`.
    pub(crate) fn enabled_for(&self, domain: &str) -> Option<&SandboxConnection> {
        self.all.iter().find(|known| known.enabled && known.has_domain(domain))
    }
}
