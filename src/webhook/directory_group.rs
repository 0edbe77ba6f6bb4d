use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::lenient;

/// A group of a directory, in events.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DirectoryGroupData {
    /// `dirgroup_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// The organization of the directory.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// The directory (`dir_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub directory_id: Option<String>,
    /// Its name.
    #[serde(deserialize_with = "lenient::text")]
    pub display_name: Option<String>,
    /// Your app's ID of it, or the provider's.
    #[serde(deserialize_with = "lenient::text")]
    pub external_id: Option<String>,
    /// The provider's ID of it.
    #[serde(deserialize_with = "lenient::text")]
    pub dp_id: Option<String>,
    /// All attributes from the provider.
    #[serde(deserialize_with = "lenient::map")]
    pub raw_attributes: Map<String, Value>,
}
