//! The example MCP server, unchanged, with common clients, which discover where to register and to
//! log in, and request more scopes on demand.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::{Endpoint, NewResource, SandboxServer};
use url::Url;

use super::support::{App, Browser, Program, installed, serve};

const CALLBACK: &str = "http://127.0.0.1:9/callback";
const JANE: &str = "jane@acme.test";
/// The server accepts tokens for five more seconds.
pub(crate) const ACCESS_TOKEN_SECONDS: u64 = 1;

/// An environment, the server, and the browser of its user.
pub(crate) struct Server {
    pub(crate) sandbox: Sandbox,
    _environment: SandboxServer,
    _app: App,
    pub(crate) url: String,
    pub(crate) browser: Browser,
    pub(crate) consents: usize,
    /// Authorization requests of the client.
    pub(crate) requests: usize,
}

impl Server {
    pub(crate) async fn with_tokens_of(lifetime: Duration) -> Option<Self> {
        let sandbox = Sandbox::builder().access_token_lifetime(lifetime).build();
        let resource = sandbox.mcp().resource_id();
        Self::of_resource(sandbox, &resource).await
    }

    /// An environment that grants the scope of `list_todos` alone, whatever a client requests.
    pub(crate) async fn without_write_access() -> Option<Self> {
        let sandbox = Sandbox::new();
        let resource = NewResource::new("Read only").scopes(["todo:read"]);
        let resource = sandbox.mcp().add_resource(resource);
        Self::of_resource(sandbox, &resource).await
    }

    async fn of_resource(sandbox: Sandbox, resource: &str) -> Option<Self> {
        let environment = serve(&sandbox).await;
        let app = App::start_example(
            "mcp_server",
            &[
                ("SCALEKIT_ENVIRONMENT_URL", environment.environment_url()),
                ("SCALEKIT_CLIENT_ID", sandbox.client_id()),
                ("SCALEKIT_CLIENT_SECRET", sandbox.client_secret().expose()),
                ("MCP_RESOURCE_ID", resource),
            ],
        )
        .await?;
        let url = format!("{}/mcp", app.address);
        assert!(sandbox.mcp().set_resource_url(resource, &url));
        let (browser, consents, requests) = (Browser::new(), 0, 0);
        Some(Self {
            sandbox,
            _environment: environment,
            _app: app,
            url,
            browser,
            consents,
            requests,
        })
    }

    /// Logs in and consents if required, and returns the redirect to the client.
    pub(crate) async fn allow(&mut self, address: &str) -> String {
        self.requests += 1;
        assert!(self.requests <= 4, "the client requests scopes again and again");
        let redirect_uri = Url::parse(address).unwrap();
        let redirect_uri = redirect_uri.query_pairs().find(|(name, _)| name == "redirect_uri");
        let redirect_uri = redirect_uri.expect("a redirect URI").1.into_owned();
        let mut page = self.browser.get(address).await;
        for _ in 0..10 {
            if page.status.is_redirection() {
                let next = page.location();
                if next.as_str().starts_with(&redirect_uri) {
                    return next.into();
                }
                page = self.browser.get(next.as_str()).await;
            } else if page.body.contains("name=\"email\"") {
                page = self.browser.submit_once(&page, &[("email", JANE)]).await;
            } else {
                self.consents += 1;
                page = self.browser.submit_once(&page, &[("action", "allow")]).await;
            }
        }
        panic!("{address} leads nowhere: {page:?}");
    }
}

/// A client that speaks the lines of `mcp_client.mjs`, with its server.
pub(crate) struct World {
    pub(crate) server: Server,
    client: Program,
}

impl World {
    pub(crate) async fn start(client: Command) -> Option<Self> {
        Self::with_tokens_of(Duration::from_secs(300), client).await
    }

    pub(crate) async fn with_tokens_of(lifetime: Duration, client: Command) -> Option<Self> {
        let server = Server::with_tokens_of(lifetime).await?;
        let url = server.url.clone();
        Self::at(&url, server, client).await
    }

    pub(crate) async fn at(url: &str, server: Server, mut client: Command) -> Option<Self> {
        let mut world = Self { server, client: Program::start(&mut client)? };
        let ready = world.ask(&json!({ "url": url, "redirectUri": CALLBACK })).await;
        assert_eq!(ready["ready"], true, "{ready}");
        assert!(ready["client_id"].as_str().unwrap().starts_with("m2m_"), "{ready}");
        Some(world)
    }

    /// Sends a line, and acts as the user if the client requires one before it responds.
    async fn ask(&mut self, question: &Value) -> Value {
        let mut response = self.client.ask(question).await;
        while let Some(address) = response["authorize"].as_str() {
            let callback = self.server.allow(address).await;
            response = self.client.ask(&json!({ "callback": callback })).await;
        }
        response
    }

    async fn call(&mut self, tool: &str) -> Value {
        self.ask(&json!({ "tool": tool, "title": "Buy milk" })).await
    }
}

pub(crate) fn text(response: &Value) -> &str {
    response["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{response}"))
}

fn typescript(package: &str) -> Option<Command> {
    let folder = installed(&format!("node_modules/{package}"))?;
    let mut command = Command::new("node");
    // A script passed as text resolves packages from the working directory.
    command.args(["--input-type=module", "--eval", include_str!("mcp_client.mjs")]);
    command.current_dir(folder).env("MCP_PACKAGE", package);
    Some(command)
}

fn python() -> Option<Command> {
    let folder = installed("python/mcp")?;
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("mcp_client.py")]).env("PYTHONPATH", folder.join("python"));
    Some(command)
}

/// Connects without a token, lists the tools and calls the one that was allowed.
pub(crate) async fn connects_and_calls(world: &mut World) {
    assert_eq!(world.server.consents, 1);
    let listed = world.ask(&json!({})).await;
    let tools = listed["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
    let mut names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["add_todo", "list_todos"]);
    let scope = listed["scope"].as_str().unwrap();
    assert!(scope.contains("todo:read") && !scope.contains("todo:write"), "{scope}");
    let response = world.call("list_todos").await;
    assert_eq!(text(&response), "Nothing to do");
}

pub(crate) async fn steps_up(world: &mut World) {
    let added = world.call("add_todo").await;
    assert!(text(&added).starts_with("Added by usr_"), "{added}");
    assert!(added["scope"].as_str().unwrap().contains("todo:write"), "{added}");
    assert_eq!(world.server.consents, 2);
    assert_eq!(text(&world.call("list_todos").await), "Buy milk");
    assert_eq!(world.server.consents, 2);
}

/// Fails if the user's token does not get the scopes, and goes on with what it has.
pub(crate) async fn gives_up(client: Command) {
    let Some(server) = Server::without_write_access().await else { return };
    let url = server.url.clone();
    let Some(mut world) = World::at(&url, server, client).await else { return };
    let rejected = world.call("add_todo").await;
    assert!(rejected["failed"].is_string(), "{rejected}");
    assert_eq!(text(&world.call("list_todos").await), "Nothing to do");
}

/// Repeats calls until the client had to refresh its token.
pub(crate) async fn outlives_its_token(world: &mut World) {
    let before = world.server.sandbox.requests().count(Endpoint::Token);
    let started = Instant::now();
    while world.server.sandbox.requests().count(Endpoint::Token) == before {
        assert_eq!(text(&world.call("list_todos").await), "Nothing to do");
        assert!(started.elapsed() < Duration::from_secs(60), "the token never expires");
    }
    assert_eq!(text(&world.call("list_todos").await), "Nothing to do");
    assert_eq!(world.server.consents, 1, "no further consent");
}

#[test]
fn the_matrix_of_the_guide_names_the_tested_versions() {
    let guide = include_str!("../../src/docs/how_to/mcp_servers.md");
    let node: Value = serde_json::from_str(include_str!("package.json")).unwrap();
    let more_node: Value = serde_json::from_str(include_str!("clients/package.json")).unwrap();
    let of_node = |list: &Value, package: &str| {
        let version = list["dependencies"][package].as_str();
        version.unwrap_or_else(|| panic!("{package} is not installed")).to_owned()
    };
    let of_python = |list: &str, package: &str| {
        let versions = list.lines().filter_map(|line| line.split_once("=="));
        let mut versions = versions.filter(|(name, _)| *name == package);
        versions.next().expect("it is installed").1.to_owned()
    };
    let rmcp = include_str!("clients/rmcp/Cargo.toml").split_once("rmcp = { version = \"").unwrap();
    for (client, version) in [
        ("TypeScript SDK", of_node(&node, "@modelcontextprotocol/sdk")),
        ("TypeScript client", of_node(&node, "@modelcontextprotocol/client")),
        ("Python SDK", of_python(include_str!("requirements.txt"), "mcp")),
        ("FastMCP", of_python(include_str!("clients/requirements.txt"), "fastmcp")),
        ("rmcp", rmcp.1.split('"').next().unwrap().to_owned()),
        ("mcp-remote", of_node(&more_node, "mcp-remote")),
        ("MCP Inspector", of_node(&more_node, "@modelcontextprotocol/inspector")),
    ] {
        let minor = version.split('.').take(2).collect::<Vec<_>>().join(".");
        let row = [" |", ","].map(|end| format!("\n| {client} {minor}{end}"));
        assert!(row.iter().any(|row| guide.contains(row)), "{client} {minor}");
    }
}

#[tokio::test]
async fn the_typescript_sdk_connects_and_calls() {
    let Some(client) = typescript("@modelcontextprotocol/sdk") else { return };
    let Some(mut world) = World::start(client).await else { return };
    connects_and_calls(&mut world).await;
    // This version requests no further scopes while it has a refresh token.
    let rejected = world.call("add_todo").await;
    assert!(rejected["failed"].as_str().unwrap().contains("403"), "{rejected}");
    assert_eq!(text(&world.call("list_todos").await), "Nothing to do");
}

#[tokio::test]
async fn the_typescript_client_of_version_2_connects_calls_and_steps_up() {
    let Some(client) = typescript("@modelcontextprotocol/client") else { return };
    let Some(mut world) = World::start(client).await else { return };
    connects_and_calls(&mut world).await;
    steps_up(&mut world).await;
}

#[tokio::test]
async fn a_server_is_reached_under_each_name_of_this_machine() {
    let Some(client) = typescript("@modelcontextprotocol/client") else { return };
    let Some(server) = Server::with_tokens_of(Duration::from_secs(300)).await else { return };
    let url = server.url.replace("127.0.0.1", "localhost");
    assert!(server.sandbox.mcp().add_resource_url(&server.sandbox.mcp().resource_id(), &url));
    let Some(mut world) = World::at(&url, server, client).await else { return };
    connects_and_calls(&mut world).await;
    steps_up(&mut world).await;
}

#[tokio::test]
async fn the_python_sdk_connects_calls_and_steps_up() {
    let Some(client) = python() else { return };
    let Some(mut world) = World::start(client).await else { return };
    connects_and_calls(&mut world).await;
    steps_up(&mut world).await;
}

#[tokio::test]
async fn no_client_requests_scopes_again_and_again() {
    let packages = ["@modelcontextprotocol/sdk", "@modelcontextprotocol/client"];
    for client in packages.map(typescript).into_iter().chain([python()]) {
        let Some(client) = client else { return };
        gives_up(client).await;
    }
}

#[tokio::test]
async fn clients_refresh_their_expired_token() {
    let packages = ["@modelcontextprotocol/sdk", "@modelcontextprotocol/client"];
    let (Some(old), Some(new), Some(python)) =
        (typescript(packages[0]), typescript(packages[1]), python())
    else {
        return;
    };
    for client in [old, new, python] {
        let lifetime = Duration::from_secs(ACCESS_TOKEN_SECONDS);
        let Some(mut world) = World::with_tokens_of(lifetime, client).await else { return };
        outlives_its_token(&mut world).await;
    }
}
