//! Controls of connected accounts.

use std::sync::Arc;

use http::StatusCode;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::connected_accounts::{
    AccountStatus, ProviderFault, SandboxConnectedAccount, SandboxToolRun,
};

/// Connected accounts. Returned by
/// [`Sandbox::connected_accounts`](crate::sandbox::Sandbox::connected_accounts).
#[derive(Clone, Copy, Debug)]
pub struct SandboxConnectedAccounts<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl SandboxConnectedAccounts<'_> {
    /// Adds a connection with this name, and returns its ID (`conn_…`). Providers are `GMAIL`,
    /// `SLACK`, `SALESFORCE` and `EXA`; the sandbox starts with a connection of each, named like it
    /// in lower case.
    ///
    /// # Panics
    ///
    /// When there is one with this name, or no such provider.
    pub fn add_connection(&self, name: &str, provider: &str) -> String {
        let added = self.environment.lock().connected_accounts.add_connection(name, provider);
        #[expect(clippy::panic, reason = "adding an invalid connection is a bug of the test")]
        added.unwrap_or_else(|| panic!("cannot add a connection {name} of {provider}"))
    }

    /// Adds an active account without an event, and returns its ID (`ca_…`).
    ///
    /// ```
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// let sandbox = Sandbox::new();
    /// let id = sandbox.connected_accounts().add("gmail", "usr_1");
    /// assert!(sandbox.connected_accounts().expire(&id));
    /// assert_eq!(sandbox.connected_accounts().list()[0].status, "EXPIRED");
    /// ```
    ///
    /// # Panics
    ///
    /// When there is no connection with this name, or an account of this user.
    pub fn add(&self, connection_name: &str, identifier: &str) -> String {
        let state = &mut *self.environment.lock();
        let added = state.connected_accounts.add(connection_name, identifier, state.now);
        #[expect(clippy::panic, reason = "adding an invalid account is a bug of the test")]
        let account = added.unwrap_or_else(|_| {
            panic!("cannot add an account of {identifier} at {connection_name}")
        });
        account.status = AccountStatus::Active;
        account.set_credentials(None, state.now);
        account.id.clone()
    }

    /// All connected accounts, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<SandboxConnectedAccount> {
        self.environment.lock().connected_accounts.iter().map(SandboxConnectedAccount::of).collect()
    }

    /// The connected account of a user, by the connection's name and the application's identifier of
    /// the user.
    #[must_use]
    pub fn get(&self, connection_name: &str, identifier: &str) -> Option<SandboxConnectedAccount> {
        self.environment
            .lock()
            .connected_accounts
            .iter()
            .find(|account| account.belongs_to(connection_name, identifier))
            .map(SandboxConnectedAccount::of)
    }

    /// Expires an account, whose user has to authorize the application again. Returns whether it was
    /// active.
    pub fn expire(&self, id: &str) -> bool {
        let mut state = self.environment.lock();
        let is_active = state
            .connected_accounts
            .with_id(id)
            .is_some_and(|account| account.status == AccountStatus::Active);
        if is_active {
            state.expire_account(id);
        }
        is_active
    }

    /// Denies the account new tokens from now on: it expires when it is used after
    /// `token_expires_at`, an hour after the consent. Returns whether it has tokens that expire, which
    /// API keys do not.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use std::time::Duration;
    ///
    /// use tower_scalekit::Sandbox;
    /// use tower_scalekit::api::connected_accounts::AccountKey;
    /// use tower_scalekit::api::tools::ToolCall;
    ///
    /// let sandbox = Sandbox::new();
    /// let id = sandbox.connected_accounts().add("salesforce", "user_123");
    /// assert!(sandbox.connected_accounts().deny_refresh(&id));
    /// sandbox.clock().advance(Duration::from_secs(60 * 60));
    /// let list = ToolCall::new("salesforce_accounts_list", &AccountKey::id(&id));
    /// sandbox.scalekit().api().tools().execute(&list).await.unwrap_err();
    /// assert_eq!(sandbox.connected_accounts().list()[0].status, "EXPIRED");
    /// # }
    /// ```
    pub fn deny_refresh(&self, id: &str) -> bool {
        self.environment.lock().connected_accounts.with_id_mut(id).is_some_and(|account| {
            account.is_refreshable = false;
            account.token_expires_at.is_some()
        })
    }

    /// The tools that were executed with success, oldest first: the last 10,000.
    #[must_use]
    pub fn tool_runs(&self) -> Vec<SandboxToolRun> {
        self.environment.lock().connected_accounts.tool_runs.iter().cloned().collect()
    }

    /// Disconnects an account, and returns whether that changed its status.
    pub fn disconnect(&self, id: &str) -> bool {
        self.environment.lock().set_account_status(id, AccountStatus::Disconnected)
    }

    /// Sets whether an expired or disconnected account keeps its status until its user has
    /// consented. Default: false, and an authorization link makes it `PENDING_AUTH`. The behavior
    /// of other environments is not documented.
    pub fn keep_status_until_consent(&self, kept: bool) {
        self.environment.lock().connected_accounts.over_until_consent = kept;
    }

    /// Sets whether the application must verify every user: a consent without a `user_verify_url`
    /// then fails with `failed_to_exchange`. Default: false.
    pub fn require_user_verification(&self, required: bool) {
        self.environment.lock().connected_accounts.verification_required = required;
    }

    /// Sets where verified users are sent: `post_user_verify_redirect_url`. Default: a page of the
    /// sandbox.
    pub fn set_verified_redirect_url(&self, url: &str) {
        self.environment.lock().connected_accounts.verified_redirect = Some(url.to_owned());
    }

    /// Fails the next `times` calls of the service behind a connection with this status: tools
    /// return `TOOL_ERROR`, and the proxy returns the response.
    pub fn fail_provider(&self, connection_name: &str, times: usize, status: StatusCode) {
        let fault = ProviderFault { connection: connection_name.to_owned(), status };
        self.environment
            .lock()
            .connected_accounts
            .provider_faults
            .extend(std::iter::repeat_n(fault, times));
    }
}
