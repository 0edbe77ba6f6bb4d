//! Bodies that arrive slowly, or never, on every route that reads one.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::channel::mpsc;
use futures::stream::FuturesUnordered;
use http::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::middleware::BodyLimits;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::passwordless_login::PasswordlessLoginError;
use tower_scalekit::require_scope::mcp::{McpError, McpRejection, RequireMcpScope};
use tower_scalekit::webhook_verify::{WebhookRejection, WebhookSecret};
use tower_scalekit::{PasswordlessLogin, RequireToken, WebhookVerify};

use crate::support::{FETCH, JANE, Reading as _, World, request, send};
use crate::webhooks::signed;

/// The response of a route whose limit is exceeded.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Timeout,
    Overloaded,
}

/// A route that reads bodies, and a request for it.
struct BodyRoute {
    name: &'static str,
    app: Router,
    request: fn(&World) -> Request<Body>,
    /// Status of a body that times out.
    late: StatusCode,
    reason: fn(&Response<Bytes>) -> Option<Expected>,
}

fn secret() -> WebhookSecret {
    WebhookSecret::new("whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").unwrap()
}

fn world(limits: &BodyLimits) -> World {
    World::with(|sandbox| sandbox, |sessions| sessions.body_limits(limits.clone()))
}

fn routes(world: &World, limits: &BodyLimits) -> Vec<BodyRoute> {
    let clock = || world.sandbox.clock().clock();
    let echo = || Router::new().route("/", post(|body: Bytes| async move { body }));
    let webhook =
        |layer: WebhookVerify| echo().layer(layer.clock(clock()).body_limits(limits.clone()));
    let bearer = RequireToken::for_audience(&world.sandbox.scalekit(), world.sandbox.client_id());
    let mail = PasswordlessLogin::builder(&world.sessions).build().unwrap();
    let webhook_reason = |response: &Response<Bytes>| match response.extensions().get()? {
        WebhookRejection::RequestTimeout => Some(Expected::Timeout),
        WebhookRejection::Overloaded => Some(Expected::Overloaded),
        _ => None,
    };
    let mail_reason = |response: &Response<Bytes>| match response
        .extensions()
        .get::<RouteRejection<PasswordlessLoginError>>()?
        .error()
    {
        PasswordlessLoginError::RequestTimeout => Some(Expected::Timeout),
        PasswordlessLoginError::Overloaded => Some(Expected::Overloaded),
        _ => None,
    };
    let mail_route = |name, request| BodyRoute {
        name,
        app: mail.routes(),
        request,
        late: StatusCode::REQUEST_TIMEOUT,
        reason: mail_reason,
    };
    vec![
        BodyRoute {
            name: "webhook",
            app: webhook(WebhookVerify::new(secret())),
            request: |_| at_root(signed("webhook", "msg_1", 1_900_000_000, "", 1)),
            late: StatusCode::SERVICE_UNAVAILABLE,
            reason: webhook_reason,
        },
        BodyRoute {
            name: "interceptor",
            app: webhook(WebhookVerify::interceptor(secret())),
            request: |_| at_root(signed("interceptor", "msg_1", 1_900_000_000, "", 1)),
            late: StatusCode::SERVICE_UNAVAILABLE,
            reason: webhook_reason,
        },
        BodyRoute {
            name: "MCP",
            app: echo()
                .layer(
                    RequireMcpScope::new().tool("add", ["todo:write"]).body_limits(limits.clone()),
                )
                .layer(bearer.unwrap()),
            request: |world| {
                let bearer = format!("Bearer {}", world.sandbox.tokens().access_token(JANE));
                request(Method::POST, "/", &[("authorization", &bearer)])
            },
            late: StatusCode::REQUEST_TIMEOUT,
            reason: |response| match response.extensions().get::<McpRejection>()?.error() {
                McpError::RequestTimeout => Some(Expected::Timeout),
                McpError::Overloaded => Some(Expected::Overloaded),
                _ => None,
            },
        },
        BodyRoute {
            name: "back-channel logout",
            app: world.app.clone(),
            request: |_| form("/auth/backchannel-logout"),
            late: StatusCode::REQUEST_TIMEOUT,
            reason: |response| match response
                .extensions()
                .get::<RouteRejection<LoginError>>()?
                .error()
            {
                LoginError::RequestTimeout => Some(Expected::Timeout),
                LoginError::Overloaded => Some(Expected::Overloaded),
                _ => None,
            },
        },
        mail_route("passwordless send", |_| form("/passwordless/send")),
        mail_route("passwordless resend", |_| form("/passwordless/resend")),
        mail_route("passwordless verify", |_| form("/passwordless/verify")),
    ]
}

fn at_root(mut request: Request<Body>) -> Request<Body> {
    *request.uri_mut() = "/".parse().unwrap();
    request
}

fn form(path: &str) -> Request<Body> {
    let mut headers = FETCH.to_vec();
    headers.push(("content-type", "application/x-www-form-urlencoded"));
    request(Method::POST, path, &headers)
}

/// A body whose frames are sent by the test. It ends when the sender is dropped.
fn channel() -> (mpsc::UnboundedSender<Result<Bytes, Infallible>>, Body) {
    let (sender, frames) = mpsc::unbounded();
    (sender, Body::from_stream(frames))
}

fn assert_limited(route: &BodyRoute, response: &Response<Bytes>, expected: Expected) {
    let name = route.name;
    assert_eq!((route.reason)(response), Some(expected), "{name}: {response:?}");
    let status = match expected {
        Expected::Timeout => route.late,
        Expected::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
    };
    assert_eq!(response.status(), status, "{name}");
    let may_retry = status == StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(response.header("retry-after").is_some(), may_retry, "{name}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_or_never_ends_times_out_on_every_route() {
    let limits = BodyLimits::new();
    let world = world(&limits);
    for route in routes(&world, &limits) {
        // Nothing arrives.
        let (_sender, body) = channel();
        let (started, request) = (Instant::now(), (route.request)(&world).map(|_| body));
        let response = send(&route.app, request).await;
        assert_limited(&route, &response, Expected::Timeout);
        assert_eq!(started.elapsed().as_secs(), 10, "{}", route.name);

        // A byte every nine seconds.
        let (sender, body) = channel();
        let trickle = tokio::spawn(async move {
            while sender.unbounded_send(Ok(Bytes::from("a"))).is_ok() {
                tokio::time::sleep(Duration::from_secs(9)).await;
            }
        });
        let (started, request) = (Instant::now(), (route.request)(&world).map(|_| body));
        let response = send(&route.app, request).await;
        assert_limited(&route, &response, Expected::Timeout);
        assert_eq!(started.elapsed().as_secs(), 30, "{}", route.name);
        trickle.await.unwrap();

        // Frames without a byte do not count.
        let (sender, body) = channel();
        let empty = tokio::spawn(async move {
            while sender.unbounded_send(Ok(Bytes::new())).is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let (started, request) = (Instant::now(), (route.request)(&world).map(|_| body));
        let response = send(&route.app, request).await;
        assert_limited(&route, &response, Expected::Timeout);
        assert_eq!(started.elapsed().as_secs(), 10, "{}", route.name);
        empty.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_within_the_limits_is_read_completely() {
    let limits = BodyLimits::new();
    let world = world(&limits);
    for route in routes(&world, &limits) {
        let (sender, body) = channel();
        tokio::spawn(async move {
            for _ in 0..3 {
                sender.unbounded_send(Ok(Bytes::from("x"))).unwrap();
                tokio::time::sleep(Duration::from_secs(9)).await;
            }
        });
        let response = send(&route.app, (route.request)(&world).map(|_| body)).await;
        assert_eq!((route.reason)(&response), None, "{}: {response:?}", route.name);
    }
}

#[tokio::test(start_paused = true)]
async fn limits_are_settings_of_every_route() {
    let limits = BodyLimits::new()
        .max_bytes(8)
        .read_timeout(Duration::from_secs(3))
        .idle_timeout(Duration::from_secs(1));
    let world = world(&limits);
    for route in routes(&world, &limits) {
        let (_sender, body) = channel();
        let (started, request) = (Instant::now(), (route.request)(&world).map(|_| body));
        let response = send(&route.app, request).await;
        assert_limited(&route, &response, Expected::Timeout);
        assert_eq!(started.elapsed().as_secs(), 1, "{}", route.name);

        let large = (route.request)(&world).map(|_| Body::from("123456789"));
        let status = send(&route.app, large).await.status();
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{}", route.name);
    }
}

#[tokio::test(start_paused = true)]
async fn unfinished_bodies_share_a_bound_and_the_oldest_is_dropped() {
    let limits = BodyLimits::new().max_bytes(1000).max_unfinished_bytes(2500);
    let world = world(&limits);
    for route in routes(&world, &limits) {
        let start = async || {
            let (sender, body) = channel();
            sender.unbounded_send(Ok(Bytes::from(vec![b'x'; 900]))).unwrap();
            let (app, request) = (route.app.clone(), (route.request)(&world).map(|_| body));
            let response = tokio::spawn(async move { send(&app, request).await });
            tokio::time::sleep(Duration::from_millis(1)).await;
            (sender, response)
        };
        let (_first_sender, first) = start().await;
        let (second_sender, second) = start().await;
        assert!(!first.is_finished(), "{}", route.name);
        let (_third_sender, third) = start().await;
        assert_limited(&route, &first.await.unwrap(), Expected::Overloaded);

        // A short body that arrives in pieces always has room.
        let (sender, body) = channel();
        sender.unbounded_send(Ok(Bytes::from("x"))).unwrap();
        let (app, short) = (route.app.clone(), (route.request)(&world).map(|_| body));
        let short = tokio::spawn(async move { send(&app, short).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(sender);
        assert_eq!((route.reason)(&short.await.unwrap()), None, "{}", route.name);

        // The others are still read, and a client that disconnects frees its memory.
        drop(second_sender);
        assert_eq!((route.reason)(&second.await.unwrap()), None, "{}", route.name);
        third.abort();
    }
}

/// Serves an app on a port, for raw clients.
async fn serve(app: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// The head of a request with a body of this length.
fn head(request: &Request<Body>, length: usize) -> String {
    let headers = request.headers().iter();
    let headers: String =
        headers.map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
    format!(
        "POST {} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n",
        request.uri()
    )
}

#[tokio::test]
async fn a_slow_client_on_a_socket_is_disconnected_on_every_route() {
    let limits = BodyLimits::new().read_timeout(Duration::from_millis(300));
    let world = world(&limits);
    for route in routes(&world, &limits) {
        let address = serve(route.app.clone()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(head(&(route.request)(&world), 10_000).as_bytes()).await.unwrap();
        let (mut responses, mut client) = client.into_split();
        let trickle = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut response = [0; 12];
        timeout(Duration::from_secs(20), responses.read_exact(&mut response))
            .await
            .unwrap()
            .unwrap();
        let expected = format!("HTTP/1.1 {}", route.late.as_u16());
        assert_eq!(String::from_utf8_lossy(&response), expected, "{}", route.name);
        trickle.abort();
    }
}

#[tokio::test]
async fn three_hundred_unfinished_webhooks_over_sockets_get_503_and_others_are_accepted() {
    const LENGTH: usize = 100_000;
    let limits = BodyLimits::new().max_bytes(LENGTH).max_unfinished_bytes(10 * LENGTH);
    let world = world(&limits);
    let [webhook, ..] = &routes(&world, &limits)[..] else { panic!() };
    let address = serve(webhook.app.clone()).await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(head(&(webhook.request)(&world), LENGTH).as_bytes()).await.unwrap();
        client.write_all(&vec![b'x'; LENGTH - 1]).await.unwrap();
        clients.push(client);
    }
    // All but ten had to make room.
    let responses: FuturesUnordered<_> = clients
        .iter_mut()
        .map(async |client| {
            let mut response = [0; 12];
            client.read_exact(&mut response).await.unwrap();
            response
        })
        .collect();
    let evicted = timeout(Duration::from_secs(60), responses.take(290).collect::<Vec<_>>());
    for response in evicted.await.unwrap() {
        assert_eq!(&response, b"HTTP/1.1 503");
    }
    let honest = at_root(signed("webhook", "msg_2", 1_900_000_000, "{}", 1));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(head(&honest, 2).as_bytes()).await.unwrap();
    client.write_all(b"{").await.unwrap();
    client.flush().await.unwrap();
    client.write_all(b"}").await.unwrap();
    let mut response = [0; 12];
    timeout(Duration::from_secs(20), client.read_exact(&mut response)).await.unwrap().unwrap();
    assert_eq!(&response, b"HTTP/1.1 200");
}
