//! Machine clients of organizations, for the client-credentials grant.

use std::collections::BTreeMap;
use std::fmt;

use time::OffsetDateTime;

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
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) claims: BTreeMap<String, String>,
    /// Of its tokens, in seconds.
    pub(crate) lifetime: Option<i64>,
    /// Those that authenticate it.
    pub(crate) secrets: Vec<MachineSecret>,
    pub(crate) made_at: Option<OffsetDateTime>,
}

/// A secret of a machine client.
#[derive(Clone)]
pub(crate) struct MachineSecret {
    pub(crate) id: String,
    pub(crate) text: SecretString,
    pub(crate) made_at: OffsetDateTime,
}

impl MachineSecret {
    pub(crate) fn new(now: OffsetDateTime) -> Self {
        let text = format!("test_{}", random_token()).into();
        Self { id: new_id("sks"), text, made_at: now }
    }
}

impl MachineClient {
    pub(crate) fn new(organization_id: &str, new: NewMachineClient, now: OffsetDateTime) -> Self {
        let NewMachineClient { audience, scopes } = new;
        let secret = MachineSecret::new(now);
        Self {
            id: new_id("m2morg"),
            secret: secret.text.clone(),
            organization_id: organization_id.to_owned(),
            audience,
            scopes,
            name: None,
            description: None,
            claims: BTreeMap::new(),
            lifetime: None,
            secrets: vec![secret],
            made_at: Some(now),
        }
    }
}

// Manual impl: contains the secret.
impl fmt::Debug for MachineClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineClient").field("id", &self.id).finish_non_exhaustive()
    }
}
