//! What it costs to read foreign JSON, by shape: `cargo bench --bench json`. For MCP messages, the
//! longest time that one poll holds the thread too.

use std::convert::Infallible;
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_scalekit::middleware::ReplayBody;
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::{Principal, Sandbox};

const ROUNDS: u32 = 20;
const SIZE: usize = 1_000_000;
/// The largest event that is read unless set otherwise.
const EVENT_SIZE: usize = 256 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let sandbox = Sandbox::new();
    let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id());
    let token = sandbox.tokens().access_token("jane@acme.test");
    let principal: Principal = verifier.build().unwrap().verify(&token).await.unwrap();
    let inner = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let layer = RequireMcpScope::new().tool("add", ["openid"]);
    println!(
        "{:<26}{:>12}{:>14}{:>16}{:>14}",
        "shape", "bytes", "MCP, ns/byte", "one poll, us", "webhook, us"
    );
    let shapes = [
        ("{},", "small objects"),
        ("{\"a\":0},", "objects with a member"),
        ("[[[]]],", "arrays"),
        ("0,", "numbers"),
        ("\"\",", "empty strings"),
        ("\"\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\",", "escapes"),
        ("\"some words of a text, with a few more of them to come\",", "texts"),
        ("\"\u{e9}\u{4e2d}\u{e9}\u{4e2d}\u{e9}\u{4e2d}\u{e9}\u{4e2d}\",", "texts beyond ASCII"),
        ("          \n", "white space"),
    ];
    for (item, name) in shapes {
        let filling = |bytes: usize| format!("[{}0]", item.repeat(bytes / item.len()));
        let call = format!(
            r#"{{"method":"tools/call","params":{{"name":"add","arguments":{{"a":{}}}}}}}"#,
            filling(SIZE)
        );
        let event =
            format!(r#"{{"id":"evt_1","type":"x","data":{{"a":{}}}}}"#, filling(EVENT_SIZE));
        let call = Bytes::from(call);
        let mut service = layer.layer(inner);
        let (mut whole, mut longest) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut request = Request::post("/mcp").body(Full::new(call.clone())).unwrap();
            request.extensions_mut().insert(principal.clone());
            let mut cx = Context::from_waker(Waker::noop());
            let mut future = pin!(service.ready().await.unwrap().call(request));
            let (mut sum, mut most) = (Duration::ZERO, Duration::ZERO);
            loop {
                let started = Instant::now();
                let polled = future.as_mut().poll(&mut cx);
                let time = started.elapsed();
                (sum, most) = (sum + time, most.max(time));
                if let Poll::Ready(response) = polled {
                    assert!(response.unwrap().status().is_success());
                    break;
                }
            }
            whole.push(sum);
            longest.push(most);
        }
        let mut webhook = Vec::new();
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let _ = std::hint::black_box(WebhookEvent::parse(event.as_bytes()));
            webhook.push(started.elapsed());
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        println!(
            "{name:<26}{:>12}{:>14.2}{:>16.0}{:>14.0}",
            call.len(),
            median(&mut whole).as_nanos() as f64 / call.len() as f64,
            median(&mut longest).as_nanos() as f64 / 1000.0,
            median(&mut webhook).as_nanos() as f64 / 1000.0,
        );
    }
}
