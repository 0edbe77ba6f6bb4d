//! An environment that records the secrets of every exchange, and an example with full logging.

use std::convert::Infallible;
use std::fs;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::service_fn;
use tower_scalekit::Sandbox;
use tower_scalekit::http_client::{HttpClient as _, ServiceClient};
use tower_scalekit::sandbox::{SandboxBuilder, SandboxClient};

use crate::noted::Secrets;
use crate::processes::Program;
use crate::running::start;
use crate::visitor::Visitor;

pub const JANE: &str = "jane@acme.test";

/// A running example, its environment, and their secrets.
pub struct Watched {
    pub sandbox: Sandbox,
    pub secrets: Secrets,
    pub visitor: Visitor,
    pub program: Program,
    /// The URL, without a trailing slash; empty for an example that only runs once.
    pub url: String,
    settings: Vec<(String, String)>,
    serving: JoinHandle<()>,
}

impl Watched {
    /// Starts an example that listens.
    pub async fn start(example: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_at(Sandbox::builder(), example, settings).await
    }

    /// Starts an example that listens, with this environment.
    pub async fn start_at(
        environment: SandboxBuilder,
        example: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::start_with(environment, example, &[], settings).await
    }

    /// The same with arguments.
    pub async fn start_with(
        environment: SandboxBuilder,
        example: &str,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        let mut watched = Self::run_at(environment, example, arguments, settings).await;
        watched.url = watched.program.said("listening on ");
        watched
    }

    /// Starts an example that exits by itself.
    pub async fn run(example: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::run_at(Sandbox::builder(), example, arguments, settings).await
    }

    async fn run_at(
        environment: SandboxBuilder,
        example: &str,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sandbox = environment.environment_url(&url).build();
        let secrets = Secrets::default();
        let serving = serve(listener, sandbox.client(), secrets.clone());

        let id = sandbox.mcp().resource_id();
        let webhook_secret = sandbox.webhooks().add_endpoint("http://app.test/").secret();
        let session_secret = "a session secret of 0123456789 letters";
        for secret in [session_secret, webhook_secret.expose(), sandbox.client_secret().expose()] {
            secrets.add(secret);
        }
        let all = [
            ("BIND", "127.0.0.1:0"),
            ("RUST_LOG", "trace"),
            ("MCP_RESOURCE_ID", &id),
            ("SCALEKIT_ENVIRONMENT_URL", &url),
            ("SCALEKIT_CLIENT_ID", sandbox.client_id()),
            ("SCALEKIT_CLIENT_SECRET", sandbox.client_secret().expose()),
            ("SCALEKIT_WEBHOOK_SECRET", webhook_secret.expose()),
            ("SESSION_SECRET", session_secret),
        ];
        let all = [&all[..], settings].concat();
        let program = start(example, arguments, &all);
        let settings = all.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let visitor = Visitor::new(secrets.clone());
        Self { sandbox, secrets, visitor, program, url: String::new(), settings, serving }
    }

    /// Starts another process of the same app. Returns it and its address.
    pub fn replica(&self, example: &str) -> (Program, String) {
        let mut settings: Vec<_> =
            self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        settings.push(("PUBLIC_URL", &self.url));
        let program = start(example, &[], &settings);
        let address = program.said("listening on ");
        (program, address)
    }

    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Sends the environment's webhooks to this path.
    pub fn deliver_webhooks_to(&self, path: &str) {
        let (visitor, address) = (self.visitor.clone(), self.address(path));
        let forward = service_fn(move |mut request: http::Request<Bytes>| {
            let visitor = visitor.clone();
            *request.uri_mut() = address.parse().unwrap();
            async move { Ok::<_, Infallible>(visitor.send(request).await.map(Full::new)) }
        });
        self.sandbox.webhooks().set_client(ServiceClient::new(forward));
    }

    /// Logs Jane in, from this path of the app to the end of the callback.
    pub async fn log_in(&self, path: &str) {
        let callback = self.authorize(path).await;
        let done = self.visitor.get(&callback).await;
        assert!(done.status().is_redirection(), "{done:?}");
    }

    /// Begins a login and returns the URL of its callback.
    pub async fn authorize(&self, path: &str) -> String {
        let started = self.visitor.get(&self.address(path)).await;
        let location = started.headers()[http::header::LOCATION].to_str().unwrap();
        let callback = self.sandbox.log_in(location, JANE).unwrap();
        // The visitor records it when it is opened; some never are.
        self.secrets.read_request(&http::Request::get(&callback).body([]).unwrap());
        callback
    }

    /// Ends the example, and searches its output for all secrets. `events` lists the required events,
    /// and `secrets` is the minimum number of secrets.
    pub async fn assert_discreet(mut self, events: &[&str], secrets: usize) {
        if !self.url.is_empty() {
            self.program.terminate();
        }
        assert_eq!(self.program.ended().code(), Some(0));
        let output = fs::read_to_string(self.program.folder().join("stdout")).unwrap();
        let errors = self.program.errors();
        assert!(errors.contains("TRACE") || errors.contains("DEBUG"), "no traces: {errors}");
        for event in events {
            assert!(errors.contains(event), "{event} is missing:\n{errors}");
        }
        assert!(self.secrets.count() >= secrets, "hardly a secret: {}", self.secrets.count());
        self.secrets.assert_absent("standard output", &output);
        self.secrets.assert_absent("standard error", &errors);
        self.serving.abort();
    }
}

fn serve(listener: TcpListener, client: SandboxClient, secrets: Secrets) -> JoinHandle<()> {
    let client = Arc::new(client);
    let url = format!("http://{}", listener.local_addr().unwrap());
    let response = move |request: Request| {
        let (client, secrets, url) = (Arc::clone(&client), secrets.clone(), url.clone());
        async move {
            let (mut parts, body): (Parts, Body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            parts.uri = format!("{url}{}", parts.uri).parse().unwrap();
            let request = http::Request::from_parts(parts, body);
            secrets.read_request(&request);
            let response = client.send(request).await.unwrap();
            secrets.read_response(&response);
            response.map(Body::from) as Response
        }
    };
    let app = Router::new().fallback(response);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() })
}
