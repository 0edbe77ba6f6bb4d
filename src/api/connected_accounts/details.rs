//! Connected accounts and their lists, as the API returns them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{AccountKey, Credentials};
use crate::api::{ApiRequest, ItemStream};
use crate::model::ConnectedAccountStatus;
use crate::model::wire;
use crate::util::open_enum::open_enum;

/// A user's account at another service, without its credentials. Fields that the environment omits
/// are `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct ConnectedAccount {
    /// `ca_…`
    #[serde(deserialize_with = "wire::required")]
    pub id: String,
    /// Your app's identifier of the user.
    #[serde(default, deserialize_with = "wire::text")]
    pub identifier: Option<String>,
    /// The connection's name, as spelled in the dashboard.
    #[serde(default, deserialize_with = "wire::text")]
    pub connector: Option<String>,
    /// The connection (`conn_…`).
    #[serde(default, deserialize_with = "wire::text")]
    pub connection_id: Option<String>,
    /// The service, for instance `GMAIL`.
    #[serde(default, deserialize_with = "wire::text")]
    pub provider: Option<String>,
    /// How your app is authorized.
    #[serde(default, deserialize_with = "wire::open_enum")]
    pub authorization_type: Option<AuthorizationType>,
    /// The status.
    #[serde(default, deserialize_with = "wire::open_enum")]
    pub status: Option<ConnectedAccountStatus>,
    /// Expiry of its token. The environment refreshes it automatically if possible.
    #[serde(default, with = "wire::timestamp")]
    pub token_expires_at: Option<OffsetDateTime>,
    /// Time of the last use.
    #[serde(default, with = "wire::timestamp")]
    pub last_used_at: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(default, with = "wire::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
    /// Settings of the connection for this account; omitted in lists.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub api_config: Map<String, Value>,
}

impl ConnectedAccount {
    /// Whether tools can use the account.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == Some(ConnectedAccountStatus::Active)
    }
}

open_enum! {
    /// How an app is authorized at another service.
    AuthorizationType {
        /// Static API key.
        ApiKey = "API_KEY",
        /// User name and password.
        Basic = "BASIC",
        /// User name and password.
        BasicAuth = "BASIC_AUTH",
        /// Static bearer token.
        BearerToken = "BEARER_TOKEN",
        /// Custom.
        Custom = "CUSTOM",
        /// Google Workspace domain-wide delegation.
        GoogleDwd = "GOOGLE_DWD",
        /// None: the service is public.
        NoAuth = "NO_AUTH",
        /// OAuth 2.0 with the user's consent.
        OAuth = "OAUTH",
        /// OAuth 2.0 client credentials.
        OAuthM2m = "OAUTH_M2M",
        /// OAuth 2.0 of SMART on FHIR.
        SmartFhir = "SMART_FHIR",
        /// Trello's OAuth 1.
        TrelloOAuth1 = "TRELLO_OAUTH1",
        /// A trusted identity provider.
        TrustedIdp = "TRUSTED_IDP",
    }
}

/// An account to create.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewConnectedAccount {
    pub(super) key: AccountKey,
    pub(super) credentials: Option<Credentials>,
    pub(super) api_config: Option<Map<String, Value>>,
}

impl NewConnectedAccount {
    /// Creates the account of a user at a connection ([`AccountKey::new`]), which gets its tokens
    /// when the user authorizes your app.
    pub fn new(account: &AccountKey) -> Self {
        Self { key: account.clone(), credentials: None, api_config: None }
    }

    /// Sets credentials that your app already has, for instance the user's API key. Default: none.
    pub fn credentials(mut self, credentials: impl Into<Credentials>) -> Self {
        self.credentials = Some(credentials.into());
        self
    }

    /// Sets settings of the connection for this account. Ignored if the account exists.
    pub fn api_config(mut self, config: Map<String, Value>) -> Self {
        self.api_config = Some(config);
        self
    }
}

/// A request for a list of accounts. Returned by
/// [`ConnectedAccountsApi::list`](super::ConnectedAccountsApi::list).
///
/// An empty filter is an [`ApiError::InvalidCall`](crate::api::ApiError::InvalidCall), because the
/// API would ignore it and list the accounts of all users.
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct ConnectedAccounts(ApiRequest);

impl ConnectedAccounts {
    pub(super) fn new(request: ApiRequest) -> Self {
        Self(request)
    }

    /// Filters by connection name. Can be called up to 20 times, for several names. Not together
    /// with [`connector`](Self::connector).
    pub fn connection_name(self, name: &str) -> Self {
        Self(self.0.filter("connection_names", name))
    }

    /// Filters by connector, for instance `notion`.
    pub fn connector(self, connector: &str) -> Self {
        Self(self.0.filter("connector", connector))
    }

    /// Filters by identifier.
    pub fn identifier(self, identifier: &str) -> Self {
        Self(self.0.filter("identifier", identifier))
    }

    /// Filters by organization.
    pub fn organization_id(self, id: &str) -> Self {
        Self(self.0.filter("organization_id", id))
    }

    /// Filters by provider, for instance `GMAIL`.
    pub fn provider(self, provider: &str) -> Self {
        Self(self.0.filter("provider", provider))
    }

    /// Filters by text.
    pub fn matching(self, text: &str) -> Self {
        Self(self.0.matching("query", text))
    }

    /// Filters by Scalekit user (`usr_…`).
    pub fn user_id(self, id: &str) -> Self {
        Self(self.0.filter("user_id", id))
    }

    /// Sets the page size, up to 100. Default: the environment's.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// Streams the accounts, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<ConnectedAccount> {
        let problem = match (self.0.count("connection_names"), self.0.count("connector")) {
            (0, _) | (1..=20, 0) => None,
            (1..=20, _) => Some("connection names cannot be combined with a connector"),
            _ => Some("there are more than 20 connection names"),
        };
        ItemStream::new(self.0.problem(problem), "connected_accounts")
    }
}

/// A search for accounts. Returned by
/// [`ConnectedAccountsApi::search`](super::ConnectedAccountsApi::search).
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct AccountSearch(ApiRequest);

impl AccountSearch {
    pub(super) fn new(request: ApiRequest) -> Self {
        Self(request)
    }

    /// Filters by connection (`conn_…`).
    pub fn connection_id(self, id: &str) -> Self {
        Self(self.0.filter("connection_id", id))
    }

    /// Sets the page size, up to 30. Default: the environment's.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// Streams the accounts, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<ConnectedAccount> {
        ItemStream::new(self.0, "connected_accounts")
    }
}
