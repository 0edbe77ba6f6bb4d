use axum::Router;
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::{SessionManager, StreamableHttpService};
use tower_scalekit::challenge::ScopeToken;
use tower_scalekit::protected_resource::{ProtectedResource, ResourceId};
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::{ConfigError, RequireToken, Scalekit};

pub(crate) fn mcp<H, M, S>(
    scalekit: &Scalekit,
    service: StreamableHttpService<H, M>,
) -> Result<Router<S>, ConfigError>
where
    H: ServerHandler + Send + 'static,
    M: SessionManager,
    S: Clone + Send + Sync + 'static,
{
    let id = ResourceId::new("res_123456789")?; // dashboard: MCP servers
    let resource = ProtectedResource::builder(scalekit, "https://mcp.example.com/mcp", id)
        .scopes(["todo:read", "todo:write"])
        .build()?;
    Ok(Router::new()
        .route_service("/mcp", service)
        .route_layer(
            RequireMcpScope::new()
                .tool("list_todos", ["todo:read"])
                .tool("add_todo", ["todo:write"]),
        )
        .route_layer(
            RequireToken::for_resource(&resource).scope_hint([ScopeToken::new("todo:read")?]),
        )
        .merge(resource.routes())) // the metadata, at two well-known paths
}
