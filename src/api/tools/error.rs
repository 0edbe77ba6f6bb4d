use std::fmt;

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::api::client::error_body::{ErrorBody, presentable, presentable_code};
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
    if response.status().is_success() {
        return None;
    }
    let body = ErrorBody::parse(response.body()).filter(ErrorBody::is_tool_error)?;
    let secret = scalekit.client_secret().expose();
    Some(ToolError {
        status: response.status(),
        execution_id: body
            .tool_error_text("execution_id")
            .and_then(|id| presentable_code(id, secret)),
        code: body
            .tool_error_text("tool_error_code")
            .and_then(|code| presentable_code(code, secret)),
        message: body
            .tool_error_text("tool_error_message")
            .filter(|text| !text.is_empty())
            .or(body.message())
            .and_then(|message| presentable(message, secret)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::UnreachableClient;

    #[test]
    fn a_code_that_could_be_a_secret_is_omitted() {
        let scalekit = Scalekit::builder("https://acme.scalekit.test", "skc_1", "hunter2hunter2");
        let scalekit = scalekit.http_client(UnreachableClient).build().unwrap();
        let error = |code: &str| {
            let info = serde_json::json!({ "tool_error_code": code, "execution_id": code });
            let body = serde_json::json!({ "tool_error_info": info }).to_string();
            let response = Response::builder().status(400).body(Bytes::from(body)).unwrap();
            let error = tool_error(&response, &scalekit).unwrap();
            (error.code, error.execution_id)
        };
        let known = Some("QUOTA.a-b_1".to_owned());
        assert_eq!(error("QUOTA.a-b_1"), (known.clone(), known));
        for secret in ["hunter2hunter2", "x-hunter2hunter2", "eyJhbGciOi.eyJ.x", "no code"] {
            assert_eq!(error(secret), (None, None), "{secret}");
        }
    }
}
