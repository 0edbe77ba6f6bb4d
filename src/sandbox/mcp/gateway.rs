//! `/mcp/v3/servers/{id}`: the MCP server of a configuration, with Streamable HTTP and without
//! sessions: each request has its response, as JSON.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::sandbox::connected_accounts::services::{Tool, all_tools};
use crate::sandbox::connected_accounts::tools::{ToolRun, execute};
use crate::sandbox::environment::Environment;
use crate::sandbox::respond::{self, allow_methods};
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::AccountSelector;
use crate::sandbox::state::mcp_configs::McpConfig;
use crate::sandbox::tokens::bearer_claims;

/// Versions of the protocol that clients negotiate, the preferred one first.
const VERSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

pub(crate) fn respond(
    environment: &Environment,
    request: &Request<Bytes>,
    server_id: &str,
) -> Response<Bytes> {
    let claims = bearer_claims(environment, request);
    let state = &mut *environment.lock();
    let Some(config) =
        state.mcp_configs.iter().find(|config| config.server_id == server_id).cloned()
    else {
        return respond::api_error(StatusCode::NOT_FOUND, 5, "there is no such MCP server");
    };
    let Some(accounts) = claims.and_then(|claims| accounts(state, &claims, &config)) else {
        return unauthorized();
    };
    // Without `GET`: the server sends no messages of its own.
    allow_methods(&[Method::POST], request.method(), || {
        let Ok(Value::Object(message)) = serde_json::from_slice(request.body()) else {
            return error(&Value::Null, -32700, "the body is not one JSON-RPC message");
        };
        let Some(id) = message.get("id") else {
            return respond::response(StatusCode::ACCEPTED, "application/json", Bytes::new());
        };
        match called(state, &config, &accounts, &message) {
            Ok(result) => {
                let body = json!({ "jsonrpc": "2.0", "id": id, "result": result });
                respond::json(StatusCode::OK, &body)
            }
            Err((code, message)) => error(id, code, message),
        }
    })
}

/// The accounts of the session token: its `ca_ids`.
fn accounts(state: &State, claims: &Value, config: &McpConfig) -> Option<Vec<String>> {
    let is_valid = claims.get("token_type")? == "mcp_session"
        && *claims.get("aud")? == json!([state.mcp_server_url(config)])
        && claims.get("mcp_cfg")? == &config.id
        && claims.get("exp")?.as_i64()? > state.now.unix_timestamp();
    let ids = claims.get("ca_ids")?.as_array().filter(|_| is_valid)?.iter();
    Some(ids.filter_map(|id| Some(id.as_str()?.to_owned())).collect())
}

/// A result or an error of JSON-RPC: its code and message.
type CallResult = Result<Value, (i32, &'static str)>;

fn called(
    state: &mut State,
    config: &McpConfig,
    accounts: &[String],
    message: &Map<String, Value>,
) -> CallResult {
    let none = Map::new();
    let params = message.get("params").and_then(Value::as_object).unwrap_or(&none);
    match message.get("method").and_then(Value::as_str) {
        Some("initialize") => {
            let requested = params.get("protocolVersion").and_then(Value::as_str);
            Ok(json!({
                "protocolVersion": requested
                    .filter(|requested| VERSIONS.contains(requested))
                    .unwrap_or(VERSIONS[0]),
                "capabilities": { "tools": {} },
                "serverInfo": { "name": config.name, "version": "1" },
            }))
        }
        Some("ping") => Ok(json!({})),
        Some("tools/list") => {
            let tools: Vec<_> = tools(state, config).map(|(_, tool)| tool.to_mcp()).collect();
            Ok(json!({ "tools": tools }))
        }
        Some("tools/call") => call(state, config, accounts, params),
        _ => Err((-32601, "the server does not have this method")),
    }
}

/// The tools of the configuration, each with its connection.
fn tools<'a>(
    state: &'a State,
    config: &'a McpConfig,
) -> impl Iterator<Item = (&'a str, &'static Tool)> {
    config.mappings.iter().flat_map(|mapping| {
        let connection = state.connected_accounts.connection(&mapping.connection_name);
        all_tools()
            .filter(move |tool| {
                connection.is_some_and(|known| known.connector.provider == tool.provider)
                    && mapping.has(tool.name)
            })
            .map(|tool| (mapping.connection_name.as_str(), tool))
    })
}

/// Errors of a tool are results, so that models read them.
fn call(
    state: &mut State,
    config: &McpConfig,
    accounts: &[String],
    params: &Map<String, Value>,
) -> CallResult {
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let (connection, tool) = tools(state, config)
        .find(|(_, tool)| tool.name == name)
        .ok_or((-32602, "the server has no such tool"))?;
    let account_id = state
        .connected_accounts
        .iter()
        .find(|own| own.connection.name == connection && accounts.contains(&own.id))
        .map(|account| account.id.clone())
        .unwrap_or_default();
    let none = Map::new();
    let arguments = params.get("arguments").and_then(Value::as_object).unwrap_or(&none);
    let failure = match execute(state, tool.name, &AccountSelector::Id(account_id), arguments, None)
    {
        ToolRun::Done(data) => {
            return Ok(json!({
                "content": [{ "type": "text", "text": data.to_string() }],
                "structuredContent": data,
                "isError": false,
            }));
        }
        ToolRun::Failed(failure) => format!("{}: {}", failure.code, failure.message),
        ToolRun::Inactive(status) => {
            format!("the connected account is not active: {}", status.as_str())
        }
        ToolRun::NoAccount | ToolRun::NoTool => "the account was removed".to_owned(),
    };
    Ok(json!({ "content": [{ "type": "text", "text": failure }], "isError": true }))
}

fn error(id: &Value, code: i32, message: &str) -> Response<Bytes> {
    let body = json!({
        "jsonrpc": "2.0",
        "id": id,
        "error": { "code": code, "message": message },
    });
    respond::json(StatusCode::OK, &body)
}

fn unauthorized() -> Response<Bytes> {
    respond::with_header(
        respond::api_error(
            StatusCode::UNAUTHORIZED,
            16,
            "the session token is missing, invalid or expired",
        ),
        header::WWW_AUTHENTICATE,
        "Bearer error=\"invalid_token\"",
    )
}
