//! What is measured: this crate beside what a route costs without it.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, signature};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::future::{BoxFuture, poll_fn};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tower::Service as _;
use tower::util::MapRequestLayer;
use tower_scalekit::clock::Clock;
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::sandbox::{NewUser, SandboxClient};
use tower_scalekit::webhook_verify::{WebhookSecret, verify};
use tower_scalekit::{
    Bearer, RequireScope, RequireSession, RequireToken, Sandbox, Scalekit, SessionSecret, Sessions,
    WebhookVerify,
};

use crate::measure::{Batch, Case, Group, left_out};
use crate::tokens::{AUDIENCE, ISSUER, Issuer};

/// Size of an access token with a few roles and permissions.
const TOKEN_BYTES: usize = 939;
/// Credentials that take turns, so that a small cache has none of them.
const COLD: usize = 64;
const BODY_BYTES: usize = 64 * 1024;

pub fn bare() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// The requests of a case: the values take turns.
#[derive(Clone)]
pub struct Requests {
    pub method: Method,
    pub headers: HeaderMap,
    pub name: HeaderName,
    pub values: Vec<HeaderValue>,
    pub body: Bytes,
}

impl Requests {
    pub fn get(name: HeaderName, values: Vec<HeaderValue>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("app.example.com"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("peers/1.0"));
        Self { method: Method::GET, headers, name, values, body: Bytes::new() }
    }

    pub fn post(name: HeaderName, value: HeaderValue, body: Bytes) -> Self {
        Self { method: Method::POST, body, ..Self::get(name, vec![value]) }
    }

    pub fn build(&self, number: usize) -> Request {
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let value = self.values[number % self.values.len()].clone();
        request.headers_mut().insert(self.name.clone(), value);
        request
    }
}

/// A case that sends requests to an app.
pub fn route(
    runtime: &Rc<Runtime>,
    name: impl Into<String>,
    calls: usize,
    app: Router,
    requests: Requests,
) -> Case {
    let mut number = 0;
    requests_case(runtime, name, calls, app, move |_, calls| {
        (0..calls)
            .map(|_| {
                number += 1;
                requests.build(number)
            })
            .collect()
    })
}

fn requests_case(
    runtime: &Rc<Runtime>,
    name: impl Into<String>,
    calls: usize,
    app: Router,
    mut requests: impl FnMut(&Runtime, usize) -> Vec<Request> + 'static,
) -> Case {
    let runtime = Rc::clone(runtime);
    let app = app.with_state(()).into_service::<Body>();
    Case::new(name, calls, move |calls| {
        let requests = requests(&runtime, calls);
        let (runtime, mut app) = (Rc::clone(&runtime), app.clone());
        Box::new(move || {
            runtime.block_on(async {
                for request in requests {
                    let response = app.call(request).await.unwrap();
                    let status = response.status();
                    assert!(status.is_success() || status.is_redirection(), "{status}");
                }
            });
        }) as Batch
    })
}

/// A claim set that handlers read from an extension.
#[derive(Clone)]
struct Identity(#[expect(dead_code, reason = "as large as one")] Arc<Map<String, Value>>);

/// Hand-written verification with jsonwebtoken, as its documentation shows.
fn hand_written(issuer: &Issuer) -> Router {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    let [n, e] = [&issuer.public.n, &issuer.public.e].map(|part| URL_SAFE_NO_PAD.encode(part));
    let key = DecodingKey::from_rsa_components(&n, &e).unwrap();
    let keys = Arc::new((key, validation));
    bare().layer(from_fn(move |mut request: Request, next: Next| {
        let keys = Arc::clone(&keys);
        async move {
            let value = request.headers()[header::AUTHORIZATION].to_str().unwrap();
            let token = value.strip_prefix("Bearer ").unwrap();
            let verified = jsonwebtoken::decode::<Map<String, Value>>(token, &keys.0, &keys.1);
            let identity = Identity(Arc::new(verified.unwrap().claims));
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
    }))
}

/// The environment in the process, whose own work is left out of what is measured.
struct LeftOut(SandboxClient);

impl HttpClient for LeftOut {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<Bytes>, HttpClientError>> {
        Box::pin(async move {
            let mut response = pin!(self.0.send(request));
            poll_fn(|cx| left_out(|| response.as_mut().poll(cx))).await
        })
    }
}

pub struct App {
    sandbox: Sandbox,
    pub sessions: Sessions,
}

impl App {
    /// An app with the system's clock.
    pub fn new(cache_capacity: usize, stored: bool) -> Self {
        Self::with_clock(Sandbox::new(), Clock::system(), cache_capacity, stored)
    }

    fn with_clock(sandbox: Sandbox, clock: Clock, cache_capacity: usize, stored: bool) -> Self {
        let scalekit = Scalekit::builder(
            sandbox.environment_url(),
            sandbox.client_id(),
            sandbox.client_secret().clone(),
        );
        let scalekit =
            scalekit.http_client(LeftOut(sandbox.client())).clock(clock).build().unwrap();
        let sessions = Sessions::builder(scalekit)
            .secret(SessionSecret::new(*b"0123456789abcdefghijklmnopqrstuv").unwrap())
            .redirect_uri("https://app.example.com/auth/callback")
            .cache_capacity(cache_capacity);
        let sessions = if stored { sessions.store_backed() } else { sessions };
        Self { sandbox, sessions: sessions.build().unwrap() }
    }

    /// Cookies of a user with this many permissions, which look random and do not compress.
    pub fn cookies(&self, runtime: &Runtime, permissions: usize, count: usize) -> Vec<HeaderValue> {
        let email = format!("user{permissions}@acme.test");
        self.sandbox.users().add(NewUser::new(&email).permissions(noise(permissions)));
        let cookie = || runtime.block_on(self.sandbox.session_cookie(&self.sessions, &email));
        (0..count).map(|_| cookie()).collect()
    }
}

/// Names that do not compress.
pub fn noise(count: usize) -> Vec<String> {
    let name = |number: usize| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &number.to_be_bytes());
        URL_SAFE_NO_PAD.encode(&hash.as_ref()[..12])
    };
    (0..count).map(name).collect()
}

pub fn groups(runtime: &Rc<Runtime>, issuer: &Issuer) -> Vec<Group> {
    vec![
        warm(runtime, issuer),
        cold_tokens(runtime, issuer),
        cold_sessions(runtime),
        logins(runtime),
        mcp(runtime, issuer),
        webhooks(runtime),
    ]
}

fn warm(runtime: &Rc<Runtime>, issuer: &Issuer) -> Group {
    const CALLS: usize = 200;
    let bearer = |bytes| Requests::get(header::AUTHORIZATION, vec![issuer.bearer(bytes, 0)]);
    let usual = bearer(TOKEN_BYTES);
    let token = |name: &str, app: Router, requests: &Requests| {
        route(runtime, name, CALLS, app, requests.clone())
    };
    let guard = RequireToken::new(issuer.verifier(4096));
    let no_op = MapRequestLayer::new(|request: Request| request);
    let extending = |mut request: Request, next: Next| async {
        request.extensions_mut().insert(Identity(Arc::default()));
        next.run(request).await
    };
    let extracting =
        Router::new().route("/", get(|_: Bearer| async { "hello" })).with_state(guard.clone());
    let mut cases = vec![
        token("bare axum", bare(), &usual),
        token("an empty layer", bare().layer(no_op), &usual),
        token("from_fn", bare().layer(from_fn(async |r, next: Next| next.run(r).await)), &usual),
        token("from_fn with an extension", bare().layer(from_fn(extending)), &usual),
        token("RequireToken", bare().layer(guard.clone()), &usual),
        token("RequireToken, token of 0.6 KB", bare().layer(guard.clone()), &bearer(0)),
        token("RequireToken, token of 8 KB", bare().layer(guard.clone()), &bearer(8000)),
        token("Bearer, extractor", extracting, &usual),
        token(
            "RequireScope in RequireToken",
            bare().layer(RequireScope::all(["openid"])).layer(guard),
            &usual,
        ),
    ];
    let app = App::new(4096, false);
    let session = |name: &str, layer: RequireSession, cookie: HeaderValue| {
        let requests = Requests::get(header::COOKIE, vec![cookie]);
        route(runtime, name, CALLS, bare().layer(layer), requests)
    };
    let layer = RequireSession::new(&app.sessions);
    for (name, permissions) in [
        ("RequireSession, one cookie", 50),
        ("RequireSession, two cookies", 220),
        ("RequireSession, three cookies", 380),
    ] {
        let cookie = app.cookies(runtime, permissions, 1).remove(0);
        cases.push(session(name, layer.clone(), cookie));
    }
    let cookie = app.cookies(runtime, 10, 1).remove(0);
    cases.push(session("RequireSession::optional", layer.clone().optional(), cookie));
    let no_cookie = HeaderValue::from_static("theme=dark");
    cases.push(session("the same without a session", layer.optional(), no_cookie));
    let stored = App::new(4096, true);
    let cookie = stored.cookies(runtime, 10, 1).remove(0);
    cases.push(session("RequireSession, stored", RequireSession::new(&stored.sessions), cookie));
    cases.push(route(
        runtime,
        "hand-written, jsonwebtoken",
        COLD,
        hand_written(issuer),
        usual.clone(),
    ));
    #[cfg(feature = "others")]
    for (name, app) in runtime.block_on(crate::others::routes(issuer)) {
        cases.push(route(runtime, name, COLD, app, usual.clone()));
    }
    Group { title: "a route, warm", cases, explanation: "" }
}

/// Apps to send requests to over sockets, with their credentials.
pub fn served(
    runtime: &Runtime,
    issuer: &Issuer,
) -> Vec<(&'static str, Router, HeaderName, HeaderValue)> {
    let guard = RequireToken::new(issuer.verifier(4096));
    let app = App::new(4096, false);
    let cookie = app.cookies(runtime, 50, 1).remove(0);
    let no_op = MapRequestLayer::new(|request: Request| request);
    let extracting =
        Router::new().route("/", get(|_: Bearer| async { "hello" })).with_state(guard.clone());
    let token = |name, app| (name, app, header::AUTHORIZATION, issuer.bearer(TOKEN_BYTES, 0));
    let session = bare().layer(RequireSession::new(&app.sessions));
    vec![
        token("bare axum", bare()),
        token("an empty layer", bare().layer(no_op)),
        token("RequireToken", bare().layer(guard)),
        token("Bearer, extractor", extracting),
        token("hand-written, jsonwebtoken", hand_written(issuer)),
        ("bare axum, with the cookie of a session", bare(), header::COOKIE, cookie.clone()),
        ("RequireSession", session, header::COOKIE, cookie),
    ]
}

fn cold_tokens(runtime: &Rc<Runtime>, issuer: &Issuer) -> Group {
    let tokens: Rc<Vec<String>> =
        Rc::new((0..COLD).map(|number| issuer.token(TOKEN_BYTES, number)).collect());
    let bearers = tokens.iter().map(|token| format!("Bearer {token}").try_into().unwrap());
    let requests = Requests::get(header::AUTHORIZATION, bearers.collect());
    let key = issuer.public.to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256).unwrap();
    let key = Rc::new(key);
    let (message, sent) = tokens[0].rsplit_once('.').unwrap();
    let (message, sent) = (Rc::new(message.to_owned()), URL_SAFE_NO_PAD.decode(sent).unwrap());
    let app = bare().layer(RequireToken::new(issuer.verifier(1)));
    let verifier = issuer.verifier(1);
    let verify = {
        let runtime = Rc::clone(runtime);
        Case::new("TokenVerifier::verify", COLD, move |calls| {
            let (runtime, verifier) = (Rc::clone(&runtime), verifier.clone());
            let tokens = Rc::clone(&tokens);
            Box::new(move || {
                runtime.block_on(async {
                    for token in tokens.iter().cycle().take(calls) {
                        verifier.verify(token).await.unwrap();
                    }
                });
            })
        })
    };
    Group {
        title: "first sight of a token",
        explanation: "The signature is nine tenths of it.",
        cases: vec![
            Case::of_call("raw signature, parsed key", COLD, move || {
                key.verify_sig(message.as_bytes(), &sent).unwrap();
            }),
            verify,
            route(runtime, "RequireToken", COLD, app, requests.clone()),
            route(runtime, "hand-written, jsonwebtoken", COLD, hand_written(issuer), requests),
        ],
    }
}

fn cold_sessions(runtime: &Rc<Runtime>) -> Group {
    let app = App::new(1, false);
    let case = |name: &str, permissions| {
        let requests = Requests::get(header::COOKIE, app.cookies(runtime, permissions, COLD));
        let size = requests.values[0].len() / 1000;
        let layer = RequireSession::new(&app.sessions);
        let name = format!("RequireSession, {name} of {size} KB");
        route(runtime, name, COLD, bare().layer(layer), requests)
    };
    let sealed = sealed_bytes(1600);
    Group {
        title: "a session that is not cached",
        explanation: "Inflating and parsing the record; of text in base64url, its decoding.",
        cases: vec![
            Case::of_call("bare AEAD of 1.6 KB", COLD, move || sealed()),
            case("a cookie", 10),
            case("a cookie", 50),
            case("three cookies", 380),
        ],
    }
}

/// Opens a sealed value of this many bytes.
fn sealed_bytes(bytes: usize) -> impl Fn() + Clone + 'static {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &[7; 32]).unwrap());
    let nonce = || Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let mut sealed = vec![0; bytes];
    key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed).unwrap();
    let key = Rc::new(key);
    move || {
        let mut text = sealed.clone();
        key.open_in_place(nonce(), Aad::empty(), &mut text).unwrap();
    }
}

fn logins(runtime: &Rc<Runtime>) -> Group {
    const CALLS: usize = 8;
    let sandbox = Sandbox::new();
    let clock = sandbox.clock().clock();
    let app = App::with_clock(sandbox, clock, 4096, false);
    let refreshed = {
        let layer = RequireSession::new(&app.sessions);
        let app = App { sandbox: app.sandbox.clone(), sessions: app.sessions.clone() };
        requests_case(runtime, "refresh", CALLS, bare().layer(layer), move |runtime, calls| {
            let cookies = app.cookies(runtime, 50, calls);
            app.sandbox.clock().advance(Duration::from_secs(5 * 60 - 5));
            let requests = Requests::get(header::COOKIE, cookies);
            (0..calls).map(|number| requests.build(number)).collect()
        })
    };
    let routes: Router = app.sessions.routes();
    let service = routes.clone();
    let logged_in = requests_case(runtime, "login", CALLS, routes, move |runtime, calls| {
        let mut service = service.clone().into_service::<Body>();
        let request = |uri: &str, cookie: &HeaderValue| {
            let mut request = Requests::get(header::COOKIE, vec![cookie.clone()]).build(0);
            *request.uri_mut() = uri.parse().unwrap();
            request
        };
        (0..calls)
            .map(|_| {
                let login = request("/login", &HeaderValue::from_static(""));
                let started: Response = runtime.block_on(service.call(login)).unwrap();
                let location = started.headers()[header::LOCATION].to_str().unwrap();
                let callback = app.sandbox.log_in(location, "jane@acme.test").unwrap();
                let cookie = started.headers()[header::SET_COOKIE].to_str().unwrap();
                let cookie = cookie.split(';').next().unwrap().parse().unwrap();
                request(callback.strip_prefix("https://app.example.com").unwrap(), &cookie)
            })
            .collect()
    });
    let cases = vec![refreshed, logged_in];
    Group { title: "CPU of the app, without the environment", cases, explanation: "" }
}

/// Arguments of a tool call, by shape.
pub const SHAPES: [(&str, &str); 4] = [
    ("texts", "\"some words of a text, with a few more of them to come\","),
    ("numbers", "0,"),
    ("objects", "{\"a\":0},"),
    ("escapes", "\"\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\","),
];

pub fn mcp_call(item: &str, bytes: usize) -> Bytes {
    let filling = item.repeat(bytes / item.len());
    format!(
        r#"{{"method":"tools/call","params":{{"name":"add","arguments":{{"a":[{filling}0]}}}}}}"#
    )
    .into()
}

/// A handler that reads its body behind `RequireToken`, without and with `RequireMcpScope`.
pub fn mcp_routes(issuer: &Issuer) -> [Router; 2] {
    let reading =
        Router::new().route("/", post(|body: Bytes| async move { body.len().to_string() }));
    let guard = RequireToken::new(issuer.verifier(4096));
    let layer = RequireMcpScope::new().tool("add", ["openid"]);
    [reading.clone().layer(guard.clone()), reading.layer(layer).layer(guard)]
}

fn mcp(runtime: &Rc<Runtime>, issuer: &Issuer) -> Group {
    let [reading, guarded] = mcp_routes(issuer);
    let case = |name: String, app: &Router, item| {
        let body = mcp_call(item, BODY_BYTES);
        let requests = Requests::post(header::AUTHORIZATION, issuer.bearer(TOKEN_BYTES, 0), body);
        route(runtime, name, 20, app.clone(), requests)
    };
    let mut cases = vec![case("a handler that reads 64 KB".into(), &reading, SHAPES[0].1)];
    for (shape, item) in SHAPES {
        cases.push(case(format!("RequireMcpScope, {shape}"), &guarded, item));
    }
    Group { title: "an MCP message of 64 KB", cases, explanation: "" }
}

fn webhooks(runtime: &Rc<Runtime>) -> Group {
    const CALLS: usize = 20;
    const KEY: [u8; 32] = [7; 32];
    let text = format!("whsec_{}", STANDARD.encode(KEY));
    let secret = || WebhookSecret::new(&text).unwrap();
    let now = time::OffsetDateTime::now_utc();
    let event = r#"{"id":"evt_1","type":"organization.created","data":{"name":""#;
    let body = format!("{event}{}\"}}}}", "x".repeat(BODY_BYTES));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &KEY);
    let signed = format!("evt_1.{}.{body}", now.unix_timestamp());
    let signature = format!("v1,{}", STANDARD.encode(hmac::sign(&key, signed.as_bytes())));
    let body = Bytes::from(body);
    let mut requests = Requests::post(
        HeaderName::from_static("webhook-signature"),
        signature.parse().unwrap(),
        body.clone(),
    );
    requests.headers.insert("webhook-id", HeaderValue::from_static("evt_1"));
    requests.headers.insert("webhook-timestamp", now.unix_timestamp().into());
    let mut headers = requests.headers.clone();
    headers.insert("webhook-signature", signature.parse().unwrap());
    let reading =
        Router::new().route("/", post(|body: Bytes| async move { body.len().to_string() }));
    let guarded = reading.clone().route_layer(WebhookVerify::new(secret()));
    let verifying = {
        let (headers, body, secrets) = (headers.clone(), body.clone(), Rc::new([secret()]));
        Case::of_call("verify()", CALLS, move || {
            verify(&headers, &body, &*secrets, now).unwrap();
        })
    };
    let cases = vec![
        Case::of_call("bare HMAC of 64 KB", CALLS, move || {
            std::hint::black_box(hmac::sign(&key, signed.as_bytes()));
        }),
        verifying,
        route(runtime, "WebhookVerify, bytes taken", CALLS, guarded, requests.clone()),
        route(runtime, "a handler that only reads them", CALLS, reading, requests),
    ];
    #[cfg(feature = "others")]
    let cases = {
        let webhook = Rc::new(svix::webhooks::Webhook::new(&text).unwrap());
        let svix = Case::of_call("svix", CALLS, move || webhook.verify(&body, &headers).unwrap());
        cases.into_iter().chain([svix]).collect()
    };
    Group { title: "a webhook of 64 KB", cases, explanation: "" }
}
