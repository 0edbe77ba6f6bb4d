//! The example, its environment, and its file.

use std::env;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower_scalekit::sandbox::{
    NewDirectoryUser, SandboxDirectoryUser, SandboxServer, WebhookEndpoint,
};
use tower_scalekit::{Sandbox, SessionSecret, Sessions};

use crate::processes::{Program, fresh_folder};

const SESSION_SECRET: &str = "0123456789abcdef0123456789abcdef";

pub type HttpClient = Client<HttpConnector, Full<Bytes>>;

pub struct World {
    pub sandbox: Sandbox,
    server: SandboxServer,
    pub directory: String,
    /// The test delivers the environment's events, in its own order.
    pub endpoint: WebhookEndpoint,
    folder: TempDir,
    pub http: HttpClient,
}

impl World {
    /// With this many users in the first directory, without events.
    pub async fn with_users(count: usize) -> Self {
        let sandbox = Sandbox::new();
        let server = sandbox.serve(([127, 0, 0, 1], 0).into()).await.unwrap();
        let directory =
            sandbox.directories().first_id(&sandbox.organizations().list()[0].id).unwrap();
        let missing = count - sandbox.directories().users(&directory).len();
        let users = (0..missing).map(|number| {
            NewDirectoryUser::new(&format!("user{number}@acme.test"))
                .name("User", &format!("No. {number}"))
                .active(number % 10 != 0)
        });
        sandbox.directories().seed_users(&directory, users);
        let endpoint = sandbox.webhooks().add_endpoint("https://app.test/webhook");
        let http = Client::builder(TokioExecutor::new()).build_http();
        Self { sandbox, server, directory, endpoint, folder: fresh_folder(), http }
    }

    pub fn start(&self) -> App {
        self.start_at("127.0.0.1:0")
    }

    pub fn start_at(&self, bind: &str) -> App {
        let database = format!("sqlite://{}", self.file().display());
        let secret = self.endpoint.secret();
        let settings = [
            ("BIND", bind),
            ("DATABASE_URL", &database),
            ("SCALEKIT_ENVIRONMENT_URL", self.server.environment_url()),
            ("SCALEKIT_CLIENT_ID", self.sandbox.client_id()),
            ("SCALEKIT_CLIENT_SECRET", self.sandbox.client_secret().expose()),
            ("SCALEKIT_WEBHOOK_SECRET", secret.expose()),
            ("SESSION_SECRET", SESSION_SECRET),
        ];
        let program = Program::start(&example(), &[], &settings, fresh_folder());
        let url = program.said("listening on ");
        App { program, url, sandbox: self.sandbox.clone() }
    }

    /// The content of the file, read while the example runs.
    pub fn count(&self, query: &str) -> i64 {
        let connection = Connection::open(self.file()).unwrap();
        connection.query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// The users of the directory, as `/users` should show them.
    pub fn truth(&self) -> Vec<Value> {
        let users = self.sandbox.directories().users(&self.directory);
        sorted(users.iter().map(shown).collect())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("users.sqlite")
    }
}

pub struct App {
    pub program: Program,
    /// The URL, without a trailing slash.
    pub url: String,
    sandbox: Sandbox,
}

impl App {
    pub fn bound(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub async fn users(&self, http: &HttpClient) -> Vec<Value> {
        let sessions = Sessions::builder(self.sandbox.scalekit())
            .secret(SessionSecret::new(SESSION_SECRET).unwrap())
            .redirect_uri(format!("{}/auth/callback", self.url))
            .cookie_name("scim")
            .build();
        let cookie = self.sandbox.session_cookie(&sessions.unwrap(), "jane@acme.test").await;
        let request = Request::get(format!("{}/users", self.url)).header(header::COOKIE, cookie);
        let response = http.request(request.body(Full::default()).unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        sorted(serde_json::from_slice(&body).unwrap())
    }
}

pub fn shown(user: &SandboxDirectoryUser) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "name": user.name(),
        "given_name": user.given_name,
        "family_name": user.family_name,
        "active": user.active,
    })
}

/// The size of the run, if configured.
pub fn amount(variable: &str, usual: usize) -> usize {
    env::var(variable).map_or(usual, |amount| amount.parse().unwrap())
}

fn sorted(mut users: Vec<Value>) -> Vec<Value> {
    users.sort_by_key(|user| user["id"].to_string());
    users
}

/// In the folder above this test's: `cargo test` builds examples too.
pub fn example() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let example = profile.join("examples").join(format!("scim{}", env::consts::EXE_SUFFIX));
    assert!(example.is_file(), "{} is missing: `cargo build --examples`", example.display());
    example
}
