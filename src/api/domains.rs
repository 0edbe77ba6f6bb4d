//! Domains of organizations.
//!
//! Users with an address in an [`OrganizationDomain`](DomainType::OrganizationDomain) log in through
//! the organization's identity provider, once the domain is verified; with an address in an
//! [`AllowedEmailDomain`](DomainType::AllowedEmailDomain) they may join the organization.
//! Administrators verify domains in the admin portal
//! ([`portal_link`](super::organizations::OrganizationsApi::portal_link)).
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use futures::TryStreamExt as _;
//! use tower_scalekit::model::{DomainType, DomainVerificationStatus};
//! # use tower_scalekit::Sandbox;
//!
//! # let sandbox = Sandbox::new();
//! # let acme = sandbox.organizations().list().remove(0).id;
//! let domains = sandbox.scalekit().api().domains();
//! let domain = domains.create(&acme, "acme.example", DomainType::OrganizationDomain).await?;
//! assert_eq!(domain.verification_status, Some(DomainVerificationStatus::Pending));
//!
//! let all: Vec<_> = domains.list(&acme).stream().try_collect().await?;
//! assert_eq!(all.last(), Some(&domain));
//! domains.delete(&acme, &domain.id).await?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;

use super::{Api, ApiError, ApiRequest, ListRequest};
use crate::model::wire;
use crate::model::{DomainType, DomainVerificationMethod, DomainVerificationStatus};

/// The environment's maximum page size.
const MAX_PAGE_SIZE: u16 = 100;

/// API for domains. Returned by [`Api::domains`].
#[derive(Clone, Debug)]
pub struct DomainsApi {
    api: Api,
}

impl DomainsApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Lists the domains of an organization (`org_…`).
    #[doc(alias("listDomains", "list_domains"))]
    pub fn list(&self, organization_id: &str) -> ListRequest<Domain> {
        ListRequest::numbered(self.all(Method::GET, organization_id), "domains", MAX_PAGE_SIZE)
    }

    /// Returns a domain (`dom_…`).
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getDomain", "get_domain"))]
    pub async fn get(&self, organization_id: &str, id: &str) -> Result<Domain, ApiError> {
        self.one(Method::GET, organization_id, id).send_member("domain").await
    }

    /// Adds a domain to an organization. Never retried. Public domains, such as `gmail.com`, are
    /// rejected.
    ///
    /// # Errors
    /// [`ApiError::InvalidRequest`] if it exists or is not allowed; see [`ApiError`].
    #[doc(alias("createDomain", "create_domain"))]
    pub async fn create(
        &self,
        organization_id: &str,
        domain: &str,
        domain_type: DomainType,
    ) -> Result<Domain, ApiError> {
        self.all(Method::POST, organization_id)
            .json(&json!({ "domain": domain, "domain_type": domain_type }))
            .send_member("domain")
            .await
    }

    /// Deletes a domain permanently.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist, and if an earlier attempt of this call
    /// succeeded although its response was an error; see [`ApiError`].
    #[doc(alias("deleteDomain", "delete_domain"))]
    pub async fn delete(&self, organization_id: &str, id: &str) -> Result<(), ApiError> {
        self.one(Method::DELETE, organization_id, id).send_empty().await
    }

    fn all(&self, method: Method, organization_id: &str) -> ApiRequest {
        self.api
            .request(method, "/api/v1/organizations/{organization_id}/domains")
            .path_parameter("organization_id", organization_id)
    }

    fn one(&self, method: Method, organization_id: &str, id: &str) -> ApiRequest {
        self.api
            .request(method, "/api/v1/organizations/{organization_id}/domains/{id}")
            .path_parameter("organization_id", organization_id)
            .path_parameter("id", id)
    }
}

/// A domain of an organization. Fields that the environment omits are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Domain {
    /// `dom_…`
    #[serde(deserialize_with = "wire::required")]
    pub id: String,
    /// For instance `acme.test`.
    #[serde(deserialize_with = "wire::required")]
    pub domain: String,
    /// What it is used for.
    #[serde(default, deserialize_with = "wire::open_enum")]
    pub domain_type: Option<DomainType>,
    /// The organization (`org_…`).
    #[serde(default, deserialize_with = "wire::text")]
    pub organization_id: Option<String>,
    /// How it is verified.
    #[serde(default, deserialize_with = "wire::open_enum")]
    pub verification_method: Option<DomainVerificationMethod>,
    /// Whether it is verified.
    #[serde(default, deserialize_with = "wire::open_enum")]
    pub verification_status: Option<DomainVerificationStatus>,
    /// Time of creation.
    #[serde(default, with = "wire::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(default, with = "wire::timestamp")]
    pub update_time: Option<OffsetDateTime>,
}
