//! Connections, accounts, and pending consents.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::sandbox::state::connectors::Connector;
use crate::sandbox::state::ids::{new_id, random_token};

/// Lifetime of a link and of its pending verification.
const FLOW_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Lifetime of OAuth tokens, which are refreshed when they are used later.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);

#[derive(Debug)]
pub(crate) struct SandboxConnectedAccounts {
    connections: Vec<AccountConnection>,
    accounts: Vec<Account>,
    /// By the token of the link.
    links: HashMap<String, ConsentFlow>,
    /// By `auth_request_id`.
    unverified: HashMap<String, ConsentFlow>,
    pub(crate) verification_required: bool,
    /// Whether a link keeps the status of an expired or disconnected account.
    pub(crate) over_until_consent: bool,
    pub(crate) verified_redirect: Option<String>,
    pub(crate) provider_faults: VecDeque<ProviderFault>,
    /// The last tools that were executed, oldest first.
    pub(crate) tool_runs: VecDeque<SandboxToolRun>,
    /// Reference time of the e-mails and messages.
    pub(crate) since: OffsetDateTime,
}

/// A connection as configured in the dashboard.
#[derive(Clone, Debug)]
pub(crate) struct AccountConnection {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) connector: &'static Connector,
}

/// A pending or given consent.
#[derive(Clone)]
pub(crate) struct ConsentFlow {
    pub(crate) account_id: String,
    pub(crate) user_verify_url: Option<String>,
    pub(crate) state: Option<String>,
    /// What the user has entered, at a service with API keys.
    pub(crate) api_key: Option<String>,
    pub(crate) expires_at: OffsetDateTime,
}

// Manual impl: contains the key.
impl fmt::Debug for ConsentFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsentFlow").field("account_id", &self.account_id).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) connection: AccountConnection,
    pub(crate) identifier: String,
    pub(crate) organization_id: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) status: AccountStatus,
    pub(crate) authorization_details: Value,
    pub(crate) api_config: Map<String, Value>,
    pub(crate) token_expires_at: Option<OffsetDateTime>,
    /// Whether new tokens replace expired ones.
    pub(crate) is_refreshable: bool,
    pub(crate) last_used_at: Option<OffsetDateTime>,
    pub(crate) updated_at: OffsetDateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountStatus {
    Active,
    Disconnected,
    Expired,
    PendingAuth,
    PendingVerification,
}

impl AccountStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Disconnected => "DISCONNECTED",
            Self::Expired => "EXPIRED",
            Self::PendingAuth => "PENDING_AUTH",
            Self::PendingVerification => "PENDING_VERIFICATION",
        }
    }
}

/// Identifies the account of a call.
#[derive(Clone, Debug)]
pub(crate) enum AccountSelector {
    Id(String),
    Of {
        /// Any, if absent.
        connection: Option<String>,
        identifier: String,
        organization_id: Option<String>,
        user_id: Option<String>,
    },
}

impl AccountSelector {
    pub(crate) fn is(&self, account: &Account) -> bool {
        match self {
            Self::Id(id) => *id == account.id,
            Self::Of { connection, identifier, organization_id, user_id } => {
                *identifier == account.identifier
                    && connection.as_ref().is_none_or(|name| *name == account.connection.name)
                    && (organization_id.is_none() || *organization_id == account.organization_id)
                    && (user_id.is_none() || *user_id == account.user_id)
            }
        }
    }
}

impl Account {
    pub(crate) fn belongs_to(&self, connection_name: &str, identifier: &str) -> bool {
        self.connection.name == connection_name && self.identifier == identifier
    }

    /// Sets the credentials of a consent, or refreshed ones.
    pub(crate) fn set_credentials(&mut self, api_key: Option<&str>, now: OffsetDateTime) {
        let connector = self.connection.connector;
        self.authorization_details = connector.issue(api_key);
        self.token_expires_at = (!connector.scopes().is_empty()).then(|| now + TOKEN_LIFETIME);
        self.updated_at = now;
    }
}

/// Why an account cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddAccountError {
    Exists,
    NoConnection,
}

impl SandboxConnectedAccounts {
    pub(crate) fn seeded(now: OffsetDateTime) -> Self {
        Self {
            connections: Connector::all()
                .map(|connector| AccountConnection {
                    id: new_id("conn"),
                    name: connector.provider.to_ascii_lowercase(),
                    connector,
                })
                .collect(),
            accounts: Vec::new(),
            links: HashMap::new(),
            unverified: HashMap::new(),
            verification_required: false,
            over_until_consent: false,
            verified_redirect: None,
            provider_faults: VecDeque::new(),
            tool_runs: VecDeque::new(),
            since: now.replace_nanosecond(0).unwrap_or(now),
        }
    }

    /// `None` if there is a connection with this name, or no such provider.
    pub(crate) fn add_connection(&mut self, name: &str, provider: &str) -> Option<String> {
        let connector = Connector::of(provider).filter(|_| self.connection(name).is_none())?;
        let id = new_id("conn");
        self.connections.push(AccountConnection {
            id: id.clone(),
            name: name.to_owned(),
            connector,
        });
        Some(id)
    }

    pub(crate) fn connection(&self, name: &str) -> Option<&AccountConnection> {
        self.connections.iter().find(|connection| connection.name == name)
    }

    /// A new account without authorization.
    pub(crate) fn add(
        &mut self,
        connection_name: &str,
        identifier: &str,
        now: OffsetDateTime,
    ) -> Result<&mut Account, AddAccountError> {
        let connection =
            self.connection(connection_name).ok_or(AddAccountError::NoConnection)?.clone();
        if self.accounts.iter().any(|account| account.belongs_to(connection_name, identifier)) {
            return Err(AddAccountError::Exists);
        }
        self.accounts.push(Account {
            id: new_id("ca"),
            connection,
            identifier: identifier.to_owned(),
            organization_id: None,
            user_id: None,
            status: AccountStatus::PendingAuth,
            authorization_details: json!({}),
            api_config: Map::new(),
            token_expires_at: None,
            is_refreshable: true,
            last_used_at: None,
            updated_at: now,
        });
        self.accounts.last_mut().ok_or(AddAccountError::NoConnection)
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    pub(crate) fn with_id(&self, id: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.id == id)
    }

    pub(crate) fn with_id_mut(&mut self, id: &str) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.id == id)
    }

    pub(crate) fn get(&self, which: &AccountSelector) -> Option<&Account> {
        self.accounts.iter().find(|account| which.is(account))
    }

    pub(crate) fn get_mut(&mut self, which: &AccountSelector) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| which.is(account))
    }

    /// Removes an account, and all pending consents of it.
    pub(crate) fn remove(&mut self, id: &str) {
        self.accounts.retain(|account| account.id != id);
        self.links.retain(|_, flow| flow.account_id != id);
        self.unverified.retain(|_, flow| flow.account_id != id);
    }

    /// Creates a pending consent, and returns its token and expiry.
    pub(crate) fn open_link(
        &mut self,
        account_id: &str,
        user_verify_url: Option<String>,
        state: Option<String>,
        now: OffsetDateTime,
    ) -> (String, OffsetDateTime) {
        self.links.retain(|_, flow| now < flow.expires_at);
        let (token, expires_at) = (random_token(), now + FLOW_LIFETIME);
        self.links.insert(
            token.clone(),
            ConsentFlow {
                account_id: account_id.to_owned(),
                user_verify_url,
                state,
                api_key: None,
                expires_at,
            },
        );
        (token, expires_at)
    }

    pub(crate) fn link(&self, token: &str, now: OffsetDateTime) -> Option<&ConsentFlow> {
        self.links.get(token).filter(|flow| now < flow.expires_at)
    }

    pub(crate) fn close_link(&mut self, token: &str) {
        self.links.remove(token);
    }

    /// Stores a consent until its user is verified, and returns its `auth_request_id`.
    pub(crate) fn await_verification(&mut self, flow: ConsentFlow, now: OffsetDateTime) -> String {
        self.unverified.retain(|_, flow| now < flow.expires_at);
        let id = random_token();
        self.unverified.insert(id.clone(), ConsentFlow { expires_at: now + FLOW_LIFETIME, ..flow });
        id
    }

    pub(crate) fn unverified(&self, id: &str, now: OffsetDateTime) -> Option<&ConsentFlow> {
        self.unverified.get(id).filter(|flow| now < flow.expires_at)
    }

    pub(crate) fn verified(&mut self, id: &str) {
        self.unverified.remove(id);
    }

    /// The status that the next call of the service behind a connection fails with.
    pub(crate) fn take_fault(&mut self, connection_name: &str) -> Option<StatusCode> {
        let faults = &mut self.provider_faults;
        let index = faults.iter().position(|fault| fault.connection == connection_name)?;
        faults.remove(index).map(|fault| fault.status)
    }
}

/// A connected account, for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxConnectedAccount {
    /// `ca_…`
    pub id: String,
    /// The connection's name.
    pub connection_name: String,
    /// The application's identifier of the user.
    pub identifier: String,
    /// For instance `ACTIVE`.
    pub status: &'static str,
}

impl SandboxConnectedAccount {
    pub(crate) fn of(account: &Account) -> Self {
        Self {
            id: account.id.clone(),
            connection_name: account.connection.name.clone(),
            identifier: account.identifier.clone(),
            status: account.status.as_str(),
        }
    }
}

/// A tool that was executed, for tests.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SandboxToolRun {
    /// For instance `slack_send_message`.
    pub tool_name: &'static str,
    /// The connection's name.
    pub connection_name: String,
    /// The application's identifier of the user.
    pub identifier: String,
    /// The input.
    pub params: Map<String, Value>,
    /// The run of the agent, if the call names one.
    pub agent_run_id: Option<String>,
}

/// A service that responds to the next calls with an error.
#[derive(Clone, Debug)]
pub(crate) struct ProviderFault {
    pub(crate) connection: String,
    pub(crate) status: StatusCode,
}
