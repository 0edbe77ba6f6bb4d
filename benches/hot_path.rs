//! What a layer adds to a request: `cargo bench`. All variants take turns in one run, so that the
//! ratios hold on a machine whose speed drifts.

use std::hint::black_box;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::routing::{RouterIntoService, get};
use http::{HeaderName, HeaderValue, Request, header};
use tokio::runtime::{Builder, Runtime};
use tower::util::MapRequestLayer;
use tower::{Service as _, ServiceExt as _};
use tower_scalekit::{Bearer, RequireSession, RequireToken, Sandbox, SessionSecret, Sessions};

const ROUNDS: usize = 60;
const REQUESTS: usize = 500;

struct Variant {
    name: &'static str,
    app: RouterIntoService<Body>,
    header: HeaderName,
    /// A cold variant brings another credential with each request, which no cache knows.
    values: Vec<HeaderValue>,
    next: usize,
    nanos: Vec<f64>,
}

impl Variant {
    fn new(name: &'static str, app: Router, header: HeaderName, values: Vec<HeaderValue>) -> Self {
        let app = app.with_state(()).into_service();
        Self { name, app, header, values, next: 0, nanos: Vec::new() }
    }

    fn round(&mut self, runtime: &Runtime) {
        let requests: Vec<_> = (0..REQUESTS)
            .map(|_| {
                let value = self.values[self.next % self.values.len()].clone();
                self.next += 1;
                let mut request = Request::new(Body::empty());
                request.headers_mut().insert(self.header.clone(), value);
                request
            })
            .collect();
        let started = Instant::now();
        runtime.block_on(async {
            for request in requests {
                let response = self.app.ready().await.unwrap().call(request).await.unwrap();
                assert!(black_box(response).status().is_success());
            }
        });
        self.nanos.push(started.elapsed().as_nanos() as f64 / REQUESTS as f64);
    }

    fn median(&mut self) -> f64 {
        self.nanos.sort_by(f64::total_cmp);
        self.nanos[self.nanos.len() / 2]
    }
}

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let sandbox = Sandbox::new();
    let sessions = |capacity| {
        Sessions::builder(sandbox.scalekit())
            .secret(SessionSecret::new(*b"0123456789abcdefghijklmnopqrstuv").unwrap())
            .redirect_uri("https://app.example.com/auth/callback")
            .cache_capacity(capacity)
            .build()
            .unwrap()
    };
    let verifier = |capacity| {
        let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id());
        verifier.cache_capacity(capacity).build().unwrap()
    };
    let (warm, cold) = (sessions(4096), sessions(1));
    let stored = Sessions::builder(sandbox.scalekit())
        .secret(SessionSecret::new(*b"0123456789abcdefghijklmnopqrstuv").unwrap())
        .redirect_uri("https://app.example.com/auth/callback")
        .store_backed()
        .build()
        .unwrap();
    let stored_cookie = runtime.block_on(sandbox.session_cookie(&stored, "jane@acme.test"));
    let cookies: Vec<HeaderValue> = (0..64)
        .map(|_| runtime.block_on(sandbox.session_cookie(&warm, "jane@acme.test")))
        .collect();
    let tokens: Vec<HeaderValue> = (0..64)
        .map(|_| {
            format!("Bearer {}", sandbox.tokens().access_token("jane@acme.test"))
                .try_into()
                .unwrap()
        })
        .collect();

    let route = || Router::new().route("/", get(|| async { "hello" }));
    let no_op = MapRequestLayer::new(|request: Request<Body>| request);
    let one = |values: &[HeaderValue]| values[..1].to_vec();
    let (cookie, bearer) = (header::COOKIE, header::AUTHORIZATION);
    let mut variants = [
        Variant::new("bare route", route(), cookie.clone(), one(&cookies)),
        Variant::new("no-op layer", route().layer(no_op), cookie.clone(), one(&cookies)),
        Variant::new(
            "RequireSession, warm",
            route().layer(RequireSession::new(&warm)),
            cookie.clone(),
            one(&cookies),
        ),
        Variant::new(
            "RequireSession, cold",
            route().layer(RequireSession::new(&cold)),
            cookie,
            cookies,
        ),
        Variant::new(
            "RequireToken, warm",
            route().layer(RequireToken::new(verifier(4096))),
            bearer.clone(),
            one(&tokens),
        ),
        Variant::new(
            "Bearer extractor, warm",
            Router::new()
                .route("/", get(|_: Bearer| async { "hello" }))
                .with_state(RequireToken::new(verifier(4096))),
            bearer.clone(),
            one(&tokens),
        ),
        Variant::new(
            "RequireSession, stored",
            route().layer(RequireSession::new(&stored)),
            header::COOKIE,
            vec![stored_cookie],
        ),
        Variant::new(
            "RequireToken, cold",
            route().layer(RequireToken::new(verifier(1))),
            bearer,
            tokens,
        ),
    ];
    for _ in 0..ROUNDS {
        for variant in &mut variants {
            variant.round(&runtime);
        }
    }
    let bare = variants[0].median();
    println!("{:<24}{:>12}{:>12}", "", "ns/request", "to bare");
    for variant in &mut variants {
        let median = variant.median();
        println!("{:<24}{median:>12.0}{:>12.2}", variant.name, median / bare);
    }
}
