//! Programs that a test starts, and a browser.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;
use std::{env, io};

use cookie::Cookie;
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::SandboxServer;
use url::{Url, form_urlencoded};

/// Timeout of one line of output.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: usize = 10;

/// Two names of a site, which browsers resolve to this machine.
pub(crate) const APEX: &str = "site.localhost";
pub(crate) const WWW: &str = "www.site.localhost";

/// Reports a skipped test; in CI that is a failure.
pub(crate) fn skipped(why: &str) {
    assert!(env::var("CI").as_deref() != Ok("true"), "cannot run: {why}");
    // Bypasses the harness, which hides the output of passing tests.
    let _ = writeln!(io::stdout(), "skipped: {why}");
}

/// The folder that `tests/interop/install` installs into, if it contains this package.
pub(crate) fn installed(package: &str) -> Option<PathBuf> {
    let this = env::current_exe().unwrap();
    let mut folders = this.ancestors().map(|folder| folder.join("interop"));
    let found = folders.find(|folder| folder.join(package).exists());
    if found.is_none() {
        skipped(&format!("{package} is not installed: run tests/interop/install"));
    }
    found
}

/// A running program, which ends when this is dropped.
pub(crate) struct Program {
    stdin: ChildStdin,
    pub(crate) output: Lines,
    pub(crate) log: Lines,
    _child: Child,
}

impl Program {
    /// Starts a program; `None` if it is not installed.
    pub(crate) fn start(command: &mut Command) -> Option<Self> {
        // Proxy settings do not apply to loopback.
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                skipped(&format!("there is no {}", command.as_std().get_program().display()));
                return None;
            }
            Err(error) => panic!("{command:?}: {error}"),
        };
        let (output, log) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let stdin = child.stdin.take().unwrap();
        Some(Self { stdin, output: Lines::of(output), log: Lines::of(log), _child: child })
    }

    /// Sends a line of JSON and reads one.
    pub(crate) async fn ask(&mut self, question: &Value) -> Value {
        self.tell(question).await;
        self.response().await
    }

    /// Sends a line of JSON.
    pub(crate) async fn tell(&mut self, message: &Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    /// Reads a line of JSON.
    pub(crate) async fn response(&mut self) -> Value {
        let line = self.output.next().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for lines in [&mut self.output, &mut self.log] {
                while let Ok(line) = lines.0.try_recv() {
                    eprintln!("| {line}");
                }
            }
        }
    }
}

/// The output of a program, from the first line that was not read yet.
pub(crate) struct Lines(UnboundedReceiver<String>);

impl Lines {
    fn of(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut lines = BufReader::new(stream).lines();
        // Read at once: a program blocks on a full pipe.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self(receiver)
    }

    pub(crate) async fn next(&mut self) -> String {
        let line = timeout(PATIENCE, self.0.recv()).await.expect("the program says nothing");
        line.expect("the program has ended")
    }

    /// Reads until a line contains this text, and returns the rest of the line.
    pub(crate) async fn after(&mut self, mark: &str) -> String {
        loop {
            if let Some((_, rest)) = self.next().await.split_once(mark) {
                return rest.to_owned();
            }
        }
    }
}

/// A sandbox on a loopback port.
pub(crate) async fn serve(sandbox: &Sandbox) -> SandboxServer {
    sandbox.serve(([127, 0, 0, 1], 0).into()).await.unwrap()
}

/// The example app; it prints its address when it is ready.
pub(crate) struct App {
    pub(crate) address: String,
    pub(crate) program: Program,
}

impl App {
    /// Starts the app with these settings and no others.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Option<Self> {
        Self::start_example("saaskit", settings).await
    }

    /// Starts another example in the same way.
    pub(crate) async fn start_example(name: &str, settings: &[(&str, &str)]) -> Option<Self> {
        let this = env::current_exe().unwrap();
        let profile = this.parent().and_then(Path::parent).unwrap();
        let mut command = Command::new(profile.join("examples").join(name));
        command.env_clear().env("BIND", "127.0.0.1:0").env("RUST_LOG", "warn");
        let mut program = Program::start(command.envs(settings.iter().copied()))?;
        let address = program.output.after("listening on ").await;
        Some(Self { address, program })
    }
}

/// Follows links, keeps cookies and submits forms like a browser. Cookies ignore ports: on loopback
/// all servers receive them.
pub(crate) struct Browser {
    client: reqwest::Client,
    cookies: Mutex<Vec<Kept>>,
}

#[derive(Clone)]
struct Kept {
    host: String,
    path: String,
    name: String,
    value: String,
}

impl Browser {
    pub(crate) fn new() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let client = reqwest::Client::builder()
            .no_proxy()
            .resolve(APEX, loopback)
            .resolve(WWW, loopback)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE);
        Self { client: client.build().unwrap(), cookies: Mutex::default() }
    }

    /// A browser with a copy of the cookies.
    pub(crate) fn twin(&self) -> Self {
        let cookies = self.cookies.lock().unwrap().clone();
        Self { client: self.client.clone(), cookies: Mutex::new(cookies) }
    }

    /// Requests one page and keeps its cookies.
    pub(crate) async fn get(&self, url: &str) -> Page {
        self.request(Method::GET, Url::parse(url).unwrap(), String::new()).await
    }

    /// Sends a form and keeps the response's cookies.
    pub(crate) async fn post(&self, url: &str, fields: &[(&str, &str)]) -> Page {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.request(Method::POST, Url::parse(url).unwrap(), form).await
    }

    /// Sends JSON and reads JSON.
    pub(crate) async fn post_json(&self, url: &str, body: &Value) -> Value {
        let request = self.client.post(url).header(CONTENT_TYPE, "application/json");
        let response = request.body(body.to_string()).send().await.unwrap();
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    /// Follows redirects.
    pub(crate) async fn follow(&self, mut page: Page) -> Page {
        for _ in 0..MAX_REDIRECTS {
            if !page.status.is_redirection() {
                return page;
            }
            page = self.get(page.location().as_str()).await;
        }
        panic!("redirected too often, at last to {}", page.url);
    }

    /// Opens a URL and follows redirects.
    pub(crate) async fn open(&self, url: &str) -> Page {
        self.follow(self.get(url).await).await
    }

    /// Fills in the first form of a page, submits it, and follows redirects.
    pub(crate) async fn submit(&self, page: &Page, fields: &[(&str, &str)]) -> Page {
        self.follow(self.submit_once(page, fields).await).await
    }

    /// Fills in the first form of a page and submits it.
    pub(crate) async fn submit_once(&self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let (_, form) = page.body.split_once("<form ").expect("a form");
        let (form, _) = form.split_once("</form>").unwrap();
        let attribute = |text: &str, name: &str| {
            let (_, value) = text.split_once(&format!("{name}=\""))?;
            value.split_once('"').map(|(value, _)| value.to_owned())
        };
        let hidden: Vec<_> = form
            .split("<input ")
            .filter(|input| input.starts_with("type=\"hidden\""))
            .filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value")?)))
            .collect();
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let fields: Vec<_> = hidden.chain(fields.iter().copied()).collect();
        let action = page.url.join(&attribute(form, "action").unwrap()).unwrap();
        self.post(action.as_str(), &fields).await
    }

    /// Size of the cookies for this URL.
    pub(crate) fn cookie_bytes(&self, url: &str) -> usize {
        self.cookies_for(&Url::parse(url).unwrap()).len()
    }

    /// The cookies for this URL.
    pub(crate) fn cookie_header(&self, url: &str) -> String {
        self.cookies_for(&Url::parse(url).unwrap())
    }

    /// Whether there is a cookie with this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.cookies.lock().unwrap().iter().any(|kept| kept.name == name)
    }

    async fn request(&self, method: Method, url: Url, form: String) -> Page {
        let mut request = self.client.request(method.clone(), url.clone());
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        let cookies = self.cookies_for(&url);
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies);
        }
        let response = request.header("accept", "text/html").send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        self.keep(&url, &headers);
        Page { url, status, headers, body: response.text().await.unwrap() }
    }

    fn cookies_for(&self, url: &Url) -> String {
        let cookies = self.cookies.lock().unwrap();
        let here = cookies.iter().filter(|kept| url.host_str() == Some(&kept.host));
        let sent = here.filter(|kept| url.path().starts_with(&kept.path));
        sent.map(|kept| format!("{}={}", kept.name, kept.value)).collect::<Vec<_>>().join("; ")
    }

    fn keep(&self, url: &Url, headers: &HeaderMap) {
        let mut cookies = self.cookies.lock().unwrap();
        for value in headers.get_all(SET_COOKIE) {
            let value = value.to_str().unwrap();
            let cookie = Cookie::parse(value).unwrap();
            // Browsers drop longer ones.
            assert!(cookie.name().len() + cookie.value().len() <= 4096, "{value}");
            let default_path = url.path().rsplit_once('/').map_or("/", |(folder, _)| folder);
            let kept = Kept {
                host: url.host_str().unwrap().to_owned(),
                path: cookie.path().unwrap_or(default_path).to_owned(),
                name: cookie.name().to_owned(),
                value: cookie.value().to_owned(),
            };
            let id = |kept: &Kept| [&kept.host, &kept.path, &kept.name].map(String::clone);
            cookies.retain(|known| id(known) != id(&kept));
            let gone =
                cookie.max_age().is_some_and(|age| age.is_zero()) || value.contains("01 Jan 1970");
            if !gone {
                cookies.push(kept);
            }
        }
    }
}

/// A response to a browser.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Page {
    /// The redirect's target.
    pub(crate) fn location(&self) -> Url {
        let location = self.headers.get(LOCATION).unwrap_or_else(|| panic!("{self:?}"));
        self.url.join(location.to_str().unwrap()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }
}
