//! The app: two replicas that share a store and a secret.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::routing::{any, get};
use axum::{Json, Router};
use bytes::Bytes;
use http::HeaderValue;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tower_scalekit::clock::ManualClock;
use tower_scalekit::middleware::BodyLimits;
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::webhook_verify::WebhookSecret;
use tower_scalekit::{
    RequireSession, RequireToken, Scalekit, Session, SessionSecret, Sessions, WebhookVerify,
};

use crate::disturbances::Disturbance;
use crate::environment::Environment;
use crate::store::Store;
use crate::world::{Deployment, Stopped};

/// Header of every response of an inner service: when it was called, see [`finished_at`].
pub(crate) const INNER: &str = "x-inner";
pub(crate) const WEBHOOK_SECRET: [u8; 32] = [7; 32];
/// Maximum lifetime of a session: so short that its storage reaches a plateau.
pub(crate) const SESSION_LIFETIME: Duration = Duration::from_secs(180);
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the handler of a slow page takes.
pub(crate) const SLOW: Duration = Duration::from_millis(300);
/// For connections, and then for background tasks. A store that hangs delays both.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When the inner service finished, by the header of its response.
pub(crate) fn finished_at(header: &HeaderValue) -> Instant {
    *STARTED + Duration::from_micros(header.to_str().unwrap().parse().unwrap())
}

fn inner_header() -> [(&'static str, String); 1] {
    [(INNER, STARTED.elapsed().as_micros().to_string())]
}

pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) clock: ManualClock,
    pub(crate) stop: Disturbance,
    settings: Settings,
    running: Mutex<Option<Running>>,
}

#[derive(Clone)]
struct Settings {
    environment: [String; 3],
    redirect_uri: String,
    store: Store,
    deployment: Deployment,
}

struct Running {
    sessions: Sessions,
    webhooks: WebhookVerify,
    stop: oneshot::Sender<Stop>,
    server: JoinHandle<()>,
    runtime: ReplicaRuntime,
}

/// What happens to the open connections of a replica that stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stop {
    /// They are served to their end.
    Drain,
    /// They are closed.
    Close,
}

/// All tasks of a replica end with it.
struct ReplicaRuntime(Option<Runtime>);

impl Drop for ReplicaRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Replica {
    pub(crate) async fn start_two(
        environment: &Environment,
        store: &Store,
        clocks: [ManualClock; 2],
        deployment: Deployment,
    ) -> [Arc<Self>; 2] {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let settings = Settings {
            environment: [&environment.url, &environment.client_id, &environment.client_secret]
                .map(Clone::clone),
            redirect_uri: format!("http://{}/auth/callback", listeners[0].local_addr().unwrap()),
            store: store.clone(),
            deployment,
        };
        let mut replicas = Vec::new();
        for (clock, listener) in clocks.into_iter().zip(listeners) {
            let address = listener.local_addr().unwrap();
            let running = Mutex::new(Some(settings.start(&clock, listener).await));
            let (settings, stop) = (settings.clone(), Disturbance::default());
            replicas.push(Arc::new(Self { address, clock, stop, settings, running }));
        }
        replicas.try_into().unwrap_or_else(|_| panic!())
    }

    /// Runs a task of this replica, which ends when the replica is killed.
    pub(crate) async fn run<F>(
        &self,
        work: impl FnOnce(Sessions) -> F,
    ) -> Result<F::Output, Stopped>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let task = self.running.lock().unwrap().as_ref().map(|running| {
            let runtime = running.runtime.0.as_ref().unwrap();
            runtime.spawn(work(running.sessions.clone()))
        });
        match task.ok_or(Stopped)?.await {
            Ok(output) => Ok(output),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Stopped),
        }
    }

    /// Ends all tasks and connections at once.
    pub(crate) fn kill(&self) {
        drop(self.running.lock().unwrap().take());
    }

    /// Waits for background tasks. Returns the error if they did not complete.
    pub(crate) async fn stop(&self, stop: Stop) -> Result<(), String> {
        let Some(running) = self.running.lock().unwrap().take() else { return Ok(()) };
        let Running { sessions, webhooks, stop: stopping, server, runtime } = running;
        let _ = stopping.send(stop);
        let _ = server.await;
        let done = futures::future::try_join(
            sessions.shutdown(DRAIN_TIMEOUT),
            webhooks.shutdown(DRAIN_TIMEOUT),
        );
        let done = done.await.map(drop).map_err(|unfinished| unfinished.to_string());
        drop(runtime);
        done
    }

    pub(crate) async fn start(&self) {
        let listener = listen(self.address).await;
        let running = self.settings.start(&self.clock, listener).await;
        *self.running.lock().unwrap() = Some(running);
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address) {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{address} is in use")
}

impl Settings {
    async fn start(&self, clock: &ManualClock, listener: TcpListener) -> Running {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let store = self.store.clone();
        let store = runtime.spawn(async move { store.connect().await }).await.unwrap();
        let [url, client_id, client_secret] = &self.environment;
        let Deployment { store_backed, rejects_stale, .. } = self.deployment;
        let scalekit = Scalekit::builder(url, client_id, client_secret.as_str())
            .clock(clock.clock())
            .build()
            .unwrap();
        let sessions = Sessions::builder(scalekit.clone())
            .secret(SessionSecret::new((1..=32).collect::<Vec<u8>>()).unwrap())
            .redirect_uri(&self.redirect_uri)
            .absolute_lifetime(SESSION_LIFETIME)
            .shared_store(store.clone());
        let sessions = if store_backed { sessions.store_backed() } else { sessions };
        let sessions =
            if rejects_stale { sessions.reject_on_stale_revocations() } else { sessions };
        let sessions = sessions.build().unwrap();
        let webhooks = WebhookVerify::new(secret()).deduplicate(store);
        let router = router(&sessions, &scalekit, clock, webhooks.clone());
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = runtime.spawn(serve(listener, router, stopped));
        Running { sessions, webhooks, stop, server, runtime: ReplicaRuntime(Some(runtime)) }
    }
}

async fn serve(listener: TcpListener, router: Router, mut stopped: oneshot::Receiver<Stop>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let stop = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            stop = &mut stopped => break stop,
        };
        let Ok((stream, _)) = accepted else { continue };
        let service = TowerToHyperService::new(router.clone());
        let http = auto::Builder::new(TokioExecutor::new());
        let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        connections.spawn(async move { drop(connection.await) });
        while connections.try_join_next().is_some() {}
    };
    drop(listener);
    if stop == Ok(Stop::Drain) {
        drop(tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await);
    }
}

fn router(
    sessions: &Sessions,
    scalekit: &Scalekit,
    clock: &ManualClock,
    webhooks: WebhookVerify,
) -> Router {
    let inner = |text: &'static str| any(move || async move { (inner_header(), text) });
    let bearer = || RequireToken::for_audience(scalekit, scalekit.client_id()).unwrap();
    let limits = BodyLimits::new()
        .read_timeout(BODY_TIMEOUT)
        .max_bytes(256 * 1024)
        .max_unfinished_bytes(2 * 1024 * 1024);
    let signed = |layer: WebhookVerify| {
        Router::new()
            .route("/", any(|body: Bytes| async move { (inner_header(), body) }))
            .layer(layer.clock(clock.clock()).body_limits(limits.clone()))
    };
    let mcp = RequireMcpScope::new()
        .tool("read", ["openid"])
        .tool("write", ["todo:write"])
        .body_limits(limits.clone());
    let mcp = Router::new().route("/mcp", inner("mcp")).layer(mcp).layer(bearer());
    Router::new()
        .route("/me", get(me).post(me))
        .route("/slow", get(slow))
        .route_layer(RequireSession::new(sessions))
        .merge(mcp)
        .route("/api", inner("api").layer(bearer()))
        .nest_service("/webhooks", signed(webhooks))
        .nest_service("/interceptor", signed(WebhookVerify::interceptor(secret())))
        .merge(sessions.routes())
}

fn secret() -> WebhookSecret {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(WEBHOOK_SECRET);
    WebhookSecret::new(&format!("whsec_{encoded}")).unwrap()
}

async fn slow(session: Session) -> ([(&'static str, String); 1], Json<Value>) {
    tokio::time::sleep(SLOW).await;
    me(session).await
}

async fn me(session: Session) -> ([(&'static str, String); 1], Json<Value>) {
    let principal = session.principal();
    let me = json!({
        "email": session.user().email,
        "sub": principal.subject(),
        "sid": principal.session_id(),
        "expires_at": principal.expires_at().unix_timestamp(),
    });
    (inner_header(), Json(me))
}
