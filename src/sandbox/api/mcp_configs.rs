//! `/api/v1/mcp/configs`

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::connected_accounts::RejectedRequest;
use super::paging::PageRequest;
use super::timestamp;
use crate::sandbox::connected_accounts::events::AccountEvent;
use crate::sandbox::connected_accounts::services::all_tools;
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond;
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::{Account, AccountStatus};
use crate::sandbox::state::mcp_configs::{McpConfig, ToolMapping};
use crate::sandbox::tokens::Mint;

type Outcome = Result<Value, RejectedRequest>;

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[&str],
) -> Option<Response<Bytes>> {
    let outcome = match (request.method(), resource) {
        (&Method::GET, ["mcp", "configs"]) => list(environment, request),
        (&Method::POST, ["mcp", "configs"]) => create(environment, request),
        (&Method::GET, ["mcp", "configs", id]) => {
            let state = environment.lock();
            known(&state, id).map(|config| json!({ "config": details(&state, config) }))
        }
        (&Method::PUT, ["mcp", "configs", id]) => update(environment, request, id),
        (&Method::DELETE, ["mcp", "configs", id]) => {
            let mut state = environment.lock();
            known(&state, id).map(|_| ()).map(|()| {
                state.mcp_configs.retain(|config| config.id != *id);
                json!({})
            })
        }
        (&Method::POST, ["mcp", "configs", id, "connected_accounts"]) => {
            accounts(environment, request, id)
        }
        (&Method::POST, ["mcp", "configs", id, "tokens"]) => token(environment, request, id),
        _ => return None,
    };
    Some(match outcome {
        Ok(body) if request.method() == Method::POST && resource.len() == 2 => {
            respond::json(StatusCode::CREATED, &body)
        }
        Ok(body) => respond::json(StatusCode::OK, &body),
        Err(rejected) => rejected.response(),
    })
}

fn list(environment: &Environment, request: &Request<Bytes>) -> Outcome {
    let query = Parameters::from_query(request);
    let page = PageRequest::parse(&query, 10, 30)
        .map_err(|_| RejectedRequest::invalid("page_size or page_token is not valid"))?;
    let state = environment.lock();
    let provider = query.get("filter.provider");
    let search = query.get("search").map(str::to_lowercase);
    let server = query.get("filter.mcp_server_url").map(|url| url.rsplit('/').next());
    let found: Vec<_> = state
        .mcp_configs
        .iter()
        .filter(|config| {
            let providers = config.mappings.iter().filter_map(|mapping| {
                let connection = state.connected_accounts.connection(&mapping.connection_name);
                Some(connection?.connector.provider)
            });
            query.get("filter.id").is_none_or(|id| config.id == id)
                && query
                    .get("filter.name")
                    .is_none_or(|name| config.name.eq_ignore_ascii_case(name))
                && provider.is_none_or(|wanted| {
                    providers.into_iter().any(|own| own.eq_ignore_ascii_case(wanted))
                })
                && server.is_none_or(|id| id == Some(config.server_id.as_str()))
                && search.as_ref().is_none_or(|text| config.name.starts_with(text))
        })
        .collect();
    let start = match &page.from {
        None => 0,
        Some(from) => found
            .iter()
            .position(|config| config.id == *from)
            .ok_or(RejectedRequest::invalid("page_token belongs to another list"))?,
    };
    let id = |config: &&McpConfig| config.id.clone();
    Ok(page.response("configs", &found, start, id, |config| details(&state, config)))
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
    fn read(request: &Request<Bytes>) -> Result<Self, RejectedRequest> {
        serde_json::from_slice(request.body())
            .map_err(|_| RejectedRequest::invalid("the body is not that of this call"))
    }

    fn apply_to(self, config: &mut McpConfig, state: &State) -> Result<(), RejectedRequest> {
        let invalid = |message: String| Err(RejectedRequest::invalid(message));
        if let Some(description) = self.description {
            config.description = description;
        }
        let Some(mappings) = self.connection_tool_mappings else { return Ok(()) };
        if mappings.len() > 25 {
            return invalid("there are more than 25 mappings".to_owned());
        }
        for WrittenMapping { connection_name, tools } in &mappings {
            let Some(connection) = state.connected_accounts.connection(connection_name) else {
                return invalid(format!("there is no connection named {connection_name}"));
            };
            let is_own = |name: &String| {
                let provider = connection.connector.provider;
                all_tools().any(|tool| tool.name == name && tool.provider == provider)
            };
            if let Some(unknown) = tools.iter().find(|name| !is_own(name)) {
                return invalid(format!("{connection_name} has no tool named {unknown:?}"));
            }
        }
        config.mappings = mappings
            .into_iter()
            .map(|WrittenMapping { connection_name, tools }| ToolMapping { connection_name, tools })
            .collect();
        Ok(())
    }
}

fn create(environment: &Environment, request: &Request<Bytes>) -> Outcome {
    let body = Body::read(request)?;
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    if !(1..=100).contains(&body.name.len()) || !body.name.bytes().all(allowed) {
        return Err(RejectedRequest::invalid("name is not 1 to 100 of a-z, 0-9, - and _"));
    }
    let mut state = environment.lock();
    if state.mcp_configs.iter().any(|config| config.name == body.name) {
        return Err(RejectedRequest::invalid("there is a configuration with this name"));
    }
    let mut config = McpConfig::new(body.name.clone());
    body.apply_to(&mut config, &state)?;
    let created = json!({ "config": details(&state, &config) });
    state.mcp_configs.push(config);
    Ok(created)
}

fn update(environment: &Environment, request: &Request<Bytes>, id: &str) -> Outcome {
    let body = Body::read(request)?;
    let mut state = environment.lock();
    let mut config = known(&state, id)?.clone();
    body.apply_to(&mut config, &state)?;
    let updated = json!({ "config": details(&state, &config) });
    if let Some(own) = state.mcp_configs.iter_mut().find(|own| own.id == config.id) {
        *own = config;
    }
    Ok(updated)
}

/// With links, accounts that do not exist are created.
fn accounts(environment: &Environment, request: &Request<Bytes>, id: &str) -> Outcome {
    let body = Body::read(request)?;
    let now = environment.now();
    let mut state = environment.lock();
    let names = connection_names(&state, id, &body.identifier)?;
    let mut accounts = Vec::new();
    for name in names {
        let Some(connection) = state.connected_accounts.connection(&name).cloned() else {
            continue;
        };
        let mut link = String::new();
        if body.include_auth_link {
            let added = state.connected_accounts.add(&name, &body.identifier, now);
            if let Some(id) = added.ok().map(|account| account.id.clone()) {
                state.emit_account_event(AccountEvent::Created, &id, now);
            }
            if let Some(id) = account_of(&state, &name, &body.identifier).map(|own| own.id.clone())
            {
                let (token, _) = state.connected_accounts.open_link(&id, None, None, now);
                link = format!("{}/magicLink/{token}", state.environment_url);
            }
        }
        let account = account_of(&state, &name, &body.identifier);
        accounts.push(json!({
            "connection_id": connection.id,
            "connection_name": name,
            "provider": connection.connector.provider,
            "connected_account_id": account.map_or("", |account| &account.id),
            "connected_account_status": account.map_or("", |account| account.status.as_str()),
            "authentication_link": link,
        }));
    }
    Ok(json!({ "connected_accounts": accounts }))
}

fn token(environment: &Environment, request: &Request<Bytes>, id: &str) -> Outcome {
    let body = Body::read(request)?;
    let lifetime = match &body.expiry {
        None => Some(3600),
        Some(text) => text.strip_suffix('s').and_then(|seconds| seconds.parse::<i64>().ok()),
    };
    let lifetime = lifetime
        .filter(|seconds| (60..=86_400).contains(seconds))
        .ok_or(RejectedRequest::invalid("expiry is not 60s to 24h"))?;
    let now = environment.now();
    let (mint, draft) = {
        let state = environment.lock();
        let names = connection_names(&state, id, &body.identifier)?;
        if names.is_empty() {
            return Err(RejectedRequest::invalid("the configuration has no connections"));
        }
        let mut ids = Vec::new();
        for name in names {
            let account = account_of(&state, &name, &body.identifier)
                .filter(|account| account.status == AccountStatus::Active);
            let account = account.ok_or_else(|| {
                RejectedRequest::precondition(format!("{name} has no active connected account"))
            })?;
            ids.push(account.id.clone());
        }
        let config = known(&state, id)?;
        let mint = Mint::new(environment, &state);
        let url = state.mcp_server_url(config);
        let draft = mint.mcp_session_token(&body.identifier, &url, &config.id, &ids, lifetime);
        (mint, draft)
    };
    let expires_at = timestamp(now + time::Duration::seconds(lifetime));
    Ok(json!({ "token": mint.sign(&draft), "expires_at": expires_at }))
}

fn connection_names(
    state: &State,
    id: &str,
    identifier: &str,
) -> Result<Vec<String>, RejectedRequest> {
    if !(1..=255).contains(&identifier.len()) {
        return Err(RejectedRequest::invalid("identifier is required"));
    }
    let mappings = known(state, id)?.mappings.iter();
    Ok(mappings.map(|mapping| mapping.connection_name.clone()).collect())
}

fn account_of<'s>(state: &'s State, connection: &str, identifier: &str) -> Option<&'s Account> {
    state.connected_accounts.iter().find(|account| account.belongs_to(connection, identifier))
}

fn known<'s>(state: &'s State, id: &str) -> Result<&'s McpConfig, RejectedRequest> {
    state.mcp_config(id).ok_or(RejectedRequest::not_found("there is no such MCP configuration"))
}

/// `mcpMcpConfig`
fn details(state: &State, config: &McpConfig) -> Value {
    let mappings = config.mappings.iter().map(|mapping| {
        let connection = state.connected_accounts.connection(&mapping.connection_name);
        json!({
            "connection_id": connection.map_or("", |connection| &connection.id),
            "connection_name": mapping.connection_name,
            "provider": connection.map_or("", |connection| connection.connector.provider),
            "tools": mapping.tools,
        })
    });
    json!({
        "id": config.id,
        "name": config.name,
        "description": config.description,
        "mcp_server_url": state.mcp_server_url(config),
        "connection_tool_mappings": mappings.collect::<Vec<_>>(),
    })
}
