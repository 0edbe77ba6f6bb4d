//! Machine clients of organizations, which call your API with tokens of the client-credentials
//! grant.
//!
//! [`RequireToken`](crate::RequireToken) accepts their tokens; see
//! [machine clients](crate::guides::bearer_tokens#machine-clients).
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_scalekit::api::organization_clients::ClientSettings;
//! # use tower_scalekit::Sandbox;
//!
//! # let sandbox = Sandbox::new();
//! # let acme = sandbox.organizations().list().remove(0).id;
//! let clients = sandbox.scalekit().api().organization_clients(&acme);
//! let mut settings = ClientSettings::new("Deployment");
//! settings.audience = Some(vec!["https://api.example.com".to_owned()]);
//! settings.scopes = Some(vec!["deploy".to_owned()]);
//! let created = clients.create(&settings).await?;
//! println!("{} {}", created.client.client_id, created.plain_secret.expose());
//!
//! let rotated = clients.create_secret(&created.client.client_id).await?;
//! let first = &created.client.secrets[0].id;
//! clients.delete_secret(&created.client.client_id, first).await?;
//! # let _ = rotated;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;

use super::{Api, ApiError, ApiRequest, ListRequest};
use crate::model::wire;
use crate::secret::SecretString;

/// API for the machine clients of an organization. Returned by [`Api::organization_clients`].
#[derive(Clone, Debug)]
pub struct OrganizationClientsApi {
    api: Api,
    organization_id: String,
}

impl OrganizationClientsApi {
    pub(super) fn new(api: Api, organization_id: &str) -> Self {
        Self { api, organization_id: organization_id.to_owned() }
    }

    /// Lists all clients of the organization.
    #[doc(alias("listOrganizationClients", "list_organization_clients"))]
    pub fn list(&self) -> ListRequest<OrganizationClient> {
        ListRequest::new(self.request(Method::GET, ""), "clients")
    }

    /// Returns a client (`m2morg_…`).
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getOrganizationClient", "get_organization_client"))]
    pub async fn get(&self, client_id: &str) -> Result<OrganizationClient, ApiError> {
        self.one(Method::GET, client_id, "").send_member("client").await
    }

    /// Creates a client with a secret. Never retried.
    ///
    /// # Errors
    /// See [`ApiError`].
    #[doc(alias("createOrganizationClient", "create_organization_client"))]
    pub async fn create(
        &self,
        settings: &ClientSettings,
    ) -> Result<CreatedOrganizationClient, ApiError> {
        #[derive(Deserialize)]
        struct Created {
            client: OrganizationClient,
            #[serde(deserialize_with = "wire::required")]
            plain_secret: String,
        }
        let Created { client, plain_secret } =
            self.request(Method::POST, "").json(settings).send().await?;
        Ok(CreatedOrganizationClient { client, plain_secret: plain_secret.into() })
    }

    /// Changes the settings that are not `None`.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("updateOrganizationClient", "update_organization_client"))]
    pub async fn update(
        &self,
        client_id: &str,
        settings: &ClientSettings,
    ) -> Result<OrganizationClient, ApiError> {
        self.one(Method::PATCH, client_id, "").json(settings).send_member("client").await
    }

    /// Deletes a client permanently. Its tokens remain valid until they expire.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("deleteOrganizationClient", "delete_organization_client"))]
    pub async fn delete(&self, client_id: &str) -> Result<(), ApiError> {
        self.one(Method::DELETE, client_id, "").send_empty().await
    }

    /// Adds a secret, for rotation. Never retried.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the client does not exist; see [`ApiError`].
    #[doc(alias("addOrganizationClientSecret", "add_organization_client_secret"))]
    pub async fn create_secret(&self, client_id: &str) -> Result<CreatedClientSecret, ApiError> {
        #[derive(Deserialize)]
        struct Created {
            secret: ClientSecret,
            #[serde(deserialize_with = "wire::required")]
            plain_secret: String,
        }
        let Created { secret, plain_secret } =
            self.one(Method::POST, client_id, "/secrets").send().await?;
        Ok(CreatedClientSecret { secret, plain_secret: plain_secret.into() })
    }

    /// Deletes a secret (`sks_…`) permanently.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("removeOrganizationClientSecret", "remove_organization_client_secret"))]
    pub async fn delete_secret(&self, client_id: &str, secret_id: &str) -> Result<(), ApiError> {
        self.one(Method::DELETE, client_id, "/secrets/{secret_id}")
            .path_parameter("secret_id", secret_id)
            .send_empty()
            .await
    }

    fn request(&self, method: Method, rest: &str) -> ApiRequest {
        self.api
            .request(method, format!("/api/v1/organizations/{{organization_id}}/clients{rest}"))
            .path_parameter("organization_id", &self.organization_id)
    }

    fn one(&self, method: Method, client_id: &str, rest: &str) -> ApiRequest {
        self.request(method, &format!("/{{client_id}}{rest}"))
            .path_parameter("client_id", client_id)
    }
}

/// A machine client. Fields that the environment omits are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct OrganizationClient {
    /// `m2morg_…`
    #[serde(deserialize_with = "wire::required")]
    pub client_id: String,
    /// The organization (`org_…`), the claim `oid` of its tokens.
    #[serde(default, deserialize_with = "wire::text")]
    pub organization_id: Option<String>,
    /// Its name.
    #[serde(default, deserialize_with = "wire::text")]
    pub name: Option<String>,
    /// Description.
    #[serde(default, deserialize_with = "wire::text")]
    pub description: Option<String>,
    /// The scopes of its tokens.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub scopes: Vec<String>,
    /// The `aud` of its tokens, which is absent if it is empty.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub audience: Vec<String>,
    /// Additional claims of its tokens.
    #[serde(default, deserialize_with = "read_claims", serialize_with = "write_claims")]
    pub custom_claims: BTreeMap<String, String>,
    /// Lifetime of its tokens, in seconds.
    #[serde(default, deserialize_with = "wire::number")]
    pub expiry: Option<u64>,
    /// Its secrets, without their text.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub secrets: Vec<ClientSecret>,
    /// Time of creation.
    #[serde(default, with = "wire::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(default, with = "wire::timestamp")]
    pub update_time: Option<OffsetDateTime>,
}

/// A secret of a machine client, without its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct ClientSecret {
    /// `sks_…`
    #[serde(deserialize_with = "wire::required")]
    pub id: String,
    /// Its last characters.
    #[serde(default, deserialize_with = "wire::text")]
    pub secret_suffix: Option<String>,
    /// `INACTIVE` if it cannot be used.
    #[serde(default, deserialize_with = "wire::text")]
    pub status: Option<String>,
    /// Time of creation.
    #[serde(default, with = "wire::timestamp")]
    pub create_time: Option<OffsetDateTime>,
    /// Expiry. Default: none.
    #[serde(default, with = "wire::timestamp")]
    pub expire_time: Option<OffsetDateTime>,
    /// When it was last used.
    #[serde(default, with = "wire::timestamp")]
    pub last_used_time: Option<OffsetDateTime>,
}

/// The settings of a machine client. `None` keeps one, or leaves it empty.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ClientSettings {
    /// Its name, 1 to 128 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The scopes of its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The `aud` of its tokens. Without one, `RequireToken` accepts its tokens only with
    /// [`machine_tokens`](crate::token::TokenVerifierBuilder::machine_tokens).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<String>>,
    /// Additional claims of its tokens.
    #[serde(serialize_with = "write_new_claims", skip_serializing_if = "Option::is_none")]
    pub custom_claims: Option<BTreeMap<String, String>>,
    /// Lifetime of its tokens, in whole seconds.
    #[serde(serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Duration>,
}

impl ClientSettings {
    /// Creates settings with a name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }
}

/// A new machine client. Returned by [`OrganizationClientsApi::create`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreatedOrganizationClient {
    /// The client.
    pub client: OrganizationClient,
    /// Its secret, which cannot be returned again.
    pub plain_secret: SecretString,
}

// Manual impl: contains the secret.
impl fmt::Debug for CreatedOrganizationClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedOrganizationClient")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// A new secret of a machine client. Returned by [`OrganizationClientsApi::create_secret`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreatedClientSecret {
    /// The secret without its text.
    pub secret: ClientSecret,
    /// Its text, which cannot be returned again.
    pub plain_secret: SecretString,
}

// Manual impl: contains the secret.
impl fmt::Debug for CreatedClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedClientSecret").field("secret", &self.secret).finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CustomClaim {
    key: String,
    value: String,
}

fn read_claims<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    let claims: Vec<CustomClaim> = wire::or_default(deserializer)?;
    Ok(claims.into_iter().map(|CustomClaim { key, value }| (key, value)).collect())
}

fn write_claims<S: Serializer>(
    claims: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(
        claims.iter().map(|(key, value)| BTreeMap::from([("key", key), ("value", value)])),
    )
}

fn write_new_claims<S: Serializer>(
    claims: &Option<BTreeMap<String, String>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    write_claims(claims.as_ref().unwrap_or(&BTreeMap::new()), serializer)
}

/// An int64, which proto3's JSON writes as text.
fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time.unwrap_or_default().as_secs())
}
