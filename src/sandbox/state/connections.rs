//! Connections: each signs in the users of one organization at its identity provider.

use crate::sandbox::state::users::Organization;

/// How the people of an organization sign in: through its identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// `conn_…`
    pub id: String,
    /// The organization it belongs to.
    pub organization_id: String,
    /// Who the identity provider is, in the API's words: `OKTA`.
    pub provider: String,
    /// The protocol, in the API's words: `OIDC` or `SAML`.
    pub connection_type: String,
    /// The e-mail domains of the people who sign in through it.
    pub domains: Vec<String>,
    /// Whether anyone can sign in through it.
    pub enabled: bool,
}

impl Connection {
    /// The enabled connection of an organization.
    pub(crate) fn new(organization: &Organization, provider: &str, connection_type: &str) -> Self {
        Self {
            id: organization.connection_id.clone(),
            organization_id: organization.id.clone(),
            provider: provider.to_owned(),
            connection_type: connection_type.to_owned(),
            domains: organization.domains.clone(),
            enabled: true,
        }
    }

    /// The identity provider as people know it.
    pub(crate) fn provider_name(&self) -> &str {
        match self.provider.as_str() {
            "IDP_SIMULATOR" => "IdP Simulator",
            "MICROSOFT_AD" => "Microsoft Entra ID",
            "OKTA" => "Okta",
            _ => "Identity provider",
        }
    }

    fn has_domain(&self, domain: &str) -> bool {
        self.domains.iter().any(|own| own.eq_ignore_ascii_case(domain))
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Connections(pub(crate) Vec<Connection>);

impl Connections {
    pub(crate) fn get(&self, id: &str) -> Option<&Connection> {
        self.0.iter().find(|connection| connection.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Connection> {
        self.0.iter_mut().find(|connection| connection.id == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.0.iter()
    }

    pub(crate) fn of<'a>(
        &'a self,
        organization_id: &'a str,
    ) -> impl Iterator<Item = &'a Connection> {
        self.0.iter().filter(move |known| known.organization_id == organization_id)
    }

    /// The enabled connection for a domain, compared whole: that of `acme.test` is not for
    /// `mail.acme.test`.
    pub(crate) fn enabled_for(&self, domain: &str) -> Option<&Connection> {
        self.0.iter().find(|known| known.enabled && known.has_domain(domain))
    }
}
