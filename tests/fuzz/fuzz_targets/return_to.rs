//! The page after the login: never on another origin, and always the requested one.
#![no_main]

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use tower_scalekit::auth_routes::ReturnTo;
use tower_scalekit::middleware::ResponseBody;
use tower_scalekit::{Sandbox, SessionSecret, Sessions};
use tower_scalekit_fuzz::{Input, block_on, clock};
use tower_service::Service as _;
use url::{Url, form_urlencoded};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (mode, repeat) = (input.byte(), input.byte());
    let other_parameters = if mode & 1 == 1 { text(input.bytes()) } else { String::new() };
    let mut wanted = text(input.rest());
    if mode & 2 == 2 {
        // Long texts are otherwise rare.
        let tail = wanted.get(1..).unwrap_or_default().repeat(usize::from(repeat) * 8);
        wanted.push_str(&tail);
    }
    check_parsing(&wanted);
    // A completed login takes a hundred times as long. libFuzzer mutates most the inputs that reach
    // most code: if a byte of the input chose, soon nearly all would complete a login.
    check_login(&wanted, &other_parameters, hash(data) % 64 == 0);
});

fn hash(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check_parsing(wanted: &str) {
    let Some(parsed) = ReturnTo::parse(wanted) else {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-~/".contains(&b);
        let harmless = wanted.starts_with('/') && wanted.len() <= 2048 && wanted.bytes().all(plain);
        assert!(!harmless || wanted.starts_with("//"), "rejected for no reason: {wanted}");
        return;
    };
    let path = parsed.as_str();
    // Browsers take such a text for a path of the same origin, whatever the base.
    assert!(path.starts_with('/') && !path.starts_with("//"), "{wanted:?} gave {path:?}");
    assert!(path.bytes().all(|b| matches!(b, b'!'..=b'~') && b != b'\\'), "{path:?}");
    HeaderValue::from_str(path).expect("a header value");
    for base in ["https://app.test/x/y", "https://app.test/", "https://app.test/x/y?z#w"] {
        let base = Url::parse(base).expect("a base");
        let there = base.join(path).expect("a URL");
        assert_eq!(there.origin(), base.origin(), "{wanted:?} gave {path:?}");
        assert_eq!(there.as_str(), format!("https://app.test{path}"), "it changes once more");
    }
    let again = ReturnTo::parse(path);
    assert_eq!(again.as_ref().map(ReturnTo::as_str), Some(path), "{} bytes", path.len());
}

struct App {
    sandbox: Sandbox,
    sessions: Sessions,
    logins: u32,
}

impl App {
    fn new() -> Self {
        let sandbox = Sandbox::builder().clock(clock()).build();
        let sessions = Sessions::builder(sandbox.scalekit())
            .secret(SessionSecret::generate().expect("a secret"))
            .redirect_uri("https://app.test/auth/callback");
        let sessions = sessions.build().expect("good settings");
        sandbox.register_redirect_uri(sessions.redirect_uri());
        Self { sandbox, sessions, logins: 0 }
    }
}

fn check_login(wanted: &str, other_parameters: &str, complete: bool) {
    thread_local! {
        static APP: RefCell<App> = RefCell::new(App::new());
    }
    APP.with_borrow_mut(|app| {
        let wanted_encoded: String = form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
        let uri = format!("/login?return_to={wanted_encoded}&{other_parameters}");
        let Ok(request) = Request::get(uri).body(()) else { return };
        let started = app.sessions.login().call(request).now_or_never().expect("no wait");
        let started = started.expect("infallible");
        let Some(cookie) = check_start(app, &started) else { return };
        if complete {
            check_return(app, wanted, &started, &cookie);
            app.logins += 1;
            if app.logins == 5000 {
                // A sandbox remembers its sessions; a fuzzer makes too many of them.
                *app = App::new();
            }
        }
    });
}

/// The `Cookie` header of the attempt, if there is one.
fn check_start(app: &App, started: &Response<ResponseBody>) -> Option<String> {
    if started.status() == StatusCode::BAD_REQUEST {
        return None;
    }
    assert_eq!(started.status(), StatusCode::FOUND);
    let location = location(started);
    let url = Url::parse(location).expect("a URL");
    let authorize = format!("{}/oauth/authorize", app.sandbox.environment_url());
    assert_eq!(location.split('?').next(), Some(authorize.as_str()));
    let parameters: Vec<_> = url.query_pairs().collect();
    for (name, ours) in [
        ("client_id", Some(app.sandbox.client_id())),
        ("code_challenge", None),
        ("code_challenge_method", Some("S256")),
        ("nonce", None),
        ("redirect_uri", Some("https://app.test/auth/callback")),
        ("response_type", Some("code")),
        ("scope", Some("openid profile email offline_access")),
        ("state", None),
    ] {
        let mut values = parameters.iter().filter(|(found, _)| found == name).map(|(_, v)| &**v);
        let (first, second) = (values.next(), values.next());
        assert!(first.is_some() && second.is_none(), "{name} in {location}");
        assert!(ours.is_none() || ours == first, "{name} in {location}");
    }
    let mut cookies = started.headers().get_all(header::SET_COOKIE).iter();
    let cookie = cookies.next().expect("an attempt").to_str().expect("text");
    assert!(cookie.len() <= 4096 && cookies.next().is_none(), "{} bytes", cookie.len());
    cookie.split(';').next().map(str::to_owned)
}

fn check_return(app: &App, wanted: &str, started: &Response<ResponseBody>, cookie: &str) {
    let Ok(callback) = app.sandbox.log_in(location(started), "jane@acme.test") else { return };
    // Some parameters, such as an unknown organization, have the environment reject.
    if !callback.contains("code=") {
        return;
    }
    let request = Request::get(callback).header(header::COOKIE, cookie).body(()).expect("a URI");
    let completed = block_on(app.sessions.callback().call(request)).expect("infallible");
    assert_eq!(completed.status(), StatusCode::SEE_OTHER, "returning to {wanted:?}");
    let parsed = ReturnTo::parse(wanted);
    let path = parsed.as_ref().map_or("/", ReturnTo::as_str);
    let bare = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let circle =
        ["/login", "/logout", "/auth/callback", "/auth/refresh", "/auth/backchannel-logout"];
    let circle = circle.contains(&bare);
    assert_eq!(location(&completed), if circle { "/" } else { path });
}

fn location(response: &Response<ResponseBody>) -> &str {
    let location = response.headers().get(header::LOCATION).expect("a location");
    location.to_str().expect("text")
}
