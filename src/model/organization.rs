use serde::{Deserialize, Serialize};

use crate::model::wire;
use crate::util::open_enum::open_enum;

open_enum! {
    /// Where data is stored.
    RegionCode {
        /// In the European Union.
        Eu = "EU",
        /// In the United States.
        Us = "US",
    }
}

/// Features of an organization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OrganizationSettings {
    /// The features, with whether each is enabled.
    #[serde(deserialize_with = "wire::or_default")]
    pub features: Vec<OrganizationFeature>,
}

impl OrganizationSettings {
    /// Whether a feature is enabled, for instance `sso` or `dir_sync`.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|known| known.name == feature && known.enabled)
    }
}

/// A feature of an organization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OrganizationFeature {
    /// `sso`, `dir_sync`, `domain_verification`, `session_policy`.
    #[serde(deserialize_with = "wire::or_default")]
    pub name: String,
    /// Whether it is enabled.
    #[serde(deserialize_with = "wire::or_default")]
    pub enabled: bool,
}
