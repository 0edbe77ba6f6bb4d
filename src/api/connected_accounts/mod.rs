//! Connected accounts: your app acts for its users at other services, with tokens that stay at
//! Scalekit.
//!
//! A connection (configured in the dashboard) belongs to a service, such as `gmail`; an account
//! belongs to one user of that service. The user authorizes your app once, at an [authorization
//! link](ConnectedAccountsApi::authorization_link). From then on [tools](super::tools) act on the
//! user's behalf.
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_scalekit::Sandbox;
//! use tower_scalekit::api::connected_accounts::{AccountKey, NewConnectedAccount};
//! use tower_scalekit::model::ConnectedAccountStatus;
//!
//! let sandbox = Sandbox::new();
//! let accounts = sandbox.scalekit().api().connected_accounts();
//! let jane = AccountKey::new("gmail", "your-id-of-jane");
//!
//! let account = accounts.get_or_create(&NewConnectedAccount::new(&jane)).await?;
//! assert_eq!(account.status, Some(ConnectedAccountStatus::PendingAuth));
//!
//! let link = accounts.authorization_link(&jane).await?; // redirect Jane to it
//! # sandbox.consent(link.url().as_str())?;
//! let account = accounts.wait_until_active(&jane).await?;
//! assert_eq!(account.status, Some(ConnectedAccountStatus::Active));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```
//!
//! Whoever opens such a link can use it. In production, use
//! [`ConnectAccount`](crate::ConnectAccount), which verifies that it is the user who started.

mod credentials;
mod details;
mod events;
mod link;
mod waiting;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use self::credentials::AuthorizationDetails;
use self::link::{LinkResponse, VerifiedResponse};
use super::client::retry::Retries;
use super::{Api, ApiError, ApiRequest};
use crate::model::wire;
use crate::webhook::ConnectedAccountData;

pub use self::credentials::{
    Credentials, GoogleDwdCredentials, OAuthCredentials, StaticCredentials, TrustedIdpCredentials,
};
pub use self::details::{
    AccountSearch, AuthorizationType, ConnectedAccount, ConnectedAccounts, NewConnectedAccount,
};
pub use self::events::AccountEvents;
pub use self::link::AuthorizationLink;
pub use self::waiting::{WaitError, WaitUntilActive};

/// API for connected accounts. Returned by [`Api::connected_accounts`].
#[derive(Clone, Debug)]
pub struct ConnectedAccountsApi {
    api: Api,
}

impl ConnectedAccountsApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Returns the account, and creates it if the user has none. Concurrent calls all return the
    /// same account.
    ///
    /// Credentials in the request replace those of an existing account.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the connection does not exist; see [`ApiError`].
    #[doc(alias("getOrCreateConnectedAccount", "get_or_create_connected_account"))]
    pub async fn get_or_create(
        &self,
        account: &NewConnectedAccount,
    ) -> Result<ConnectedAccount, ApiError> {
        let found = match self.get(&account.key).await {
            Err(ApiError::NotFound(_)) => match self.create(account).await {
                // Another request was faster.
                Err(ApiError::Conflict(_)) => self.get(&account.key).await?,
                created => return created,
            },
            found => found?,
        };
        match &account.credentials {
            None => Ok(found),
            Some(credentials) => self.update(&account.key, Some(credentials), None).await,
        }
    }

    /// Creates an account. Never retried; agents should use [`get_or_create`](Self::get_or_create).
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if it exists, [`ApiError::NotFound`] if the connection does not
    /// exist; see [`ApiError`].
    #[doc(alias("createConnectedAccount", "create_connected_account"))]
    pub async fn create(
        &self,
        account: &NewConnectedAccount,
    ) -> Result<ConnectedAccount, ApiError> {
        let NewConnectedAccount { key, credentials, api_config } = account;
        if key.id.is_some() {
            return Err(ApiError::InvalidCall(
                "an account is created by its connection and identifier, not by its id",
            ));
        }
        let credentials = match credentials {
            Some(credentials) => credentials.to_wire(),
            // Required for an account whose tokens come from an authorization link.
            None => json!({ "oauth_token": {} }),
        };
        self.send(Method::POST, key, Some(credentials), api_config.as_ref()).await
    }

    /// Returns an account without its credentials.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias(
        "getConnectedAccount",
        "get_connected_account",
        "getConnectedAccountByIdentifier",
        "get_connected_account_by_identifier"
    ))]
    pub async fn get(&self, account: &AccountKey) -> Result<ConnectedAccount, ApiError> {
        account
            .query(self.api.request(Method::GET, "/api/v1/connected_accounts/details"))
            .send_member("connected_account")
            .await
    }

    /// Returns the account's credentials, for services that neither a tool nor the
    /// [proxy](super::tools::ToolsApi::proxy) supports. Keep them secret.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getConnectedAccountByIdentifier", "get_connected_account_by_identifier"))]
    pub async fn credentials(&self, account: &AccountKey) -> Result<Option<Credentials>, ApiError> {
        Ok(account
            .query(self.api.request(Method::GET, "/api/v1/connected_accounts/auth"))
            .send::<CredentialsResponse>()
            .await?
            .connected_account
            .authorization_details
            .into_credentials())
    }

    /// Lists all accounts of the environment.
    #[doc(alias("listConnectedAccounts", "list_connected_accounts"))]
    pub fn list(&self) -> ConnectedAccounts {
        ConnectedAccounts::new(self.api.request(Method::GET, "/api/v1/connected_accounts"))
    }

    /// Searches accounts by a part of their identifier and other fields, at least three characters.
    pub fn search(&self, text: &str) -> AccountSearch {
        AccountSearch::new(
            self.api.request(Method::GET, "/api/v1/connected_accounts:search").query("query", text),
        )
    }

    /// Replaces an account's credentials or settings; `None` keeps them.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("updateConnectedAccount", "update_connected_account"))]
    pub async fn update(
        &self,
        account: &AccountKey,
        credentials: Option<&Credentials>,
        api_config: Option<&Map<String, Value>>,
    ) -> Result<ConnectedAccount, ApiError> {
        self.send(Method::PUT, account, credentials.map(Credentials::to_wire), api_config).await
    }

    /// Deletes an account and its credentials permanently.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("deleteConnectedAccount", "delete_connected_account"))]
    pub async fn delete(&self, account: &AccountKey) -> Result<(), ApiError> {
        self.api
            .request(Method::POST, "/api/v1/connected_accounts:delete")
            .problem(account.problem())
            .json(account)
            .retries(Retries::Unsent)
            .send_empty()
            .await
    }

    /// Returns the URL where the user authorizes your app. Whoever opens the link connects their
    /// own account: show it only to the user, or verify the user
    /// ([`verified_authorization_link`](Self::verified_authorization_link)).
    ///
    /// # Errors
    /// See [`ApiError`].
    #[doc(alias(
        "getAuthorizationLink",
        "get_authorization_link",
        "getMagicLinkForConnectedAccount",
        "get_magic_link_for_connected_account"
    ))]
    pub async fn authorization_link(
        &self,
        account: &AccountKey,
    ) -> Result<AuthorizationLink, ApiError> {
        self.link(LinkBody { account, user_verify_url: None, state: None }).await
    }

    /// Like [`authorization_link`](Self::authorization_link), with user verification: the user is
    /// redirected to `user_verify_url` with `auth_request_id` and `state`, and the account stays
    /// inactive until [`verify_user`](Self::verify_user) confirms the user.
    /// [`ConnectAccount`](crate::ConnectAccount) implements this flow.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn verified_authorization_link(
        &self,
        account: &AccountKey,
        user_verify_url: &str,
        state: &str,
    ) -> Result<AuthorizationLink, ApiError> {
        self.link(LinkBody { account, user_verify_url: Some(user_verify_url), state: Some(state) })
            .await
    }

    /// Activates the account of `auth_request_id` if it belongs to `identifier`, which must come
    /// from the session of the returning user, never from the URL. Returns where to redirect the
    /// user.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] if it belongs to another user, [`ApiError::NotFound`] if no
    /// verification is pending; see [`ApiError`].
    #[doc(alias("verifyConnectedAccountUser", "verify_connected_account_user"))]
    pub async fn verify_user(
        &self,
        auth_request_id: &str,
        identifier: &str,
    ) -> Result<Option<Url>, ApiError> {
        Ok(self
            .api
            .request(Method::POST, "/api/v1/connected_accounts/user/verify")
            .json(&json!({ "auth_request_id": auth_request_id, "identifier": identifier }))
            .send::<VerifiedResponse>()
            .await?
            .url())
    }

    /// Waits until the user has authorized the account. Default: five minutes.
    pub fn wait_until_active(&self, account: &AccountKey) -> WaitUntilActive {
        WaitUntilActive::new(self.clone(), account.clone())
    }

    async fn link(&self, body: LinkBody<'_>) -> Result<AuthorizationLink, ApiError> {
        self.api
            .request(Method::POST, "/api/v1/connected_accounts/magic_link")
            .problem(body.account.problem())
            .json(&body)
            .send::<LinkResponse>()
            .await?
            .link()
    }

    async fn send(
        &self,
        method: Method,
        account: &AccountKey,
        authorization_details: Option<Value>,
        api_config: Option<&Map<String, Value>>,
    ) -> Result<ConnectedAccount, ApiError> {
        self.api
            .request(method, "/api/v1/connected_accounts")
            .problem(account.problem())
            .json(&AccountBody {
                account,
                connected_account: Content { authorization_details, api_config },
            })
            .send_member("connected_account")
            .await
    }
}

/// Identifies an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AccountKey {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connector: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
}

impl AccountKey {
    const EMPTY: Self =
        Self { id: None, connector: None, identifier: None, organization_id: None, user_id: None };

    /// The account with this ID (`ca_…`).
    pub fn id(id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..Self::EMPTY }
    }

    /// The account of a user, by the connection's name as spelled in the dashboard and your app's
    /// identifier of the user.
    pub fn new(connection_name: impl Into<String>, identifier: impl Into<String>) -> Self {
        Self {
            connector: Some(connection_name.into()),
            identifier: Some(identifier.into()),
            ..Self::EMPTY
        }
    }

    /// Adds the organization, if the identifier alone is ambiguous.
    #[must_use]
    pub fn organization_id(mut self, id: impl Into<String>) -> Self {
        self.organization_id = Some(id.into());
        self
    }

    /// Adds the Scalekit user (`usr_…`), if the identifier alone is ambiguous.
    #[must_use]
    pub fn user_id(mut self, id: impl Into<String>) -> Self {
        self.user_id = Some(id.into());
        self
    }

    /// ID, connection name, identifier, organization and user.
    pub(super) fn parts(&self) -> [Option<&str>; 5] {
        [
            self.id.as_deref(),
            self.connector.as_deref(),
            self.identifier.as_deref(),
            self.organization_id.as_deref(),
            self.user_id.as_deref(),
        ]
    }

    /// Connection name and identifier, if nothing else is set.
    pub(super) fn names(&self) -> Option<(&str, &str)> {
        match self.parts() {
            [None, Some(connector), Some(identifier), None, None] => Some((connector, identifier)),
            _ => None,
        }
    }

    /// The API ignores empty parts and would match other accounts too.
    pub(super) fn problem(&self) -> Option<&'static str> {
        self.parts().contains(&Some("")).then_some("a part of the account's key is empty")
    }

    /// Adds the key to the query.
    fn query(&self, request: ApiRequest) -> ApiRequest {
        ["id", "connector", "identifier", "organization_id", "user_id"]
            .into_iter()
            .zip(self.parts())
            .fold(request, |request, (name, part)| request.query_option(name, part))
            .problem(self.problem())
    }

    /// Whether an event may be about this account.
    fn may_match(&self, event: &ConnectedAccountData) -> bool {
        [
            (&self.id, &event.id),
            (&self.identifier, &event.identifier),
            (&self.connector, &event.connection_name),
        ]
        .into_iter()
        .all(|(own, other)| own.is_none() || other.is_none() || own == other)
    }
}

#[derive(Serialize)]
struct AccountBody<'a> {
    #[serde(flatten)]
    account: &'a AccountKey,
    connected_account: Content<'a>,
}

/// The account fields of a request.
#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_config: Option<&'a Map<String, Value>>,
}

#[derive(Serialize)]
struct LinkBody<'a> {
    #[serde(flatten)]
    account: &'a AccountKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_verify_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CredentialsResponse {
    connected_account: WithCredentials,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WithCredentials {
    #[serde(deserialize_with = "wire::or_default")]
    authorization_details: AuthorizationDetails,
}
