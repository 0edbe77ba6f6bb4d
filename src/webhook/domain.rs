use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::{DomainType, DomainVerificationMethod, DomainVerificationStatus, lenient};
use crate::secret::SecretString;

/// A domain of an organization. Serializes without the secret.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OrganizationDomain {
    /// `dom_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// For instance `acme.test`.
    #[serde(deserialize_with = "lenient::text")]
    pub domain: Option<String>,
    /// What it is used for.
    #[serde(deserialize_with = "lenient::open_enum")]
    pub domain_type: Option<DomainType>,
    /// The organization that it belongs to.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// The environment that it is configured in.
    #[serde(deserialize_with = "lenient::text")]
    pub environment_id: Option<String>,
    /// The name of the TXT record for verification.
    #[serde(deserialize_with = "lenient::text")]
    pub txt_record_key: Option<String>,
    /// The content of that record. Do not log it or disclose it to other organizations.
    #[serde(deserialize_with = "lenient::secret", skip_serializing)]
    pub txt_record_secret: Option<SecretString>,
    /// The verification status.
    #[serde(deserialize_with = "lenient::open_enum")]
    pub verification_status: Option<DomainVerificationStatus>,
    /// The verification method.
    #[serde(deserialize_with = "lenient::open_enum")]
    pub verification_method: Option<DomainVerificationMethod>,
    /// Time of the last change of that.
    #[serde(with = "lenient::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
}
