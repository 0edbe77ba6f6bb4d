//! Controls of connected accounts.

use http::StatusCode;

use crate::sandbox::Sandbox;
use crate::sandbox::connected_accounts::events::AccountEvent;
use crate::sandbox::state::connected_accounts::{
    AccountSelector, AccountStatus, ConnectedAccount, ProviderFault,
};

impl Sandbox {
    /// Adds a connection to Gmail with this name, and gives its id (`conn_…`). At first there is
    /// one named `gmail`.
    ///
    /// # Panics
    ///
    /// When there is one with this name.
    pub fn add_gmail_connection(&self, name: &str) -> String {
        let added = self.environment.lock().connected_accounts.add_connection(name);
        #[expect(clippy::panic, reason = "a test that adds a connection twice is mistaken")]
        added.unwrap_or_else(|| panic!("there is a connection {name}"))
    }

    /// Adds an account that is active, as if its user had let the application in long ago: no event
    /// tells of it. Gives its id (`ca_…`).
    ///
    /// # Panics
    ///
    /// When there is no connection with this name, or an account of this user.
    pub fn add_connected_account(&self, connection_name: &str, identifier: &str) -> String {
        let now = self.environment.now();
        let accounts = &mut self.environment.lock().connected_accounts;
        #[expect(clippy::panic, reason = "a test that adds what cannot be has no better answer")]
        let account = accounts
            .add(connection_name, identifier, now)
            .unwrap_or_else(|_| panic!("no account of {identifier} at {connection_name} can be"));
        account.activate(now);
        account.id.clone()
    }

    /// All connected accounts, oldest first.
    #[must_use]
    pub fn connected_accounts(&self) -> Vec<ConnectedAccount> {
        self.environment.lock().connected_accounts.iter().map(ConnectedAccount::of).collect()
    }

    /// The connected account of a user, by the connection's name and what the application calls the
    /// user.
    #[must_use]
    pub fn connected_account(
        &self,
        connection_name: &str,
        identifier: &str,
    ) -> Option<ConnectedAccount> {
        let state = self.environment.lock();
        let mut accounts = state.connected_accounts.iter();
        let account = accounts.find(|account| account.is_of(connection_name, identifier))?;
        Some(ConnectedAccount::of(account))
    }

    /// Lets the tokens of an account expire such that they cannot be renewed, and says whether it
    /// was active: its user has to let the application in again.
    pub fn expire_connected_account(&self, id: &str) -> bool {
        self.end_connected_account(id, AccountStatus::Expired)
    }

    /// Disconnects an account, whatever its status, and says whether that changed anything.
    pub fn disconnect_connected_account(&self, id: &str) -> bool {
        self.end_connected_account(id, AccountStatus::Disconnected)
    }

    /// Whether an account that is expired or disconnected stays so until its user has consented.
    /// At first it waits for its user (`PENDING_AUTH`) as soon as there is a link. What other
    /// environments do is not documented.
    pub fn keep_status_until_consent(&self, kept: bool) {
        self.environment.lock().connected_accounts.over_until_consent = kept;
    }

    /// Whether every user has to be verified by the application: then a consent without a
    /// `user_verify_url` comes to nothing (`failed_to_exchange`). At first they need not be.
    pub fn require_user_verification(&self, required: bool) {
        self.environment.lock().connected_accounts.verification_required = required;
    }

    /// Where verified users are sent to: `post_user_verify_redirect_url`. At first that is a page of
    /// the sandbox.
    pub fn redirect_verified_users_to(&self, url: &str) {
        self.environment.lock().connected_accounts.verified_redirect = Some(url.to_owned());
    }

    /// Lets the service behind a connection answer its next calls with this status, so many of
    /// them: tools then fail with `TOOL_ERROR`, and the proxy passes the answer on.
    pub fn fail_provider(&self, connection_name: &str, times: usize, status: StatusCode) {
        let fault = ProviderFault { connection: connection_name.to_owned(), status };
        let accounts = &mut self.environment.lock().connected_accounts;
        accounts.provider_faults.extend(std::iter::repeat_n(fault, times));
    }

    fn end_connected_account(&self, id: &str, status: AccountStatus) -> bool {
        let now = self.environment.now();
        let mut state = self.environment.lock();
        let account = state.connected_accounts.get(&AccountSelector::Id(id.to_owned()));
        let may_end = |own: AccountStatus| match status {
            AccountStatus::Disconnected => own != AccountStatus::Disconnected,
            _ => own == AccountStatus::Active,
        };
        if !account.is_some_and(|account| may_end(account.status)) {
            return false;
        }
        if status == AccountStatus::Expired {
            state.emit_account_event(AccountEvent::TokenRefreshFailed, id, now);
        }
        state.set_account_status(id, status, now);
        true
    }
}
