//! The sandbox in a process of its own, controlled by lines on its standard input.

use std::io::BufRead as _;
use std::process::Stdio;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::{Endpoint, Fault, NewUser};

/// For how many seconds a spent refresh token is accepted, in the environment's own process.
pub(crate) const VARIABLE: &str = "SOAK_REFRESH_GRACE";

/// So short that every user refreshes again and again.
pub(crate) const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_secs(4);

/// Of the token endpoint. `page` is a web page with status 200.
pub(crate) const FAULTS: [&str; 5] = ["status", "unreachable", "delay", "page", "lost"];

/// Serves the environment until the input ends.
pub(crate) fn serve() {
    let runtime = Runtime::new().unwrap();
    let grace = std::env::var(VARIABLE).unwrap().parse().unwrap();
    let sandbox = Sandbox::builder()
        .access_token_lifetime(ACCESS_TOKEN_LIFETIME)
        .refresh_grace(Duration::from_secs(grace))
        .build();
    let server = runtime.block_on(sandbox.serve(([127, 0, 0, 1], 0).into())).unwrap();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split('\t').collect();
        println!("= {}", execute(&sandbox, server.environment_url(), &words));
    }
}

fn execute(sandbox: &Sandbox, url: &str, words: &[&str]) -> String {
    match words {
        ["settings"] => [url, sandbox.client_id(), sandbox.client_secret().expose()].join("\t"),
        ["user", email] => sandbox.users().add(NewUser::new(email)).id,
        ["log in", url, email] => sandbox.log_in(url, email).unwrap(),
        ["token", email] => sandbox.tokens().access_token(email),
        ["rotate"] => {
            sandbox.keys().remove_old();
            sandbox.keys().rotate();
            String::new()
        }
        ["fail", fault] => {
            let fault = match *fault {
                "status" => Fault::Status(StatusCode::BAD_GATEWAY),
                "page" => Fault::Html,
                "unreachable" => Fault::Unreachable,
                "lost" => Fault::ResponseLost,
                _ => Fault::Delay(Duration::from_millis(700)),
            };
            sandbox.faults().add(Endpoint::Token, fault);
            String::new()
        }
        ["clear"] => {
            sandbox.faults().clear(Endpoint::Token);
            String::new()
        }
        ["step", seconds] => {
            sandbox.clock().step(time::Duration::seconds(seconds.parse().unwrap()));
            String::new()
        }
        _ => panic!("{words:?}"),
    }
}

pub(crate) struct Environment {
    pub(crate) url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    lines: Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
    _process: Child,
}

impl Environment {
    pub(crate) async fn start(refresh_grace: Duration) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["environment_process", "--exact", "--nocapture"])
            .env(VARIABLE, refresh_grace.as_secs().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let lines = Mutex::new((process.stdin.take().unwrap(), lines));
        let [url, client_id, client_secret] = [const { String::new() }; 3];
        let mut this = Self { url, client_id, client_secret, lines, _process: process };
        let settings = this.command(&["settings"]).await;
        let [url, client_id, client_secret] =
            settings.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        (this.url, this.client_id, this.client_secret) = (url, client_id, client_secret);
        this
    }

    async fn command(&self, words: &[&str]) -> String {
        let mut lines = self.lines.lock().await;
        lines.0.write_all(format!("{}\n", words.join("\t")).as_bytes()).await.unwrap();
        lines.0.flush().await.unwrap();
        loop {
            let line = lines.1.next_line().await.unwrap().expect("the environment runs");
            if let Some((_, response)) = line.split_once("= ") {
                return response.to_owned();
            }
        }
    }

    pub(crate) async fn add_user(&self, email: &str) -> String {
        self.command(&["user", email]).await
    }

    /// Signs in at the environment and returns the URL of the callback.
    pub(crate) async fn log_in(&self, authorization_url: &str, email: &str) -> String {
        self.command(&["log in", authorization_url, email]).await
    }

    pub(crate) async fn access_token(&self, email: &str) -> String {
        self.command(&["token", email]).await
    }

    /// Signs with a new key, and also publishes the previous one.
    pub(crate) async fn rotate_keys(&self) {
        self.command(&["rotate"]).await;
    }

    /// `fault` is one of [`FAULTS`].
    pub(crate) async fn fail_token_endpoint(&self, fault: &str) {
        self.command(&["fail", fault]).await;
    }

    pub(crate) async fn clear_faults(&self) {
        self.command(&["clear"]).await;
    }

    pub(crate) async fn step_clock(&self, seconds: i64) {
        self.command(&["step", &seconds.to_string()]).await;
    }
}
