//! The tools of Gmail, and their execution.

use std::collections::VecDeque;

use http::StatusCode;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::sandbox::connected_accounts::events::AccountEvent;
use crate::sandbox::connected_accounts::gmail;
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::{AccountSelector, AccountStatus, ProviderFault};

/// A tool: its name, its description, and the JSON schema of its input.
pub(crate) struct Tool {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    description: &'static str,
    input: &'static str,
}

pub(crate) const TOOLS: [Tool; 2] = [
    Tool {
        id: "tol_58327482062864392",
        name: "gmail_fetch_mails",
        description: "Fetch emails from a connected Gmail account, newest first.",
        input: r#"{
            "type": "object",
            "properties": {
                "query": { "type": "string", "description": "A search as in Gmail, such as is:unread" },
                "max_results": { "type": "integer", "minimum": 1, "maximum": 500 }
            }
        }"#,
    },
    Tool {
        id: "tol_58327482062864393",
        name: "gmail_get_message_by_id",
        description: "Get an email of a connected Gmail account by its id.",
        input: r#"{
            "type": "object",
            "required": ["message_id"],
            "properties": { "message_id": { "type": "string" } }
        }"#,
    },
];

impl Tool {
    pub(crate) fn definition(&self) -> Value {
        let input: Value = serde_json::from_str(self.input).unwrap_or_default();
        json!({ "name": self.name, "description": self.description, "input_schema": input })
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.name.contains(&text) || self.description.to_lowercase().contains(&text)
    }

    /// The result, or Gmail's error.
    fn run(
        &self,
        params: &Map<String, Value>,
        since: OffsetDateTime,
    ) -> Result<Value, ToolFailure> {
        let invalid = |message: &str| Err(ToolFailure::new(StatusCode::BAD_REQUEST, message));
        match self.name {
            "gmail_fetch_mails" => {
                let query = match params.get("query") {
                    None | Some(Value::Null) => "",
                    Some(Value::String(query)) => query,
                    Some(_) => return invalid("query must be a string"),
                };
                let count = match params.get("max_results") {
                    None | Some(Value::Null) => Some(10),
                    // Protobuf's Struct turns JSON numbers into 5.0.
                    Some(count) => {
                        count.as_f64().filter(|count| (1.0..=500.0).contains(count)).map(
                            #[expect(
                                clippy::cast_possible_truncation,
                                clippy::cast_sign_loss,
                                reason = "1 to 500"
                            )]
                            |count| count as usize,
                        )
                    }
                };
                let Some(count) = count else {
                    return invalid("max_results must be a number from 1 to 500");
                };
                let mails: Vec<_> = gmail::search(query, since)
                    .iter()
                    .take(count)
                    .map(gmail::Mail::structured)
                    .collect();
                Ok(json!({ "messages": mails }))
            }
            _ => match params.get("message_id").and_then(Value::as_str) {
                None => invalid("message_id must be a string"),
                Some(id) => gmail::find(id, since).map(|mail| mail.structured()).ok_or_else(|| {
                    ToolFailure::new(StatusCode::NOT_FOUND, "Requested entity was not found.")
                }),
            },
        }
    }
}

/// An error of the service.
#[derive(Clone, Debug)]
pub(crate) struct ToolFailure {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ToolFailure {
    fn new(status: StatusCode, message: &str) -> Self {
        Self { status, code: gmail::google_status(status), message: message.to_owned() }
    }
}

/// Result of executing a tool.
#[derive(Debug)]
pub(crate) enum ToolRun {
    Done(Value),
    Failed(ToolFailure),
    /// The account cannot be used.
    Inactive(AccountStatus),
    NoAccount,
    NoTool,
}

/// Executes a tool with an account.
pub(crate) fn execute(
    state: &mut State,
    tool_name: &str,
    which: &AccountSelector,
    params: &Map<String, Value>,
    now: OffsetDateTime,
) -> ToolRun {
    let Some(tool) = TOOLS.iter().find(|tool| tool.name == tool_name) else {
        return ToolRun::NoTool;
    };
    match state.use_account(which, now) {
        Err(unusable) => unusable,
        Ok(Some(fault)) => {
            let message = format!("Gmail responded with {}", fault.as_u16());
            ToolRun::Failed(ToolFailure::new(fault, &message))
        }
        Ok(None) => match tool.run(params, state.connected_accounts.since) {
            Ok(data) => ToolRun::Done(data),
            Err(failed) => ToolRun::Failed(failed),
        },
    }
}

impl State {
    /// Uses an active account, with new tokens if its old ones have expired. Returns the status
    /// that its service fails with, if configured.
    pub(crate) fn use_account(
        &mut self,
        which: &AccountSelector,
        now: OffsetDateTime,
    ) -> Result<Option<StatusCode>, ToolRun> {
        let account = self.connected_accounts.get_mut(which).ok_or(ToolRun::NoAccount)?;
        if account.status != AccountStatus::Active {
            return Err(ToolRun::Inactive(account.status));
        }
        account.last_used_at = Some(now);
        let (id, connection) = (account.id.clone(), account.connection.name.clone());
        if account.token_expires_at.is_some_and(|expiry| expiry <= now) {
            account.take_tokens(now);
            self.emit_account_event(AccountEvent::TokenRefreshSucceeded, &id, now);
        }
        Ok(take_fault(&mut self.connected_accounts.provider_faults, &connection))
    }
}

fn take_fault(faults: &mut VecDeque<ProviderFault>, connection: &str) -> Option<StatusCode> {
    let index = faults.iter().position(|fault| fault.connection == connection)?;
    faults.remove(index).map(|fault| fault.status)
}
