//! `/api/v1/mcp/configs`

use bytes::Bytes;
use http::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use time::Duration;

use super::paging::PageRequest;
use super::{
    ApiErrorResponse, ApiRequest, ApiResult, GrpcCode, created, parse, respond, timestamp,
};
use crate::sandbox::connected_accounts::events::AccountEvent;
use crate::sandbox::connected_accounts::services::all_tools;
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::{Account, AccountStatus};
use crate::sandbox::state::mcp_configs::{McpConfig, ToolMapping};
use crate::sandbox::tokens::Mint;

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(state: &mut State, request: &ApiRequest<'_>) -> Option<Response<Bytes>> {
    let ApiRequest { query, body, .. } = request;
    let ["mcp", "configs", rest @ ..] = request.resource else { return None };
    Some(respond(match (request.method, rest) {
        (&Method::GET, []) => list(state, query),
        (&Method::POST, []) => return Some(created(create(state, body))),
        (&Method::GET, [id]) => {
            known(state, id).map(|config| json!({ "config": details(state, config) }))
        }
        (&Method::PUT, [id]) => update(state, body, id),
        (&Method::DELETE, [id]) => delete(state, id),
        (&Method::POST, [id, "connected_accounts"]) => accounts(state, body, id),
        _ => return None,
    }))
}

fn list(state: &State, query: &Parameters) -> ApiResult {
    let page = PageRequest::parse(query, 10, 30)?;
    let search = query.get("search").map(str::to_lowercase);
    let server_id = query.get("filter.mcp_server_url").map(|url| url.rsplit('/').next());
    let found: Vec<_> = state
        .mcp_configs
        .iter()
        .filter(|config| {
            query.admits("filter.id", Some(&config.id))
                && query
                    .get("filter.name")
                    .is_none_or(|name| config.name.eq_ignore_ascii_case(name))
                && query
                    .get("filter.provider")
                    .is_none_or(|provider| has_provider(state, config, provider))
                && server_id.is_none_or(|id| id == Some(config.server_id.as_str()))
                && search.as_ref().is_none_or(|text| config.name.starts_with(text))
        })
        .collect();
    page.by_id("configs", &found, |config| config.id.clone(), |config| details(state, config))
}

/// Whether a connection of the configuration leads to this provider.
fn has_provider(state: &State, config: &McpConfig, provider: &str) -> bool {
    config
        .mappings
        .iter()
        .filter_map(|mapping| state.connected_accounts.connection(&mapping.connection_name))
        .any(|known| known.connector.provider.eq_ignore_ascii_case(provider))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    name: String,
    description: Option<String>,
    connection_tool_mappings: Option<Vec<WrittenMapping>>,
    identifier: String,
    include_auth_link: bool,
    expiry: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenMapping {
    connection_name: String,
    tools: Vec<String>,
}

impl Body {
    fn read(body: &[u8]) -> ApiResult<Self> {
        parse::body(body, "the body is not that of this call")
    }

    fn apply_to(self, config: &mut McpConfig, state: &State) -> ApiResult<()> {
        if let Some(description) = self.description {
            config.description = description;
        }
        let Some(mappings) = self.connection_tool_mappings else { return Ok(()) };
        if mappings.len() > 25 {
            return Err(ApiErrorResponse::invalid("there are more than 25 mappings"));
        }
        config.mappings =
            mappings.into_iter().map(|mapping| mapping.check(state)).collect::<ApiResult<_>>()?;
        Ok(())
    }
}

impl WrittenMapping {
    /// The mapping, if its connection and tools exist.
    fn check(self, state: &State) -> ApiResult<ToolMapping> {
        let Self { connection_name, tools } = self;
        let Some(connection) = state.connected_accounts.connection(&connection_name) else {
            return Err(ApiErrorResponse::new(
                GrpcCode::InvalidArgument,
                format!("there is no connection named {connection_name}"),
            ));
        };
        let provider = connection.connector.provider;
        match tools
            .iter()
            .find(|name| !all_tools().any(|own| own.name == *name && own.provider == provider))
        {
            None => Ok(ToolMapping { connection_name, tools }),
            Some(unknown) => Err(ApiErrorResponse::new(
                GrpcCode::InvalidArgument,
                format!("{connection_name} has no tool named {unknown:?}"),
            )),
        }
    }
}

fn create(state: &mut State, body: &[u8]) -> ApiResult {
    let body = Body::read(body)?;
    if !(1..=100).contains(&body.name.len())
        || !body.name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        })
    {
        return Err(ApiErrorResponse::invalid("name is not 1 to 100 of a-z, 0-9, - and _"));
    }
    if state.mcp_configs.iter().any(|config| config.name == body.name) {
        return Err(ApiErrorResponse::invalid("there is a configuration with this name"));
    }
    let mut config = McpConfig::new(body.name.clone());
    body.apply_to(&mut config, state)?;
    let created = json!({ "config": details(state, &config) });
    state.mcp_configs.push(config);
    Ok(created)
}

fn update(state: &mut State, body: &[u8], id: &str) -> ApiResult {
    let body = Body::read(body)?;
    let mut config = known(state, id)?.clone();
    body.apply_to(&mut config, state)?;
    let updated = json!({ "config": details(state, &config) });
    if let Some(own) = state.mcp_configs.iter_mut().find(|own| own.id == config.id) {
        *own = config;
    }
    Ok(updated)
}

fn delete(state: &mut State, id: &str) -> ApiResult {
    known(state, id)?;
    state.mcp_configs.retain(|config| config.id != id);
    Ok(json!({}))
}

/// With links, accounts that do not exist are created.
fn accounts(state: &mut State, body: &[u8], id: &str) -> ApiResult {
    let body = Body::read(body)?;
    let mut accounts = Vec::new();
    for name in connection_names(state, id, &body.identifier)? {
        let Some(connection) = state.connected_accounts.connection(&name).cloned() else {
            continue;
        };
        let link = match body.include_auth_link {
            true => authentication_link(state, &name, &body.identifier),
            false => None,
        };
        let account = account_of(state, &name, &body.identifier);
        accounts.push(json!({
            "connection_id": connection.id,
            "connection_name": name,
            "provider": connection.connector.provider,
            "connected_account_id": account.map_or("", |account| &account.id),
            "connected_account_status": account.map_or("", |account| account.status.as_str()),
            "authentication_link": link.unwrap_or_default(),
        }));
    }
    Ok(json!({ "connected_accounts": accounts }))
}

/// A link for the account of a user, which is created if there is none.
fn authentication_link(state: &mut State, connection: &str, identifier: &str) -> Option<String> {
    if let Ok(added) = state.connected_accounts.add(connection, identifier, state.now) {
        let id = added.id.clone();
        state.emit_account_event(AccountEvent::Created, &id);
    }
    let id = account_of(state, connection, identifier)?.id.clone();
    let (token, _) = state.connected_accounts.open_link(&id, None, None, state.now);
    Some(format!("{}/magicLink/{token}", state.environment_url))
}

pub(super) fn token(environment: &Environment, body: &[u8], id: &str) -> ApiResult {
    let body = Body::read(body)?;
    let lifetime: i64 = match &body.expiry {
        None => Some(3600),
        Some(text) => text.strip_suffix('s').and_then(|seconds| seconds.parse().ok()),
    }
    .filter(|seconds| (60..=86_400).contains(seconds))
    .ok_or(ApiErrorResponse::invalid("expiry is not 60s to 24h"))?;
    let (mint, draft, expires_at) = {
        let state = environment.lock();
        let account_ids: Vec<_> = connection_names(&state, id, &body.identifier)?
            .iter()
            .map(|name| {
                account_of(&state, name, &body.identifier)
                    .filter(|account| account.status == AccountStatus::Active)
                    .map(|account| account.id.clone())
                    .ok_or_else(|| {
                        ApiErrorResponse::new(
                            GrpcCode::FailedPrecondition,
                            format!("{name} has no active connected account"),
                        )
                    })
            })
            .collect::<ApiResult<_>>()?;
        if account_ids.is_empty() {
            return Err(ApiErrorResponse::invalid("the configuration has no connections"));
        }
        let mint = Mint::new(environment, &state);
        let draft = mint.mcp_session_token(
            &body.identifier,
            &state.mcp_server_url(known(&state, id)?),
            id,
            &account_ids,
            lifetime,
        );
        (mint, draft, state.now + Duration::seconds(lifetime))
    };
    Ok(json!({ "token": mint.sign(&draft), "expires_at": timestamp(expires_at) }))
}

fn connection_names(state: &State, id: &str, identifier: &str) -> ApiResult<Vec<String>> {
    if !(1..=255).contains(&identifier.len()) {
        return Err(ApiErrorResponse::invalid("identifier is required"));
    }
    let mappings = &known(state, id)?.mappings;
    Ok(mappings.iter().map(|mapping| mapping.connection_name.clone()).collect())
}

fn account_of<'s>(state: &'s State, connection: &str, identifier: &str) -> Option<&'s Account> {
    state.connected_accounts.iter().find(|account| account.belongs_to(connection, identifier))
}

fn known<'s>(state: &'s State, id: &str) -> ApiResult<&'s McpConfig> {
    state
        .mcp_configs
        .iter()
        .find(|config| config.id == id)
        .ok_or(ApiErrorResponse::not_found("there is no such MCP configuration"))
}

/// `mcpMcpConfig`
fn details(state: &State, config: &McpConfig) -> Value {
    json!({
        "id": config.id,
        "name": config.name,
        "description": config.description,
        "mcp_server_url": state.mcp_server_url(config),
        "connection_tool_mappings": config.mappings.iter().map(|mapping| {
            let connection = state.connected_accounts.connection(&mapping.connection_name);
            json!({
                "connection_id": connection.map_or("", |connection| &connection.id),
                "connection_name": mapping.connection_name,
                "provider": connection.map_or("", |connection| connection.connector.provider),
                "tools": mapping.tools,
            })
        }).collect::<Vec<_>>(),
    })
}
