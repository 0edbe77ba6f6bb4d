//! Three processes of the example `saaskit` behind nginx.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};

use crate::environment::{Environment, TOKEN_LIFETIME};
use crate::messages::{is_removal, is_session, request, set_cookies};
use crate::processes::{Program, fresh_folder, installed};
use crate::running::{skipped, start};
use crate::server::eventually;
use crate::servers::free_port;
use crate::store::Store;

pub(crate) const REPLICAS: usize = 3;
pub(crate) const WEBHOOK_SECRET: [u8; 32] = [7; 32];
/// For which time the token of a new session is valid.
const TOKEN_AGE: Duration = Duration::from_secs(3);
/// Longer than any response may take.
const PATIENCE: Duration = Duration::from_secs(40);
const NAVIGATION: [(&str, &str); 3] =
    [("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-site", "same-origin")];
const FETCH: [(&str, &str); 3] =
    [("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")];

/// The cookies of a browser.
pub(crate) type Jar = BTreeMap<String, String>;

pub(crate) struct Site {
    pub(crate) environment: Environment,
    pub(crate) store: Store,
    pub(crate) replicas: Vec<Replica>,
    /// The address of nginx.
    pub(crate) address: String,
    client: Client<HttpConnector, Full<Bytes>>,
    _nginx: Mutex<Program>,
}

/// A process of the app, which is started again with the same settings.
pub(crate) struct Replica {
    pub(crate) address: String,
    settings: Vec<(&'static str, String)>,
    process: Mutex<Program>,
}

/// The response to a request of a session.
#[derive(Debug)]
pub(crate) enum Outcome {
    Accepted {
        expires_at: String,
        /// The cookies after the response.
        jar: Jar,
    },
    /// 503 that keeps the cookie and says when to retry.
    Unavailable,
    LoggedOut,
    /// None of the app.
    Lost,
    Wrong(String),
}

impl Replica {
    pub(crate) fn start(settings: Vec<(&'static str, String)>) -> Self {
        let (process, address) = run(&settings);
        Self { address, settings, process: Mutex::new(process) }
    }

    /// Kills the process, or sends it SIGTERM, and starts it again at the same address.
    pub(crate) fn restart(&self, is_killed: bool) {
        block_in_place(|| {
            let mut process = self.process.lock().unwrap();
            if is_killed {
                process.kill();
            } else {
                process.terminate();
                assert_eq!(process.ended().code(), Some(0), "{}", process.errors());
            }
            let bind = ("BIND", self.address.clone());
            *process = run(&[self.settings.clone(), vec![bind]].concat()).0;
        });
    }

    /// What the process has logged.
    pub(crate) fn log(&self) -> String {
        self.process.lock().unwrap().errors()
    }

    /// The CPU time of the process.
    pub(crate) fn cpu_time(&self) -> Duration {
        let threads = format!("/proc/{}/task", self.process.lock().unwrap().id());
        let threads = fs::read_dir(threads).unwrap().map(|thread| thread.unwrap().path());
        // Nanoseconds on a processor, time in the queue, switches.
        let times = threads.filter_map(|thread| fs::read_to_string(thread.join("schedstat")).ok());
        let nanos = times.filter_map(|times| times.split(' ').next()?.parse::<u64>().ok());
        Duration::from_nanos(nanos.sum())
    }
}

/// Starts the app. Returns it with its address.
fn run(settings: &[(&'static str, String)]) -> (Program, String) {
    let mut all = vec![("BIND", "127.0.0.1:0"), ("RUST_LOG", "warn,tower_scalekit=info")];
    all.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
    block_in_place(|| {
        let process = start("saaskit", &[], &all);
        let address = process.said("listening on http://");
        (process, address)
    })
}

impl Site {
    /// Prints a line and returns `None` if nginx is not installed; in CI that is a failure.
    pub(crate) async fn start(store: Store, refresh_grace: Duration) -> Option<Arc<Self>> {
        // Debian installs it in a path for root.
        let program = installed(&["nginx"]).or_else(|| {
            Some(Path::new("/usr/sbin/nginx").to_owned()).filter(|file| file.is_file())
        });
        let Some(program) = program else {
            skipped("nginx is not installed");
            return None;
        };
        let environment = Environment::start(refresh_grace).await;
        let address = format!("127.0.0.1:{}", free_port());
        let mut replicas = Vec::new();
        for number in 0..REPLICAS {
            let settings = app_settings(&environment, &address);
            replicas.push(Replica::start([settings, store.settings(number).await].concat()));
        }
        let nginx = start_nginx(&program, &address, &replicas);
        let client = Client::builder(TokioExecutor::new()).build_http();
        eventually("nginx listens", async || TcpStream::connect(&address).await.is_ok()).await;
        Some(Arc::new(Self {
            environment,
            store,
            replicas,
            address,
            client,
            _nginx: Mutex::new(nginx),
        }))
    }

    /// A process without a shared store, beside the replicas.
    pub(crate) fn start_alone(&self) -> Replica {
        Replica::start(app_settings(&self.environment, &self.address))
    }

    /// Logs in through nginx.
    pub(crate) async fn log_in(&self, email: &str) -> Jar {
        let login = self.navigate("/login", &Jar::new()).await;
        let location = login.headers()[header::LOCATION].to_str().unwrap();
        let callback = self.environment.sandbox.log_in(location, email).unwrap();
        let callback = callback.split_once(&self.address).unwrap().1;
        let done = self.navigate(callback, &with_cookies(&Jar::new(), &login)).await;
        let jar = with_cookies(&Jar::new(), &done);
        assert!(set_cookies(&done).any(|cookie| is_session(&cookie)), "{done:?}");
        jar
    }

    /// Sessions of new users whose access tokens have expired.
    pub(crate) async fn expired_sessions(&self, count: usize) -> Vec<Jar> {
        let age = time::Duration::try_from(TOKEN_LIFETIME - TOKEN_AGE).unwrap();
        self.environment.sandbox.clock().step(-age);
        let mut jars = Vec::new();
        for number in 0..count {
            let email = format!("user{number}@acme.test");
            self.environment.add_user(&email);
            jars.push(self.log_in(&email).await);
        }
        self.environment.sandbox.clock().step(age);
        sleep(TOKEN_AGE).await;
        jars
    }

    pub(crate) async fn log_out(&self, replica: usize, jar: &Jar) {
        let logout = with_jar(request("POST", "/logout", &NAVIGATION, ""), jar);
        let response = self.send(&self.replicas[replica].address, logout).await.unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{response:?}");
    }

    /// Requests `/api/me` at this address.
    pub(crate) async fn me(&self, address: &str, jar: &Jar) -> Outcome {
        let me = with_jar(request("GET", "/api/me", &FETCH, ""), jar);
        let Ok(response) = self.send(address, me).await else { return Outcome::Lost };
        let changes_session = set_cookies(&response).any(|cookie| is_session(&cookie));
        match response.status() {
            StatusCode::OK => {
                let me: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
                let expires_at = me["expires_at"].as_str().unwrap().to_owned();
                Outcome::Accepted { expires_at, jar: with_cookies(jar, &response) }
            }
            StatusCode::SERVICE_UNAVAILABLE
                if response.headers().contains_key(header::RETRY_AFTER) && !changes_session =>
            {
                Outcome::Unavailable
            }
            StatusCode::UNAUTHORIZED => Outcome::LoggedOut,
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Outcome::Lost,
            _ => Outcome::Wrong(format!("{response:?}")),
        }
    }

    async fn navigate(&self, path: &str, jar: &Jar) -> Response<Bytes> {
        let page = with_jar(request("GET", path, &NAVIGATION, ""), jar);
        let response = self.send(&self.address, page).await.unwrap();
        assert!(response.status().is_redirection(), "{path}: {response:?}");
        response
    }

    /// Sends a request to nginx or a replica, with the public host.
    pub(crate) async fn send(
        &self,
        address: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, String> {
        *request.uri_mut() = format!("http://{address}{}", request.uri()).parse().unwrap();
        request.headers_mut().insert(header::HOST, self.address.parse().unwrap());
        let response = async {
            let response = self.client.request(request).await.map_err(|error| error.to_string())?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        timeout(PATIENCE, response).await.map_err(|_| format!("no response in {PATIENCE:?}"))?
    }
}

fn app_settings(environment: &Environment, address: &str) -> Vec<(&'static str, String)> {
    use base64::Engine as _;
    let webhook_secret = base64::engine::general_purpose::STANDARD.encode(WEBHOOK_SECRET);
    let mut settings = environment.settings().to_vec();
    settings.extend([
        ("PUBLIC_URL", format!("http://{address}")),
        ("SESSION_SECRET", "cluster tests: not a secret of anyone's".to_owned()),
        ("SCALEKIT_WEBHOOK_SECRET", format!("whsec_{webhook_secret}")),
    ]);
    settings
}

fn start_nginx(program: &Path, address: &str, replicas: &[Replica]) -> Program {
    let folder = fresh_folder();
    // Each replica is tried in its turn, also just after it has failed.
    let servers: String = replicas
        .iter()
        .map(|replica| format!("server {} max_fails=0;\n", replica.address))
        .collect();
    // One process without privileges: ending it ends all of nginx.
    let text = format!(
        "daemon off;
        master_process off;
        pid nginx.pid;
        error_log stderr;
        events {{ worker_connections 4096; }}
        http {{
            access_log off;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            scgi_temp_path scgi;
            uwsgi_temp_path uwsgi;
            upstream app {{ {servers} }}
            server {{
                listen {address} backlog=1024;
                location / {{
                    proxy_pass http://app;
                    proxy_set_header Host $http_host;
                }}
            }}
        }}"
    );
    let config = folder.path().join("nginx.conf");
    fs::write(&config, text).unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let arguments = ["-e", "stderr", "-p", &path, "-c", config.to_str().unwrap()];
    Program::start(program, &arguments, &[], folder)
}

/// The cookies after a response.
fn with_cookies(jar: &Jar, response: &Response<Bytes>) -> Jar {
    let mut jar = jar.clone();
    for cookie in set_cookies(response) {
        if is_removal(&cookie) {
            jar.remove(cookie.name());
        } else {
            jar.insert(cookie.name().to_owned(), cookie.value().to_owned());
        }
    }
    jar
}

fn with_jar(mut request: Request<Full<Bytes>>, jar: &Jar) -> Request<Full<Bytes>> {
    let cookies: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !cookies.is_empty() {
        let cookies = HeaderValue::try_from(cookies.join("; ")).unwrap();
        request.headers_mut().insert(header::COOKIE, cookies);
    }
    request
}
