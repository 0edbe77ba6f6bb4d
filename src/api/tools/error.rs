use std::fmt;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use crate::api::client::error_body::{ErrorBody, is_code, presentable};
use crate::scalekit::Scalekit;

/// The error of a tool's service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct ToolError {
    /// The status of Scalekit's response, which need not be the service's.
    pub status: StatusCode,
    /// The ID of the execution in the dashboard's logs.
    pub execution_id: Option<String>,
    /// The error code: letters, digits, `_`, `-` and `.`, at most 64.
    pub code: Option<String>,
    /// A message for developers and models, not for users: limited to 300 characters, without
    /// control characters and without anything that looks like a token.
    pub message: Option<String>,
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tool failed")?;
        if let Some(code) = &self.code {
            write!(f, ", {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        if let Some(id) = &self.execution_id {
            write!(f, " (execution {id})")?;
        }
        Ok(())
    }
}

/// The error of a tool's provider, if the environment includes it.
pub(super) fn tool_error(response: &Response<Bytes>, scalekit: &Scalekit) -> Option<ToolError> {
    let body = ErrorBody::parse(response.body())?;
    if response.status().is_success() || !body.is_tool_error() {
        return None;
    }
    let info = body.tool_error_info();
    let text = |name: &str| info.and_then(|info| info.get(name)).and_then(Value::as_str);
    let message = text("tool_error_message").filter(|text| !text.is_empty()).or(body.message());
    let secret = scalekit.client_secret().expose();
    Some(ToolError {
        status: response.status(),
        execution_id: text("execution_id").filter(|text| is_code(text)).map(str::to_owned),
        code: text("tool_error_code").filter(|text| is_code(text)).map(str::to_owned),
        message: message.and_then(|message| presentable(message, secret)),
    })
}
