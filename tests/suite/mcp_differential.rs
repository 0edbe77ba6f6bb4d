//! `RequireMcpScope` against the official Rust SDK: no body is forwarded that the SDK reads as a
//! call of another tool, no request runs there that requires other scopes, and no list is returned
//! in which it reads a hidden tool.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientJsonRpcMessage, ClientRequest, CustomRequest,
    CustomResult, ErrorData, JsonRpcMessage, ListToolsResult, PaginatedRequestParams,
    ServerJsonRpcMessage, ServerResult,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tower::{Layer as _, Service as _, service_fn};
use tower_scalekit::Principal;
use tower_scalekit::middleware::ReplayBody;
use tower_scalekit::require_scope::mcp::RequireMcpScope;

use crate::support::{JANE, sandbox_builder};

const SEEDS: [&str; 7] = [
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"name":"add"}}"#,
    r#"{"params":{"name":"list"},"method":"tools/call","params":{"name":"add"},"id":1}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{"n\u0061me":"\u0061dd"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{},"method":"tools/call","params":{"name":"add"}}"#,
];
const FRAGMENTS: [&str; 24] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"name\":\"add\"",
    "\"name\":\"list\",",
    "\"method\":\"tools/call\"",
    "\"method\":\"tools/list\",",
    "\"params\":{\"name\":\"add\"}",
    "\"$serde_json::private::RawValue\":",
    "\"NAME\":\"add\",",
    "\\u0061",
    "\\\"",
    "\n",
    "\u{e9}",
    "null",
    "1e5",
    "\"id\":1,",
    "\"arguments\":{\"name\":\"add\"},",
    "\"result\":{},",
];

/// xorshift64: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn mutated(&mut self) -> Vec<u8> {
        self.mutated_of(&SEEDS, &FRAGMENTS)
    }

    fn mutated_of(&mut self, seeds: &[&str], fragments: &[&str]) -> Vec<u8> {
        let mut body = seeds[self.below(seeds.len())].as_bytes().to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(body.len() + 1);
            let until = body.len().min(at + self.below(12));
            match self.below(4) {
                0 => drop(body.drain(at..until)),
                1 => {
                    let copy = body[at..until].to_vec();
                    let to = self.below(body.len() + 1);
                    body.splice(to..to, copy);
                }
                2 if at < body.len() => body[at] ^= 1 << self.below(8),
                _ => {
                    let fragment = fragments[self.below(fragments.len())].bytes();
                    body.splice(at..at, fragment);
                }
            }
        }
        body
    }
}

/// Whether the SDK, or serde_json alone, reads a call of another tool than `list`.
fn calls_another_tool(body: &[u8]) -> bool {
    let by_sdk = match serde_json::from_slice::<ClientJsonRpcMessage>(body) {
        Ok(JsonRpcMessage::Request(request)) => match request.request {
            ClientRequest::CallToolRequest(call) => call.params.name != "list",
            _ => false,
        },
        _ => false,
    };
    let by_value = serde_json::from_slice::<Value>(body).is_ok_and(|message| {
        message["method"] == "tools/call" && message["params"]["name"] != "list"
    });
    by_sdk || by_value
}

/// JANE with these scopes.
async fn principal(scope: &str) -> Principal {
    let sandbox = sandbox_builder().build();
    let mut draft = sandbox.tokens().access_token_draft(JANE);
    draft.claims.insert("scope".into(), scope.into());
    let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id()).build();
    verifier.unwrap().verify(&sandbox.tokens().sign_draft(&draft)).await.unwrap()
}

#[tokio::test]
async fn no_body_is_forwarded_that_the_sdk_reads_as_a_call_of_another_tool() {
    let reader = principal("todo:read").await;
    let inner = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let layer = RequireMcpScope::new().tool("list", ["todo:read"]).tool("add", ["todo:write"]);
    let mut service = layer.layer(inner);
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let (mut forwarded, mut calls) = (0, 0);
    for _ in 0..20_000 {
        let body = numbers.mutated();
        let mut request = Request::post("/mcp").body(Full::new(Bytes::from(body.clone()))).unwrap();
        request.extensions_mut().insert(reader.clone());
        let is_forwarded = service.call(request).await.unwrap().status().is_success();
        let calls_another_tool = calls_another_tool(&body);
        let text = String::from_utf8_lossy(&body);
        assert!(!(is_forwarded && calls_another_tool), "{text}");
        forwarded += usize::from(is_forwarded);
        calls += usize::from(calls_another_tool);
    }
    assert!(forwarded > 1000 && calls > 500, "{forwarded} {calls}");
}

/// An operation that a server ran: a method, and the name of a tool.
type Ran = (String, Option<String>);

/// An MCP server that records the operations it runs.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Ran>>>);

impl Recorder {
    fn ran(&self, method: &str, tool: Option<&str>) {
        self.0.lock().unwrap().push((method.to_owned(), tool.map(str::to_owned)));
    }
}

impl ServerHandler for Recorder {
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.ran("tools/call", Some(&request.name));
        Err(ErrorData::internal_error("", None))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.ran("tools/list", None);
        Ok(ListToolsResult::default())
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        self.ran(&request.method, None);
        Ok(CustomResult::new(Value::Null))
    }
}

/// A server of the SDK behind a layer with one scope for each operation.
struct Server {
    ran: Recorder,
    layer: RequireMcpScope,
    principals: BTreeMap<&'static str, Principal>,
}

const OTHER_METHODS: &str = "methods:other";
const OTHER_TOOLS: &str = "tools:other";
const SCOPES: [&str; 5] = ["tools:list", "tools:add", OTHER_TOOLS, "methods:list", OTHER_METHODS];

impl Server {
    async fn new() -> Self {
        let mut principals = BTreeMap::new();
        for scope in SCOPES {
            principals.insert(scope, principal(scope).await);
        }
        let layer = RequireMcpScope::new()
            .tool("list", ["tools:list"])
            .tool("add", ["tools:add"])
            .default_tool_scopes([OTHER_TOOLS])
            .method("tools/list", ["methods:list"])
            .default_method_scopes([OTHER_METHODS]);
        Self { ran: Recorder::default(), layer, principals }
    }

    /// The operations that run with each of the scopes.
    async fn run(&self, body: &[u8]) -> Vec<(&'static str, Ran)> {
        let ran = self.ran.clone();
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true);
        let sessions = Arc::<NeverSessionManager>::default();
        let server = StreamableHttpService::new(move || Ok(ran.clone()), sessions, config);
        let mut all = Vec::new();
        for (scope, principal) in &self.principals {
            let mut request = Request::post("/mcp")
                .header("host", "localhost")
                .header("accept", "application/json, text/event-stream")
                .header("content-type", "application/json")
                .body(Full::new(Bytes::copy_from_slice(body)))
                .unwrap();
            request.extensions_mut().insert(principal.clone());
            let _ = self.layer.layer(server.clone()).call(request).await.unwrap();
            all.extend(self.ran.0.lock().unwrap().drain(..).map(|ran| (*scope, ran)));
        }
        all
    }
}

/// The scope that a request requires, by what the SDK runs.
fn scope_of((method, tool): &Ran) -> Option<&'static str> {
    match (method.as_str(), tool.as_deref()) {
        // Its parameters are not those of a call, so it runs no tool.
        ("tools/call", None) => None,
        ("tools/call", Some("list")) => Some("tools:list"),
        ("tools/call", Some("add")) => Some("tools:add"),
        ("tools/call", Some(_)) => Some(OTHER_TOOLS),
        ("tools/list", _) => Some("methods:list"),
        _ => Some(OTHER_METHODS),
    }
}

#[tokio::test]
async fn methods_and_tools_in_another_spelling_require_the_scopes_of_unknown_ones() {
    let server = Server::new().await;
    let run = async |method: &str, name: &str| {
        let params = json!({"name": name});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        server.run(message.to_string().as_bytes()).await
    };
    let add = ("tools/call".to_owned(), Some("add".to_owned()));
    assert_eq!(run("tools/call", "add").await, [("tools:add", add)]);
    for method in [
        "Tools/Call",
        "TOOLS/LIST",
        "tools/call\0",
        "\0tools/call",
        "tools/call\0/x",
        "tools/list\0",
        " tools/call",
        "tools/call ",
        "tools/call\n",
        "tools\\/call",
        "tools//call",
        "/tools/call",
        "tools/call/",
        "tools\u{2215}call",
        "tool\u{17f}/call",
        "tools/cal\u{217c}",
        "\u{feff}tools/call",
        "",
    ] {
        let ran = (method.to_owned(), None);
        assert_eq!(run(method, "add").await, [(OTHER_METHODS, ran)], "{method:?}");
    }
    for name in ["Add", "ADD", "add\0", "\0add", "add ", " add", "a\u{301}dd", "add\0list", ""] {
        let ran = ("tools/call".to_owned(), Some(name.to_owned()));
        assert_eq!(run("tools/call", name).await, [(OTHER_TOOLS, ran)], "{name:?}");
    }
}

#[tokio::test]
async fn no_request_runs_in_the_sdk_without_its_required_scope() {
    let server = Server::new().await;
    let mut numbers = Numbers(0xD1B5_4A32_D192_ED03);
    let mut counts = BTreeMap::<_, usize>::new();
    for _ in 0..4000 {
        let body = numbers.mutated();
        for (scope, ran) in server.run(&body).await {
            let needed = scope_of(&ran);
            let text = String::from_utf8_lossy(&body);
            assert!(needed.is_none_or(|needed| needed == scope), "{scope} {ran:?} {text}");
            *counts.entry(needed).or_default() += 1;
        }
    }
    let ran = |scope| counts.get(&Some(scope)).copied().unwrap_or_default();
    assert!(SCOPES.iter().all(|scope| ran(*scope) > 2), "{counts:?}");
}

const LISTS: [&str; 4] = [
    r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"list","inputSchema":{}},{"name":"add","inputSchema":{}}]}}"#,
    r#"{"id":1,"result":{"cacheScope":"public","tools":[{"name":"add","inputSchema":{}}]},"jsonrpc":"2.0"}"#,
    r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"tools"}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"tools":[{"name":"add"}]}}"#,
];
const PARTS_OF_LISTS: [&str; 20] = [
    "\n",
    "\r",
    "\n\n",
    "\r\n\r\n",
    "data:",
    "\ndata: ",
    "\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[{\"name\":\"add\",\"inputSchema\":{}}]}}\n\n",
    ":",
    "\u{feff}",
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    "{\"name\":\"add\",\"inputSchema\":{}},",
    "\"name\":\"add\",",
    "\"tools\":[{\"name\":\"add\",\"inputSchema\":{}}],",
    "\"result\":{},",
];

/// Whether the SDK, or serde_json alone, reads a list with another tool than `list`.
fn shows_another_tool(message: &[u8]) -> bool {
    let by_sdk = match serde_json::from_slice::<ServerJsonRpcMessage>(message) {
        Ok(JsonRpcMessage::Response(response)) => match response.result {
            ServerResult::ListToolsResult(list) => {
                list.tools.iter().any(|tool| tool.name != "list")
            }
            _ => false,
        },
        _ => false,
    };
    let by_value = serde_json::from_slice::<Value>(message).is_ok_and(|message| {
        let tools = message["result"]["tools"].as_array();
        tools.is_some_and(|tools| tools.iter().any(|tool| tool["name"] != "list"))
    });
    by_sdk || by_value
}

/// The data of each event, also of the last one if no blank line completes it.
fn data_of_events(stream: &[u8]) -> Vec<Vec<u8>> {
    let text = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let text: Vec<u8> =
        String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n").into();
    let mut events = vec![Vec::new()];
    for line in text.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            events.push(Vec::new());
        } else if let Some(value) = line.strip_prefix(b"data:") {
            let data = events.last_mut().unwrap();
            data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            data.push(b'\n');
        }
    }
    events
}

#[tokio::test]
async fn no_list_is_returned_that_the_sdk_reads_with_a_hidden_tool() {
    let reader = principal("todo:read").await;
    let body = Arc::new(Mutex::new((Vec::new(), "")));
    let response = Arc::clone(&body);
    let inner = service_fn(move |_: Request<ReplayBody<Full<Bytes>>>| {
        let (bytes, content_type) = response.lock().unwrap().clone();
        let response = Response::builder().header("content-type", content_type);
        std::future::ready(Ok::<_, Infallible>(response.body(Full::new(bytes.into())).unwrap()))
    });
    let layer = RequireMcpScope::new().tool("list", ["todo:read"]).tool("add", ["todo:write"]);
    let mut service = layer.filter_lists().layer(inner);
    let streams = LISTS.map(|message| format!(": first\n\nid: 1\ndata: {message}\n\n"));
    let streams = streams.each_ref().map(String::as_str);
    let mut numbers = Numbers(0xA409_3822_299F_31D0);
    let (mut hidden, mut shown) = (0, 0);
    for round in 0..20_000 {
        let is_json = round % 2 == 0;
        let (seeds, content_type) = match is_json {
            true => (&LISTS, "application/json"),
            false => (&streams, "text/event-stream"),
        };
        let sent = numbers.mutated_of(seeds, &PARTS_OF_LISTS);
        *body.lock().unwrap() = (sent.clone(), content_type);
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
        let mut request = Request::post("/mcp").body(Full::new(Bytes::from(list))).unwrap();
        request.extensions_mut().insert(reader.clone());
        let response = service.call(request).await.unwrap();
        let returned = response.into_body().collect().await.unwrap().to_bytes();
        let reads = |bytes: &[u8]| match is_json {
            true => shows_another_tool(bytes),
            false => data_of_events(bytes).iter().any(|data| shows_another_tool(data)),
        };
        let text = String::from_utf8_lossy(&sent);
        assert!(!reads(&returned), "{text}\n{}", String::from_utf8_lossy(&returned));
        hidden += usize::from(reads(&sent));
        shown += usize::from(returned.windows(6).any(|part| part == b"\"list\""));
    }
    assert!(hidden > 500 && shown > 500, "{hidden} {shown}");
}
