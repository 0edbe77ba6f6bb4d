use serde::Deserialize;

use crate::model::lenient;

/// A role that users may have.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Role {
    /// `role_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Its name in tokens, for instance `viewer`.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// Its name for people.
    #[serde(deserialize_with = "lenient::text")]
    pub display_name: Option<String>,
    /// What it is for.
    #[serde(deserialize_with = "lenient::text")]
    pub description: Option<String>,
    /// The role whose permissions it has too.
    #[serde(deserialize_with = "lenient::text")]
    pub extends: Option<String>,
}

/// A permission that roles may give.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Permission {
    /// `perm_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Its name in tokens, for instance `data:manage`.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(deserialize_with = "lenient::text")]
    pub description: Option<String>,
}
