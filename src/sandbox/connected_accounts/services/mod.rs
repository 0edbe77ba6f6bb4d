//! The simulated services: their tools, and their APIs behind the proxy.

mod exa;
mod gmail;
mod salesforce;
mod slack;

use std::collections::VecDeque;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::sandbox::respond;
use crate::sandbox::state::connected_accounts::SandboxToolRun;
use crate::sandbox::state::connectors::Connector;

/// A tool: its name, its description, and the JSON schema of its input.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    /// As of a [`Connector`].
    pub(crate) provider: &'static str,
    pub(crate) tag: &'static str,
    title: &'static str,
    description: &'static str,
    effect: Effect,
    input: &'static str,
    run: fn(&ToolInput<'_>) -> Result<Value, ToolFailure>,
}

/// What a tool does at its service, for its annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Adds,
    Deletes,
    Reads,
}

/// All tools, by provider.
pub(crate) fn all_tools() -> impl Iterator<Item = &'static Tool> {
    gmail::TOOLS.iter().chain(&slack::TOOLS).chain(&salesforce::TOOLS).chain(&exa::TOOLS)
}

impl Tool {
    /// `toolsTool.definition`
    pub(crate) fn definition(&self) -> Value {
        let hints = ["read_only_hint", "destructive_hint", "idempotent_hint", "open_world_hint"];
        self.described("input_schema", hints)
    }

    /// As a tool of the Model Context Protocol.
    pub(crate) fn to_mcp(&self) -> Value {
        let hints = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"];
        self.described("inputSchema", hints)
    }

    fn described(&self, schema: &str, hints: [&str; 4]) -> Value {
        let [read_only, destructive, idempotent, open_world] = hints;
        json!({
            "name": self.name,
            "description": self.description,
            schema: serde_json::from_str::<Value>(self.input).unwrap_or_default(),
            "annotations": {
                "title": self.title,
                read_only: self.effect == Effect::Reads,
                destructive: self.effect == Effect::Deletes,
                idempotent: self.effect != Effect::Adds,
                open_world: true,
            },
        })
    }

    /// Whether name or description contain this text.
    pub(crate) fn has(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.name.contains(&text) || self.description.to_lowercase().contains(&text)
    }

    /// The result, or the service's error.
    pub(crate) fn run(&self, input: &ToolInput<'_>) -> Result<Value, ToolFailure> {
        (self.run)(input)
    }
}

/// Input of a tool, and what it may read.
#[derive(Debug)]
pub(crate) struct ToolInput<'a> {
    pub(crate) params: &'a Map<String, Value>,
    /// Reference time of the services' data.
    pub(crate) since: OffsetDateTime,
    /// Former runs, which have changed that data.
    pub(crate) runs: &'a VecDeque<SandboxToolRun>,
}

impl ToolInput<'_> {
    fn text(&self, name: &str) -> Result<Option<&str>, ToolFailure> {
        match self.params.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ToolFailure::invalid(format!("{name} must be a string"))),
        }
    }

    fn required(&self, name: &str) -> Result<&str, ToolFailure> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| ToolFailure::invalid(format!("{name} must be a string")))
    }

    /// A number from 1 to `max`.
    fn count(&self, name: &str, default: usize, max: u32) -> Result<usize, ToolFailure> {
        let Some(count) = self.params.get(name).filter(|count| !count.is_null()) else {
            return Ok(default);
        };
        // Protobuf's Struct turns JSON numbers into 5.0.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to max")]
        count
            .as_f64()
            .filter(|count| (1.0..=f64::from(max)).contains(count))
            .map(|count| count as usize)
            .ok_or_else(|| ToolFailure::invalid(format!("{name} must be a number from 1 to {max}")))
    }

    /// The inputs of a tool's former runs, oldest first.
    fn former<'a>(&'a self, tool_name: &'a str) -> impl Iterator<Item = &'a Map<String, Value>> {
        self.runs.iter().filter(move |run| run.tool_name == tool_name).map(|run| &run.params)
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
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: gmail::google_status(status), message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }
}

/// The service's own API, for an authorized user: parts of Gmail's.
pub(crate) fn proxied(
    connector: &Connector,
    request: &Request<Bytes>,
    path: &[&str],
    identifier: &str,
    since: OffsetDateTime,
) -> Response<Bytes> {
    match connector.provider {
        "GMAIL" => gmail::proxied(request, path, identifier, since),
        _ => respond::json(
            StatusCode::NOT_FOUND,
            &json!({ "error": "the sandbox plays no API of this service, only its tools" }),
        ),
    }
}

/// The response of a service that is configured to fail.
pub(crate) fn failing(status: StatusCode) -> Response<Bytes> {
    gmail::google_error(status, "The sandbox is configured to fail.")
}
