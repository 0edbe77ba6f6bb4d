//! API keys: opaque tokens of an organization, or of a user in it.
//!
//! [`RequireToken::api_keys`](crate::RequireToken::api_keys) accepts them on routes. A key is
//! returned once, when it is created; later calls name it by its ID (`apit_…`), which is no secret.
//!
//! These calls are not in Scalekit's API reference, only in its SDKs: paths and fields are those of
//! `@scalekit-sdk/node` 2.11.
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use futures::TryStreamExt as _;
//! use tower_scalekit::api::ApiError;
//! use tower_scalekit::api::api_keys::NewApiKey;
//! # use tower_scalekit::Sandbox;
//!
//! # let sandbox = Sandbox::new();
//! # let acme = sandbox.organizations().list().remove(0).id;
//! let api_keys = sandbox.scalekit().api().api_keys();
//! let mut deployment = NewApiKey::new(&acme);
//! deployment.description = Some("Deployment".to_owned());
//! let created = api_keys.create(&deployment).await?;
//! println!("Store this key now: {}", created.token.expose());
//!
//! let key = api_keys.validate(created.token.expose()).await?;
//! assert_eq!(key.organization_id, acme);
//! let keys: Vec<_> = api_keys.list(&acme).stream().try_collect().await?;
//! assert_eq!(keys[0].token_id, created.token_id);
//!
//! api_keys.invalidate(&created.token_id).await?;
//! let invalid = api_keys.validate(created.token.expose()).await;
//! assert!(matches!(invalid, Err(ApiError::NotFound(_))));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;

use super::client::retry::Retries;
use super::{Api, ApiError, ApiRequest, ListRequest};
use crate::http_client::HttpClientError;
use crate::model::wire;
use crate::secret::SecretString;

/// API for API keys. Returned by [`Api::api_keys`].
#[derive(Clone, Debug)]
pub struct ApiKeysApi {
    api: Api,
}

impl ApiKeysApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Creates a key. Never retried: after an error that leaves the result open, look for it in the
    /// list, and invalidate it.
    ///
    /// # Errors
    /// See [`ApiError`].
    #[doc(alias("createToken", "create_token"))]
    pub async fn create(&self, key: &NewApiKey) -> Result<CreatedApiKey, ApiError> {
        let Created { token, token_id, token_info } =
            self.api.request(Method::POST, "/api/v1/tokens").json(key).send().await?;
        Ok(CreatedApiKey { token: token.into(), token_id, token_info })
    }

    /// Returns the details of a valid key. An ID (`apit_…`) is accepted, too: call this with the
    /// credential of a request only through [`ApiKeyVerifier`](crate::require_token::ApiKeyVerifier),
    /// which rejects IDs.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it is unknown, expired or invalidated; see [`ApiError`].
    #[doc(alias("validateToken", "validate_token"))]
    pub async fn validate(&self, token: &str) -> Result<ApiKey, ApiError> {
        self.validation(token)
            .retries(Retries::Idempotent)
            .send_member("token_info")
            .await
            .map_err(|error| error.without(token))
    }

    /// The same without retries. `timeout` includes that the application's access token is fetched.
    pub(crate) async fn validate_within(
        &self,
        token: &str,
        timeout: Duration,
    ) -> Result<ApiKey, ApiError> {
        let validation = self.validation(token).timeout(timeout).send_member("token_info");
        tokio::time::timeout(timeout, validation)
            .await
            .unwrap_or_else(|_| Err(HttpClientError::Timeout(timeout).into()))
            .map_err(|error| error.without(token))
    }

    /// Invalidates a key, named by itself or by its ID. Succeeds if it is invalid already.
    ///
    /// # Errors
    /// See [`ApiError`].
    #[doc(alias("invalidateToken", "invalidate_token"))]
    pub async fn invalidate(&self, token: &str) -> Result<(), ApiError> {
        self.api
            .request(Method::POST, "/api/v1/tokens:invalidate")
            .retries(Retries::Idempotent)
            .json(&json!({ "token": token }))
            .send_empty()
            .await
            .map_err(|error| error.without(token))
    }

    /// Changes the description or the claims of a valid key, named by itself or by its ID.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it is not valid; see [`ApiError`].
    #[doc(alias("updateToken", "update_token"))]
    pub async fn update(&self, token: &str, update: &ApiKeyUpdate) -> Result<ApiKey, ApiError> {
        #[derive(Serialize)]
        struct Body<'a> {
            token: &'a str,
            #[serde(flatten)]
            update: &'a ApiKeyUpdate,
        }
        self.api
            .request(Method::POST, "/api/v1/tokens:update")
            .json(&Body { token, update })
            .send_member("token_info")
            .await
            .map_err(|error| error.without(token))
    }

    /// Lists the valid keys of an organization (`org_…`), those of its users included.
    #[doc(alias("listTokens", "list_tokens"))]
    pub fn list(&self, organization_id: &str) -> ListRequest<ApiKey> {
        ListRequest::new(self.all(organization_id), "tokens")
    }

    /// Lists the valid keys of a user (`usr_…`) in an organization.
    #[doc(alias("listTokens", "list_tokens"))]
    pub fn list_for_user(&self, organization_id: &str, user_id: &str) -> ListRequest<ApiKey> {
        ListRequest::new(self.all(organization_id).filter("user_id", user_id), "tokens")
    }

    fn all(&self, organization_id: &str) -> ApiRequest {
        self.api.request(Method::GET, "/api/v1/tokens").filter("organization_id", organization_id)
    }

    fn validation(&self, token: &str) -> ApiRequest {
        self.api.request(Method::POST, "/api/v1/tokens:validate").json(&json!({ "token": token }))
    }
}

/// A valid API key, without its secret. Fields that the environment omits are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct ApiKey {
    /// `apit_…`, no secret.
    #[serde(deserialize_with = "wire::required")]
    pub token_id: String,
    /// The organization (`org_…`).
    #[serde(deserialize_with = "wire::required")]
    pub organization_id: String,
    /// Your app's ID of the organization.
    #[serde(default, deserialize_with = "wire::text")]
    pub organization_external_id: Option<String>,
    /// The user (`usr_…`) of a key that is a user's.
    #[serde(default, deserialize_with = "wire::text")]
    pub user_id: Option<String>,
    /// Your app's ID of the user.
    #[serde(default, deserialize_with = "wire::text")]
    pub user_external_id: Option<String>,
    /// The e-mail address of the user.
    #[serde(default, deserialize_with = "wire::text")]
    pub email: Option<String>,
    /// The roles of the user in the organization.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub roles: Vec<String>,
    /// The claims that your app has set.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub custom_claims: BTreeMap<String, String>,
    /// Expiry. Default: none.
    #[serde(default, with = "wire::timestamp")]
    pub expiry: Option<OffsetDateTime>,
    /// Time of creation.
    #[serde(default, with = "wire::timestamp")]
    pub created_at: Option<OffsetDateTime>,
    /// Description.
    #[serde(default, deserialize_with = "wire::text")]
    pub description: Option<String>,
    /// The last four characters of the key.
    #[serde(default, deserialize_with = "wire::text")]
    pub token_suffix: Option<String>,
}

/// An API key to create.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct NewApiKey {
    /// The organization (`org_…`).
    pub organization_id: String,
    /// The user (`usr_…`), a member of the organization, whose roles the key has. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Claims, at most twenty: keys of 1 to 30 characters, values of 1 to 256.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_claims: BTreeMap<String, String>,
    /// Expiry. Default: none.
    #[serde(with = "wire::timestamp", skip_serializing_if = "Option::is_none")]
    pub expiry: Option<OffsetDateTime>,
    /// Description, at most 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl NewApiKey {
    /// Creates a key of an organization (`org_…`). The other fields are optional.
    #[must_use]
    pub fn new(organization_id: impl Into<String>) -> Self {
        Self { organization_id: organization_id.into(), ..Self::default() }
    }
}

/// Changes to an API key. `None` keeps a field.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ApiKeyUpdate {
    /// Claims to set; an empty value removes a claim.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_claims: BTreeMap<String, String>,
    /// Description; empty to remove it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A new API key. Returned by [`ApiKeysApi::create`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreatedApiKey {
    /// The key, for its user: it cannot be returned again.
    pub token: SecretString,
    /// `apit_…`, no secret.
    pub token_id: String,
    /// The details, if the environment has returned them.
    pub token_info: Option<ApiKey>,
}

// Manual impl: contains the key.
impl fmt::Debug for CreatedApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedApiKey").field("token_id", &self.token_id).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Created {
    #[serde(deserialize_with = "wire::required")]
    token: String,
    #[serde(deserialize_with = "wire::required")]
    token_id: String,
    token_info: Option<ApiKey>,
}
