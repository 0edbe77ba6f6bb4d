use serde::Deserialize;
use time::OffsetDateTime;

use crate::api::directories::{DirectoryProvider, DirectoryType};
use crate::model::lenient;

/// A directory of an organization, as events tell of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Directory {
    /// `dir_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// The organization it belongs to.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// How it is kept in step.
    #[serde(deserialize_with = "lenient::word")]
    pub directory_type: Option<DirectoryType>,
    /// Who keeps it.
    #[serde(deserialize_with = "lenient::word")]
    pub provider: Option<DirectoryProvider>,
    /// Whether it is kept in step.
    #[serde(deserialize_with = "lenient::flag")]
    pub enabled: Option<bool>,
    /// When that last changed.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
}
