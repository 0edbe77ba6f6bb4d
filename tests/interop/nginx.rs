//! nginx with its default settings, which limit headers, in front of the example app.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, process};

use serde_json::json;
use tokio::process::Command;
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::{NewUser, SandboxServer};

use super::support::{App, Browser, Program, serve};

const BEA: &str = "bea@acme.test";
/// nginx accepts a larger `proxy_buffer_size` only with matching `proxy_buffers`.
const LARGER_LIMITS: &str =
    "proxy_buffer_size 16k; proxy_buffers 8 16k; large_client_header_buffers 4 16k;";

/// The app at nginx's address, and a sandbox with a user of many roles.
struct Site {
    url: String,
    sandbox: Sandbox,
    folder: PathBuf,
    _nginx: Program,
    _app: App,
    _server: SandboxServer,
}

impl Site {
    async fn start(settings: &str) -> Option<Self> {
        // Chosen before nginx binds it, because the app must know its public URL.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let sandbox = Sandbox::builder().access_token_lifetime(Duration::from_secs(299)).build();
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
        let nginx = start_nginx(&folder, port, &app.address, settings).await?;
        Some(Self { url, sandbox, folder, _nginx: nginx, _app: app, _server: server })
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

async fn start_nginx(folder: &Path, port: u16, app: &str, settings: &str) -> Option<Program> {
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
                location / {{ proxy_pass {app}; }}
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
    assert_eq!(refreshed.status, 204, "{refreshed:?}");
    let me = browser.get(&site.at("/api/me")).await.json();
    assert_eq!((&me["roles"], &me["permissions"]), (&json!(others), &json!(permissions)));
    let cookie_bytes = browser.cookie_bytes(&site.url);

    let home = browser.follow(browser.post(&site.at("/logout"), &[]).await).await;
    assert_eq!(home.status, 200, "{home:?}");
    assert_eq!(home.url.as_str(), site.at("/"));
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
