//! Connections: each lets the people of one organization sign in with its identity provider.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Sandbox;
use super::people::{Organization, People};
use super::state::State;

impl Sandbox {
    /// All connections.
    ///
    /// ```
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// let sandbox = Sandbox::new();
    /// let acme = sandbox.connections().remove(0);
    /// assert!(acme.enabled && acme.domains == ["acme.test"]);
    /// assert!(sandbox.set_connection_enabled(&acme.id, false));
    /// assert!(!sandbox.connection(&acme.id).unwrap().enabled);
    /// ```
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.environment.lock().people.connections.clone()
    }

    /// The connection with this id (`conn_…`).
    #[must_use]
    pub fn connection(&self, id: &str) -> Option<Connection> {
        self.environment.lock().people.connection(id).cloned()
    }

    /// Turns a connection on or off, and says whether there is such a one. A change is an event.
    pub fn set_connection_enabled(&self, connection_id: &str, enabled: bool) -> bool {
        let now = self.environment.now();
        self.environment.lock().set_connection_enabled(connection_id, enabled, now).is_some()
    }
}

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
    /// Whether anybody can sign in through it.
    pub enabled: bool,
}

impl Connection {
    /// That of an organization: set up to the end and switched on.
    pub(super) fn of(organization: &Organization, provider: &str, connection_type: &str) -> Self {
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
    pub(super) fn provider_name(&self) -> &str {
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

impl People {
    pub(super) fn connection(&self, id: &str) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.id == id)
    }

    pub(super) fn connections_of<'a>(
        &'a self,
        organization_id: &'a str,
    ) -> impl Iterator<Item = &'a Connection> {
        self.connections.iter().filter(move |known| known.organization_id == organization_id)
    }

    /// The connections for a domain, compared whole: those of `acme.test` are not for
    /// `mail.acme.test`.
    pub(super) fn connections_for<'a>(
        &'a self,
        domain: &'a str,
    ) -> impl Iterator<Item = &'a Connection> {
        self.connections.iter().filter(move |known| known.has_domain(domain))
    }
}

impl State {
    /// Says whether that was a change, if there is such a connection.
    pub(super) fn set_connection_enabled(
        &mut self,
        id: &str,
        enabled: bool,
        now: OffsetDateTime,
    ) -> Option<bool> {
        let connection = self.people.connections.iter_mut().find(|known| known.id == id)?;
        let changed = connection.enabled != enabled;
        connection.enabled = enabled;
        if changed {
            let event = match enabled {
                true => "organization.sso_enabled",
                false => "organization.sso_disabled",
            };
            let mut data = event_data(connection);
            if let Some(data) = data.as_object_mut() {
                data.insert("enabled".to_owned(), json!(enabled));
                data.insert("status".to_owned(), json!("COMPLETED"));
            }
            self.webhooks.emit(event, data, now);
        }
        Some(changed)
    }

    /// Says whether there was such a connection.
    pub(super) fn delete_connection(&mut self, id: &str, now: OffsetDateTime) -> bool {
        let Some(connection) = self.people.connection(id) else { return false };
        let data = event_data(connection);
        self.people.connections.retain(|known| known.id != id);
        self.webhooks.emit("organization.sso_deleted", data, now);
        true
    }
}

fn event_data(connection: &Connection) -> Value {
    json!({
        "id": connection.id,
        "organization_id": connection.organization_id,
        "connection_type": connection.connection_type,
        "provider": connection.provider,
    })
}
