//! Shared by all web examples: settings from the environment, the embedded sandbox, graceful
//! shutdown.

#![allow(dead_code, reason = "each example uses its part")]

use std::fmt::Display;
use std::future::{Future, IntoFuture as _};
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::process;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Uri, header};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_scalekit::clock::Clock;
use tower_scalekit::env;
use tower_scalekit::error::ConfigProblem;
use tower_scalekit::http_client::ReqwestClient;
use tower_scalekit::sandbox::{SandboxBuilder, SandboxServer};
use tower_scalekit::shared_store::{MemoryStore, RedisStore, RedisStoreError, SharedStore};
use tower_scalekit::webhook_verify::WebhookSecret;
use tower_scalekit::{Sandbox, Scalekit, SessionSecret, UnfinishedTasks};
use tracing_subscriber::EnvFilter;

/// A configured example: bound to its port, connected to an environment, not serving yet.
pub struct Setup {
    pub scalekit: Scalekit,
    /// The public URL of this server, without a trailing slash.
    pub public_url: String,
    /// The store that replicas share, in `REDIS_URL`, or one in memory.
    pub store: Arc<dyn SharedStore>,
    /// The embedded environment, unless the variables name a real one.
    pub sandbox: Option<(Sandbox, SandboxServer)>,
    pub listener: TcpListener,
}

impl Setup {
    /// Reads the settings, binds the port and connects to the store. If that fails, exits with one line
    /// on standard error: code 2 for an invalid setting, 1 for a port in use or a store that is
    /// unavailable.
    pub async fn from_env() -> Self {
        Self::with_sandbox(|sandbox| sandbox).await
    }

    /// The same, with other settings of the embedded sandbox.
    pub async fn with_sandbox(change: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Self {
        init_logging();
        let scalekit = is_configured().then(|| Scalekit::from_env().or_exit(2));
        let store = shared_store().await;
        let listener = bind().await;
        let address = listener.local_addr().or_exit(1);
        if setting("PUBLIC_URL").is_none() && address.ip().is_unspecified() {
            exit(2, "PUBLIC_URL is not set: with such a BIND it says how browsers get here");
        }
        let public_url = setting("PUBLIC_URL").unwrap_or_else(|| format!("http://{address}"));
        if !is_web_address(&public_url) {
            exit(2, "PUBLIC_URL: not a URL such as https://app.example.com");
        }
        let public_url = public_url.trim_end_matches('/').to_owned();
        let (scalekit, sandbox) = match scalekit {
            Some(scalekit) => (scalekit, None),
            None => embedded_environment(&public_url, change).await,
        };
        Self { scalekit, public_url, store, sandbox, listener }
    }

    /// The webhook secret of this path: `SCALEKIT_WEBHOOK_SECRET`, or that of the embedded sandbox.
    /// Without either, prints a line and returns `None`.
    pub fn webhook_secret(&self, path: &str) -> Option<WebhookSecret> {
        if setting("SCALEKIT_WEBHOOK_SECRET").is_some() {
            return Some(WebhookSecret::from_env("SCALEKIT_WEBHOOK_SECRET").or_exit(2));
        }
        let Some((sandbox, _)) = &self.sandbox else {
            eprintln!("SCALEKIT_WEBHOOK_SECRET is not set: webhooks are not accepted");
            return None;
        };
        let endpoint = sandbox.webhooks().add_endpoint(&format!("{}{path}", self.public_url));
        sandbox.webhooks().set_client(ReqwestClient::new().or_exit(1));
        sandbox.webhooks().start_delivery();
        Some(WebhookSecret::new(endpoint.secret().expose()).or_exit(1))
    }

    /// Prints where the server listens, and the URL to open if that is another one.
    pub fn print_urls(&self) {
        let listening = format!("http://{}", self.listener.local_addr().or_exit(1));
        println!("listening on {listening}");
        if self.public_url != listening {
            println!("open {}", self.public_url);
        }
        if let Some((_, server)) = &self.sandbox {
            println!("sandbox on {}", server.environment_url());
        }
    }

    /// Prints the URLs, and serves until SIGTERM or Ctrl-C.
    ///
    /// If `PUBLIC_URL` has a path, the app is below it, and also at the root, for a proxy that
    /// removes the path.
    pub async fn serve(self, app: Router) {
        let script = ([(header::CONTENT_TYPE, "text/javascript")], include_str!("pageshow.js"));
        let app = app.route("/pageshow.js", get(script));
        let app = match &**BASE_PATH {
            "" => app,
            base => Router::new().nest_service(base, app.clone()).fallback_service(app),
        };
        // A form that starts a login may be on a page under another name of the host.
        let targets = format!("{} {}", self.public_url, self.scalekit.environment_url());
        let app = with_security_headers(app, &targets);
        let stop = stop_signal();
        self.print_urls();
        let (draining, drain) = oneshot::channel();
        let stopped = async move {
            stop.await;
            let _ = draining.send(());
        };
        // With the peer's address, for limits per client.
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(self.listener, app).with_graceful_shutdown(stopped);
        let mut serving = pin!(serving.into_future());
        tokio::select! {
            served = &mut serving => served.or_exit(1),
            // A connection that never ends must not block the exit.
            _ = drain => { let _ = timeout(Duration::from_secs(10), serving).await; }
        }
    }
}

/// Waits for background tasks once the server has stopped: the `shutdown` of the sessions, or of a
/// webhook layer.
pub async fn finish(work: impl Future<Output = Result<(), UnfinishedTasks>>) {
    if let Err(unfinished) = work.await {
        tracing::warn!(%unfinished);
    }
}

/// Timeout of that wait: a refresh takes up to 15 s if the environment does not respond.
pub const SHUTDOWN: Duration = Duration::from_secs(15);

/// Sets security headers on every response that does not set them itself: no scripts but the app's
/// own files, no frames, no framing by other sites, no content sniffing, no `Referer` for other sites.
///
/// `same-origin`, not `no-referrer`: with the latter, browsers send `Origin: null` with forms,
/// which then count as cross-site.
pub fn with_security_headers(app: Router, form_targets: &str) -> Router {
    let policy = content_security_policy(form_targets, "'none'");
    [
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ]
    .into_iter()
    .fold(app, |app, (name, value)| {
        let value = HeaderValue::from_str(value).or_exit(2);
        app.layer(SetResponseHeaderLayer::if_not_present(name, value))
    })
}

/// The policy of a page that may embed these frames. Forms may lead to these targets, such as the
/// environment, and to any identity provider: Chromium applies `form-action` to the redirects that
/// follow, too.
pub fn content_security_policy(form_targets: &str, frames: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self'; connect-src 'self'; \
         frame-src {frames}; form-action 'self' {form_targets} https:; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// Whether any variable of an environment is set.
pub fn is_configured() -> bool {
    SCALEKIT_VARIABLES.iter().any(|name| setting(name).is_some())
}

/// A sandbox on a free port at which this app's URLs are registered. Exits with code 2 if other
/// machines could reach the app: in a sandbox, anyone can log in as any user.
pub async fn embedded_environment(
    public_url: &str,
    change: impl FnOnce(SandboxBuilder) -> SandboxBuilder,
) -> (Scalekit, Option<(Sandbox, SandboxServer)>) {
    if !is_loopback(public_url) {
        exit(
            2,
            "SCALEKIT_ENVIRONMENT_URL is not set: the embedded sandbox is for a PUBLIC_URL on this \
             machine, such as http://localhost:3000",
        );
    }
    let sandbox = Sandbox::builder()
        .redirect_uri(&format!("{public_url}/auth/callback"))
        .post_logout_redirect_uri(&format!("{public_url}/auth/logout/callback"))
        .initiate_login_url(&format!("{public_url}/login"));
    let sandbox = change(sandbox).build();
    sandbox.mcp().fetch_client_metadata_documents(ReqwestClient::new().or_exit(1));
    let server = sandbox.serve(SocketAddr::from(([127, 0, 0, 1], 0))).await.or_exit(1);
    let secret = sandbox.client_secret().clone();
    let scalekit = Scalekit::builder(server.environment_url(), sandbox.client_id(), secret);
    (scalekit.build().or_exit(2), Some((sandbox, server)))
}

/// The environment of a program without a server: that of the variables, or an embedded sandbox.
pub async fn environment() -> (Scalekit, Option<(Sandbox, SandboxServer)>) {
    if is_configured() {
        return (Scalekit::from_env().or_exit(2), None);
    }
    embedded_environment("http://127.0.0.1:3000", |sandbox| sandbox).await
}

/// The Redis server in `REDIS_URL`, or, with `REDIS_SENTINEL`, the one that Sentinel monitors under
/// this name: `REDIS_URL` lists the URLs of the sentinels then, with commas. Without `REDIS_URL`,
/// sessions and webhooks of this process only.
async fn shared_store() -> Arc<dyn SharedStore> {
    let Some(url) = setting("REDIS_URL") else {
        if setting("SESSION_SECRET").is_some() {
            tracing::warn!(
                "no REDIS_URL: run one process only. Several would lose sessions when they refresh \
                 them, and revocations do not survive a restart"
            );
        }
        return Arc::new(MemoryStore::new(Clock::system()));
    };
    let store = match setting("REDIS_SENTINEL") {
        Some(name) => RedisStore::sentinel(&name, url.split(','), session_secret()),
        None => RedisStore::builder(&url, session_secret()),
    };
    match store.connect().await {
        Ok(store) => Arc::new(store),
        Err(RedisStoreError::Config(error)) => exit(2, format!("REDIS_URL: {error}")),
        Err(error) => exit(1, format!("REDIS_URL: {error}")),
    }
}

/// The secret in `SESSION_SECRET`, or a random one that is lost when the process ends. Replicas with
/// one store must have the same.
pub fn session_secret() -> SessionSecret {
    match SessionSecret::from_env("SESSION_SECRET") {
        Err(error)
            if matches!(error.problems(), [ConfigProblem::Missing { .. }])
                && setting("REDIS_URL").is_none() =>
        {
            eprintln!("SESSION_SECRET is not set: sessions end when this process does");
            SessionSecret::generate().or_exit(1)
        }
        secret => secret.or_exit(2),
    }
}

/// The path of `PUBLIC_URL`, without a slash at its end.
static BASE_PATH: LazyLock<String> = LazyLock::new(|| {
    setting("PUBLIC_URL")
        .and_then(|url| url.parse::<Uri>().ok())
        .map(|url| url.path().trim_end_matches('/').to_owned())
        .unwrap_or_default()
});

/// The path of a page as browsers request it.
pub fn at(path: &str) -> String {
    format!("{}{path}", *BASE_PATH)
}

fn is_web_address(text: &str) -> bool {
    matches!(text.split_once("://"), Some(("http" | "https", _))) && text.parse::<Uri>().is_ok()
}

fn is_loopback(url: &str) -> bool {
    let url = url.parse::<Uri>().ok();
    let host = url.as_ref().and_then(Uri::host).unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// An environment variable, or the file that its `_FILE` variant names; empty counts as unset.
pub fn setting(name: &'static str) -> Option<String> {
    env::var(name).or_exit(2).map(|value| value.expose().to_owned())
}

/// A result that the program cannot run without.
pub trait OrExit<T> {
    /// Returns the value, or exits with this code and the error.
    fn or_exit(self, code: i32) -> T;
}

impl<T, E: Display> OrExit<T> for Result<T, E> {
    fn or_exit(self, code: i32) -> T {
        self.unwrap_or_else(|error| exit(code, error))
    }
}

/// Prints one line on standard error and exits.
pub fn exit(code: i32, error: impl Display) -> ! {
    eprintln!("error: {error}");
    process::exit(code)
}

/// Binds the port in `BIND`.
pub async fn bind() -> TcpListener {
    let bind = setting("BIND").unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    TcpListener::bind(&bind).await.unwrap_or_else(|error| {
        let (code, advice) = match error.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::AddrNotAvailable => {
                (2, ": set BIND to an address of this machine and a port, such as 127.0.0.1:3000")
            }
            io::ErrorKind::AddrInUse => (1, ": set BIND to another port, such as 127.0.0.1:3001"),
            _ => (1, ""),
        };
        exit(code, format!("cannot listen on {bind} (BIND): {error}{advice}"))
    })
}

/// Listens from now on for SIGTERM or Ctrl-C, and resolves when one arrives.
#[cfg(unix)]
pub fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).or_exit(1);
    let mut interrupt = signal(SignalKind::interrupt()).or_exit(1);
    async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
pub fn stop_signal() -> impl Future<Output = ()> {
    async { tokio::signal::ctrl_c().await.or_exit(1) }
}

pub fn init_logging() {
    // The error that the process exits with contains problems of a certificate.
    let usual = "info,rustls_platform_verifier=off";
    let filter = EnvFilter::try_new(setting("RUST_LOG").as_deref().unwrap_or(usual))
        .map_err(|error| format!("RUST_LOG: {error}"))
        .or_exit(2);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}

const SCALEKIT_VARIABLES: [&str; 4] = [
    "SCALEKIT_ENVIRONMENT_URL",
    "SCALEKIT_ENV_URL",
    "SCALEKIT_CLIENT_ID",
    "SCALEKIT_CLIENT_SECRET",
];
