//! `/api/v1/tools` and `/api/v1/execute_tool`; also `/proxy`.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::connected_accounts::{RejectedRequest, body, known, text};
use super::paging::PageRequest;
use super::{ApiErrorResponse, is_from_the_client, parse, timestamp};
use crate::sandbox::connected_accounts::services::{
    Tool, ToolFailure, all_tools, failing, proxied,
};
use crate::sandbox::connected_accounts::tools::{ToolRun, execute};
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond;
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::{Account, AccountSelector};
use crate::sandbox::state::ids::new_id;

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[&str],
) -> Option<Response<Bytes>> {
    let outcome = match (request.method(), resource) {
        (&Method::GET, ["tools"]) => list(environment, request),
        (&Method::GET, ["tools", "scoped"]) => scoped(environment, request),
        (&Method::GET, ["tools", "available"]) => available(environment, request),
        (&Method::POST, ["execute_tool"]) => return Some(run(environment, request)),
        _ => return None,
    };
    Some(match outcome {
        Ok(body) => respond::json(StatusCode::OK, &body),
        Err(rejected) => rejected.response(),
    })
}

/// `/proxy/{path}`: the service's own API, for the account in the headers.
pub(crate) fn proxy(
    environment: &Environment,
    request: &Request<Bytes>,
    path: &[&str],
) -> Response<Bytes> {
    if !is_from_the_client(environment, request) {
        return ApiErrorResponse::UNAUTHENTICATED.response();
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let (Some(connection), Some(identifier)) = (header("connection_name"), header("identifier"))
    else {
        return RejectedRequest::invalid("connection_name and identifier are required").response();
    };
    let which = AccountSelector::Of {
        connection: Some(connection.to_owned()),
        identifier: identifier.to_owned(),
        organization_id: None,
        user_id: None,
    };
    let now = environment.now();
    let mut state = environment.lock();
    match state.use_account(&which, now) {
        Ok((connection, None)) => {
            let since = state.connected_accounts.since;
            proxied(connection.connector, request, path, identifier, since)
        }
        Ok((_, Some(fault))) => failing(fault),
        Err(unusable) => rejection(&state, &which, &unusable, "").response(),
    }
}

fn run(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    let body = match body(request) {
        Ok(body) => body,
        Err(rejected) => return rejected.response(),
    };
    let tool_name = text(&body, "tool_name").unwrap_or_default();
    let which = match (text(&body, "connected_account_id"), text(&body, "identifier")) {
        (Some(id), _) => AccountSelector::Id(id.to_owned()),
        (None, Some(identifier)) => AccountSelector::Of {
            connection: text(&body, "connector").map(str::to_owned),
            identifier: identifier.to_owned(),
            organization_id: text(&body, "organization_id").map(str::to_owned),
            user_id: text(&body, "user_id").map(str::to_owned),
        },
        (None, None) => {
            let message = "connected_account_id or identifier is required";
            return RejectedRequest::invalid(message).response();
        }
    };
    let params = match body.get("params") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params.clone(),
        Some(_) => return RejectedRequest::invalid("params must be an object").response(),
    };
    let now = environment.now();
    let mut state = environment.lock();
    let execution_id = new_id("exec");
    let run_id = text(&body, "agent_run_id");
    match execute(&mut state, tool_name, &which, &params, run_id, now) {
        ToolRun::Done(data) => {
            respond::json(StatusCode::OK, &json!({ "data": data, "execution_id": execution_id }))
        }
        ToolRun::Failed(failed) => tool_error(&failed, &execution_id),
        unusable => rejection(&state, &which, &unusable, tool_name).response(),
    }
}

fn rejection(
    state: &State,
    which: &AccountSelector,
    run: &ToolRun,
    tool_name: &str,
) -> RejectedRequest {
    match run {
        ToolRun::NoTool => {
            RejectedRequest::not_found(format!("there is no tool named {tool_name:?}"))
        }
        ToolRun::Inactive(status) => {
            let status = status.as_str();
            RejectedRequest::precondition(format!("the connected account is not active: {status}"))
        }
        _ => match known(state, which) {
            Err(rejected) => rejected,
            Ok(_) => RejectedRequest::invalid("the connected account is of another service"),
        },
    }
}

/// The status of a provider's error: 429, unless the call itself was invalid.
fn tool_error(failed: &ToolFailure, execution_id: &str) -> Response<Bytes> {
    let status = match failed.status {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => StatusCode::BAD_REQUEST,
        _ => StatusCode::TOO_MANY_REQUESTS,
    };
    let code = if status == StatusCode::BAD_REQUEST { 3 } else { 8 };
    let detail = json!({
        "@type": "type.googleapis.com/scalekit.v1.errdetails.ErrorInfo",
        "error_code": "TOOL_ERROR",
        "tool_error_info": {
            "execution_id": execution_id,
            "tool_error_code": failed.code,
            "tool_error_message": failed.message,
        },
    });
    let body = json!({ "code": code, "message": "tool execution failed", "details": [detail] });
    respond::json(status, &body)
}

fn list(environment: &Environment, request: &Request<Bytes>) -> Result<Value, RejectedRequest> {
    let query = Parameters::from_query(request);
    let names: Vec<_> = query.all("filter.tool_name").collect();
    let provider = query.get("filter.provider");
    let found: Vec<_> = all_tools()
        .filter(|tool| {
            (names.is_empty() || names.contains(&tool.name))
                && provider.is_none_or(|wanted| wanted.eq_ignore_ascii_case(tool.provider))
                && query.get("filter.query").is_none_or(|text| tool.has(text))
        })
        .collect();
    let summary = parse::flag(&query, "filter.summary");
    if summary.map_err(|_| RejectedRequest::invalid("filter.summary is neither true nor false"))? {
        return page(&query, &found, "tool_names", |tool| json!(tool.name), |tool| tool.id.into());
    }
    let since = environment.lock().connected_accounts.since;
    page(&query, &found, "tools", |tool| details(tool, timestamp(since)), |tool| tool.id.into())
}

fn available(
    environment: &Environment,
    request: &Request<Bytes>,
) -> Result<Value, RejectedRequest> {
    let query = Parameters::from_query(request);
    query.get("identifier").ok_or(RejectedRequest::invalid("identifier is required"))?;
    let since = environment.lock().connected_accounts.since;
    let found: Vec<_> = all_tools().collect();
    page(&query, &found, "tools", |tool| details(tool, timestamp(since)), |tool| tool.id.into())
}

fn scoped(environment: &Environment, request: &Request<Bytes>) -> Result<Value, RejectedRequest> {
    let query = Parameters::from_query(request);
    let identifier =
        query.get("identifier").ok_or(RejectedRequest::invalid("identifier is required"))?;
    let names: Vec<_> = query.all("filter.tool_names").collect();
    let connections: Vec<_> = query.all("filter.connection_names").collect();
    let providers: Vec<_> = query.all("filter.providers").collect();
    let state = environment.lock();
    let found: Vec<(&Account, &Tool)> = state
        .connected_accounts
        .iter()
        .filter(|account| {
            account.identifier == identifier
                && (connections.is_empty()
                    || connections.contains(&account.connection.name.as_str()))
        })
        .flat_map(|account| {
            let provider = account.connection.connector.provider;
            let own = all_tools().filter(move |tool| tool.provider == provider);
            own.map(move |tool| (account, tool))
        })
        .filter(|(_, tool)| {
            (providers.is_empty()
                || providers.iter().any(|name| name.eq_ignore_ascii_case(tool.provider)))
                && (names.is_empty() || names.contains(&tool.name))
        })
        .collect();
    let since = timestamp(state.connected_accounts.since);
    let one = |(account, tool): &(&Account, &Tool)| {
        json!({
            "connected_account_id": account.id,
            "identifier": account.identifier,
            "tool": details(tool, since.clone()),
        })
    };
    page(&query, &found, "tools", one, |(account, tool)| format!("{} {}", account.id, tool.id))
}

fn page<T>(
    query: &Parameters,
    found: &[T],
    name: &str,
    one: impl Fn(&T) -> Value,
    id: impl Fn(&T) -> String,
) -> Result<Value, RejectedRequest> {
    let page = PageRequest::parse(query, 10, 100)
        .map_err(|_| RejectedRequest::invalid("page_size or page_token is not valid"))?;
    let start = page
        .from
        .as_ref()
        .map(|from| found.iter().position(|item| id(item) == *from))
        .unwrap_or(Some(0))
        .ok_or(RejectedRequest::invalid("page_token belongs to another list"))?;
    Ok(page.response(name, found, start, id, one))
}

/// `toolsTool`
fn details(tool: &Tool, updated_at: Value) -> Value {
    json!({
        "id": tool.id,
        "provider": tool.provider,
        "definition": tool.definition(),
        "metadata": {},
        "tags": [tool.tag],
        "is_default": true,
        "updated_at": updated_at,
    })
}
