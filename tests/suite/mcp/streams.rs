//! Event streams and sessions of the official Rust SDK behind the layers, in each revision.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use tokio::sync::Semaphore;

use super::*;

/// A server whose calls complete when the test allows it, and its lists until the test stops them.
#[derive(Clone)]
struct Slow {
    started: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    lists: Arc<Semaphore>,
}

const MANY: usize = 1000;

impl ServerHandler for Slow {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.started.add_permits(1);
        self.lists.acquire().await.unwrap().forget();
        let tools =
            ["list", "add"].map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
        Ok(serde_json::from_value(json!({"tools": tools})).unwrap())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.started.add_permits(1);
        self.calls.acquire().await.unwrap().forget();
        let text = format!("result of {}", request.name);
        let result = json!({"content": [{"type": "text", "text": text}]});
        Ok(CallToolResponse::Complete(serde_json::from_value::<CallToolResult>(result).unwrap()))
    }
}

struct Streams {
    world: World,
    server: Slow,
}

impl Streams {
    fn new() -> Self {
        let [started, calls, lists] = [0, 0, MANY].map(|permits| Arc::new(Semaphore::new(permits)));
        let server = Slow { started, calls, lists };
        let served = server.clone();
        let world = World::with(move |_| {
            let config = StreamableHttpServerConfig::default();
            let sessions = Arc::<LocalSessionManager>::default();
            let service = StreamableHttpService::new(move || Ok(served.clone()), sessions, config);
            let layer = RequireMcpScope::new()
                .tool("list", ["todo:read"])
                .tool("add", ["todo:write"])
                .filter_lists();
            Router::new().route_service("/mcp", service).layer(layer)
        });
        Self { world, server }
    }

    /// Starts a session, and returns the headers of its requests.
    async fn session(&self, token: &str, revision: &str) -> Vec<(&'static str, String)> {
        let info = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": info});
        let initialize =
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let response = self.send(Method::POST, token, &[], initialize.to_string()).await;
        let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        assert_eq!(first_message(response).await["result"]["protocolVersion"], revision);
        let mut headers = vec![("mcp-session-id", session)];
        // It came with 2025-06-18.
        if revision != "2025-03-26" {
            headers.push(("mcp-protocol-version", revision.to_owned()));
        }
        headers
    }

    async fn send(
        &self,
        method: Method,
        token: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Response<Body> {
        let authorization = format!("Bearer {token}");
        let common = [
            ("authorization", authorization.as_str()),
            ("host", "localhost"),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
        ];
        let mut request = request(method, "/mcp", &[&common, headers].concat());
        *request.body_mut() = body.into();
        self.world.app.clone().oneshot(request).await.unwrap()
    }
}

/// The next message of an event stream, and the ID of its event.
async fn message(body: &mut Body, text: &mut String) -> (Value, String) {
    loop {
        while let Some((event, rest)) = text.split_once("\n\n") {
            let (event, rest) = (event.to_owned(), rest.to_owned());
            *text = rest;
            let field = |name: &str| {
                let line = event.lines().find_map(|line| line.strip_prefix(name))?;
                Some(line.trim_start_matches(':').trim().to_owned())
            };
            let id = field("id").unwrap_or_default();
            match field("data").filter(|data| !data.is_empty()) {
                Some(data) => return (serde_json::from_str(&data).unwrap(), id),
                None if !id.is_empty() => return (Value::Null, id),
                None => {}
            }
        }
        let frame = body.frame().await.expect("an event").unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
}

/// The first message that is not empty.
async fn first_message(response: Response<Body>) -> Value {
    let (mut body, mut text) = (response.into_body(), String::new());
    loop {
        let (message, _) = message(&mut body, &mut text).await;
        if !message.is_null() {
            return message;
        }
    }
}

#[tokio::test]
async fn sessions_and_resumed_streams_of_earlier_revisions_pass_all_layers() {
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let streams = Streams::new();
        let token = streams.world.token("todo:read", |_| {});
        let session = streams.session(&token, revision).await;
        let headers: Vec<_> = session.iter().map(|(name, value)| (*name, value.as_str())).collect();

        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let response = streams.send(Method::POST, &token, &headers, initialized.to_string()).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);

        // A stream for messages of the server, which has none.
        let response = streams.send(Method::GET, &token, &headers, String::new()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");

        // The connection of a call, and of a list, ends before the response.
        for (body, expected) in
            [(call("list"), json!("result of list")), (method("tools/list"), json!(["list"]))]
        {
            let response = streams.send(Method::POST, &token, &headers, body).await;
            let mut body = response.into_body();
            let (priming, id) = message(&mut body, &mut String::new()).await;
            assert_eq!(priming, Value::Null);
            drop(body);
            streams.server.calls.add_permits(1);
            let resume = [&headers[..], &[("last-event-id", id.as_str())]].concat();
            let response = streams.send(Method::GET, &token, &resume, String::new()).await;
            let result = &first_message(response).await["result"];
            let names = result["tools"]
                .as_array()
                .map(|tools| tools.iter().map(|tool| tool["name"].clone()).collect::<Vec<_>>());
            let seen = names.map_or_else(|| result["content"][0]["text"].clone(), Value::from);
            assert_eq!(seen, expected, "{revision}");
        }

        let response = streams.send(Method::DELETE, &token, &headers, String::new()).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let response = streams.send(Method::POST, &token, &headers, call("list")).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_list_is_filtered_on_the_stream_of_another_request_with_its_id() {
    let streams = Streams::new();
    streams.server.lists.forget_permits(MANY);
    let token = streams.world.token("todo:read", |_| {});
    let session = streams.session(&token, "2025-11-25").await;
    let headers: Vec<_> = session.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    streams.send(Method::POST, &token, &headers, initialized.to_string()).await;

    let list = streams.send(Method::POST, &token, &headers, method("tools/list")).await;
    streams.server.started.acquire().await.unwrap().forget();
    // The server sends a result to the latest request with its ID.
    let call = streams.send(Method::POST, &token, &headers, call("list")).await;
    streams.server.started.acquire().await.unwrap().forget();
    streams.server.lists.add_permits(1);
    let result = first_message(call).await;
    assert_eq!(result["result"]["tools"].as_array().map(Vec::len), Some(1), "{result}");
    assert_eq!(result["result"]["tools"][0]["name"], "list");
    drop(list);
}

/// A message of the current revision, and its headers.
fn current(
    mut message: Value,
    name: Option<&'static str>,
) -> (String, Vec<(&'static str, String)>) {
    message["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let method = message["method"].as_str().unwrap().to_owned();
    let mut headers =
        vec![("mcp-protocol-version", "2026-07-28".to_owned()), ("mcp-method", method)];
    headers.extend(name.map(|name| ("mcp-name", name.to_owned())));
    (message.to_string(), headers)
}

#[tokio::test]
async fn the_current_revision_has_no_sessions() {
    let streams = Streams::new();
    let token = streams.world.token("todo:read", |_| {});
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let (body, headers) = current(list, None);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let response = streams.send(Method::POST, &token, &headers, body).await;
    assert_eq!(response.headers().get("mcp-session-id"), None);
    let result = first_message(response).await;
    assert_eq!(result["result"]["tools"].as_array().map(Vec::len), Some(1), "{result}");
    assert_eq!(result["result"]["cacheScope"], "private");
    for method in [Method::GET, Method::DELETE] {
        let response = streams.send(method, &token, &headers[..1], String::new()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn a_call_that_outlives_its_token_completes_and_the_next_is_401() {
    let streams = Streams::new();
    let token = streams.world.token("todo:read", |_| {});
    let slow =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list"}});
    let (body, headers) = current(slow, Some("list"));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let expire = async {
        streams.server.started.acquire().await.unwrap().forget();
        streams.world.sandbox.clock().advance(Duration::from_secs(3600));
        streams.server.calls.add_permits(1);
    };
    let call = streams.send(Method::POST, &token, &headers, body.clone());
    let (response, ()) = tokio::join!(call, expire);
    assert_eq!(response.status(), StatusCode::OK);
    let result = first_message(response).await;
    assert_eq!(result["result"]["content"][0]["text"], "result of list", "{result}");

    let response = streams.send(Method::POST, &token, &headers, body).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}
