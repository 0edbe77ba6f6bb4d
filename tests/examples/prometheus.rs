//! `observability`: what Prometheus reads, and the files for Prometheus and Grafana.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use axum::Router;
use axum::routing::get;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use url::Url;

use crate::noted::Secrets;
use crate::processes::{PATIENCE, Program, fresh_folder};
use crate::running::skipped;
use crate::visitor::Visitor;
use crate::watched::{JANE, Watched};

/// The files of the example.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/observability").join(name)
}

/// The path of an installed program.
fn installed(name: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&paths).map(|path| path.join(name)).find(|path| path.is_file());
    if found.is_none() {
        skipped(&format!("{name} is not installed"));
    }
    found
}

/// Runs promtool on a file of the example.
fn promtool(program: &Path, arguments: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(file(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "promtool {arguments:?}: {}", text.concat());
}

/// The queries of a dashboard, as Grafana sends them.
fn queries() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(file("dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$__rate_interval", "5m").replace("$__range", "6h");
            query.replace("$job", ".*").replace("$instance", ".*")
        })
        .collect()
}

/// A Prometheus server that reads one app.
struct Prometheus {
    _program: Program,
    url: String,
    visitor: Visitor,
}

/// Forwards the reads of an app's metrics, and tells of each.
async fn forward_reads(app: &str) -> (String, mpsc::UnboundedReceiver<()>) {
    let (sender, reads) = mpsc::unbounded_channel();
    let metrics = format!("{app}/metrics");
    let read = async move || {
        let _ = sender.send(());
        let response = Visitor::new(Secrets::default()).get(&metrics).await;
        (response.status(), response.headers().clone(), response.into_body())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async { axum::serve(listener, Router::new().route("/metrics", get(read))).await });
    (address, reads)
}

impl Prometheus {
    /// Starts it, and waits until it has read the metrics.
    async fn start(program: &Path, app: &str) -> Self {
        let (target, mut reads) = forward_reads(app).await;
        let folder = fresh_folder();
        let config = json!({
            "global": { "scrape_interval": "200ms", "evaluation_interval": "200ms" },
            "rule_files": [file("alerts.yml")],
            "scrape_configs": [{
                "job_name": "app",
                "static_configs": [{ "targets": [target] }],
            }],
        });
        let (path, data) = (folder.path().join("prometheus.yml"), folder.path().join("data"));
        fs::write(&path, config.to_string()).unwrap();
        let arguments = [
            // Its log is on standard error.
            "-c".to_owned(),
            "exec \"$0\" \"$@\" 2>&1".to_owned(),
            program.display().to_string(),
            format!("--config.file={}", path.display()),
            format!("--storage.tsdb.path={}", data.display()),
            "--web.listen-address=127.0.0.1:0".to_owned(),
        ];
        let arguments = arguments.each_ref().map(String::as_str);
        let program = Program::start(Path::new("/bin/sh"), &arguments, &[], folder);
        let address = program
            .find_line(|line| Some(line.split_once("msg=\"Listening on\" address=")?.1.to_owned()));
        let address = address.expect("an address");
        // It listens before it can read its files.
        let is_ready = |line: &str| line.contains("Server is ready").then_some(());
        program.find_line(is_ready).expect("a server that is ready");
        // What it has read is stored before it reads again.
        for _ in 0..2 {
            timeout(PATIENCE, reads.recv()).await.expect("a read");
        }
        let visitor = Visitor::new(Secrets::default());
        Self { _program: program, url: format!("http://{address}"), visitor }
    }

    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = Url::parse_with_params(&format!("{}{path}", self.url), parameters).unwrap();
        let response = self.visitor.get(url.as_str()).await;
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["status"], "success", "{url}: {body}");
        body["data"].clone()
    }

    async fn query(&self, query: &str) -> Vec<Value> {
        let data = self.get("/api/v1/query", &[("query", query)]).await;
        data["result"].as_array().unwrap().clone()
    }
}

#[test]
fn the_alert_rules_load_and_fire_when_they_should() {
    let Some(program) = installed("promtool") else { return };
    promtool(&program, &["check", "rules", "alerts.yml"], "");
    promtool(&program, &["test", "rules", "alerts.test.yml"], "");
    promtool(&program, &["check", "config", "prometheus.yml"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_the_metrics_and_evaluates_each_query_of_the_dashboard() {
    let app = Watched::start("observability", &[]).await;
    let ready = app.visitor.get(&app.address("/health/ready")).await;
    let body: Value = serde_json::from_slice(ready.body()).unwrap();
    assert_eq!((ready.status(), &body["ready"]), (StatusCode::OK, &json!(true)), "{body}");
    for dependency in ["keys", "revocations", "shared_store"] {
        assert_eq!(body[dependency]["ok"], true, "{body}");
    }
    assert_eq!(app.visitor.get(&app.address("/health/live")).await.status(), StatusCode::OK);

    let callback = "/auth/callback?code=a-code-that-nobody-gave&state=a-state-that-nobody-had";
    let rejected = app.visitor.get(&app.address(callback)).await;
    assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
    app.log_in("/login").await;
    assert_eq!(app.visitor.get(&app.address("/")).await.status(), StatusCode::OK);
    app.visitor.post(&app.address("/auth/refresh"), &[]).await;
    let (api, token) = (app.address("/api"), app.sandbox.tokens().access_token(JANE));
    for token in [&*token, &token, "a-token-that-is-none"] {
        app.visitor.call(Method::GET, &api, token, "").await;
    }

    let metrics = app.visitor.get(&app.address("/metrics")).await;
    let metrics = String::from_utf8(metrics.body().to_vec()).unwrap();
    for line in [
        "# HELP tower_scalekit_rejections_total Requests that a layer or route rejected",
        "tower_scalekit_logins_total{outcome=\"completed\"} 1",
        "tower_scalekit_logins_total{outcome=\"state_mismatch\"} 1",
        "tower_scalekit_session_refreshes_total{outcome=\"refreshed\"} 1",
        "tower_scalekit_token_verifications_total{outcome=\"cached\"} 1",
        "tower_scalekit_shared_store_errors_total 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
    }

    if let Some(program) = installed("promtool") {
        promtool(&program, &["check", "metrics"], &metrics);
    }
    if let Some(program) = installed("prometheus") {
        let prometheus = Prometheus::start(&program, &app.url).await;
        let logins = prometheus.query("tower_scalekit_logins_total{outcome=\"completed\"}").await;
        assert_eq!(logins[0]["value"][1], "1", "{logins:?}");
        let queries = queries();
        assert!(queries.len() > 25, "{}", queries.len());
        for query in queries {
            prometheus.query(&query).await;
        }
        let groups = prometheus.get("/api/v1/rules", &[]).await;
        let rules = groups["groups"][0]["rules"].as_array().unwrap();
        assert!(rules.len() > 10, "{groups}");
        for rule in rules {
            assert_ne!(rule["health"], "err", "{rule}");
            assert_eq!(rule["state"], "inactive", "{rule}");
            prometheus.query(rule["query"].as_str().unwrap()).await;
        }
    }
    app.assert_discreet(&["login_completed", "login_failed", "session_refreshed"], 10).await;
}
