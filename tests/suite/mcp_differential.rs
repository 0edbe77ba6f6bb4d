//! `RequireMcpScope` against the parser of the official Rust SDK: no mutated body is forwarded that
//! the SDK reads as a call of another tool.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, JsonRpcMessage};
use serde_json::Value;
use tower::{Layer as _, Service as _, service_fn};
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::{Principal, ReplayBody};

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
        let mut body = SEEDS[self.below(SEEDS.len())].as_bytes().to_vec();
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
                    let fragment = FRAGMENTS[self.below(FRAGMENTS.len())].bytes();
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

#[tokio::test]
async fn no_body_is_forwarded_that_the_sdk_reads_as_a_call_of_another_tool() {
    let sandbox = sandbox_builder().build();
    let mut draft = sandbox.access_token_draft(JANE);
    draft.claims.insert("scope".into(), "todo:read".into());
    let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id()).build();
    let reader: Principal = verifier.unwrap().verify(&sandbox.sign_draft(&draft)).await.unwrap();
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
