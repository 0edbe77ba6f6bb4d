//! What the API tells of an account, and its lists.

use futures::stream::Stream;
use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{AccountKey, ConnectedAccountStatus, Credentials};
use crate::api::client::pagination;
use crate::api::client::pagination::Page;
use crate::api::{ApiError, ApiRequest};
use crate::model::wire;
use crate::util::open_enum::open_enum;

/// A user's account at another service, without its credentials. The environment leaves out what it
/// does not know.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ConnectedAccount {
    /// `ca_…`
    #[serde(deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// What your app calls the user.
    #[serde(deserialize_with = "wire::text")]
    pub identifier: Option<String>,
    /// The name of the connection, as the dashboard spells it.
    #[serde(deserialize_with = "wire::text")]
    pub connector: Option<String>,
    /// The connection (`conn_…`).
    #[serde(deserialize_with = "wire::text")]
    pub connection_id: Option<String>,
    /// The service, for instance `GMAIL`.
    #[serde(deserialize_with = "wire::text")]
    pub provider: Option<String>,
    /// How your app is let in.
    #[serde(deserialize_with = "wire::word")]
    pub authorization_type: Option<AuthorizationType>,
    /// Whether it can be used.
    #[serde(deserialize_with = "wire::word")]
    pub status: Option<ConnectedAccountStatus>,
    /// When its token expires. The environment renews it by itself while it can.
    #[serde(deserialize_with = "wire::timestamp")]
    pub token_expires_at: Option<OffsetDateTime>,
    /// When it was last used.
    #[serde(deserialize_with = "wire::timestamp")]
    pub last_used_at: Option<OffsetDateTime>,
    /// When anything about it last changed.
    #[serde(deserialize_with = "wire::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
    /// Settings of the connection for this account; lists leave them out.
    #[serde(deserialize_with = "wire::or_default")]
    pub api_config: Map<String, Value>,
}

impl ConnectedAccount {
    /// Whether tools can use it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == Some(ConnectedAccountStatus::Active)
    }
}

open_enum! {
    /// How an app is let in at another service.
    AuthorizationType {
        /// A key that stays the same.
        ApiKey = "API_KEY",
        /// User name and password.
        Basic = "BASIC",
        /// User name and password.
        BasicAuth = "BASIC_AUTH",
        /// A token that stays the same.
        BearerToken = "BEARER_TOKEN",
        /// In a way of its own.
        Custom = "CUSTOM",
        /// Domain-wide delegation of Google Workspace.
        GoogleDwd = "GOOGLE_DWD",
        /// Not at all: the service is open to everybody.
        NoAuth = "NO_AUTH",
        /// OAuth 2.0, by the user's consent.
        OAuth = "OAUTH",
        /// OAuth 2.0, without a user.
        OAuthM2m = "OAUTH_M2M",
        /// OAuth 2.0 of health records.
        SmartFhir = "SMART_FHIR",
        /// Trello's OAuth 1.
        TrelloOAuth1 = "TRELLO_OAUTH1",
        /// An identity provider that the service trusts.
        TrustedIdp = "TRUSTED_IDP",
    }
}

/// An account that is to be there.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewConnectedAccount {
    pub(super) key: AccountKey,
    pub(super) credentials: Option<Credentials>,
    pub(super) api_config: Option<Map<String, Value>>,
}

impl NewConnectedAccount {
    /// The account of a user at a connection ([`AccountKey::new`]), which gets its tokens when the
    /// user lets your app in.
    pub fn new(account: &AccountKey) -> Self {
        Self { key: account.clone(), credentials: None, api_config: None }
    }

    /// Credentials that your app has already, for instance a key of the user's.
    pub fn credentials(mut self, credentials: impl Into<Credentials>) -> Self {
        self.credentials = Some(credentials.into());
        self
    }

    /// Settings of the connection for this account. They count only where it is new.
    pub fn api_config(mut self, config: Map<String, Value>) -> Self {
        self.api_config = Some(config);
        self
    }
}

/// The list of accounts, before it is fetched. Made by
/// [`ConnectedAccountsApi::list`](super::ConnectedAccountsApi::list).
///
/// A filter that is empty is an [`ApiError::InvalidCall`]: the API would take it for none, and tell
/// of everybody's accounts.
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct ConnectedAccounts(ApiRequest);

impl ConnectedAccounts {
    pub(super) fn new(request: ApiRequest) -> Self {
        Self(request)
    }

    /// Only those of connections with this name; call it again for further ones, up to 20. Not
    /// together with [`connector`](Self::connector).
    pub fn connection_name(self, name: &str) -> Self {
        Self(self.0.filter("connection_names", name))
    }

    /// Only those of a service by its kind, for instance `notion`.
    pub fn connector(self, connector: &str) -> Self {
        Self(self.0.filter("connector", connector))
    }

    /// Only those of whom your app calls so.
    pub fn identifier(self, identifier: &str) -> Self {
        Self(self.0.filter("identifier", identifier))
    }

    /// Only those of this organization.
    pub fn organization_id(self, id: &str) -> Self {
        Self(self.0.filter("organization_id", id))
    }

    /// Only those of a service by its provider, for instance `GMAIL`.
    pub fn provider(self, provider: &str) -> Self {
        Self(self.0.filter("provider", provider))
    }

    /// Only those that have this text in them.
    pub fn matching(self, text: &str) -> Self {
        Self(self.0.matching("query", text))
    }

    /// Only those of this user of Scalekit's (`usr_…`).
    pub fn user_id(self, id: &str) -> Self {
        Self(self.0.filter("user_id", id))
    }

    /// How many accounts come in each page, up to 100. The environment decides unless set.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// The accounts, page after page as they are read. Ends after an error.
    pub fn stream(
        self,
    ) -> impl Stream<Item = Result<ConnectedAccount, ApiError>> + Send + Unpin + 'static {
        pagination::items::<AccountsPage>(self.checked())
    }

    fn checked(self) -> ApiRequest {
        match (self.0.count("connection_names"), self.0.count("connector")) {
            (0, _) | (1..=20, 0) => self.0,
            (1..=20, _) => self.0.problem("connection names do not go together with a connector"),
            _ => self.0.problem("there are more than 20 connection names"),
        }
    }
}

/// A search among accounts, before it is made. Made by
/// [`ConnectedAccountsApi::search`](super::ConnectedAccountsApi::search).
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct AccountSearch(ApiRequest);

impl AccountSearch {
    pub(super) fn new(request: ApiRequest) -> Self {
        Self(request)
    }

    /// Only among those of this connection (`conn_…`).
    pub fn connection_id(self, id: &str) -> Self {
        Self(self.0.filter("connection_id", id))
    }

    /// How many accounts come in each page, up to 30. The environment decides unless set.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// The accounts, page after page as they are read. Ends after an error.
    pub fn stream(
        self,
    ) -> impl Stream<Item = Result<ConnectedAccount, ApiError>> + Send + Unpin + 'static {
        pagination::items::<AccountsPage>(self.0)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AccountsPage {
    #[serde(deserialize_with = "wire::or_default")]
    connected_accounts: Vec<ConnectedAccount>,
    #[serde(deserialize_with = "wire::or_default")]
    next_page_token: String,
}

impl Page for AccountsPage {
    type Item = ConnectedAccount;

    fn into_parts(self) -> (Vec<ConnectedAccount>, String) {
        (self.connected_accounts, self.next_page_token)
    }
}
