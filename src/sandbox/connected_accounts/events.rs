//! Changes of connected accounts, and their events.

use serde_json::{Map, Value, json};

use crate::sandbox::respond::{timestamp, without_nulls};
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::{Account, AccountStatus};

/// An event other than a change of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountEvent {
    Created,
    Deleted,
    MagicLinkGenerated,
    OauthSucceeded,
    OauthTokensFetched,
    TokenRefreshFailed,
    TokenRefreshSucceeded,
    Updated,
}

impl AccountEvent {
    fn event_type(self) -> &'static str {
        match self {
            Self::Created => "connected_account.created",
            Self::Deleted => "connected_account.deleted",
            Self::MagicLinkGenerated => "connected_account.magic_link_generated",
            Self::OauthSucceeded => "connected_account.oauth_succeeded",
            Self::OauthTokensFetched => "connected_account.oauth_tokens_fetched",
            Self::TokenRefreshFailed => "connected_account.token_refresh_failed",
            Self::TokenRefreshSucceeded => "connected_account.token_refresh_succeeded",
            Self::Updated => "connected_account.updated",
        }
    }
}

impl State {
    /// Notifies the webhook endpoints; before a removal, after any other change.
    pub(crate) fn emit_account_event(&mut self, event: AccountEvent, id: &str) {
        let Some(account) = self.connected_accounts.with_id(id) else { return };
        let mut data = common_data(account);
        data.extend(without_nulls(json!({
            "token_expires_at": account.token_expires_at.map(timestamp),
            "last_used_at": account.last_used_at.map(timestamp),
        })));
        self.webhooks.emit(event.event_type(), data.into(), self.now);
    }

    /// Changes the status of an account, and notifies the webhook endpoints. Returns whether that
    /// was a change.
    pub(crate) fn set_account_status(&mut self, id: &str, status: AccountStatus) -> bool {
        let Some(account) = self.connected_accounts.with_id_mut(id) else { return false };
        let old = std::mem::replace(&mut account.status, status);
        if old == status {
            return false;
        }
        account.updated_at = self.now;
        let mut data = common_data(account);
        data.insert("old_status".to_owned(), json!(old.as_str()));
        self.webhooks.emit("connected_account.status_updated", data.into(), self.now);
        true
    }
}

fn common_data(account: &Account) -> Map<String, Value> {
    without_nulls(json!({
        "authorization_type": account.connection.connector.authorization_type(),
        "connection_id": account.connection.id,
        "connection_name": account.connection.name,
        "id": account.id,
        "identifier": account.identifier,
        "provider": account.connection.connector.provider,
        "status": account.status.as_str(),
    }))
}

impl State {
    /// Stores the account's credentials and makes it active.
    pub(crate) fn connect_account(&mut self, id: &str, api_key: Option<&str>) {
        let Some(account) = self.connected_accounts.with_id_mut(id) else { return };
        account.set_credentials(api_key, self.now);
        let is_oauth = !account.connection.connector.scopes().is_empty();
        if is_oauth {
            self.emit_account_event(AccountEvent::OauthTokensFetched, id);
        }
        self.set_account_status(id, AccountStatus::Active);
        if is_oauth {
            self.emit_account_event(AccountEvent::OauthSucceeded, id);
        }
    }

    /// Expires an account whose tokens cannot be refreshed.
    pub(crate) fn expire_account(&mut self, id: &str) {
        self.emit_account_event(AccountEvent::TokenRefreshFailed, id);
        self.set_account_status(id, AccountStatus::Expired);
    }
}
