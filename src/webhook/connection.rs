use serde::{Deserialize, Serialize};

use crate::model::lenient;

/// An organization's connection to its identity provider.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ConnectionData {
    /// `conn_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// The organization that it belongs to.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// For instance `OIDC` or `SAML`.
    #[serde(deserialize_with = "lenient::text")]
    pub connection_type: Option<String>,
    /// For instance `OKTA`.
    #[serde(deserialize_with = "lenient::text")]
    pub provider: Option<String>,
    /// Whether users log in through it.
    #[serde(deserialize_with = "lenient::flag")]
    pub enabled: Option<bool>,
    /// The setup status: `DRAFT`, `IN_PROGRESS`, `COMPLETED`.
    #[serde(deserialize_with = "lenient::text")]
    pub status: Option<String>,
}
