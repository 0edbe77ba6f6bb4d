//! The app: two replicas that share a store and a secret.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::{any, get};
use axum::{Json, Router};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tower_scalekit::clock::ManualClock;
use tower_scalekit::middleware::BodyLimits;
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::shared_store::MemoryStore;
use tower_scalekit::webhook_verify::WebhookSecret;
use tower_scalekit::{
    RequireSession, RequireToken, Scalekit, Session, SessionSecret, Sessions, WebhookVerify,
};

use crate::disturbances::Disturbance;
use crate::environment::Environment;

/// Header of every response of an inner service.
pub(crate) const INNER: &str = "x-inner";
pub(crate) const WEBHOOK_SECRET: [u8; 32] = [7; 32];
/// Maximum lifetime of a session: so short that its storage reaches a plateau.
pub(crate) const SESSION_LIFETIME: Duration = Duration::from_secs(180);
/// Retention of processed webhooks.
pub(crate) const WEBHOOK_RETENTION: Duration = Duration::from_secs(60);
pub(crate) const BODY_DEADLINE: Duration = Duration::from_secs(3);

pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) clock: ManualClock,
    pub(crate) stop: Disturbance,
    settings: Settings,
    running: Mutex<Running>,
}

#[derive(Clone)]
struct Settings {
    environment: [String; 3],
    redirect_uri: String,
    store: Arc<MemoryStore>,
}

struct Running {
    sessions: Sessions,
    server: JoinHandle<()>,
}

impl Replica {
    pub(crate) async fn start_two(environment: &Environment) -> [Arc<Self>; 2] {
        let clocks = [ManualClock::running(), ManualClock::running()];
        let listeners =
            [listen(([127, 0, 0, 1], 0).into()).await, listen(([127, 0, 0, 1], 0).into()).await];
        let settings = Settings {
            environment: [&environment.url, &environment.client_id, &environment.client_secret]
                .map(Clone::clone),
            redirect_uri: format!("http://{}/auth/callback", listeners[0].local_addr().unwrap()),
            store: Arc::new(MemoryStore::new(clocks[0].clock())),
        };
        let mut replicas = Vec::new();
        for (clock, listener) in clocks.into_iter().zip(listeners) {
            let address = listener.local_addr().unwrap();
            let running = Mutex::new(settings.start(&clock, listener));
            let (settings, stop) = (settings.clone(), Disturbance::default());
            replicas.push(Arc::new(Self { address, clock, stop, settings, running }));
        }
        replicas.try_into().unwrap_or_else(|_| panic!())
    }

    pub(crate) fn sessions(&self) -> Sessions {
        self.running.lock().unwrap().sessions.clone()
    }

    /// Closes all connections at once, and restarts a little later.
    pub(crate) async fn restart(&self, pause: Duration) {
        self.running.lock().unwrap().server.abort();
        tokio::time::sleep(pause).await;
        let listener = listen(self.address).await;
        *self.running.lock().unwrap() = self.settings.start(&self.clock, listener);
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{address} is in use")
}

impl Settings {
    fn start(&self, clock: &ManualClock, listener: TcpListener) -> Running {
        let [url, client_id, client_secret] = &self.environment;
        let scalekit = Scalekit::builder(url, client_id, client_secret.as_str())
            .clock(clock.clock())
            .build()
            .unwrap();
        let sessions = Sessions::builder(scalekit.clone())
            .secret(SessionSecret::new((1..=32).collect::<Vec<u8>>()).unwrap())
            .redirect_uri(&self.redirect_uri)
            .absolute_lifetime(SESSION_LIFETIME)
            .shared_store(Arc::clone(&self.store))
            .build()
            .unwrap();
        let router = self.router(&sessions, &scalekit, clock);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let http = auto::Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Running { sessions, server }
    }

    fn router(&self, sessions: &Sessions, scalekit: &Scalekit, clock: &ManualClock) -> Router {
        let inner = |text: &'static str| any(move || async move { ([(INNER, "1")], text) });
        let bearer = || RequireToken::for_audience(scalekit, scalekit.client_id()).unwrap();
        let limits = BodyLimits::new()
            .deadline(BODY_DEADLINE)
            .max_bytes(256 * 1024)
            .max_unfinished_bytes(2 * 1024 * 1024);
        let webhooks = |layer: WebhookVerify| {
            Router::new()
                .route("/", any(|body: Bytes| async move { ([(INNER, "1")], body) }))
                .layer(layer.clock(clock.clock()).body_limits(limits.clone()))
        };
        let mcp = RequireMcpScope::new()
            .tool("read", ["openid"])
            .tool("write", ["todo:write"])
            .body_limits(limits.clone());
        let mcp = Router::new().route("/mcp", inner("mcp")).layer(mcp).layer(bearer());
        Router::new()
            .route("/me", get(me).post(me))
            .route_layer(RequireSession::new(sessions))
            .merge(mcp)
            .route("/api", inner("api").layer(bearer()))
            .nest_service(
                "/webhooks",
                webhooks(
                    WebhookVerify::new(secret())
                        .deduplicate(Arc::clone(&self.store))
                        .retention(WEBHOOK_RETENTION),
                ),
            )
            .nest_service("/interceptor", webhooks(WebhookVerify::interceptor(secret())))
            .merge(sessions.routes())
    }
}

fn secret() -> WebhookSecret {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(WEBHOOK_SECRET);
    WebhookSecret::new(&format!("whsec_{encoded}")).unwrap()
}

async fn me(session: Session) -> ([(&'static str, &'static str); 1], Json<Value>) {
    let principal = session.principal();
    let me = json!({
        "email": session.user().email,
        "sub": principal.subject(),
        "sid": principal.session_id(),
    });
    ([(INNER, "1")], Json(me))
}
