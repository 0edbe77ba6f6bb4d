use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::lenient;
use crate::model::{DirectoryProvider, DirectoryType};

/// A directory of an organization, in events.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DirectoryData {
    /// `dir_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// The organization that it belongs to.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// How it is synchronized.
    #[serde(deserialize_with = "lenient::open_enum")]
    pub directory_type: Option<DirectoryType>,
    /// The provider.
    #[serde(deserialize_with = "lenient::open_enum")]
    pub provider: Option<DirectoryProvider>,
    /// Whether it is synchronized.
    #[serde(deserialize_with = "lenient::flag")]
    pub enabled: Option<bool>,
    /// Time of the last change of that.
    #[serde(with = "lenient::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
}
