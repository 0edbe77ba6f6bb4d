//! `/api/v1/tools` and `/api/v1/execute_tool`; also `/proxy`.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::connected_accounts::{known, object, text};
use super::paging::PageRequest;
use super::{
    ApiErrorResponse, ApiRequest, ApiResult, GrpcCode, is_from_the_client, parse, respond,
    timestamp,
};
use crate::sandbox::connected_accounts::services::{
    Tool, ToolFailure, all_tools, failing, proxied,
};
use crate::sandbox::connected_accounts::tools::{ToolRun, execute};
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::{Account, AccountSelector};
use crate::sandbox::state::ids::new_id;

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(state: &mut State, request: &ApiRequest<'_>) -> Option<Response<Bytes>> {
    let ApiRequest { query, body, .. } = request;
    Some(respond(match (request.method, request.resource) {
        (&Method::GET, ["tools"]) => list(state, query),
        (&Method::GET, ["tools", "scoped"]) => scoped(state, query),
        (&Method::GET, ["tools", "available"]) => available(state, query),
        (&Method::POST, ["execute_tool"]) => {
            return Some(run(state, body).unwrap_or_else(|rejection| rejection.response()));
        }
        _ => return None,
    }))
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
    let [Some(connection), Some(identifier)] = ["connection_name", "identifier"]
        .map(|name| request.headers().get(name).and_then(|value| value.to_str().ok()))
    else {
        return ApiErrorResponse::invalid("connection_name and identifier are required").response();
    };
    let which = AccountSelector::Of {
        connection: Some(connection.to_owned()),
        identifier: identifier.to_owned(),
        organization_id: None,
        user_id: None,
    };
    let mut state = environment.lock();
    match state.use_account(&which) {
        Ok((connection, None)) => {
            let since = state.connected_accounts.since;
            proxied(connection.connector, request, path, identifier, since)
        }
        Ok((_, Some(fault))) => failing(fault),
        Err(unusable) => rejection(&state, &which, &unusable, "").response(),
    }
}

fn run(state: &mut State, body: &[u8]) -> ApiResult<Response<Bytes>> {
    let body = object(body)?;
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
            return Err(ApiErrorResponse::invalid(
                "connected_account_id or identifier is required",
            ));
        }
    };
    let params = match body.get("params") {
        None | Some(Value::Null) => &Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(ApiErrorResponse::invalid("params must be an object")),
    };
    let execution_id = new_id("exec");
    match execute(state, tool_name, &which, params, text(&body, "agent_run_id")) {
        ToolRun::Done(data) => Ok(respond::json(
            StatusCode::OK,
            &json!({ "data": data, "execution_id": execution_id }),
        )),
        ToolRun::Failed(failed) => Ok(tool_error(&failed, &execution_id)),
        unusable => Err(rejection(state, &which, &unusable, tool_name)),
    }
}

fn rejection(
    state: &State,
    which: &AccountSelector,
    run: &ToolRun,
    tool_name: &str,
) -> ApiErrorResponse {
    match run {
        ToolRun::NoTool => ApiErrorResponse::new(
            GrpcCode::NotFound,
            format!("there is no tool named {tool_name:?}"),
        ),
        ToolRun::Inactive(status) => ApiErrorResponse::new(
            GrpcCode::FailedPrecondition,
            format!("the connected account is not active: {}", status.as_str()),
        ),
        _ => match known(state, which) {
            Err(rejected) => rejected,
            Ok(_) => ApiErrorResponse::invalid("the connected account is of another service"),
        },
    }
}

/// The status of a provider's error: 429, unless the call itself was invalid.
fn tool_error(failed: &ToolFailure, execution_id: &str) -> Response<Bytes> {
    let (status, code) = match failed.status {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => (StatusCode::BAD_REQUEST, 3),
        _ => (StatusCode::TOO_MANY_REQUESTS, 8),
    };
    let body = json!({
        "code": code,
        "message": "tool execution failed",
        "details": [{
            "@type": "type.googleapis.com/scalekit.v1.errdetails.ErrorInfo",
            "error_code": "TOOL_ERROR",
            "tool_error_info": {
                "execution_id": execution_id,
                "tool_error_code": failed.code,
                "tool_error_message": failed.message,
            },
        }],
    });
    respond::json(status, &body)
}

fn list(state: &State, query: &Parameters) -> ApiResult {
    let page = PageRequest::parse(query, 10, 100)?;
    let names: Vec<_> = query.all("filter.tool_name").collect();
    let found: Vec<_> = all_tools()
        .filter(|tool| {
            (names.is_empty() || names.contains(&tool.name))
                && query
                    .get("filter.provider")
                    .is_none_or(|provider| provider.eq_ignore_ascii_case(tool.provider))
                && query.get("filter.query").is_none_or(|text| tool.has(text))
        })
        .collect();
    if parse::flag(query, "filter.summary")? {
        return page.by_id("tool_names", &found, tool_id, |tool| json!(tool.name));
    }
    let since = timestamp(state.connected_accounts.since);
    page.by_id("tools", &found, tool_id, |tool| details(tool, &since))
}

fn available(state: &State, query: &Parameters) -> ApiResult {
    query.get("identifier").ok_or(NO_IDENTIFIER)?;
    let since = timestamp(state.connected_accounts.since);
    let found: Vec<_> = all_tools().collect();
    PageRequest::parse(query, 10, 100)?
        .by_id("tools", &found, tool_id, |tool| details(tool, &since))
}

fn scoped(state: &State, query: &Parameters) -> ApiResult {
    let identifier = query.get("identifier").ok_or(NO_IDENTIFIER)?;
    let names: Vec<_> = query.all("filter.tool_names").collect();
    let connections: Vec<_> = query.all("filter.connection_names").collect();
    let providers: Vec<_> = query.all("filter.providers").collect();
    let found: Vec<(&Account, &Tool)> = state
        .connected_accounts
        .iter()
        .filter(|account| {
            account.identifier == identifier
                && (connections.is_empty()
                    || connections.contains(&account.connection.name.as_str()))
        })
        .flat_map(|account| {
            all_tools()
                .filter(|tool| tool.provider == account.connection.connector.provider)
                .map(move |tool| (account, tool))
        })
        .filter(|(_, tool)| {
            (providers.is_empty()
                || providers.iter().any(|name| name.eq_ignore_ascii_case(tool.provider)))
                && (names.is_empty() || names.contains(&tool.name))
        })
        .collect();
    let since = timestamp(state.connected_accounts.since);
    PageRequest::parse(query, 10, 100)?.by_id(
        "tools",
        &found,
        |(account, tool)| format!("{} {}", account.id, tool.id),
        |(account, tool)| {
            json!({
                "connected_account_id": account.id,
                "identifier": account.identifier,
                "tool": details(tool, &since),
            })
        },
    )
}

const NO_IDENTIFIER: ApiErrorResponse = ApiErrorResponse::invalid("identifier is required");

fn tool_id(tool: &&Tool) -> String {
    tool.id.to_owned()
}

/// `toolsTool`
fn details(tool: &Tool, updated_at: &Value) -> Value {
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
