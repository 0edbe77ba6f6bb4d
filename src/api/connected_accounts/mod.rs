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
use serde_json::{Map, Value};
use url::Url;

use self::credentials::AuthorizationDetails;
use self::link::{LinkResponse, VerifiedResponse};
use super::client::retry::Retries;
use super::{Api, ApiError, ApiRequest};

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
pub struct ConnectedAccountsApi(Api);

impl ConnectedAccountsApi {
    pub(super) fn new(api: Api) -> Self {
        Self(api)
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
        let content = Content::of(account.credentials.as_ref(), account.api_config.as_ref());
        // Required for an account whose tokens come from an authorization link.
        let content = content.or_empty_token();
        if account.key.id.is_some() {
            let problem = "an account is created by its connection and identifier, not by its id";
            return Err(ApiError::InvalidCall(problem));
        }
        self.send(Method::POST, &account.key, content).await
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
        let path = "/api/v1/connected_accounts/details";
        account.query(self.0.request(Method::GET, path)).send_member("connected_account").await
    }

    /// Returns the account's credentials, for services that neither a tool nor the
    /// [proxy](super::tools::ToolsApi::proxy) supports. Keep them secret.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getConnectedAccountByIdentifier", "get_connected_account_by_identifier"))]
    pub async fn credentials(&self, account: &AccountKey) -> Result<Option<Credentials>, ApiError> {
        let request = self.0.request(Method::GET, "/api/v1/connected_accounts/auth");
        let response = account.query(request).send::<CredentialsResponse>().await?;
        Ok(response.connected_account.authorization_details.into_credentials())
    }

    /// Lists all accounts of the environment.
    #[doc(alias("listConnectedAccounts", "list_connected_accounts"))]
    pub fn list(&self) -> ConnectedAccounts {
        ConnectedAccounts::new(self.0.request(Method::GET, "/api/v1/connected_accounts"))
    }

    /// Searches accounts by a part of their identifier and other fields, at least three characters.
    pub fn search(&self, text: &str) -> AccountSearch {
        let request = self.0.request(Method::GET, "/api/v1/connected_accounts:search");
        AccountSearch::new(request.query("query", text))
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
        self.send(Method::PUT, account, Content::of(credentials, api_config)).await
    }

    /// Deletes an account and its credentials permanently.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("deleteConnectedAccount", "delete_connected_account"))]
    pub async fn delete(&self, account: &AccountKey) -> Result<(), ApiError> {
        account
            .check(self.0.request(Method::POST, "/api/v1/connected_accounts:delete"))
            .json(account)
            .retries(Retries::Unsent)
            .send::<Value>()
            .await
            .map(drop)
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
        let (user_verify_url, state) = (Some(user_verify_url), Some(state));
        self.link(LinkBody { account, user_verify_url, state }).await
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
            .0
            .request(Method::POST, "/api/v1/connected_accounts/user/verify")
            .json(&VerifyBody { auth_request_id, identifier })
            .send::<VerifiedResponse>()
            .await?
            .url())
    }

    /// Waits until the user has authorized the account. Default: five minutes.
    pub fn wait_until_active(&self, account: &AccountKey) -> WaitUntilActive {
        WaitUntilActive::new(self.clone(), account.clone())
    }

    async fn link(&self, body: LinkBody<'_>) -> Result<AuthorizationLink, ApiError> {
        let request = self.0.request(Method::POST, "/api/v1/connected_accounts/magic_link");
        body.account.check(request).json(&body).send::<LinkResponse>().await?.link()
    }

    async fn send(
        &self,
        method: Method,
        account: &AccountKey,
        connected_account: Content,
    ) -> Result<ConnectedAccount, ApiError> {
        account
            .check(self.0.request(method, "/api/v1/connected_accounts"))
            .json(&AccountBody { account, connected_account })
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
    /// The account with this ID (`ca_…`).
    pub fn id(id: impl Into<String>) -> Self {
        let (id, none) = (Some(id.into()), None);
        Self { id, connector: none.clone(), identifier: none, organization_id: None, user_id: None }
    }

    /// The account of a user, by the connection's name as spelled in the dashboard and your app's
    /// identifier of the user.
    pub fn new(connection_name: impl Into<String>, identifier: impl Into<String>) -> Self {
        let (connector, identifier) = (Some(connection_name.into()), Some(identifier.into()));
        Self { id: None, connector, identifier, organization_id: None, user_id: None }
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

    pub(super) fn parts(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("id", self.id.as_deref()),
            ("connector", self.connector.as_deref()),
            ("identifier", self.identifier.as_deref()),
            ("organization_id", self.organization_id.as_deref()),
            ("user_id", self.user_id.as_deref()),
        ]
    }

    /// Connection name and identifier, if nothing else is set.
    pub(super) fn names(&self) -> Option<(&str, &str)> {
        match self.parts().map(|(_, part)| part) {
            [None, Some(connector), Some(identifier), None, None] => Some((connector, identifier)),
            _ => None,
        }
    }

    /// The API ignores empty parts and would match other accounts too.
    pub(super) fn check(&self, request: ApiRequest) -> ApiRequest {
        match self.parts().iter().any(|(_, part)| part.is_some_and(str::is_empty)) {
            true => request.problem("a part of the account's key is empty"),
            false => request,
        }
    }

    fn query(&self, request: ApiRequest) -> ApiRequest {
        self.parts()
            .into_iter()
            .filter_map(|(name, part)| Some((name, part?)))
            .fold(self.check(request), |request, (name, part)| request.query(name, part))
    }

    /// Whether an event may be about this account.
    fn may_match(&self, event: &crate::webhook::ConnectedAccountData) -> bool {
        let same = |own: &Option<String>, other: &Option<String>| match (own, other) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        same(&self.id, &event.id)
            && same(&self.identifier, &event.identifier)
            && same(&self.connector, &event.connection_name)
    }
}

#[derive(Serialize)]
struct AccountBody<'a> {
    #[serde(flatten)]
    account: &'a AccountKey,
    connected_account: Content,
}

/// The account fields of a request.
#[derive(Default, Serialize)]
struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_config: Option<Map<String, Value>>,
}

impl Content {
    fn of(credentials: Option<&Credentials>, api_config: Option<&Map<String, Value>>) -> Self {
        Self {
            authorization_details: credentials.map(Credentials::to_wire),
            api_config: api_config.cloned(),
        }
    }

    fn or_empty_token(mut self) -> Self {
        self.authorization_details.get_or_insert_with(|| serde_json::json!({ "oauth_token": {} }));
        self
    }
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

#[derive(Serialize)]
struct VerifyBody<'a> {
    auth_request_id: &'a str,
    identifier: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CredentialsResponse {
    connected_account: WithCredentials,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WithCredentials {
    #[serde(deserialize_with = "crate::model::wire::or_default")]
    authorization_details: AuthorizationDetails,
}
