//! Machine clients of organizations, for the client-credentials grant.

use std::fmt;

use crate::sandbox::state::ids::{new_id, random_token};
use crate::secret::SecretString;

/// A machine client to add.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct NewMachineClient {
    audience: Vec<String>,
    scopes: Vec<String>,
}

impl NewMachineClient {
    /// Creates a client without scopes and without an audience: its tokens have no `aud`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an audience to the `aud` of its tokens. Default: none.
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience.push(audience.to_owned());
        self
    }

    /// Sets its scopes. Default: none.
    pub fn scopes<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.scopes = names.into_iter().map(Into::into).collect();
        self
    }
}

/// A machine client of an organization. Returned by
/// [`SandboxOrganizations::add_machine_client`](crate::sandbox::SandboxOrganizations::add_machine_client).
#[derive(Clone)]
#[non_exhaustive]
pub struct MachineClient {
    /// Its `client_id` (`m2morg_…`).
    pub id: String,
    /// Its `client_secret`.
    pub secret: SecretString,
    pub(crate) organization_id: String,
    pub(crate) audience: Vec<String>,
    pub(crate) scopes: Vec<String>,
}

impl MachineClient {
    pub(crate) fn new(organization_id: &str, new: NewMachineClient) -> Self {
        let NewMachineClient { audience, scopes } = new;
        Self {
            id: new_id("m2morg"),
            secret: format!("test_{}", random_token()).into(),
            organization_id: organization_id.to_owned(),
            audience,
            scopes,
        }
    }
}

// Manual impl: contains the secret.
impl fmt::Debug for MachineClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineClient").field("id", &self.id).finish_non_exhaustive()
    }
}
