//! Executes the tools of the services.

use http::StatusCode;
use serde_json::{Map, Value};

use crate::sandbox::connected_accounts::events::AccountEvent;
use crate::sandbox::connected_accounts::services::{ToolFailure, ToolInput, all_tools};
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::{
    AccountConnection, AccountSelector, AccountStatus, SandboxToolRun,
};
use crate::sandbox::state::history::MAX_KNOWN;

/// Result of executing a tool.
#[derive(Debug)]
pub(crate) enum ToolRun {
    Done(Value),
    Failed(ToolFailure),
    /// The account cannot be used.
    Inactive(AccountStatus),
    /// There is none, or only one of another service.
    NoAccount,
    NoTool,
}

/// Executes a tool with an account of its service.
pub(crate) fn execute(
    state: &mut State,
    tool_name: &str,
    which: &AccountSelector,
    params: &Map<String, Value>,
    agent_run_id: Option<&str>,
) -> ToolRun {
    let Some(tool) = all_tools().find(|tool| tool.name == tool_name) else {
        return ToolRun::NoTool;
    };
    // A user without a connection in the call has an account at several services.
    let Some(account) = state.connected_accounts.iter().find(|account| {
        which.is(account) && account.connection.connector.provider == tool.provider
    }) else {
        return ToolRun::NoAccount;
    };
    let identifier = account.identifier.clone();
    let which = AccountSelector::Id(account.id.clone());
    let connection = match state.use_account(&which) {
        Err(unusable) => return unusable,
        Ok((AccountConnection { connector, .. }, Some(fault))) => {
            return ToolRun::Failed(ToolFailure::new(
                fault,
                format!("{} responded with {}", connector.service, fault.as_u16()),
            ));
        }
        Ok((connection, None)) => connection,
    };
    let accounts = &mut state.connected_accounts;
    match tool.run(&ToolInput { params, since: accounts.since, runs: &accounts.tool_runs }) {
        Ok(data) => {
            if accounts.tool_runs.len() == MAX_KNOWN {
                accounts.tool_runs.pop_front();
            }
            accounts.tool_runs.push_back(SandboxToolRun {
                tool_name: tool.name,
                connection_name: connection.name,
                identifier,
                params: params.clone(),
                agent_run_id: agent_run_id.map(str::to_owned),
            });
            ToolRun::Done(data)
        }
        Err(failed) => ToolRun::Failed(failed),
    }
}

impl State {
    /// Uses an active account, with new tokens if its old ones have expired. Returns its connection,
    /// and the status that its service fails with, if configured.
    pub(crate) fn use_account(
        &mut self,
        which: &AccountSelector,
    ) -> Result<(AccountConnection, Option<StatusCode>), ToolRun> {
        let account = self.connected_accounts.get_mut(which).ok_or(ToolRun::NoAccount)?;
        if account.status != AccountStatus::Active {
            return Err(ToolRun::Inactive(account.status));
        }
        let (id, connection) = (account.id.clone(), account.connection.clone());
        let is_expired = account.token_expires_at.is_some_and(|expiry| expiry <= self.now);
        if is_expired && !account.is_refreshable {
            self.expire_account(&id);
            return Err(ToolRun::Inactive(AccountStatus::Expired));
        }
        account.last_used_at = Some(self.now);
        if is_expired {
            account.set_credentials(None, self.now);
            self.emit_account_event(AccountEvent::TokenRefreshSucceeded, &id);
        }
        let fault = self.connected_accounts.take_fault(&connection.name);
        Ok((connection, fault))
    }
}
