//! `aws_lambda`: the test is the Runtime API, from which a function gets its events.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderName;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use crate::processes::{PATIENCE, Program};
use crate::running::{Environment, run, start};

const PUBLIC_URL: &str = "http://localhost:3000";

/// The Runtime API of one instance.
struct Runtime {
    events: mpsc::UnboundedSender<Value>,
    responses: mpsc::UnboundedReceiver<Value>,
    address: String,
}

struct Queues {
    events: Mutex<mpsc::UnboundedReceiver<Value>>,
    responses: mpsc::UnboundedSender<Value>,
}

impl Runtime {
    async fn serve() -> Self {
        let (events, next) = mpsc::unbounded_channel();
        let (sent, responses) = mpsc::unbounded_channel();
        let queues = Arc::new(Queues { events: Mutex::new(next), responses: sent });
        let api = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next_event))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(response))
            .with_state(queues);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, api).await });
        Self { events, responses, address }
    }

    /// Starts the function.
    fn start(&self, environment: &Environment) -> Program {
        let mut settings = environment.settings();
        settings.extend([
            ("AWS_LAMBDA_RUNTIME_API", self.address.as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", "app"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("PUBLIC_URL", PUBLIC_URL),
            ("SESSION_SECRET", "0123456789abcdef0123456789abcdef"),
        ]);
        start("aws_lambda", &[], &settings)
    }

    /// A browser's request, as a function URL passes it on. The cookies are those of a browser.
    async fn navigate(&mut self, target: &str, cookies: &mut Vec<String>) -> Value {
        let target = target.strip_prefix(PUBLIC_URL).unwrap_or(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
            "cookies": cookies, "isBase64Encoded": false,
            "headers": {
                "accept": "text/html", "host": "localhost:3000", "sec-fetch-mode": "navigate",
                "sec-fetch-site": "none", "x-forwarded-proto": "http",
            },
            "requestContext": {
                "accountId": "1", "apiId": "app", "domainName": "localhost", "domainPrefix": "app",
                "http": {
                    "method": "GET", "path": path, "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1", "userAgent": "test",
                },
                "requestId": "1", "routeKey": "$default", "stage": "$default",
                "time": "01/Jan/2030:00:00:00 +0000", "timeEpoch": 1_893_456_000_000_u64,
            },
        });
        self.events.send(event).unwrap();
        let response = timeout(PATIENCE, self.responses.recv()).await.unwrap().unwrap();
        for line in response["cookies"].as_array().into_iter().flatten() {
            let pair = line.as_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.retain(|known| !known.starts_with(&format!("{name}=")));
            if !value.is_empty() {
                cookies.push(pair.to_owned());
            }
        }
        response
    }
}

async fn next_event(State(queues): State<Arc<Queues>>) -> impl IntoResponse {
    let event = queues.events.lock().await.recv().await.unwrap_or_default();
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() + 60_000;
    let headers = [
        ("lambda-runtime-aws-request-id", "1".to_owned()),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:x:1:function:app".to_owned()),
        ("lambda-runtime-trace-id", "Root=1".to_owned()),
    ];
    (headers.map(|(name, value)| (HeaderName::from_static(name), value)), event.to_string())
}

async fn response(State(queues): State<Arc<Queues>>, body: Bytes) -> StatusCode {
    let body = serde_json::from_slice(&body).unwrap();
    let _ = queues.responses.send(body);
    StatusCode::ACCEPTED
}

fn location(response: &Value) -> String {
    response["headers"]["location"].as_str().unwrap_or_else(|| panic!("{response}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_logs_in_and_another_instance_knows_the_session() {
    let environment = Environment::serve().await;
    let (mut runtime, mut cookies) = (Runtime::serve().await, Vec::new());
    let _function = runtime.start(&environment);
    let login = location(&runtime.navigate("/", &mut cookies).await);
    assert!(login.starts_with("/login"), "{login}");
    let authorize = location(&runtime.navigate(&login, &mut cookies).await);
    let callback = environment.sandbox.log_in(&authorize, "jane@acme.test").unwrap();
    assert_eq!(location(&runtime.navigate(&callback, &mut cookies).await), "/");
    let page = runtime.navigate("/", &mut cookies).await;
    assert_eq!((&page["statusCode"], &page["body"]), (&200.into(), &"Hello jane@acme.test".into()));

    let mut other = Runtime::serve().await;
    let _other_function = other.start(&environment);
    assert_eq!(other.navigate("/", &mut cookies).await["statusCode"], 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_settings_are_reported_together() {
    let (code, _, errors) = run("aws_lambda", &[("SCALEKIT_CLIENT_ID", "skc_1")]).await;
    let line = "error: SCALEKIT_CLIENT_SECRET is not set; SCALEKIT_ENVIRONMENT_URL is not set; \
                SESSION_SECRET is not set\n";
    assert_eq!((code, errors.as_str()), (Some(2), line));
}
