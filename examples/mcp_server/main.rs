//! An MCP server whose tools require scopes, with the official Rust SDK.
//!
//! `cargo run --example mcp_server`, then add the printed URL with `/mcp` to any MCP client, which
//! discovers how to log in. `MCP_RESOURCE_ID` is the server's ID in the dashboard (MCP servers),
//! where its URL and the scopes `todo:read` and `todo:write` are registered. `ALLOWED_ORIGINS` are the
//! origins of clients in browsers, separated by commas; those of this machine are allowed anyway.

#[path = "../common/mod.rs"]
mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use http::request::Parts;
use http::{HeaderName, Method, header};
use rmcp::handler::server::tool::Extension;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler, schemars, tool, tool_handler, tool_router};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};
use tower_scalekit::challenge::ScopeToken;
use tower_scalekit::protected_resource::{ProtectedResource, ProtectedResourceBuilder, ResourceId};
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::{ConfigError, Principal, RequireToken};
use url::Url;

use crate::common::OrExit as _;

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let resource = protected_resource(&setup).or_exit(2);
    let mcp = mcp_service(&setup.public_url).or_exit(2);
    let scope_hint = ScopeToken::new("todo:read").or_exit(2);
    let app = Router::new()
        .route_service("/mcp", mcp.clone())
        .route_service("/mcp/", mcp)
        .route_layer(
            RequireMcpScope::new()
                .tool("list_todos", ["todo:read"])
                .tool("add_todo", ["todo:write"]),
        )
        .route_layer(RequireToken::for_resource(&resource).scope_hint([scope_hint]))
        .route_layer(cors())
        .merge(resource.routes());
    setup.serve(app).await;
}

/// For clients in browsers: a preflight carries no token, so this layer is outside of the one that
/// requires it. The headers `Mcp-Param-…` are named by the parameters of tools.
fn cors() -> CorsLayer {
    let exposed = ["mcp-session-id", "mcp-protocol-version"].map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.into_iter().chain([header::WWW_AUTHENTICATE]).collect::<Vec<_>>())
        .max_age(Duration::from_secs(3600))
}

fn protected_resource(setup: &common::Setup) -> Result<ProtectedResource, ConfigError> {
    let url = format!("{}/mcp", setup.public_url);
    let id = common::setting("MCP_RESOURCE_ID")
        .or_else(|| setup.sandbox.as_ref().map(|(sandbox, _)| sandbox.mcp().resource_id()))
        .ok_or("MCP_RESOURCE_ID is not set")
        .or_exit(2);
    // On this machine, clients may use either name of it.
    let other_name = [("//127.0.0.1:", "//localhost:"), ("//localhost:", "//127.0.0.1:")]
        .into_iter()
        .find(|(name, _)| url.contains(name))
        .map(|(name, other)| url.replacen(name, other, 1));
    if let Some((sandbox, _)) = &setup.sandbox {
        for url in [&url].into_iter().chain(&other_name) {
            sandbox.mcp().add_resource_url(&id, url);
        }
    }
    let resource = ProtectedResource::builder(&setup.scalekit, url, ResourceId::new(&id)?);
    other_name
        .into_iter()
        .fold(resource, ProtectedResourceBuilder::additional_url)
        .name("Todo list")
        .scopes(["todo:read", "todo:write"])
        .build()
}

type McpService = StreamableHttpService<Todos, NeverSessionManager>;

fn mcp_service(public_url: &str) -> Result<McpService, url::ParseError> {
    // Against DNS rebinding: the names of this server, and the origins of its clients in browsers.
    let public_url = Url::parse(public_url)?;
    let this_machine = ["localhost", "127.0.0.1"];
    let hosts = [public_url.host_str().unwrap_or_default()].into_iter().chain(this_machine);
    let allowed_origins = common::setting("ALLOWED_ORIGINS").unwrap_or_default();
    let origins = allowed_origins
        .split(',')
        .map(str::trim)
        .filter(|origin| !origin.is_empty())
        .map(str::to_owned)
        .chain([public_url.origin().ascii_serialization()]);
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(hosts)
        .with_allowed_origins(origins.chain(this_machine.map(|host| format!("http://{host}:*"))))
        .with_legacy_session_mode(false)
        .with_json_response(true);
    let todos = Todos::default();
    Ok(StreamableHttpService::new(move || Ok(todos.clone()), Arc::default(), config))
}

/// A list for each organization; users without one have their own.
#[derive(Clone, Default)]
struct Todos(Arc<Mutex<HashMap<String, Vec<String>>>>);

fn owner(principal: &Principal) -> String {
    match principal.organization_id() {
        Some(id) => format!("organization {id}"),
        None => format!("subject {}", principal.subject()),
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct NewTodo {
    /// The to-dos.
    title: String,
}

#[tool_router]
impl Todos {
    #[tool(description = "Lists what there is to do")]
    fn list_todos(&self, Extension(parts): Extension<Parts>) -> Result<String, ErrorData> {
        let principal = require_scope(&parts, "todo:read")?;
        let todos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match todos.get(&owner(principal)) {
            Some(todos) => todos.join("\n"),
            None => "Nothing to do".to_owned(),
        })
    }

    #[tool(description = "Adds something to do")]
    fn add_todo(
        &self,
        Extension(parts): Extension<Parts>,
        Parameters(NewTodo { title }): Parameters<NewTodo>,
    ) -> Result<String, ErrorData> {
        let principal = require_scope(&parts, "todo:write")?;
        let mut todos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        todos.entry(owner(principal)).or_default().push(title);
        Ok(format!("Added by {}", principal.subject()))
    }
}

#[tool_handler]
impl ServerHandler for Todos {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_instructions("A todo list")
    }
}

/// The principal, if it has the scope. The layers require it already; this also covers tools that
/// are called in another way.
fn require_scope<'p>(parts: &'p Parts, scope: &str) -> Result<&'p Principal, ErrorData> {
    parts
        .extensions
        .get::<Principal>()
        .filter(|principal| principal.scopes().iter().any(|granted| granted == scope))
        .ok_or_else(|| ErrorData::invalid_request(format!("Required scope: {scope}"), None))
}
