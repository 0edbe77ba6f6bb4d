//! Code of the README: each block is quoted from code that is compiled and run here.

mod agents;
mod api;
mod mcp;
mod other_issuer;
mod passwordless;
mod sso;
mod webhooks;
mod your_tests;

use std::fs;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use rmcp::ServerHandler;
use rmcp::model::{ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer};
use serde_json::json;
use time::OffsetDateTime;
use tower_scalekit::Sandbox;
use tower_scalekit::shared_store::MemoryStore;

use crate::files::{files, read, root};
use crate::support::{JANE, NAVIGATION, Reading as _, World, request, secret, send};
use crate::webhooks as signing;

/// The state of an app that exists already.
#[derive(Clone)]
struct AppState;

/// Merges a router into an app with state, unknown paths and pages of its own.
fn app(routes: Router<AppState>) -> Router {
    Router::new()
        .route("/about", axum::routing::get(async || "about"))
        .merge(routes)
        .fallback(async || (StatusCode::NOT_FOUND, "the app's own 404"))
        .with_state(AppState)
}

async fn get(app: &Router, path: &str, token: Option<&str>) -> (StatusCode, String) {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> =
        authorization.iter().map(|value| ("authorization", value.as_str())).collect();
    let response = send(app, request(Method::GET, path, &headers)).await;
    (response.status(), response.text())
}

async fn assert_rest_is_unchanged(app: &Router) {
    assert_eq!(get(app, "/about", None).await, (StatusCode::OK, "about".to_owned()));
    let unknown = (StatusCode::NOT_FOUND, "the app's own 404".to_owned());
    assert_eq!(get(app, "/unknown", None).await, unknown);
}

#[tokio::test]
async fn the_api_card_accepts_users_and_machines() {
    let world = World::new();
    let app = app(api::api(&world.sandbox.scalekit()).unwrap());
    assert_rest_is_unchanged(&app).await;
    assert_eq!(get(&app, "/deployments", None).await.0, StatusCode::UNAUTHORIZED);

    let tokens = world.sandbox.tokens();
    let machine = tokens.m2m_token(&["read:deployments"]);
    let (status, subject) = get(&app, "/deployments", Some(&machine)).await;
    assert_eq!((status, &subject[..7]), (StatusCode::OK, "m2morg_"));
    let narrow = tokens.m2m_token(&["read:other"]);
    assert_eq!(get(&app, "/deployments", Some(&narrow)).await.0, StatusCode::FORBIDDEN);

    let mut user = tokens.access_token_draft(JANE);
    user.claims.insert("scope".into(), "read:deployments".into());
    let elsewhere = tokens.sign_draft(&user);
    assert_eq!(get(&app, "/deployments", Some(&elsewhere)).await.0, StatusCode::UNAUTHORIZED);
    user.claims.insert("aud".into(), json!(["https://api.example.com"]));
    let here = tokens.sign_draft(&user);
    assert_eq!(get(&app, "/deployments", Some(&here)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_card_of_another_issuer_merges_into_an_app_with_state() {
    let app = app(other_issuer::legacy(Sandbox::new().client()).unwrap());
    assert_rest_is_unchanged(&app).await;
    assert_eq!(get(&app, "/legacy", None).await.0, StatusCode::UNAUTHORIZED);
}

/// An MCP server with one tool.
#[derive(Clone)]
struct Todos;

impl ServerHandler for Todos {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::default())
    }
}

#[tokio::test]
async fn the_mcp_card_serves_the_official_sdk() {
    let world = World::new();
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true);
    let sessions = Arc::<NeverSessionManager>::default();
    let service = StreamableHttpService::new(|| Ok(Todos), sessions, config);
    let app = app(mcp::mcp(&world.sandbox.scalekit(), service).unwrap());
    assert_rest_is_unchanged(&app).await;
    let path = "/.well-known/oauth-protected-resource/mcp";
    let (status, metadata) = get(&app, path, None).await;
    assert_eq!(status, StatusCode::OK);
    assert!(metadata.contains("\"resource\":\"https://mcp.example.com/mcp\""), "{metadata}");
    assert_eq!(get(&app, "/mcp", None).await.0, StatusCode::UNAUTHORIZED);

    let resource = world.sandbox.mcp().resource_id();
    assert_eq!(resource, "res_123456789");
    let token = world.sandbox.tokens().resource_token(JANE, &resource, &["todo:read"]);
    for (message, status, content) in [
        (
            json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            }}),
            StatusCode::OK,
            "protocolVersion",
        ),
        (
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add_todo"}}),
            StatusCode::FORBIDDEN,
            "todo:write",
        ),
    ] {
        let request = Request::post("/mcp")
            .header("host", "localhost")
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(Body::from(message.to_string()));
        let response = send(&app, request.unwrap()).await;
        assert_eq!(response.status(), status, "{}", response.text());
        assert!(response.text().contains(content), "{}", response.text());
    }
}

#[tokio::test]
async fn the_sso_card_starts_the_login_that_a_portal_requests() {
    let world = World::new();
    let app = app(sso::sso(world.sandbox.scalekit(), secret(1)).unwrap());
    assert_rest_is_unchanged(&app).await;
    world.sandbox.idp().set_initiate_login_url("https://app.example.com/login");
    let connection = world.sandbox.connections().list().remove(0).id;
    let launch = world.sandbox.idp().login_url(connection.as_str()).unwrap();
    let path = launch.strip_prefix("https://app.example.com").unwrap();
    let redirected = send(&app, request(Method::GET, path, &NAVIGATION)).await;
    assert!(redirected.location().contains(&connection), "{}", redirected.location());
}

#[tokio::test]
async fn the_passwordless_card_merges_into_an_app_with_state() {
    let world = World::new();
    let app = app(passwordless::passwordless(&world.sessions).unwrap());
    assert_rest_is_unchanged(&app).await;
    assert_eq!(
        get(&app, "/passwordless/send", None).await.0,
        StatusCode::METHOD_NOT_ALLOWED,
        "the route is there"
    );
}

#[tokio::test]
async fn the_webhook_card_merges_into_an_app_with_state() {
    let world = World::new();
    let clock = world.sandbox.clock().clock();
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let app = app(webhooks::webhooks(signing::secret(1), &world.sessions, MemoryStore::new(clock)));
    assert_rest_is_unchanged(&app).await;
    let event = json!({
        "id": "evt_1", "type": "organization.directory.user_created", "object": "DirectoryUser",
        "spec_version": "1", "organization_id": "org_1", "environment_id": "env_1",
        "occurred_at": "2026-11-30T08:00:00Z", "data": {"id": "diruser_1", "email": JANE},
    });
    for (key, status) in [(1, StatusCode::NO_CONTENT), (2, StatusCode::BAD_REQUEST)] {
        let mut delivery = signing::signed("webhook", "msg_1", now, &event.to_string(), key);
        *delivery.uri_mut() = "/webhooks/scalekit".parse().unwrap();
        assert_eq!(send(&app, delivery).await.status(), status);
    }
}

#[tokio::test]
async fn the_card_of_agents_calls_a_tool() {
    let world = World::new();
    world.sandbox.connected_accounts().add("gmail", "user_123");
    agents::unread(&world.sandbox.scalekit()).await.unwrap();
}

/// The lines of a text as they are compared: neither indentation nor visibility is shown alike.
fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| line.strip_prefix("pub(crate) ").unwrap_or(line)).collect()
}

/// The fenced blocks of this language in a page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let (mut blocks, mut open) = (Vec::new(), None::<String>);
    for line in page.lines() {
        match &mut open {
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some(block) => block.extend([line, "\n"]),
            None if line == format!("```{language}") => open = Some(String::new()),
            None => {}
        }
    }
    blocks
}

fn compiled() -> Vec<String> {
    files(&["tests/suite/snippets", "examples"], "rs").iter().map(read).collect()
}

#[test]
fn every_block_of_the_readme_is_quoted_from_compiled_code() {
    let (sources, readme) = (compiled(), read("README.md"));
    let sources: Vec<_> = sources.iter().map(|source| lines(source)).collect();
    let quoted = blocks(&readme, "rust");
    assert!(quoted.len() > 5, "{}", quoted.len());
    for block in quoted {
        let block = lines(&block);
        let is_quoted = |source: &Vec<&str>| source.windows(block.len()).any(|part| part == block);
        assert!(sources.iter().any(is_quoted), "in no compiled file:\n{}", block.join("\n"));
    }
}

#[test]
fn every_command_of_the_readme_exists() {
    let readme = read("README.md");
    let manifest = read("Cargo.toml");
    let mut commands = 0;
    for line in readme.lines() {
        for example in line.split("--example ").skip(1) {
            let name = example.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            assert!(root().join("examples").join(name).is_dir(), "{line}");
            commands += 1;
        }
        if let Some((_, features)) = line.split_once("add tower-scalekit --features ") {
            let features = features.split([' ', '`']).next().unwrap();
            for feature in features.split(',') {
                assert!(manifest.contains(&format!("\n{feature} = [")), "{line}");
            }
        }
    }
    assert!(commands > 0);
}

#[test]
fn the_readme_has_at_most_150_lines() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 150, "{lines}");
}

#[test]
fn links_of_the_readme_go_to_docs_rs_or_to_files_of_the_package() {
    let readme = read("README.md");
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let is_page =
            ["https://docs.rs/tower-scalekit/latest/tower_scalekit/", "https://www.scalekit.com"]
                .iter()
                .any(|known| link.starts_with(known));
        assert!(is_page || root().join(link).is_file(), "{link}");
    }
    // Guides are modules, whose pages docs.rs has under their names.
    let library = read("src/lib.rs");
    for guide in readme.split("/guides/").skip(1).filter_map(|rest| rest.split('/').next()) {
        assert!(library.contains(&format!("pub mod {guide} {{}}")), "{guide}");
    }
    let picture = fs::metadata(root().join("examples/login.png")).unwrap();
    assert!(picture.len() < 60 * 1024 && readme.contains("src=\"examples/login.png\""));
}
