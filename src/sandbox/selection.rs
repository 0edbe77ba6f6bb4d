//! Whom an authorization request is for: the organization and the connection it selects.

use super::authorize::Refused;
use super::connections::Connection;
use super::parameters::Parameters;
use super::people::People;

const PROVIDERS: [&str; 6] = ["google", "microsoft", "github", "gitlab", "linkedin", "salesforce"];

/// What is selected; nothing, where the request is for everybody.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// The organization whose users may answer.
    pub(super) organization_id: Option<String>,
    /// The connection they answer through; without one, they sign in at the environment itself.
    pub(super) connection_id: Option<String>,
}

impl Selection {
    /// By Scalekit's precedence: provider, connection, organization, domain, and last the domain of
    /// the address in `login_hint`. The first of them that is there decides. A domain without an
    /// enabled connection selects none, without a word.
    ///
    /// Where there is nothing but single sign-on, an organization needs an enabled connection.
    pub(super) fn parse(
        parameters: &Parameters,
        people: &People,
        only_sso: bool,
    ) -> Result<Self, Refused> {
        if let Some(provider) = parameters.get("provider") {
            return match PROVIDERS.contains(&provider) {
                true => Ok(Self::default()),
                false => Err(Refused::new("invalid_connection_selector", "provider is not known")),
            };
        }
        if let Some(id) = parameters.get("connection_id") {
            let refused = || Refused::new("invalid_connection_id", "connection_id is not known");
            let connection = people.connection(id).ok_or_else(refused)?;
            return if connection.enabled { Ok(connection.into()) } else { Err(not_active()) };
        }
        if let Some(id) = parameters.get("organization_id") {
            let refused =
                || Refused::new("invalid_organization_id", "organization_id is not known");
            let organization = people.organization(id).ok_or_else(refused)?;
            return match people.connections_of(id).find(|known| known.enabled) {
                Some(connection) => Ok(connection.into()),
                None if only_sso => Err(none_active(people, id)),
                None => {
                    Ok(Self { organization_id: Some(organization.id.clone()), connection_id: None })
                }
            };
        }
        let domain = parameters.get("domain").or_else(|| parameters.get("domain_hint"));
        let domain = domain.or_else(|| domain_of(parameters.get("login_hint")?));
        let connection = domain.and_then(|domain| enabled_for(people, domain));
        Ok(connection.map_or_else(Self::default, Self::from))
    }
}

impl From<&Connection> for Selection {
    fn from(connection: &Connection) -> Self {
        Self {
            organization_id: Some(connection.organization_id.clone()),
            connection_id: Some(connection.id.clone()),
        }
    }
}

/// What is after the `@` of an address.
pub(super) fn domain_of(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

/// The connection that people with addresses of this domain sign in through.
pub(super) fn enabled_for<'a>(people: &'a People, domain: &'a str) -> Option<&'a Connection> {
    people.connections_for(domain).find(|known| known.enabled)
}

pub(super) fn not_active() -> Refused {
    Refused::new("connection_not_active", "the connection is switched off")
}

fn none_active(people: &People, organization_id: &str) -> Refused {
    match people.connections_of(organization_id).next() {
        Some(_) => Refused::new("no_active_connections", "all its connections are switched off"),
        None => Refused::new("no_configured_connections", "the organization has no connection"),
    }
}
