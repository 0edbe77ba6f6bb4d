//! nginx with its default settings, which limit headers, in front of the example app.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, process};

use serde_json::json;
use tokio::process::Command;
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::{NewUser, SandboxServer};

use super::support::{APEX, App, Browser, Program, WWW, serve};

const GUIDE: &str = include_str!("../../src/docs/how_to/behind_a_proxy.md");
const MARK: &str = "scalekit_host_redirect";
const BEA: &str = "bea@acme.test";
/// nginx accepts a larger `proxy_buffer_size` only with matching `proxy_buffers`.
const LARGER_LIMITS: &str =
    "proxy_buffer_size 16k; proxy_buffers 8 16k; large_client_header_buffers 4 16k;";

/// The app at nginx's address, and a sandbox with a user of many roles.
struct Site {
    /// The public URL, without a slash at its end.
    url: String,
    sandbox: Sandbox,
    folder: PathBuf,
    _nginx: Program,
    app: App,
    _server: SandboxServer,
}

impl Site {
    async fn start(settings: &str) -> Option<Self> {
        Self::start_at(
            "127.0.0.1",
            "",
            "location / { proxy_pass http://127.0.0.1:3000; }",
            settings,
        )
        .await
    }

    /// With this host name and path in its public URL. `location` has the address of the app as in
    /// the guide.
    async fn start_at(host: &str, path: &str, location: &str, settings: &str) -> Option<Self> {
        // Chosen before nginx binds it, because the app must know its public URL.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://{host}:{port}{path}");
        let sandbox = Sandbox::builder()
            .access_token_lifetime(Duration::from_secs(299))
            .redirect_uri(&format!("{url}/auth/callback"))
            .post_logout_redirect_uri(&format!("{url}/auth/logout/callback"))
            .build();
        let server = serve(&sandbox).await;
        let app = App::start(&[
            ("PUBLIC_URL", &url),
            ("SCALEKIT_ENVIRONMENT_URL", server.environment_url()),
            ("SCALEKIT_CLIENT_ID", sandbox.client_id()),
            ("SCALEKIT_CLIENT_SECRET", sandbox.client_secret().expose()),
        ])
        .await?;
        let folder = env::temp_dir().join(format!("interop-nginx-{}-{port}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let location = location.replace("http://127.0.0.1:3000", &app.address);
        let nginx = start_nginx(&folder, port, &location, settings).await?;
        Some(Self { url, sandbox, folder, _nginx: nginx, app, _server: server })
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) async fn start_nginx(
    folder: &Path,
    port: u16,
    location: &str,
    settings: &str,
) -> Option<Program> {
    let config = folder.join("nginx.conf");
    // One process without privileges: ending it ends all of nginx.
    let text = format!(
        "daemon off;
        master_process off;
        pid nginx.pid;
        error_log stderr notice;
        events {{}}
        http {{
            access_log off;
            {settings}
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            scgi_temp_path scgi;
            uwsgi_temp_path uwsgi;
            server {{
                listen 127.0.0.1:{port};
                {location}
            }}
        }}"
    );
    fs::write(&config, text).unwrap();
    // Debian installs it in a path for root.
    let path = format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default());
    let mut command = Command::new("nginx");
    command.env("PATH", path).args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(config);
    let mut nginx = Program::start(&mut command)?;
    // Logged when the port is open.
    nginx.log.after("using the \"epoll\" event method").await;
    Some(nginx)
}

#[tokio::test]
async fn a_user_of_fifty_roles_and_permissions_works_with_default_settings() {
    let Some(site) = Site::start("").await else { return };
    let cookie_bytes = log_in_refresh_and_log_out(&site, 50).await;
    assert!(cookie_bytes < 3 * 1024, "{cookie_bytes}");
}

#[tokio::test]
async fn a_session_of_two_cookies_requires_larger_limits() {
    let Some(site) = Site::start(LARGER_LIMITS).await else { return };
    let cookie_bytes = log_in_refresh_and_log_out(&site, 300).await;
    assert!(cookie_bytes > 4096, "{cookie_bytes}");
}

/// The locations of the guide: for a whole host, for a path that nginx removes, and for one that it
/// does not.
fn locations() -> [&'static str; 3] {
    let blocks: Vec<_> = GUIDE.split("```nginx\n").skip(1).collect();
    let blocks = blocks.iter().map(|block| block.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().try_into().unwrap()
}

#[tokio::test]
async fn with_the_default_host_a_login_is_redirected_once_and_the_log_names_both_hosts() {
    let Some(mut site) = Site::start("").await else { return };
    let browser = Browser::new();
    for (page, marked) in [("/dashboard?tab=7", "&"), ("/login", "?")] {
        let redirected = browser.get(&site.at(page)).await.location();
        assert_eq!(redirected.as_str(), site.at(&format!("{page}{marked}{MARK}=1")));
        let next = browser.get(redirected.as_str()).await.location();
        assert!(next.path() == "/login" || next.path() == "/oauth/authorize", "{next}");
    }
    let warning = site.app.program.log.after("other_host: ").await;
    let hosts =
        [site.url.trim_start_matches("http://"), site.app.address.trim_start_matches("http://")];
    assert!(hosts.iter().all(|host| warning.contains(host)), "{warning}");

    let login_page = browser.open(&site.at("/dashboard?tab=7")).await;
    let dashboard = browser.submit(&login_page, &[("email", "jane@acme.test")]).await;
    assert_eq!(dashboard.status, 200, "{dashboard:?}");
    assert_eq!(dashboard.url.as_str(), site.at("/dashboard?tab=7"));
}

#[tokio::test]
async fn with_the_forwarded_host_a_login_is_not_redirected() {
    let Some(site) = Site::start_at("127.0.0.1", "", locations()[0], "").await else { return };
    let login = Browser::new().get(&site.at("/dashboard?tab=7")).await.location();
    assert_eq!(login.as_str(), site.at("/login?return_to=%2Fdashboard%3Ftab%3D7"));
    log_in_refresh_and_log_out(&site, 5).await;
}

/// `$host` lacks a port that is no default one.
#[tokio::test]
async fn with_the_forwarded_host_without_its_port_a_login_works() {
    let location = locations()[0].replace("$http_host", "$host");
    let Some(site) = Site::start_at("127.0.0.1", "", &location, "").await else { return };
    log_in_refresh_and_log_out(&site, 5).await;
}

#[tokio::test]
async fn the_apex_and_www_share_a_session() {
    let Some(site) = Site::start_at(APEX, "", locations()[0], "").await else { return };
    let browser = Browser::new();
    let www = |path: &str| site.at(path).replace(APEX, WWW);
    let redirected = browser.get(&www("/dashboard?tab=7")).await.location();
    assert_eq!(redirected.as_str(), site.at(&format!("/dashboard?tab=7&{MARK}=1")));
    let login_page = browser.open(&www("/dashboard?tab=7")).await;
    let dashboard = browser.submit(&login_page, &[("email", "jane@acme.test")]).await;
    assert_eq!(dashboard.status, 200, "{dashboard:?}");
    assert_eq!(dashboard.url.as_str(), site.at("/dashboard?tab=7"));
    // The session is at the apex, and www finds it there.
    let dashboard = browser.open(&www("/dashboard")).await;
    assert_eq!(dashboard.status, 200, "{dashboard:?}");
    assert_eq!(dashboard.url.as_str(), site.at(&format!("/dashboard?{MARK}=1")));
}

#[tokio::test]
async fn an_app_below_a_path_works_whether_or_not_nginx_removes_the_path() {
    for location in &locations()[1..] {
        let Some(site) = Site::start_at("127.0.0.1", "/app", location, "").await else { return };
        let browser = Browser::new();
        let home = browser.open(&site.url).await;
        assert_eq!(home.status, 200, "{home:?}");
        let links = home.body.split("href=\"").skip(1).map(|link| link.split('"').next().unwrap());
        assert!(links.clone().count() > 2, "{home:?}");
        for link in links {
            assert!(link.starts_with("/app/"), "{link}");
        }
        let login = browser.get(&site.at("/dashboard?tab=7")).await.location();
        assert_eq!(login.as_str(), site.at("/login?return_to=%2Fapp%2Fdashboard%3Ftab%3D7"));
        log_in_refresh_and_log_out(&site, 5).await;
    }
}

/// The life of a session of a user with this many roles and as many permissions. Returns the size
/// of its cookies in a request.
async fn log_in_refresh_and_log_out(site: &Site, count: u32) -> usize {
    let (roles, permissions) = (names("manager", count), names("write", count));
    let bea = NewUser::new(BEA).roles(roles.clone()).permissions(permissions.clone());
    site.sandbox.users().add(bea);

    let browser = Browser::new();
    let login_page = browser.open(&site.at("/dashboard")).await;
    let dashboard = browser.submit(&login_page, &[("email", BEA)]).await;
    assert_eq!(dashboard.status, 200, "{dashboard:?}");
    assert_eq!(dashboard.url.as_str(), site.at("/dashboard"));
    let me = browser.get(&site.at("/api/me")).await.json();
    assert_eq!((&me["roles"], &me["permissions"]), (&json!(roles), &json!(permissions)));

    let others = names("auditor", count);
    site.sandbox.users().update(BEA, |bea| bea.roles.clone_from(&others));
    let refreshed = browser.post(&site.at("/auth/refresh"), &[]).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    let me = browser.get(&site.at("/api/me")).await.json();
    assert_eq!((&me["roles"], &me["permissions"]), (&json!(others), &json!(permissions)));
    let cookie_bytes = browser.cookie_bytes(&site.url);

    let home = browser.follow(browser.post(&site.at("/logout"), &[]).await).await;
    assert_eq!(home.status, 200, "{home:?}");
    assert_eq!(home.url.as_str().trim_end_matches('/'), site.url);
    assert!(home.body.contains("Log in"), "{}", home.body);
    let login_page = browser.open(&site.at("/dashboard")).await;
    assert!(login_page.body.contains("Sign in"), "{login_page:?}");
    cookie_bytes
}

/// Names with eight random letters each, so that they hardly compress.
fn names(kind: &str, count: u32) -> Vec<String> {
    let name = |number: u32| format!("{:08x}:{kind}", number.wrapping_mul(0x9e37_79b9));
    (1..=count).map(name).collect()
}
