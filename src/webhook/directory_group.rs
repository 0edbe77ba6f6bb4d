use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::lenient;

/// A group of a directory, as events tell of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DirectoryGroup {
    /// `dirgroup_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// The organization whose directory it is in.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// The directory it is in (`dir_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub directory_id: Option<String>,
    /// Its name.
    #[serde(deserialize_with = "lenient::text")]
    pub display_name: Option<String>,
    /// Your app's id of it, or the provider's.
    #[serde(deserialize_with = "lenient::text")]
    pub external_id: Option<String>,
    /// The provider's id of it.
    #[serde(deserialize_with = "lenient::text")]
    pub dp_id: Option<String>,
    /// All that the provider says about it.
    #[serde(deserialize_with = "lenient::map")]
    pub raw_attributes: Map<String, Value>,
}
