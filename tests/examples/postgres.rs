//! The store in PostgreSQL, on a server of the test.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use futures::future::join_all;
use http::{Request, StatusCode, header};
use serde_json::json;
use sqlx::{Executor as _, PgPool};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tower::ServiceExt as _;
use tower_scalekit::http_client::ServiceClient;
use tower_scalekit::shared_store::{KeyNamespace, SharedStore as _, StoreScope, conformance};
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::webhook_verify::WebhookSecret;
use tower_scalekit::{RequireSession, Sandbox, Session, SessionSecret, Sessions, WebhookVerify};

use self::store::PostgresStore;
use crate::processes::{PATIENCE, fresh_folder};
use crate::running::{run, skipped};

/// A server with a folder and a socket of its own.
struct Postgres {
    process: Child,
    folder: TempDir,
}

impl Postgres {
    /// Returns `None` if it is not installed.
    fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            skipped("PostgreSQL is not installed");
            return None;
        };
        let folder = fresh_folder();
        let path = folder.path().to_str().unwrap().to_owned();
        let data = format!("{path}/data");
        let user = unprivileged();
        if let Some((user, group)) = user {
            chown(&path, Some(user), Some(group)).unwrap();
        }
        let run = |program: &str, arguments: &[&str], log: Stdio| {
            let mut command = Command::new(programs.join(program));
            command.args(arguments).current_dir(&path).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(log);
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            command.spawn().unwrap()
        };
        let arguments = ["-D", &data, "-U", "jane", "-A", "trust", "-E", "UTF8", "--no-sync"];
        let created = run("initdb", &arguments, Stdio::null());
        assert!(created.wait_with_output().unwrap().status.success());
        let settings = ["-c", "listen_addresses=", "-c", "lc_messages=C"];
        let arguments = [&["-D", &data, "-k", &path, "-F"], &settings[..]].concat();
        let mut process = run("postgres", &arguments, Stdio::piped());
        wait_until_ready(process.stderr.take().unwrap());
        Some(Self { process, folder })
    }

    fn url(&self) -> String {
        format!("postgres://jane@localhost/postgres?host={}", self.folder.path().display())
    }
}

/// Waits for the line of the log that says so. The log is read to its end.
fn wait_until_ready(log: ChildStderr) {
    let (sender, ready) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if line.contains("ready to accept connections") {
                let _ = sender.send(());
            }
        }
    });
    ready.recv_timeout(PATIENCE).expect("PostgreSQL starts");
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The folder of the server's programs, which Debian does not link.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = env::split_paths(&path).chain(versions.map(|version| version.path().join("bin")));
    folders.into_iter().find(|folder| folder.join("initdb").is_file())
}

/// PostgreSQL does not run as root: the user of its package, if this is root.
fn unprivileged() -> Option<(u32, u32)> {
    let (me, users) = (fs::read_to_string("/proc/self/status"), fs::read_to_string("/etc/passwd"));
    let is_root = me.unwrap_or_default().lines().any(|line| line.starts_with("Uid:\t0\t"));
    let users = users.unwrap_or_default();
    let user = users.lines().find(|line| is_root && line.starts_with("postgres:"))?;
    let mut numbers = user.split(':').skip(2).map(|number| number.parse().unwrap());
    Some((numbers.next()?, numbers.next()?))
}

#[path = "../../examples/postgres_store/store.rs"]
mod store;

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_postgres_notices_a_restore_from_a_backup() {
    let Some(postgres) = Postgres::start() else { return };
    let store = PostgresStore::connect(&postgres.url()).await.unwrap();
    let database = PgPool::connect(&postgres.url()).await.unwrap();
    let run = async |statements: &'static str| {
        database.execute(statements).await.unwrap();
    };
    conformance::check_loss(&store, async || store.clear().await.unwrap()).await.unwrap();
    let save = async || {
        run("CREATE TABLE log AS TABLE shared_log; CREATE TABLE entry AS TABLE shared_log_entry")
            .await;
    };
    let restore = async || {
        run("TRUNCATE shared_log, shared_log_entry; INSERT INTO shared_log TABLE log;
             INSERT INTO shared_log_entry TABLE entry")
        .await;
    };
    conformance::check_restore(&store, save, restore).await.unwrap();
    store.remove_expired().await.unwrap();
}

/// A network in front of the server, with its URL. While it is silent, it loses all packets.
async fn network(postgres: &Postgres) -> (String, watch::Sender<bool>) {
    let socket = postgres.folder.path().join(".s.PGSQL.5432");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("postgres://jane@{}/postgres", listener.local_addr().unwrap());
    let (silence, silent) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (socket, mut silent) = (socket.clone(), silent.clone());
            tokio::spawn(async move {
                let mut server = UnixStream::connect(socket).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => return,
                    _ = silent.wait_for(|silent| *silent) => {}
                }
                // The connection stays open, and its packets are lost.
                std::future::pending().await
            });
        }
    });
    (url, silence)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_postgres_that_do_not_respond_are_replaced() {
    let Some(postgres) = Postgres::start() else { return };
    let (url, silence) = network(&postgres).await;
    let store = PostgresStore::connect(&url).await.unwrap();
    let key = StoreScope::new(["test"]).key(KeyNamespace::Session, "any");
    let hour = Duration::from_secs(60 * 60);
    store.put(&key, "value".into(), hour).await.unwrap();
    let works_again = async || {
        silence.send_replace(false);
        // A new connection may itself be late while other servers start.
        let value = async {
            loop {
                if let Ok(value) = store.get(&key).await {
                    return value;
                }
            }
        };
        let value = timeout(PATIENCE, value).await.expect("no silent connection is used again");
        assert_eq!(value, Some("value".into()));
    };
    silence.send_replace(true);
    assert!(timeout(PATIENCE, store.get(&key)).await.expect("the statement has a limit").is_err());
    works_again().await;

    // Callers leave earlier, on all connections of the pool.
    let _ = join_all((0..50).map(|_| store.get(&key))).await;
    silence.send_replace(true);
    let statements = join_all((0..20).map(|_| store.get(&key)));
    let left = timeout(Duration::from_millis(100), statements).await;
    assert!(left.is_err(), "{left:?}");
    works_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_sessions_and_webhooks_in_postgres() {
    let Some(postgres) = Postgres::start() else { return };
    let sandbox = Sandbox::new();
    let endpoint = sandbox.webhooks().add_endpoint("https://app.example.com/webhook");
    let (secret, handled) = (SessionSecret::generate().unwrap(), Arc::<AtomicUsize>::default());
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let store = PostgresStore::connect(&postgres.url()).await.unwrap();
        let sessions = Sessions::builder(sandbox.scalekit())
            .secret(secret.clone())
            .redirect_uri("https://app.example.com/auth/callback")
            .shared_store(store.clone())
            .store_backed()
            .build()
            .unwrap();
        let webhooks = WebhookSecret::new(endpoint.secret().expose()).unwrap();
        let webhooks = WebhookVerify::new(webhooks).deduplicate(store);
        let handled = Arc::clone(&handled);
        let handler = async move |_: WebhookEvent| {
            handled.fetch_add(1, Ordering::SeqCst);
        };
        let app = Router::new()
            .route("/me", get(|session: Session| async move { session.user().email.clone() }))
            .route_layer(RequireSession::new(&sessions))
            .route("/webhook", post(handler).route_layer(webhooks));
        replicas.push((sessions, app));
    }
    let cookie = sandbox.session_cookie(&replicas[0].0, "jane@acme.test").await;
    let message = sandbox.webhooks().emit("organization.created", json!({ "id": "org_1" }));
    for (_, app) in &replicas {
        let me = Request::get("/me").header(header::COOKIE, &cookie).body(Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(me).await.unwrap().status(), StatusCode::OK);
        let service = app.clone().map_request(|request: Request<Bytes>| request.map(Body::from));
        sandbox.webhooks().set_client(ServiceClient::new(service));
        sandbox.webhooks().deliver_due().await;
        let delivery = sandbox.webhooks().deliveries().pop().unwrap();
        assert_eq!(delivery.attempts.last().unwrap().status, Some(StatusCode::OK), "{delivery:?}");
        assert!(sandbox.webhooks().redeliver(&message));
    }
    assert_eq!(handled.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_postgres_conforms() {
    let Some(postgres) = Postgres::start() else { return };
    let url = postgres.url();
    // Twice: the tables are there already.
    for _ in 0..2 {
        let (code, output, errors) = run("postgres_store", &[("DATABASE_URL", &url)]).await;
        assert_eq!((code, output.as_str()), (Some(0), "the store conforms\n"), "{errors}");
    }
    let unreachable = "postgres://jane:hunter2@127.0.0.1:1/postgres";
    let (code, output, errors) = run("postgres_store", &[("DATABASE_URL", unreachable)]).await;
    assert_eq!((code, output.as_str()), (Some(1), ""), "{errors}");
    assert!(!errors.contains("hunter2"), "{errors}");
    let (code, _, errors) = run("postgres_store", &[]).await;
    assert_eq!((code, errors.as_str()), (Some(2), "error: DATABASE_URL is not set\n"));
}
