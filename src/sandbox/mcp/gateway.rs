//! `/mcp/v3/servers/{id}`: the MCP server of a configuration, with Streamable HTTP and without
//! sessions: each request has its response, as JSON.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::sandbox::connected_accounts::services::{Tool, all_tools};
use crate::sandbox::connected_accounts::tools::{ToolRun, execute};
use crate::sandbox::environment::Environment;
use crate::sandbox::respond::{self, allow_methods};
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::AccountSelector;
use crate::sandbox::state::mcp_configs::McpConfig;
use crate::sandbox::tokens::own_claims;

/// Versions of the protocol that clients negotiate, the preferred one first.
const VERSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

pub(crate) fn respond(
    environment: &Environment,
    request: &Request<Bytes>,
    server_id: &str,
) -> Response<Bytes> {
    let Some(config) = config(environment, server_id) else {
        return respond::api_error(StatusCode::NOT_FOUND, 5, "there is no such MCP server");
    };
    let Some(accounts) = accounts(environment, request, &config) else { return unauthorized() };
    // Without `GET`: the server sends no messages of its own.
    allow_methods(&[Method::POST], request.method(), || {
        let Ok(Value::Object(message)) = serde_json::from_slice(request.body()) else {
            return error(&Value::Null, -32700, "the body is not one JSON-RPC message");
        };
        let Some(id) = message.get("id") else {
            return respond::response(StatusCode::ACCEPTED, "application/json", Bytes::new());
        };
        match called(environment, &config, &accounts, &message) {
            Ok(result) => {
                let body = json!({ "jsonrpc": "2.0", "id": id, "result": result });
                respond::json(StatusCode::OK, &body)
            }
            Err((code, message)) => error(id, code, message),
        }
    })
}

fn config(environment: &Environment, server_id: &str) -> Option<McpConfig> {
    let state = environment.lock();
    state.mcp_configs.iter().find(|config| config.server_id == server_id).cloned()
}

/// The accounts of the session token: its `ca_ids`.
fn accounts(
    environment: &Environment,
    request: &Request<Bytes>,
    config: &McpConfig,
) -> Option<Vec<String>> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (headers.next(), headers.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let claims =
        own_claims(environment, token).filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
    let url = environment.lock().mcp_server_url(config);
    let is = |name: &str, expected: Value| claims.get(name) == Some(&expected);
    let is_valid = is("token_type", "mcp_session".into())
        && is("aud", json!([url]))
        && is("mcp_cfg", config.id.as_str().into())
        && claims.get("exp")?.as_i64()? > environment.now().unix_timestamp();
    let ids = claims.get("ca_ids")?.as_array().filter(|_| is_valid)?.iter();
    Some(ids.filter_map(|id| Some(id.as_str()?.to_owned())).collect())
}

type Called = Result<Value, (i32, &'static str)>;

fn called(
    environment: &Environment,
    config: &McpConfig,
    accounts: &[String],
    message: &Map<String, Value>,
) -> Called {
    let none = Map::new();
    let params = message.get("params").and_then(Value::as_object).unwrap_or(&none);
    match message.get("method").and_then(Value::as_str) {
        Some("initialize") => {
            let wanted = params.get("protocolVersion").and_then(Value::as_str);
            let version = wanted.filter(|wanted| VERSIONS.contains(wanted)).unwrap_or(VERSIONS[0]);
            Ok(json!({
                "protocolVersion": version,
                "capabilities": { "tools": {} },
                "serverInfo": { "name": config.name, "version": "1" },
            }))
        }
        Some("ping") => Ok(json!({})),
        Some("tools/list") => {
            let state = environment.lock();
            let tools = tools(&state, config).map(|(_, tool)| tool.to_mcp());
            Ok(json!({ "tools": tools.collect::<Vec<_>>() }))
        }
        Some("tools/call") => call(environment, config, accounts, params),
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
        let provider = connection.map(|connection| connection.connector.provider);
        all_tools()
            .filter(move |tool| Some(tool.provider) == provider && mapping.has(tool.name))
            .map(|tool| (mapping.connection_name.as_str(), tool))
    })
}

/// Errors of a tool are results, so that models read them.
fn call(
    environment: &Environment,
    config: &McpConfig,
    accounts: &[String],
    params: &Map<String, Value>,
) -> Called {
    let now = environment.now();
    let mut state = environment.lock();
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let tool = tools(&state, config).find(|(_, tool)| tool.name == name);
    let (connection, tool) = tool.ok_or((-32602, "the server has no such tool"))?;
    let id = state
        .connected_accounts
        .iter()
        .find(|own| own.connection.name == connection && accounts.contains(&own.id))
        .map(|account| account.id.clone())
        .unwrap_or_default();
    let arguments = params.get("arguments").and_then(Value::as_object).cloned().unwrap_or_default();
    let run = execute(&mut state, tool.name, &AccountSelector::Id(id), &arguments, None, now);
    let failed =
        |text: String| json!({ "content": [{ "type": "text", "text": text }], "isError": true });
    Ok(match run {
        ToolRun::Done(data) => json!({
            "content": [{ "type": "text", "text": data.to_string() }],
            "structuredContent": data,
            "isError": false,
        }),
        ToolRun::Failed(failure) => failed(format!("{}: {}", failure.code, failure.message)),
        ToolRun::Inactive(status) => {
            failed(format!("the connected account is not active: {}", status.as_str()))
        }
        ToolRun::NoAccount | ToolRun::NoTool => failed("the account was removed".to_owned()),
    })
}

fn error(id: &Value, code: i32, message: &str) -> Response<Bytes> {
    let error = json!({ "code": code, "message": message });
    respond::json(StatusCode::OK, &json!({ "jsonrpc": "2.0", "id": id, "error": error }))
}

fn unauthorized() -> Response<Bytes> {
    let message = "the session token is missing, invalid or expired";
    let mut response = respond::api_error(StatusCode::UNAUTHORIZED, 16, message);
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}
