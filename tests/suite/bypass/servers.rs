//! Over sockets.

use super::*;

/// One connection to a hyper server with this service.
fn serve(service: &Erased) -> DuplexStream {
    let (client, server) = duplex(64 * 1024);
    let service = service.clone().map_request(|request: Request<Incoming>| request.map(Body::new));
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http2().enable_connect_protocol();
    tokio::spawn(async move {
        let service = TowerToHyperService::new(service);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(server), service);
        let _ = connection.await;
    });
    client
}

/// Sends a request as text over HTTP/1.1, with any method and headers.
async fn over_http1(service: &Erased, request: Request<Body>) -> String {
    let mut connection = serve(service);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let is_connect = parts.method == Method::CONNECT;
    let target = if is_connect { "app.test:443" } else { PATH };
    let mut text = format!("{} {target} HTTP/1.1\r\nhost: app.test\r\n", parts.method);
    if !parts.headers.contains_key(header::UPGRADE) {
        text += "connection: close\r\n";
    }
    for (name, value) in &parts.headers {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    if !is_connect && !body.is_empty() {
        text += &format!("content-length: {}\r\n", body.len());
    }
    text += "\r\n";
    connection.write_all(text.as_bytes()).await.unwrap();
    let _ = connection.write_all(&body).await;
    let mut read = Vec::new();
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(connection.read_buf(&mut read).await.unwrap(), 0, "no response to {text}");
    }
    String::from_utf8(read).unwrap().lines().next().unwrap().to_owned()
}

type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn http2(service: &Erased) -> Http2 {
    let connection = TokioIo::new(serve(service));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), connection);
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends a request over HTTP/2, including `CONNECT` with and without a protocol.
async fn over_http2(sender: &mut Http2, request: Request<Body>) -> StatusCode {
    let (mut parts, body) = request.into_parts();
    let is_extended = parts.extensions.get::<Protocol>().is_some();
    let connects = parts.method == Method::CONNECT;
    let target = match (connects, is_extended) {
        (true, false) => "app.test:443".to_owned(),
        _ => format!("http://app.test{PATH}"),
    };
    parts.uri = target.parse::<Uri>().unwrap();
    parts.headers.remove(header::CONNECTION);
    parts.headers.remove(header::UPGRADE);
    let body = if connects { Bytes::new() } else { body.collect().await.unwrap().to_bytes() };
    poll_fn(|cx| sender.poll_ready(cx)).await.unwrap();
    let sent = Request::from_parts(parts, Full::new(body));
    sender.send_request(sent).await.unwrap().status()
}

#[tokio::test]
async fn requests_that_are_not_authorized_do_not_reach_servers_of_http1_and_http2() {
    let world = World::new();
    let credentials = Credentials::new(&world).await;
    let mut called = 0;
    let plain = GUARDS.map(|guard| (guard, Inner::Plain));
    let tonic = [Guard::Token, Guard::ScopeOfToken].map(|guard| (guard, Inner::Tonic));
    for (guard, inner) in plain.into_iter().chain(tonic) {
        let calls = Calls::default();
        let service = guard.around(&world, calls.recorded(inner.service()));
        let mut connection = http2(&service).await;
        for credential in credentials.of(guard) {
            for (method, shape) in requests().filter(|(_, shape)| *shape != Shape::Override) {
                let is_extended = shape == Shape::ExtendedConnect;
                for payload in [Payload::Empty, Payload::McpCall] {
                    // `CONNECT` has no body.
                    if method == Method::CONNECT && payload != Payload::Empty {
                        continue;
                    }
                    let strength = credential.strength;
                    let sent = || build(&method, PATH, shape, credential, payload.body());
                    let allowed = allowed(guard, credential, &method, shape, payload);
                    if inner != Inner::Tonic && !is_extended {
                        let status = over_http1(&service, sent()).await;
                        let seen = calls.take();
                        assert!(
                            seen.iter().all(|call| Some(*call) == allowed),
                            "HTTP/1 {guard:?} {inner:?} {strength:?} {method} {shape:?} {payload:?} {status} {seen:?}",
                        );
                        called += seen.len();
                    }
                    // Without its header an upgrade is an ordinary request.
                    if shape != Shape::WebSocket {
                        let status = over_http2(&mut connection, sent()).await;
                        let seen = calls.take();
                        assert!(
                            seen.iter().all(|call| Some(*call) == allowed),
                            "HTTP/2 {guard:?} {inner:?} {strength:?} {method} {shape:?} {payload:?} {status} {seen:?}",
                        );
                        called += seen.len();
                    }
                }
            }
        }
    }
    assert!(called > 1000, "{called}");
}
