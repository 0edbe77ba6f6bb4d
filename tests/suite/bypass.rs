//! No layer calls the inner service for a request that it has not authorized: every method and
//! shape, every kind of invalid credential, and every kind of service.

mod credentials;
mod servers;

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::{MethodFilter, any, on};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_scalekit::clock::ManualClock;
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::sandbox::{TokenFault, TokenKind};
use tower_scalekit::{
    Principal, RequireAuth, RequireScope, RequireSession, Session, WebhookVerify,
};

use self::credentials::{Credential, Credentials};
use crate::support::{JANE, JOHN, World, request, token_layer};
use crate::webhooks::{secret, signed};

const MCP_CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}"#;

const INTERCEPTOR_REQUEST: &str = r#"{"trigger_point":"PRE_SESSION_CREATION"}"#;

const NOW: i64 = 1_900_000_000;

/// A type-erased service, so that the matrix covers all kinds.
type Erased = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The requests that the inner service received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Anonymous,
    Identified,
}

#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Records each request that reaches `inner`.
    fn recorded(&self, inner: Erased) -> Erased {
        let calls = self.0.clone();
        BoxCloneSyncService::new(
            ServiceBuilder::new()
                .map_request(move |request: Request<Body>| {
                    let extensions = request.extensions();
                    let is_identified = extensions.get::<Principal>().is_some()
                        || Session::from_extensions(extensions).is_some();
                    let call = if is_identified { Call::Identified } else { Call::Anonymous };
                    calls.lock().unwrap().push(call);
                    request
                })
                .service(inner),
        )
    }
}

/// Layers under test, in the order in which an app stacks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Session,
    OptionalSession,
    Token,
    OptionalToken,
    Auth,
    AuthOfOptionalSession,
    AuthOfOptionalToken,
    OptionalAuth,
    ScopeOfToken,
    ScopeOfOptionalToken,
    ScopeOfOptionalAuth,
    ScopeOfOptionalSession,
    McpOfToken,
    McpOfOptionalSession,
    Webhook,
    Interceptor,
}

const GUARDS: [Guard; 16] = [
    Guard::Session,
    Guard::OptionalSession,
    Guard::Token,
    Guard::OptionalToken,
    Guard::Auth,
    Guard::AuthOfOptionalSession,
    Guard::AuthOfOptionalToken,
    Guard::OptionalAuth,
    Guard::ScopeOfToken,
    Guard::ScopeOfOptionalToken,
    Guard::ScopeOfOptionalAuth,
    Guard::ScopeOfOptionalSession,
    Guard::McpOfToken,
    Guard::McpOfOptionalSession,
    Guard::Webhook,
    Guard::Interceptor,
];

impl Guard {
    /// Bodies that the layer distinguishes.
    fn payloads(self) -> &'static [Payload] {
        match self {
            Self::McpOfToken | Self::McpOfOptionalSession => {
                &[Payload::Empty, Payload::EmptyUntilRead, Payload::McpCall]
            }
            Self::Webhook | Self::Interceptor => {
                &[Payload::Empty, Payload::McpCall, Payload::Interceptor]
            }
            _ => &[Payload::McpCall],
        }
    }

    fn around(self, world: &World, inner: Erased) -> Erased {
        let token = || token_layer(&world.sandbox);
        let session = || RequireSession::new(&world.sessions);
        let auth = || RequireAuth::new(session(), token());
        let scope = || RequireScope::all(["todo:write"]);
        let mcp = || RequireMcpScope::new().tool("add", ["todo:write"]).method("ping", [""; 0]);
        let clock = ManualClock::at(OffsetDateTime::from_unix_timestamp(NOW).unwrap()).clock();
        match self {
            Self::Session => erase(session().layer(inner)),
            Self::OptionalSession => erase(session().optional().layer(inner)),
            Self::Token => erase(token().layer(inner)),
            Self::OptionalToken => erase(token().optional().layer(inner)),
            Self::Auth => erase(auth().layer(inner)),
            Self::AuthOfOptionalSession => {
                erase(RequireAuth::new(session().optional(), token()).layer(inner))
            }
            Self::AuthOfOptionalToken => {
                erase(RequireAuth::new(session(), token().optional()).layer(inner))
            }
            Self::OptionalAuth => erase(auth().optional().layer(inner)),
            Self::ScopeOfToken => erase(token().layer(scope().layer(inner))),
            Self::ScopeOfOptionalToken => erase(token().optional().layer(scope().layer(inner))),
            Self::ScopeOfOptionalAuth => erase(auth().optional().layer(scope().layer(inner))),
            Self::ScopeOfOptionalSession => erase(session().optional().layer(scope().layer(inner))),
            Self::McpOfToken => erase(token().layer(mcp().layer(with_any_body(inner)))),
            Self::McpOfOptionalSession => {
                erase(session().optional().layer(mcp().layer(with_any_body(inner))))
            }
            Self::Webhook => {
                erase(WebhookVerify::new(secret(1)).clock(clock).layer(with_any_body(inner)))
            }
            Self::Interceptor => erase(
                WebhookVerify::interceptor(secret(1)).clock(clock).layer(with_any_body(inner)),
            ),
        }
    }
}

fn erase<S, B>(service: S) -> Erased
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    BoxCloneSyncService::new(service.map_response(|response: Response<B>| response.map(Body::new)))
}

fn with_any_body<B>(
    inner: Erased,
) -> impl Service<Request<B>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    inner.map_request(|request: Request<B>| request.map(Body::new))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inner {
    MethodRouter,
    Any,
    RouteService,
    Fallback,
    Nested,
    Plain,
    Tonic,
}

const INNERS: [Inner; 7] = [
    Inner::MethodRouter,
    Inner::Any,
    Inner::RouteService,
    Inner::Fallback,
    Inner::Nested,
    Inner::Plain,
    Inner::Tonic,
];

const PATH: &str = "/grpc.health.v1.Health/Check";

impl Inner {
    /// A service of this kind that responds 200 to all requests it accepts.
    fn service(self) -> Erased {
        let plain = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        match self {
            Self::MethodRouter => {
                let all = MethodFilter::GET
                    .or(MethodFilter::POST)
                    .or(MethodFilter::PUT)
                    .or(MethodFilter::PATCH)
                    .or(MethodFilter::DELETE)
                    .or(MethodFilter::OPTIONS)
                    .or(MethodFilter::TRACE)
                    .or(MethodFilter::CONNECT);
                erase(Router::new().route(PATH, on(all, || async {})))
            }
            Self::Any => erase(Router::new().route(PATH, any(|| async {}))),
            Self::RouteService => erase(Router::new().route_service(PATH, plain)),
            Self::Fallback => erase(Router::new().fallback(|| async {})),
            Self::Nested => {
                let nested = Router::new().route("/Check", any(|| async {}));
                erase(Router::new().nest("/grpc.health.v1.Health", nested))
            }
            Self::Plain => erase(plain),
            Self::Tonic => {
                let (_, health) = tonic_health::server::health_reporter();
                erase(tonic::service::Routes::new(health))
            }
        }
    }
}

/// Shape of a request, besides its method and its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Bare,
    Preflight,
    WebSocket,
    ExtendedConnect,
    Override,
}

const SHAPES: [Shape; 5] =
    [Shape::Bare, Shape::Preflight, Shape::WebSocket, Shape::ExtendedConnect, Shape::Override];

impl Shape {
    fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Bare | Self::ExtendedConnect => &[],
            Self::Preflight => &[
                ("origin", "https://client.test"),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "authorization"),
                ("sec-fetch-mode", "cors"),
                ("sec-fetch-site", "cross-site"),
            ],
            Self::WebSocket => &[
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
            Self::Override => {
                &[("x-http-method-override", "OPTIONS"), ("x-forwarded-method", "OPTIONS")]
            }
        }
    }
}

fn methods() -> Vec<Method> {
    let extensions = ["PROPFIND", "QUERY", "PREFLIGHT", "options"];
    let extensions = extensions.map(|name| Method::from_bytes(name.as_bytes()).unwrap());
    let standard = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ];
    standard.into_iter().chain(extensions).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload {
    Empty,
    /// Empty, which is known only after reading.
    EmptyUntilRead,
    McpCall,
    Interceptor,
}

impl Payload {
    fn text(self) -> &'static str {
        match self {
            Self::Empty | Self::EmptyUntilRead => "",
            Self::McpCall => MCP_CALL,
            Self::Interceptor => INTERCEPTOR_REQUEST,
        }
    }

    fn body(self) -> Body {
        match self {
            Self::EmptyUntilRead => Body::from_stream(stream::empty::<Result<Bytes, Infallible>>()),
            Self::Empty | Self::McpCall | Self::Interceptor => Body::from(self.text()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strength {
    None,
    Wrong,
    Insufficient,
    Sufficient,
}

/// The most that the inner service may see of a request.
fn allowed(
    guard: Guard,
    credential: &Credential,
    method: &Method,
    shape: Shape,
    payload: Payload,
) -> Option<Call> {
    let is_mcp_tunnel = shape == Shape::WebSocket || *method == Method::CONNECT;
    let is_mcp_stream = payload != Payload::McpCall
        && !is_mcp_tunnel
        && [Method::GET, Method::HEAD, Method::DELETE].contains(method);
    if credential.body.is_some_and(|signed| signed != payload) {
        return None;
    }
    match (guard, credential.strength) {
        (Guard::McpOfToken | Guard::McpOfOptionalSession, Strength::Insufficient) => {
            is_mcp_stream.then_some(Call::Identified)
        }
        // An empty body is no message.
        (Guard::McpOfToken | Guard::McpOfOptionalSession, Strength::Sufficient)
            if payload != Payload::McpCall && !is_mcp_tunnel && !is_mcp_stream =>
        {
            None
        }
        // The body decides the kind of a message.
        (Guard::Webhook, Strength::Sufficient) => {
            (payload != Payload::Interceptor).then_some(Call::Anonymous)
        }
        (Guard::Interceptor, Strength::Sufficient) => {
            (payload == Payload::Interceptor).then_some(Call::Anonymous)
        }
        (Guard::ScopeOfOptionalAuth, Strength::Sufficient) if !credential.is_bearer() => None,
        (
            Guard::Session
            | Guard::OptionalSession
            | Guard::Token
            | Guard::OptionalToken
            | Guard::Auth
            | Guard::AuthOfOptionalSession
            | Guard::AuthOfOptionalToken
            | Guard::OptionalAuth,
            Strength::Insufficient,
        )
        | (_, Strength::Sufficient) => Some(Call::Identified),
        (Guard::OptionalSession, Strength::None | Strength::Wrong)
        | (Guard::OptionalToken | Guard::OptionalAuth, Strength::None) => Some(Call::Anonymous),
        (Guard::OptionalAuth, Strength::Wrong) if !credential.is_bearer() => Some(Call::Anonymous),
        _ => None,
    }
}

/// Whether a request that may be forwarded must be, so that the matrix is not vacuous.
fn must_be_called(guard: Guard, credential: &Credential, shape: Shape) -> bool {
    match guard {
        // Requests of other sites are rejected if there is a session.
        Guard::Session
        | Guard::OptionalSession
        | Guard::Auth
        | Guard::AuthOfOptionalSession
        | Guard::AuthOfOptionalToken
        | Guard::OptionalAuth
        | Guard::ScopeOfOptionalSession
        | Guard::McpOfOptionalSession
            if !credential.is_bearer() =>
        {
            matches!(credential.strength, Strength::None | Strength::Wrong)
                || matches!(shape, Shape::Bare | Shape::Override)
        }
        _ => true,
    }
}

/// Methods and shapes that can be combined.
fn requests() -> impl Iterator<Item = (Method, Shape)> {
    methods().into_iter().flat_map(|method| {
        let shapes = SHAPES.into_iter().filter({
            let method = method.clone();
            move |shape| *shape != Shape::ExtendedConnect || method == Method::CONNECT
        });
        shapes.map(move |shape| (method.clone(), shape))
    })
}

fn build(
    method: &Method,
    target: &str,
    shape: Shape,
    credential: &Credential,
    body: Body,
) -> Request<Body> {
    let mut request = request(method.clone(), target, shape.headers());
    request.headers_mut().extend(credential.headers.clone());
    if shape == Shape::ExtendedConnect {
        request.extensions_mut().insert(Protocol::from_static("websocket"));
    }
    *request.body_mut() = body;
    request
}

#[tokio::test]
async fn no_layer_calls_the_inner_service_for_a_request_that_it_has_not_authorized() {
    let world = World::new();
    let credentials = Credentials::new(&world).await;
    let mut total = 0;
    for (guard, inner) in GUARDS.into_iter().flat_map(|guard| INNERS.map(|inner| (guard, inner))) {
        let mut called = 0;
        let calls = Calls::default();
        let service = guard.around(&world, calls.recorded(inner.service()));
        for credential in credentials.of(guard) {
            for ((method, shape), payload) in requests()
                .flat_map(|sent| guard.payloads().iter().map(move |body| (sent.clone(), *body)))
            {
                let sent = build(&method, PATH, shape, credential, payload.body());
                let response = service.clone().oneshot(sent).await.unwrap();
                let strength = credential.strength;
                let allowed = allowed(guard, credential, &method, shape, payload);
                let seen = calls.take();
                let is_right = match allowed {
                    Some(call) if must_be_called(guard, credential, shape) => seen == [call],
                    Some(call) => seen.is_empty() || seen == [call],
                    None => seen.is_empty(),
                };
                assert!(
                    is_right,
                    "{guard:?} {inner:?} {strength:?} {method} {shape:?} {payload:?}: {} {seen:?} {:?}",
                    response.status(),
                    credential.headers,
                );
                called += seen.len();
            }
        }
        assert!(called > 0, "{guard:?} {inner:?} forwards nothing");
        total += called;
    }
    assert!(total > 1000, "{total}");
}
