//! Load without sessions: bearer tokens, MCP calls, webhooks, and unauthorized requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::app::{BODY_TIMEOUT, WEBHOOK_SECRET};
use crate::messages::{request, signed};
use crate::random::Random;
use crate::world::{World, reached_inner};

const EVENT: &str = r#"{"id":"evt_1","type":"user.login","data":{}}"#;
const INTERCEPTOR_REQUEST: &str = r#"{"trigger_point":"PRE_SIGNUP","data":{}}"#;
const JANE: &str = "jane@acme.test";
const OK: StatusCode = StatusCode::OK;

impl World {
    /// Sends a request whose response must have this status, and come from the inner service or
    /// not. Webhooks are rejected for the moment while the store is unavailable.
    async fn expect(
        &self,
        kind: &'static str,
        replica: usize,
        request: Request<Full<Bytes>>,
        status: StatusCode,
        is_inner: bool,
    ) -> bool {
        let started = Instant::now();
        let Ok(response) = self.send(kind, replica, request).await else { return false };
        if kind.ends_with("webhook")
            && response.status() == StatusCode::SERVICE_UNAVAILABLE
            && !reached_inner(&response)
            && self.store_fault.was_active_since(started)
        {
            return false;
        }
        let is_good = response.status() == status && reached_inner(&response) == is_inner;
        if !is_good {
            let inner = if reached_inner(&response) { "inner service" } else { "layer" };
            self.wrong(format!("{kind}: {} of the {inner}", response.status()));
        }
        is_good
    }
}

/// Valid tokens, with and without a scope, and invalid ones.
pub(crate) async fn bearer(world: Arc<World>, mut random: Random) {
    let call = |tool: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#)
    };
    let mut expired: Option<(OffsetDateTime, String)> = None;
    while !world.is_over() {
        let at_work = world.clocks.read().await;
        let token = world.environment.access_token(JANE).await;
        let valid = format!("Bearer {token}");
        let forged = format!("{}AAAA", &valid[..valid.len() - 4]);
        let api =
            |authorization: &str| request("GET", "/api", &[("authorization", authorization)], "");
        let mcp = |tool| request("POST", "/mcp", &[("authorization", &valid)], call(tool));
        let replica = random.replica();
        world.expect("bearer token", replica, api(&valid), OK, true).await;
        world.expect("forged token", replica, api(&forged), StatusCode::UNAUTHORIZED, false).await;
        world.expect("MCP call", replica, mcp("read"), OK, true).await;
        world
            .expect("MCP call without scope", replica, mcp("write"), StatusCode::FORBIDDEN, false)
            .await;
        // A wall clock that was set back may make it valid again.
        let now = world.replicas[replica].clock.clock().now();
        match &expired {
            Some((issued, old)) if now - *issued > time::Duration::seconds(12) => {
                let unauthorized = StatusCode::UNAUTHORIZED;
                world.expect("old token", replica, api(old), unauthorized, false).await;
                expired = None;
            }
            Some(_) => {}
            None => expired = Some((now, valid.clone())),
        }
        drop(at_work);
        world.pause(random.millis(200)).await;
    }
}

fn message(
    path: &str,
    headers: &[(String, String); 3],
    body: &'static str,
) -> Request<Full<Bytes>> {
    let headers = headers.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
    request("POST", path, &headers, body)
}

/// New and duplicate webhooks, forged ones, and ones that were sent to the other kind of endpoint.
pub(crate) async fn webhooks(world: Arc<World>, mut random: Random) {
    let mut number = 0_u64;
    while !world.is_over() {
        let at_work = world.clocks.read().await;
        number += 1;
        let (id, replica) = (format!("msg_{number}"), random.replica());
        let now = world.replicas[replica].clock.clock().now().unix_timestamp();
        let event = signed("webhook", &id, now, EVENT, &WEBHOOK_SECRET);
        let webhook = || message("/webhooks", &event, EVENT);
        if world.expect("webhook", replica, webhook(), OK, true).await {
            let replica = random.replica();
            world.expect("repeated webhook", replica, webhook(), OK, false).await;
        }
        let asked = signed("interceptor", &id, now, INTERCEPTOR_REQUEST, &WEBHOOK_SECRET);
        let asked = message("/interceptor", &asked, INTERCEPTOR_REQUEST);
        world.expect("interceptor request", replica, asked, OK, true).await;
        let (path, headers, body) = match random.below(3) {
            0 => ("/webhooks", signed("webhook", &id, now, EVENT, &[1; 32]), EVENT),
            1 => ("/interceptor", signed("interceptor", &id, now, EVENT, &WEBHOOK_SECRET), EVENT),
            _ => {
                let body = INTERCEPTOR_REQUEST;
                ("/webhooks", signed("webhook", &id, now, body, &WEBHOOK_SECRET), body)
            }
        };
        let rejected = message(path, &headers, body);
        world.expect("rejected webhook", replica, rejected, StatusCode::BAD_REQUEST, false).await;
        drop(at_work);
        world.pause(random.millis(100)).await;
    }
}

/// Requests of every method without a valid credential: none may reach an inner service.
pub(crate) async fn intruder(world: Arc<World>, mut random: Random) {
    const METHODS: [&str; 10] =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "FOO"];
    const PATHS: [&str; 5] = ["/me", "/api", "/mcp", "/webhooks", "/interceptor"];
    const CREDENTIALS: [&[(&str, &str)]; 6] = [
        &[],
        &[("cookie", "scalekit_session=AAAA")],
        &[("authorization", "Bearer abc")],
        &[("authorization", "Basic YTpi")],
        &[("webhook-id", "1"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AAAA")],
        &[("connection", "upgrade"), ("upgrade", "websocket")],
    ];
    const PREFLIGHT: [(&str, &str); 2] =
        [("origin", "https://evil.test"), ("access-control-request-method", "POST")];
    while !world.is_over() {
        let at_work = world.clocks.read().await;
        let mut headers = random.pick(&CREDENTIALS).to_vec();
        if random.below(2) == 0 {
            headers.extend(PREFLIGHT);
        }
        let (method, path) = (*random.pick(&METHODS), *random.pick(&PATHS));
        let sent = request(method, path, &headers, "{}");
        if let Ok(response) = world.send("no credential", random.replica(), sent).await
            && (reached_inner(&response) || response.status().is_success())
        {
            world.wrong(format!("{method} {path} {headers:?}: {}", response.status()));
        }
        drop(at_work);
        world.pause(random.millis(50)).await;
    }
}

/// Bodies that never end, more of them than may be held at once.
pub(crate) async fn slow_bodies(world: Arc<World>, mut random: Random) {
    const CLIENTS: usize = 30;
    const LENGTH: usize = 200_000;
    while !world.is_over() {
        let at_work = world.clocks.read().await;
        let (replica, started) = (random.replica(), Instant::now());
        let address = world.replicas[replica].address;
        let now = world.replicas[replica].clock.clock().now().unix_timestamp();
        let headers: String = signed("webhook", "msg_slow", now, "", &WEBHOOK_SECRET)
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = format!(
            "POST /webhooks HTTP/1.1\r\nhost: app\r\n{headers}content-length: {LENGTH}\r\n\r\n"
        );
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let part = vec![b'x'; 1 + random.below(LENGTH as u64 - 1) as usize];
            if let Ok(mut client) = TcpStream::connect(address).await
                && client.write_all(head.as_bytes()).await.is_ok()
                && client.write_all(&part).await.is_ok()
            {
                clients.push(client);
            }
        }
        // The headers are read by now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(at_work);
        for mut client in clients {
            let mut status = [0; 12];
            let patience = BODY_TIMEOUT + Duration::from_secs(5);
            let read = timeout(patience, client.read_exact(&mut status)).await;
            let status = String::from_utf8_lossy(&status[9..]).into_owned();
            let is_stopped = world.replicas[replica].stop.was_active_since(started);
            match read {
                Ok(Ok(_)) if status == "503" => {}
                Ok(Err(_)) if is_stopped => continue,
                _ => world.wrong(format!("slow body: {read:?} {status:?}")),
            }
            world.figures.count("slow body", &status, started.elapsed());
        }
        world.pause(random.millis(2000)).await;
    }
}
