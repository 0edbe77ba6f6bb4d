use serde::Deserialize;
use time::OffsetDateTime;

use crate::model::lenient;
use crate::secret::SecretString;
use crate::util::open_enum::open_enum;

/// A domain of an organization's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OrganizationDomain {
    /// `dom_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// For instance `acme.test`.
    #[serde(deserialize_with = "lenient::text")]
    pub domain: Option<String>,
    /// What it is for.
    #[serde(deserialize_with = "lenient::word")]
    pub domain_type: Option<DomainType>,
    /// The organization it belongs to.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// The environment it is set up in.
    #[serde(deserialize_with = "lenient::text")]
    pub environment_id: Option<String>,
    /// The name of the TXT record that shows that it is theirs.
    #[serde(deserialize_with = "lenient::text")]
    pub txt_record_key: Option<String>,
    /// What that record has to say. Not for logs, nor for other organizations.
    #[serde(deserialize_with = "lenient::secret")]
    pub txt_record_secret: Option<SecretString>,
    /// Whether it is known to be theirs.
    #[serde(deserialize_with = "lenient::word")]
    pub verification_status: Option<DomainVerificationStatus>,
    /// How that comes to be known.
    #[serde(deserialize_with = "lenient::word")]
    pub verification_method: Option<DomainVerificationMethod>,
    /// When that last changed.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
}

open_enum! {
    /// What a domain is for.
    DomainType {
        /// Who has an address there may join.
        AllowedEmailDomain = "ALLOWED_EMAIL_DOMAIN",
        /// Who has an address there logs in through the organization's identity provider.
        OrganizationDomain = "ORGANIZATION_DOMAIN",
    }
}

open_enum! {
    /// How a domain comes to be known as an organization's.
    DomainVerificationMethod {
        /// An administrator says so.
        Admin = "ADMIN",
        /// By a TXT record.
        Dns = "DNS",
        /// It does not have to be.
        NotApplicable = "NOT_APPLICABLE",
    }
}

open_enum! {
    /// Whether a domain is known to be an organization's.
    DomainVerificationStatus {
        /// It is, without anything to be shown.
        AutoVerified = "AUTO_VERIFIED",
        /// It could not be shown.
        Failed = "FAILED",
        /// It has to be shown yet.
        Pending = "PENDING",
        /// It is.
        Verified = "VERIFIED",
    }
}
