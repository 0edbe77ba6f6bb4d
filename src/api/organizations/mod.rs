//! Organizations: the customers of your app.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use futures::TryStreamExt as _;
//! use tower_scalekit::api::organizations::{NewOrganization, OrganizationUpdate};
//! # use tower_scalekit::Scalekit;
//! # use bytes::Bytes;
//! # use futures::future::BoxFuture;
//! # use tower_scalekit::http_client::{HttpClient, HttpClientError};
//! # struct Environment;
//! # impl HttpClient for Environment {
//! #     fn send(
//! #         &self,
//! #         request: http::Request<Bytes>,
//! #     ) -> BoxFuture<'_, Result<http::Response<Bytes>, HttpClientError>> {
//! #         let body = match (request.method().as_str(), request.uri().path()) {
//! #             (_, "/oauth/token") => r#"{"access_token":"t","expires_in":3600,"token_type":"Bearer"}"#,
//! #             ("GET", _) => r#"{"organizations":[{"id":"org_1","external_id":"tenant-7"}]}"#,
//! #             ("DELETE", _) => "{}",
//! #             _ => r#"{"organization":{"id":"org_1","external_id":"tenant-7","slug":"acme"}}"#,
//! #         };
//! #         Box::pin(async move { Ok(http::Response::new(body.into())) })
//! #     }
//! # }
//! # let scalekit = Scalekit::builder("https://acme.scalekit.dev", "skc_1", "s3cret");
//! # let scalekit = scalekit.http_client(Environment).build()?;
//!
//! let organizations = scalekit.api().organizations();
//! let mut acme = NewOrganization::new("Acme Corp");
//! acme.external_id = Some("tenant-7".to_owned());
//! let acme = organizations.create(&acme).await?;
//! let id = acme.id;
//!
//! let mut change = OrganizationUpdate::default();
//! change.slug = Some("acme".to_owned());
//! assert_eq!(organizations.update(&id, &change).await?.slug.as_deref(), Some("acme"));
//!
//! let mut all = organizations.list().stream();
//! while let Some(organization) = all.try_next().await? {
//!     assert_eq!(organization.external_id.as_deref(), Some("tenant-7"));
//! }
//! organizations.delete(&id).await?;
//! # Ok(())
//! # }
//! ```

mod portal_link;
mod session_policy;

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;

pub use self::portal_link::{PortalFeature, PortalLink};
pub use self::session_policy::SessionPolicy;
use super::{Api, ApiError, ApiRequest, ItemStream};
use crate::model::wire;
use crate::model::{OrganizationSettings, RegionCode};

/// API for organizations. Returned by [`Api::organizations`].
#[derive(Clone, Debug)]
pub struct OrganizationsApi {
    api: Api,
}

impl OrganizationsApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Lists all organizations of the environment.
    #[doc(alias("listOrganization", "list_organizations"))]
    pub fn list(&self) -> Organizations {
        Organizations(self.api.request(Method::GET, "/api/v1/organizations"))
    }

    /// Returns an organization by its ID (`org_…`).
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getOrganization", "get_organization"))]
    pub async fn get(&self, id: &str) -> Result<Organization, ApiError> {
        self.one(Method::GET, id, "").send_member("organization").await
    }

    /// Returns an organization by your app's ID.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getOrganizationByExternalId", "get_organization_by_external_id"))]
    pub async fn get_by_external_id(&self, external_id: &str) -> Result<Organization, ApiError> {
        self.api
            .request(Method::GET, "/api/v1/organizations:external/{external_id}")
            .path_parameter("external_id", external_id)
            .send_member("organization")
            .await
    }

    /// Creates an organization. Never retried: after an error that leaves the result open, look for
    /// it by its external ID.
    ///
    /// # Errors
    /// See [`ApiError`].
    #[doc(alias("createOrganization", "create_organization"))]
    pub async fn create(&self, organization: &NewOrganization) -> Result<Organization, ApiError> {
        self.api
            .request(Method::POST, "/api/v1/organizations")
            .json(organization)
            .send_member("organization")
            .await
    }

    /// Changes the fields that `update` contains.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("updateOrganization", "update_organization"))]
    pub async fn update(
        &self,
        id: &str,
        update: &OrganizationUpdate,
    ) -> Result<Organization, ApiError> {
        self.one(Method::PATCH, id, "").json(update).send_member("organization").await
    }

    /// Deletes an organization permanently.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist, and if an earlier attempt of this call
    /// succeeded although its response was an error; see [`ApiError`].
    #[doc(alias("deleteOrganization", "delete_organization"))]
    pub async fn delete(&self, id: &str) -> Result<(), ApiError> {
        self.one(Method::DELETE, id, "").send_empty().await
    }

    /// Creates a link to the admin portal of an organization, where its administrator sets up these
    /// features. Without any, the environment chooses.
    ///
    /// Retried like any `PUT`, although each attempt may create another link: a link whose response
    /// was lost is not known to anyone and expires within a minute.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("generatePortalLink", "generate_portal_link"))]
    pub async fn portal_link(
        &self,
        id: &str,
        features: &[PortalFeature],
    ) -> Result<PortalLink, ApiError> {
        features
            .iter()
            .fold(self.one(Method::PUT, id, "/portal_links"), |request, feature| {
                request.query("features", feature.as_str())
            })
            .send::<portal_link::Response>()
            .await?
            .link(&self.api.scalekit.endpoint(""))
    }

    /// Enables or disables a feature of an organization, such as `sso` or `dir_sync`. Others are
    /// kept.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("updateOrganizationSettings", "update_organization_settings"))]
    pub async fn set_feature(
        &self,
        id: &str,
        name: &str,
        enabled: bool,
    ) -> Result<Organization, ApiError> {
        self.one(Method::PATCH, id, "/settings")
            .json(&json!({ "features": [{ "name": name, "enabled": enabled }] }))
            .send_member("organization")
            .await
    }

    /// Returns how long sessions of an organization's users last.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getOrganizationSessionPolicy", "get_organization_session_policy"))]
    pub async fn session_policy(&self, id: &str) -> Result<SessionPolicy, ApiError> {
        self.one(Method::GET, id, "/session-policy")
            .send_member::<session_policy::Settings>("policy")
            .await
            .map(SessionPolicy::from)
    }

    /// Sets how long sessions of an organization's users last, and returns the new policy.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("updateOrganizationSessionPolicy", "update_organization_session_policy"))]
    pub async fn set_session_policy(
        &self,
        id: &str,
        policy: &SessionPolicy,
    ) -> Result<SessionPolicy, ApiError> {
        self.one(Method::PATCH, id, "/session-policy")
            .json(&session_policy::Settings::from(policy))
            .send_member::<session_policy::Settings>("policy")
            .await
            .map(SessionPolicy::from)
    }

    /// Sets the maximum number of users of an organization.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("upsertUserManagementSettings", "upsert_user_management_settings"))]
    pub async fn set_max_users(&self, id: &str, users: u32) -> Result<(), ApiError> {
        self.one(Method::PATCH, id, "/settings/usermanagement")
            .json(&json!({ "settings": { "max_allowed_users": users } }))
            .send_empty()
            .await
    }

    fn one(&self, method: Method, id: &str, rest: &str) -> ApiRequest {
        self.api
            .request(method, format!("/api/v1/organizations/{{id}}{rest}"))
            .path_parameter("id", id)
    }
}

/// A request for a list of organizations. Returned by [`OrganizationsApi::list`].
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct Organizations(ApiRequest);

impl Organizations {
    /// Filters by your app's ID.
    pub fn external_id(self, external_id: &str) -> Self {
        Self(self.0.filter("external_id", external_id))
    }

    /// Sets the page size, 10 to 100. Default: the environment's.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// Streams the organizations, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<Organization> {
        ItemStream::new(self.0, "organizations")
    }
}

/// An organization. Fields that the environment omits are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Organization {
    /// `org_…`, the claim `org_id` or `oid` of tokens.
    #[serde(deserialize_with = "wire::required")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub display_name: String,
    /// Your app's ID of it.
    #[serde(default, deserialize_with = "wire::text")]
    pub external_id: Option<String>,
    /// Its part of a wildcard redirect URI, for instance `acme`.
    #[serde(default, deserialize_with = "wire::text")]
    pub slug: Option<String>,
    /// URL of its logo.
    #[serde(default, deserialize_with = "wire::text")]
    pub logo_url: Option<String>,
    /// Where its data is stored.
    #[serde(default, deserialize_with = "wire::open_enum")]
    pub region_code: Option<RegionCode>,
    /// Time of creation.
    #[serde(default, with = "wire::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(default, with = "wire::timestamp")]
    pub update_time: Option<OffsetDateTime>,
    /// Your app's metadata.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub metadata: BTreeMap<String, String>,
    /// Enabled features.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub settings: OrganizationSettings,
}

/// An organization to create.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct NewOrganization {
    /// Its name, 1 to 200 characters.
    pub display_name: String,
    /// Your app's ID of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Its part of a wildcard redirect URI: a DNS label or host name that is unique in the
    /// environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// URL of its logo, with https.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_url: Option<String>,
    /// Your app's metadata: at most ten pairs, keys of 3 to 25 characters, values of 1 to 256.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl NewOrganization {
    /// Creates an organization with a name. The other fields are optional.
    #[must_use]
    pub fn new(display_name: impl Into<String>) -> Self {
        Self { display_name: display_name.into(), ..Self::default() }
    }
}

/// Changes to an organization. `None` keeps a field.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct OrganizationUpdate {
    /// Its name, 1 to 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Your app's ID of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Its part of a wildcard redirect URI; empty to remove it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// URL of its logo, with https.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_url: Option<String>,
    /// Your app's metadata: at most ten pairs, keys of 3 to 25 characters, values of 1 to 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}
