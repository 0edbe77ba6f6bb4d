use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::model::lenient;
use crate::model::{OrganizationSettings, RegionCode};

/// An organization, in events.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OrganizationData {
    /// `org_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Its name.
    #[serde(deserialize_with = "lenient::text")]
    pub display_name: Option<String>,
    /// Your app's ID of it.
    #[serde(deserialize_with = "lenient::text")]
    pub external_id: Option<String>,
    /// Where its data is stored.
    #[serde(deserialize_with = "lenient::open_enum")]
    pub region_code: Option<RegionCode>,
    /// Time of creation.
    #[serde(with = "lenient::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(with = "lenient::timestamp")]
    pub update_time: Option<OffsetDateTime>,
    /// Time of deletion.
    #[serde(with = "lenient::timestamp")]
    pub deleted_at: Option<OffsetDateTime>,
    /// Your app's metadata.
    #[serde(deserialize_with = "lenient::map")]
    pub metadata: Map<String, Value>,
    /// Enabled features.
    #[serde(deserialize_with = "lenient::object")]
    pub settings: OrganizationSettings,
}
