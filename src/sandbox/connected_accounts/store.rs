//! Connections, accounts, and consents that are under way.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::tools::ProviderFault;
use crate::sandbox::environment::new_id;
use crate::sandbox::keys::random_token;

/// How long a link and what follows it are good.
const FLOW_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How long Gmail's tokens are good; they are renewed when they are used later.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);

#[derive(Debug)]
pub(in crate::sandbox) struct ConnectedAccounts {
    connections: Vec<Connection>,
    accounts: Vec<Account>,
    /// By the token in the link.
    links: HashMap<String, Flow>,
    /// By `auth_request_id`.
    unverified: HashMap<String, Flow>,
    pub(in crate::sandbox) verification_required: bool,
    /// Whether a link leaves an expired or disconnected account as it is.
    pub(in crate::sandbox) over_until_consent: bool,
    pub(in crate::sandbox) verified_redirect: Option<String>,
    pub(in crate::sandbox) provider_faults: VecDeque<ProviderFault>,
    /// When the mails were there.
    pub(in crate::sandbox) since: OffsetDateTime,
}

/// A service as the dashboard sets it up.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Connection {
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) name: String,
}

/// A consent that somebody may give, or has given.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Flow {
    pub(in crate::sandbox) account_id: String,
    pub(in crate::sandbox) user_verify_url: Option<String>,
    pub(in crate::sandbox) state: Option<String>,
    pub(in crate::sandbox) expires_at: OffsetDateTime,
}

#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Account {
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) connection: Connection,
    pub(in crate::sandbox) identifier: String,
    pub(in crate::sandbox) organization_id: Option<String>,
    pub(in crate::sandbox) user_id: Option<String>,
    pub(in crate::sandbox) status: Status,
    pub(in crate::sandbox) authorization_details: Value,
    pub(in crate::sandbox) api_config: Map<String, Value>,
    pub(in crate::sandbox) token_expires_at: Option<OffsetDateTime>,
    pub(in crate::sandbox) last_used_at: Option<OffsetDateTime>,
    pub(in crate::sandbox) updated_at: OffsetDateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Status {
    Active,
    Disconnected,
    Expired,
    PendingAuth,
    PendingVerification,
}

impl Status {
    pub(in crate::sandbox) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Disconnected => "DISCONNECTED",
            Self::Expired => "EXPIRED",
            Self::PendingAuth => "PENDING_AUTH",
            Self::PendingVerification => "PENDING_VERIFICATION",
        }
    }
}

/// Which account a call is about.
#[derive(Clone, Debug)]
pub(in crate::sandbox) enum Which {
    Id(String),
    Of {
        /// Any, where it is not told.
        connection: Option<String>,
        identifier: String,
        organization_id: Option<String>,
        user_id: Option<String>,
    },
}

impl Which {
    pub(in crate::sandbox) fn is(&self, account: &Account) -> bool {
        let same =
            |wanted: &Option<String>, own: &Option<String>| wanted.is_none() || wanted == own;
        match self {
            Self::Id(id) => *id == account.id,
            Self::Of { connection, identifier, organization_id, user_id } => {
                *identifier == account.identifier
                    && connection.as_ref().is_none_or(|name| *name == account.connection.name)
                    && same(organization_id, &account.organization_id)
                    && same(user_id, &account.user_id)
            }
        }
    }
}

impl Account {
    pub(in crate::sandbox) fn is_of(&self, connection_name: &str, identifier: &str) -> bool {
        self.connection.name == connection_name && self.identifier == identifier
    }

    /// Gives it fresh tokens.
    pub(in crate::sandbox) fn activate(&mut self, now: OffsetDateTime) {
        self.status = Status::Active;
        self.take_tokens(now);
    }

    /// Gives it the tokens that a consent brings, or the next ones.
    pub(in crate::sandbox) fn take_tokens(&mut self, now: OffsetDateTime) {
        self.token_expires_at = Some(now + TOKEN_LIFETIME);
        self.updated_at = now;
        self.authorization_details = json!({ "oauth_token": {
            "access_token": format!("ya29.{}", random_token()),
            "refresh_token": format!("1//{}", random_token()),
            "scopes": [GMAIL_SCOPE],
        }});
    }
}

pub(in crate::sandbox) const GMAIL_SCOPE: &str = "https://www.googleapis.com/auth/gmail.readonly";

/// Why an account cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum NotAdded {
    Exists,
    NoConnection,
}

impl ConnectedAccounts {
    pub(in crate::sandbox) fn seeded(now: OffsetDateTime) -> Self {
        Self {
            connections: vec![Connection { id: new_id("conn"), name: "gmail".to_owned() }],
            accounts: Vec::new(),
            links: HashMap::new(),
            unverified: HashMap::new(),
            verification_required: false,
            over_until_consent: false,
            verified_redirect: None,
            provider_faults: VecDeque::new(),
            since: now.replace_nanosecond(0).unwrap_or(now),
        }
    }

    pub(super) fn add_connection(&mut self, name: &str) -> Option<String> {
        if self.connection(name).is_some() {
            return None;
        }
        let connection = Connection { id: new_id("conn"), name: name.to_owned() };
        self.connections.push(connection.clone());
        Some(connection.id)
    }

    pub(in crate::sandbox) fn connection(&self, name: &str) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.name == name)
    }

    /// A new account that nobody has let the application into.
    pub(in crate::sandbox) fn add(
        &mut self,
        connection_name: &str,
        identifier: &str,
        now: OffsetDateTime,
    ) -> Result<&mut Account, NotAdded> {
        let connection = self.connection(connection_name).ok_or(NotAdded::NoConnection)?.clone();
        if self.accounts.iter().any(|account| account.is_of(connection_name, identifier)) {
            return Err(NotAdded::Exists);
        }
        self.accounts.push(Account {
            id: new_id("ca"),
            connection,
            identifier: identifier.to_owned(),
            organization_id: None,
            user_id: None,
            status: Status::PendingAuth,
            authorization_details: json!({}),
            api_config: Map::new(),
            token_expires_at: None,
            last_used_at: None,
            updated_at: now,
        });
        self.accounts.last_mut().ok_or(NotAdded::NoConnection)
    }

    /// Oldest first.
    pub(in crate::sandbox) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    pub(in crate::sandbox) fn get(&self, which: &Which) -> Option<&Account> {
        self.accounts.iter().find(|account| which.is(account))
    }

    pub(in crate::sandbox) fn get_mut(&mut self, which: &Which) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| which.is(account))
    }

    /// Removes an account, and with it all consents to it that are under way.
    pub(in crate::sandbox) fn remove(&mut self, id: &str) {
        self.accounts.retain(|account| account.id != id);
        self.links.retain(|_, flow| flow.account_id != id);
        self.unverified.retain(|_, flow| flow.account_id != id);
    }

    /// Opens the way to a consent, and gives its token and until when it is open.
    pub(in crate::sandbox) fn open_link(
        &mut self,
        account_id: &str,
        user_verify_url: Option<String>,
        state: Option<String>,
        now: OffsetDateTime,
    ) -> (String, OffsetDateTime) {
        self.links.retain(|_, flow| now < flow.expires_at);
        let (token, expires_at) = (random_token(), now + FLOW_LIFETIME);
        let flow = Flow { account_id: account_id.to_owned(), user_verify_url, state, expires_at };
        self.links.insert(token.clone(), flow);
        (token, expires_at)
    }

    pub(in crate::sandbox) fn link(&self, token: &str, now: OffsetDateTime) -> Option<&Flow> {
        self.links.get(token).filter(|flow| now < flow.expires_at)
    }

    pub(in crate::sandbox) fn close_link(&mut self, token: &str) {
        self.links.remove(token);
    }

    /// Keeps a consent until its user is verified, and gives its `auth_request_id`.
    pub(in crate::sandbox) fn await_verification(
        &mut self,
        flow: Flow,
        now: OffsetDateTime,
    ) -> String {
        self.unverified.retain(|_, flow| now < flow.expires_at);
        let id = random_token();
        self.unverified.insert(id.clone(), Flow { expires_at: now + FLOW_LIFETIME, ..flow });
        id
    }

    pub(in crate::sandbox) fn unverified(&self, id: &str, now: OffsetDateTime) -> Option<&Flow> {
        self.unverified.get(id).filter(|flow| now < flow.expires_at)
    }

    pub(in crate::sandbox) fn verified(&mut self, id: &str) {
        self.unverified.remove(id);
    }
}

/// An account as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectedAccount {
    /// `ca_…`
    pub id: String,
    /// The connection's name.
    pub connection_name: String,
    /// What the application calls the user.
    pub identifier: String,
    /// For instance `ACTIVE`.
    pub status: &'static str,
}

impl ConnectedAccount {
    pub(super) fn of(account: &Account) -> Self {
        Self {
            id: account.id.clone(),
            connection_name: account.connection.name.clone(),
            identifier: account.identifier.clone(),
            status: account.status.as_str(),
        }
    }
}
