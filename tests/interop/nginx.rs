//! nginx in its default settings, which limit headers, before the example app.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process};

use serde_json::Value;
use tokio::process::Command;
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::{NewUser, SandboxServer};

use super::support::{App, Browser, Program, serve};

const BEA: &str = "bea@acme.test";

/// The app at nginx's address, and a sandbox where a user of many roles logs in.
struct Site {
    url: String,
    sandbox: Sandbox,
    folder: PathBuf,
    _nginx: Program,
    _app: App,
    _server: SandboxServer,
}

impl Site {
    async fn start() -> Option<Self> {
        // Known before nginx takes it, because the app must know where browsers find it.
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
        let nginx = start_nginx(&folder, port, &app.address).await?;
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

async fn start_nginx(folder: &PathBuf, port: u16, app: &str) -> Option<Program> {
    let config = folder.join("nginx.conf");
    // One process without privileges: ending it ends all of nginx. No limit is changed.
    let text = format!(
        "daemon off;
        master_process off;
        pid nginx.pid;
        error_log stderr notice;
        events {{}}
        http {{
            access_log off;
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
    // Debian puts it where only root looks.
    let path = format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default());
    let mut command = Command::new("nginx");
    command.env("PATH", path).args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(config);
    let mut nginx = Program::start(&mut command)?;
    // Told when the port is open.
    nginx.log.after("using the \"epoll\" event method").await;
    Some(nginx)
}

#[tokio::test]
async fn a_user_of_many_roles_logs_in_renews_and_logs_out() {
    let Some(site) = Site::start().await else { return };
    let names = |kind: &'static str| (0..50).map(move |number| format!("team_{number:02}:{kind}"));
    site.sandbox.add_user(NewUser::new(BEA).roles(names("manager")).permissions(names("write")));

    let browser = Browser::new();
    let login_page = browser.open(&site.at("/dashboard")).await;
    let dashboard = browser.submit(&login_page, &[("email", BEA)]).await;
    assert_eq!((dashboard.status.as_u16(), dashboard.url.as_str()), (200, &*site.at("/dashboard")));
    let me = browser.get(&site.at("/api/me")).await.json();
    assert_eq!(me["permissions"].as_array().map(Vec::len), Some(50));

    let renewed = browser.post(&site.at("/auth/refresh"), &[]).await;
    assert_eq!(renewed.status, 204, "{renewed:?}");
    let names: Vec<_> = names("auditor").collect();
    site.sandbox.update_user(BEA, |bea| bea.roles.clone_from(&names));
    site.sandbox.clock().advance(Duration::ZERO);
    let renewed = browser.post(&site.at("/auth/refresh"), &[]).await;
    assert_eq!(renewed.status, 204, "{renewed:?}");
    let me = browser.get(&site.at("/api/me")).await.json();
    assert_eq!(me["roles"].as_array().and_then(|roles| roles[0].as_str()), Some("team_00:auditor"));
    println!(
        "headers: {} B down, {} B up",
        renewed.header_bytes(),
        browser.cookie_bytes(&site.url)
    );

    let home = browser.follow(browser.post(&site.at("/logout"), &[]).await).await;
    assert_eq!((home.status.as_u16(), home.url.as_str()), (200, &*site.at("/")));
    let login_page = browser.open(&site.at("/dashboard")).await;
    assert!(login_page.body.contains("Sign in"), "{login_page:?}");
    let _: Option<Value> = None;
}
