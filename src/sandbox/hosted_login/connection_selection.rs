//! The organization and connection that an authorization request selects.

use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::authorization::AuthorizationError;
use crate::sandbox::state::connections::SandboxConnection;
use crate::sandbox::state::users::SandboxUser;

const PROVIDERS: [&str; 6] = ["google", "microsoft", "github", "gitlab", "linkedin", "salesforce"];

/// The selection; empty if the request is for all users.
#[derive(Debug, Default)]
pub(crate) struct ConnectionSelection {
    /// The organization whose users may sign in.
    pub(crate) organization_id: Option<String>,
    /// The connection that they sign in through; without one, they sign in at the environment
    /// itself.
    pub(crate) connection_id: Option<String>,
}

impl ConnectionSelection {
    /// Scalekit's order of precedence: provider, connection, organization, domain, and last the
    /// domain of the address in `login_hint`. The first one that is present decides. A domain
    /// without an enabled connection selects none, without an error.
    ///
    /// With Modular SSO, an organization requires an enabled connection.
    pub(crate) fn parse(
        parameters: &Parameters,
        state: &State,
        only_sso: bool,
    ) -> Result<Self, AuthorizationError> {
        if let Some(provider) = parameters.get("provider") {
            return match PROVIDERS.contains(&provider) {
                true => Ok(Self::default()),
                false => Err(AuthorizationError::new(
                    "invalid_connection_selector",
                    "provider is unknown",
                )),
            };
        }
        if let Some(id) = parameters.get("connection_id") {
            return match state.connections.get(id) {
                Some(connection) if connection.enabled => Ok(connection.into()),
                Some(_) => Err(not_active()),
                None => Err(AuthorizationError::new(
                    "invalid_connection_id",
                    "connection_id is unknown",
                )),
            };
        }
        if let Some(id) = parameters.get("organization_id") {
            if state.users.organization(id).is_none() {
                return Err(AuthorizationError::new(
                    "invalid_organization_id",
                    "organization_id is unknown",
                ));
            }
            return match state.connections.of(id).find(|known| known.enabled) {
                Some(connection) => Ok(connection.into()),
                None if only_sso => Err(none_active(state, id)),
                None => Ok(Self { organization_id: Some(id.to_owned()), connection_id: None }),
            };
        }
        Ok(parameters
            .get("domain")
            .or_else(|| parameters.get("domain_hint"))
            .or_else(|| domain_of(parameters.get("login_hint")?))
            .and_then(|domain| state.connections.enabled_for(domain))
            .map_or_else(Self::default, Self::from))
    }

    /// The organization of an invited user, and its connection if it is that of the address.
    pub(crate) fn of_invited(user: &SandboxUser, state: &State) -> Self {
        Self {
            organization_id: Some(user.organization_id.clone()),
            connection_id: domain_of(&user.email)
                .and_then(|domain| state.connections.enabled_for(domain))
                .filter(|connection| connection.organization_id == user.organization_id)
                .map(|connection| connection.id.clone()),
        }
    }
}

impl From<&SandboxConnection> for ConnectionSelection {
    fn from(connection: &SandboxConnection) -> Self {
        Self {
            organization_id: Some(connection.organization_id.clone()),
            connection_id: Some(connection.id.clone()),
        }
    }
}

/// The domain of an e-mail address.
pub(crate) fn domain_of(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

pub(crate) fn not_active() -> AuthorizationError {
    AuthorizationError::new("connection_not_active", "the connection is disabled")
}

fn none_active(state: &State, organization_id: &str) -> AuthorizationError {
    match state.connections.of(organization_id).next() {
        Some(_) => {
            AuthorizationError::new("no_active_connections", "all its connections are disabled")
        }
        None => AuthorizationError::new(
            "no_configured_connections",
            "the organization has no connection",
        ),
    }
}
