//! nginx with `auth_request`: an upstream behind the example `forward_auth` and its configuration.

use std::net::TcpListener;
use std::time::Duration;
use std::{env, fs, process};

use axum::Json;
use axum::Router;
use axum::http::{HeaderMap, Method, Uri};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::{NewUser, SandboxBuilder, SandboxServer};

use super::nginx::start_nginx;
use super::support::{App, Browser, Page, Program, serve};

const CONFIGURATION: &str = include_str!("../../examples/forward_auth/nginx.conf");
const GUIDE: &str = include_str!("../../src/docs/how_to/forward_auth.md");

/// For a session of two cookies, with hundreds of roles and permissions.
const LARGER_LIMITS: &str =
    "proxy_buffer_size 32k; proxy_buffers 8 32k; large_client_header_buffers 4 16k;";

struct Site {
    url: String,
    sandbox: Sandbox,
    folder: std::path::PathBuf,
    _nginx: Program,
    _app: App,
    _server: SandboxServer,
}

impl Site {
    async fn start(change: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let sandbox = Sandbox::builder()
            .redirect_uri(&format!("{url}/auth/callback"))
            .post_logout_redirect_uri(&format!("{url}/auth/logout/callback"));
        let sandbox = change(sandbox).build();
        let server = serve(&sandbox).await;
        let settings = [
            ("PUBLIC_URL", &*url),
            ("SCALEKIT_ENVIRONMENT_URL", server.environment_url()),
            ("SCALEKIT_CLIENT_ID", sandbox.client_id()),
            ("SCALEKIT_CLIENT_SECRET", sandbox.client_secret().expose()),
        ];
        let app = App::start_example("forward_auth", &settings).await?;
        let folder = env::temp_dir().join(format!("interop-forward-auth-{}-{port}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let location = CONFIGURATION
            .replace("http://127.0.0.1:3000", &app.address)
            .replace("http://127.0.0.1:8000", &upstream().await);
        let nginx = start_nginx(&folder, port, &location, LARGER_LIMITS).await?;
        Some(Self { url, sandbox, folder, _nginx: nginx, _app: app, _server: server })
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// A request without the headers of a browser.
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let client = reqwest::Client::builder().no_proxy();
        let client = client.redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let request = client.request(method, self.at(path));
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A server that responds with the request that it receives.
async fn upstream() -> String {
    async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: String) -> Json<Value> {
        let headers: serde_json::Map<_, _> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
            .collect();
        Json(json!({
            "method": method.as_str(), "uri": uri.to_string(), "headers": headers, "body": body,
        }))
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });
    format!("http://{address}")
}

async fn log_in(site: &Site, email: &str, path: &str) -> (Browser, Page) {
    let browser = Browser::new();
    let login_page = browser.open(&site.at(path)).await;
    let page = browser.submit(&login_page, &[("email", email)]).await;
    (browser, page)
}

#[test]
fn the_guide_quotes_the_configuration() {
    assert!(GUIDE.contains(&format!("```nginx\n{CONFIGURATION}```")));
    assert!(GUIDE.contains(LARGER_LIMITS));
}

#[tokio::test]
async fn an_upstream_gets_the_user_of_a_session_and_no_identity_from_outside() {
    let Some(site) = Site::start(|sandbox| sandbox).await else { return };
    let (browser, page) = log_in(&site, "jane@acme.test", "/reports?year=2026").await;
    assert_eq!(page.url.as_str(), site.at("/reports?year=2026"));
    let seen = page.json();
    assert_eq!((&seen["method"], &seen["uri"]), (&json!("GET"), &json!("/reports?year=2026")));
    assert_eq!(seen["headers"]["x-auth-request-email"], "jane@acme.test");
    assert_eq!(seen["headers"]["x-auth-request-roles"], "admin");
    assert_eq!(page.headers.get("set-cookie"), None, "nothing is refreshed");
    let posted = browser.post(&site.at("/form"), &[("a", "b")]).await.json();
    assert_eq!((&posted["method"], &posted["body"]), (&json!("POST"), &json!("a=b")));

    let token = format!("Bearer {}", site.sandbox.tokens().access_token("john@acme.test"));
    let spoofed = [
        ("authorization", &*token),
        ("x-auth-request-email", "root@acme.test"),
        ("x-auth-request-roles", "admin"),
        ("x-auth-request-organization", "org_other"),
        ("x_auth_request_roles", "admin"),
    ];
    let seen = site.send(Method::GET, "/", &spoofed).await.text().await.unwrap();
    let seen: Value = serde_json::from_str(&seen).unwrap();
    let text = seen["headers"].to_string();
    assert!(!text.contains("root@") && !text.contains("org_other"), "{text}");
    assert_ne!(seen["headers"]["x-auth-request-roles"], "admin");
    assert_eq!(seen["headers"].get("x_auth_request_roles"), None);

    let home = browser.follow(browser.post(&site.at("/logout"), &[]).await).await;
    assert!(home.body.contains("Sign in"), "{home:?}");
}

#[tokio::test]
async fn without_a_valid_credential_the_upstream_sees_no_request() {
    let Some(site) = Site::start(|sandbox| sandbox).await else { return };
    let response = site.send(Method::GET, "/a?b", &[("accept", "text/html")]).await;
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(response.headers()["location"], "/login?return_to=%2Fa%3Fb");
    for (method, headers) in [
        (Method::GET, &[("accept", "*/*")][..]),
        (Method::POST, &[]),
        (
            Method::OPTIONS,
            &[("origin", "https://evil.test"), ("access-control-request-method", "POST")],
        ),
        (Method::GET, &[("authorization", "Bearer a.b.c")]),
        (Method::GET, &[("cookie", "forward_auth_session=AAAA")]),
        (Method::GET, &[("x-auth-request-user", "usr_root")]),
    ] {
        let response = site.send(method, "/a", headers).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{headers:?}");
        assert_eq!(response.text().await.unwrap(), r#"{"error": "login_required"}"#);
    }
    let direct = site.send(Method::GET, "/auth/verify", &[]).await;
    assert_eq!(direct.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn another_site_cannot_send_requests_whatever_headers_it_adds() {
    let Some(site) = Site::start(|sandbox| sandbox).await else { return };
    let (browser, _) = log_in(&site, "jane@acme.test", "/").await;
    let cookie = browser.cookie_header(&site.url);
    let other_site =
        [("cookie", &*cookie), ("origin", "https://evil.test"), ("x-original-method", "GET")];
    assert_eq!(site.send(Method::GET, "/", &other_site).await.status(), StatusCode::OK);
    assert_eq!(site.send(Method::POST, "/", &other_site).await.status(), StatusCode::FORBIDDEN);
    let own = [("cookie", &*cookie), ("origin", &*site.url)];
    assert_eq!(site.send(Method::POST, "/", &own).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_cookies_of_a_refresh_reach_the_browser() {
    let short = |sandbox: SandboxBuilder| sandbox.access_token_lifetime(Duration::from_secs(2));
    let Some(site) = Site::start(short).await else { return };
    let names = |kind| {
        (0..300_u32).map(move |number| format!("{:08x}:{kind}", number.wrapping_mul(0x9e37_79b9)))
    };
    let bea = NewUser::new("bea@acme.test").roles(names("role")).permissions(names("write"));
    site.sandbox.users().add(bea);
    let (browser, page) = log_in(&site, "bea@acme.test", "/").await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    // Until the token is due.
    let refreshed = async {
        loop {
            let page = browser.get(&site.at("/")).await;
            assert_eq!(page.status, StatusCode::OK, "{page:?}");
            if page.headers.contains_key("set-cookie") {
                break page;
            }
        }
    };
    let refreshed = timeout(Duration::from_secs(60), refreshed).await.expect("a refresh");
    assert!(refreshed.headers.get_all("set-cookie").iter().count() > 1, "{refreshed:?}");
    assert!(site.sandbox.requests().refreshes() >= 1);
    assert_eq!(browser.get(&site.at("/")).await.status, StatusCode::OK);
}
