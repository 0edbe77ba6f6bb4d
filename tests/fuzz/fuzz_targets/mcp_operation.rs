//! Operations of MCP requests: no call of a tool that the token does not allow is forwarded, whether the
//! official Rust SDK or serde_json reads the body, and the server gets the same bytes.
#![no_main]

use std::convert::Infallible;
use std::future::Ready;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use libfuzzer_sys::fuzz_target;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, JsonRpcMessage};
use serde_json::Value;
use tower_layer::Layer as _;
use tower_scalekit::middleware::BodyLimits;
use tower_scalekit::middleware::ReplayBody;
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::{Principal, Sandbox};
use tower_scalekit_fuzz::{Input, block_on, clock, mutate};
use tower_service::Service;

const SEEDS: [&str; 8] = [
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
    r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}]"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"name":"add"}}"#,
    r#"{"params":{"name":"list"},"method":"tools/call","params":{"name":"add"},"id":1}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{"n\u0061me":"\u0061dd"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{},"method":"tools/call","params":{"name":"add"}}"#,
];
const HEADERS: [(&str, &str); 7] = [
    ("mcp-method", "tools/call"),
    ("mcp-method", "tools/list"),
    ("mcp-name", "list"),
    ("mcp-name", "add"),
    ("mcp-name", "=?base64?YWRk?="),
    ("content-encoding", "gzip"),
    ("mcp-protocol-version", "2026-07-28"),
];
const BODY_LIMIT: usize = 512;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut body = input.pick(&SEEDS).as_bytes().to_vec();
    for _ in 0..input.byte() % 4 {
        mutate(&mut input, &mut body);
    }
    if input.byte() % 16 == 0 {
        body = input.bytes().to_vec();
    }
    let mut request = Request::post("/mcp");
    for _ in 0..input.byte() % 3 {
        let (name, value) = *input.pick(&HEADERS);
        request = request.header(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let chunk = usize::from(input.byte()).max(1);
    let whole = Bytes::from(body);
    let chunks = whole.chunks(chunk).map(|chunk| whole.slice_ref(chunk)).rev().collect();
    let request = request.body(Chunks(chunks)).expect("a request");
    let plain = request.headers().is_empty();
    check(request, &whole, plain);
});

/// A body in pieces; the last one comes first off the list.
struct Chunks(Vec<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Keeps what it was given.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Option<Vec<u8>>>>);

impl Service<Request<ReplayBody<Chunks>>> for Server {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Chunks>>) -> Self::Future {
        let mut body = Box::pin(request.into_body());
        let mut bytes = Vec::new();
        let read = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx));
        let mut next = read.now_or_never().flatten();
        while let Some(Ok(frame)) = next {
            bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
            next = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).now_or_never().flatten();
        }
        *self.0.lock().expect("a lock") = Some(bytes);
        std::future::ready(Ok(Response::new(String::new())))
    }
}

fn reader() -> Principal {
    thread_local! {
        static READER: Principal = {
            let sandbox = Sandbox::builder().clock(clock()).build();
            let mut draft = sandbox.tokens().access_token_draft("jane@acme.test");
            draft.claims.insert("scope".into(), "todo:read".into());
            let token = sandbox.tokens().sign_draft(&draft);
            let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id());
            block_on(verifier.build().expect("settings").verify(&token)).expect("a good token")
        };
    }
    READER.with(Clone::clone)
}

fn check(mut request: Request<Chunks>, whole: &[u8], plain: bool) {
    let layer = RequireMcpScope::new()
        .tool("list", ["todo:read"])
        .tool("add", ["todo:write"])
        .body_limits(BodyLimits::new().max_bytes(BODY_LIMIT));
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    request.extensions_mut().insert(reader());
    let response = service.call(request).now_or_never().expect("no wait").expect("infallible");
    let seen = server.0.lock().expect("a lock").take();
    match response.status() {
        StatusCode::OK => {
            let seen = seen.expect("the server was called");
            assert_eq!(seen, whole, "other bytes came out");
            assert!(!calls_another_tool(&seen), "{}", String::from_utf8_lossy(&seen));
        }
        StatusCode::BAD_REQUEST
        | StatusCode::FORBIDDEN
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            assert!(seen.is_none());
            let good =
                plain && [SEEDS[0], SEEDS[2], SEEDS[4]].iter().any(|s| s.as_bytes() == whole);
            assert!(!good, "rejected for no reason");
        }
        other => panic!("{other}"),
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
