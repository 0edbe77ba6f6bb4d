//! The examples as programs, and the environment behind them.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use tower::service_fn;
use tower_scalekit::Sandbox;
use tower_scalekit::http_client::{HttpClient as _, ReqwestClient, ServiceClient};
use tower_scalekit::sandbox::SandboxServer;

use crate::processes::{Program, fresh_folder};

const SESSION_SECRET: (&str, &str) = ("SESSION_SECRET", "browser tests: not a secret of anyone's");

pub struct App {
    pub program: Program,
    /// The URL, without a trailing slash.
    pub url: String,
}

impl App {
    /// On a free port, with an embedded sandbox.
    pub fn alone() -> Self {
        Self::listening(Self::run(&[("BIND", "127.0.0.1:0")]))
    }

    /// On a free port, with a sandbox of the test.
    pub fn with(environment: &Environment) -> Self {
        Self::at("127.0.0.1:0", environment)
    }

    pub fn at(bind: &str, environment: &Environment) -> Self {
        Self::of(environment, &[("BIND", bind)])
    }

    /// Receives the environment's webhooks.
    pub fn with_webhooks(environment: &Environment) -> Self {
        let endpoint = environment.sandbox.webhooks().add_endpoint("http://app.test/");
        let secret = endpoint.secret();
        let settings = [("BIND", "127.0.0.1:0"), ("SCALEKIT_WEBHOOK_SECRET", secret.expose())];
        let app = Self::of(environment, &settings);
        let address: Uri = app.address("/webhooks/scalekit").parse().unwrap();
        let client = Arc::new(ReqwestClient::new().unwrap());
        let forward = service_fn(move |mut request: Request<Bytes>| {
            let client = Arc::clone(&client);
            *request.uri_mut() = address.clone();
            async move { client.send(request).await.map(|response| response.map(Full::new)) }
        });
        environment.sandbox.webhooks().set_client(ServiceClient::new(forward));
        app
    }

    fn of(environment: &Environment, settings: &[(&str, &str)]) -> Self {
        Self::example("saaskit", environment, settings)
    }

    /// Another example than `saaskit`, with a sandbox of the test.
    pub fn example(name: &str, environment: &Environment, settings: &[(&str, &str)]) -> Self {
        let sandbox = &environment.sandbox;
        let mut all = vec![
            ("SCALEKIT_ENVIRONMENT_URL", environment.server.environment_url()),
            ("SCALEKIT_CLIENT_ID", sandbox.client_id()),
            ("SCALEKIT_CLIENT_SECRET", sandbox.client_secret().expose()),
            SESSION_SECRET,
        ];
        all.extend(settings);
        Self::listening(Program::start(&example(name), &[], &all, fresh_folder()))
    }

    /// Started with these settings only; may not listen yet.
    pub fn run(settings: &[(&str, &str)]) -> Program {
        Program::start(&example("saaskit"), &[], settings, fresh_folder())
    }

    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Its `HOST:PORT`.
    pub fn bound(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A program that is starting.
    pub fn listening(program: Program) -> Self {
        let url = program.said("listening on ");
        Self { program, url }
    }
}

/// A Scalekit environment that the test controls.
pub struct Environment {
    pub sandbox: Sandbox,
    pub server: SandboxServer,
}

impl Environment {
    pub async fn serve(sandbox: Sandbox) -> Self {
        let server = sandbox.serve(([127, 0, 0, 1], 0).into()).await.unwrap();
        Self { sandbox, server }
    }
}

/// In the folder above this test's: `cargo test` builds examples too.
pub fn example(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let example = profile.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    assert!(example.is_file(), "{} is missing: `cargo build --examples`", example.display());
    example
}
