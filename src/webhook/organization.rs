use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::api::organizations::{OrganizationSettings, RegionCode};
use crate::model::lenient;

/// An organization, as events tell of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Organization {
    /// `org_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Its name.
    #[serde(deserialize_with = "lenient::text")]
    pub display_name: Option<String>,
    /// The id that your app gave it.
    #[serde(deserialize_with = "lenient::text")]
    pub external_id: Option<String>,
    /// Where its data is kept.
    #[serde(deserialize_with = "lenient::word")]
    pub region_code: Option<RegionCode>,
    /// When it was created.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// When anything about it last changed.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub update_time: Option<OffsetDateTime>,
    /// When it was deleted.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub deleted_at: Option<OffsetDateTime>,
    /// What your app keeps with it.
    #[serde(deserialize_with = "lenient::map")]
    pub metadata: Map<String, Value>,
    /// What is switched on for it.
    #[serde(deserialize_with = "lenient::object")]
    pub settings: OrganizationSettings,
}
