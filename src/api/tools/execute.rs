use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::ToolError;
use crate::api::ApiError;
use crate::api::connected_accounts::AccountKey;
use crate::model::wire;

/// A tool to execute.
#[derive(Clone)]
#[must_use = "nothing is run before it is executed"]
pub struct ToolCall {
    tool_name: String,
    account: AccountKey,
    params: Map<String, Value>,
    agent_run_id: Option<String>,
}

impl ToolCall {
    /// Creates a call of the tool with this name, with a user's account.
    pub fn new(tool_name: impl Into<String>, account: &AccountKey) -> Self {
        Self {
            tool_name: tool_name.into(),
            account: account.clone(),
            params: Map::new(),
            agent_run_id: None,
        }
    }

    /// Sets an input parameter.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }

    /// Sets all input parameters, for instance from a model.
    pub fn parameters(mut self, parameters: Map<String, Value>) -> Self {
        self.params = parameters;
        self
    }

    /// Sets your own ID of the run that this call belongs to, which the dashboard's logs contain.
    pub fn agent_run_id(mut self, id: impl Into<String>) -> Self {
        self.agent_run_id = Some(id.into());
        self
    }

    pub(super) fn account(&self) -> &AccountKey {
        &self.account
    }
}

impl Serialize for ToolCall {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            tool_name: &'a str,
            params: &'a Map<String, Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            connected_account_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            connector: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            identifier: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            organization_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            user_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            agent_run_id: Option<&'a str>,
        }
        let [connected_account_id, connector, identifier, organization_id, user_id] =
            self.account.parts();
        Body {
            tool_name: &self.tool_name,
            params: &self.params,
            connected_account_id,
            connector,
            identifier,
            organization_id,
            user_id,
            agent_run_id: self.agent_run_id.as_deref(),
        }
        .serialize(serializer)
    }
}

impl fmt::Debug for ToolCall {
    /// Omits the input, which may be confidential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCall")
            .field("tool_name", &self.tool_name)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// The result of a tool.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ToolResult {
    /// The data, whose shape depends on the tool.
    #[serde(deserialize_with = "wire::or_default")]
    pub data: Map<String, Value>,
    /// The ID of the execution in the dashboard's logs.
    #[serde(deserialize_with = "wire::text")]
    pub execution_id: Option<String>,
}

impl ToolResult {
    /// The data as JSON, for a model. Text that exceeds this number of bytes is cut, and a note says
    /// how much of it is left.
    #[must_use]
    pub fn to_text(&self, max_bytes: usize) -> String {
        // A map with text as keys can always be serialized.
        cut(serde_json::to_string(&self.data).unwrap_or_default(), max_bytes)
    }
}

/// At most this many bytes, of which the last are a note if there were more.
pub(super) fn cut(text: String, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text;
    }
    let mut kept = max_bytes.saturating_sub(cut_note(text.len(), text.len()).len());
    while !text.is_char_boundary(kept) {
        kept -= 1;
    }
    let mut cut = text.get(..kept).unwrap_or_default().to_owned();
    cut.push_str(&cut_note(kept, text.len()));
    cut.truncate(max_bytes);
    cut
}

fn cut_note(kept: usize, bytes: usize) -> String {
    format!("\n[cut: the first {kept} of {bytes} bytes]")
}

impl fmt::Debug for ToolResult {
    /// Omits the data, which is the user's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolResult")
            .field("execution_id", &self.execution_id)
            .finish_non_exhaustive()
    }
}

/// Returned when executing a tool fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// Scalekit did not execute the tool, or there was no response.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The service of the tool returned an error.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_result_is_cut_and_says_so() {
        let mut result = ToolResult::default();
        assert_eq!(result.to_text(2), "{}");
        result.data.insert("text".to_owned(), "é".repeat(100).into());
        let whole = result.to_text(usize::MAX);
        assert_eq!((result.to_text(whole.len()), whole.len()), (whole.clone(), 211));
        for max_bytes in 0..whole.len() {
            let text = result.to_text(max_bytes);
            assert!(text.len() <= max_bytes, "{max_bytes}: {text}");
            if let Some((kept, note)) = text.split_once('\n').filter(|_| text.ends_with(']')) {
                assert!(whole.starts_with(kept), "{max_bytes}: {text}");
                let expected = format!("[cut: the first {} of 211 bytes]", kept.len());
                assert_eq!(note, expected, "{max_bytes}");
            } else {
                assert!(max_bytes < 40, "{max_bytes}: {text}");
            }
        }
    }
}
