//! An app that is opened under another name of its host, and an app below a path.

use std::net::TcpListener;

use axum::Router;
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener as AsyncListener;
use tower_scalekit::{RequireSession, Sandbox, Session, SessionSecret, Sessions};

use crate::app::{App, Environment, example};
use crate::browser::Browser;
use crate::processes::{Program, fresh_folder};

/// A port that was free a moment ago: the app must know its public URL before it listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The example with an embedded sandbox, at this port, with `PORT` replaced in its public URL.
fn app_at(public_url: &str) -> (App, String) {
    let port = free_port().to_string();
    let url = public_url.replace("PORT", &port);
    let bind = format!("127.0.0.1:{port}");
    (App::listening(App::run(&[("BIND", &bind), ("PUBLIC_URL", &url)])), url)
}

#[tokio::test(flavor = "multi_thread")]
async fn either_loopback_name_leads_to_the_requested_page() {
    let Some(browser) = Browser::open().await else { return };
    let app = App::alone();
    let other = app.url.replace("127.0.0.1", "localhost");
    browser.go(&format!("{other}/dashboard?tab=7")).await;
    browser.sees_login_page().await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard?tab=7")).await;
    browser.shows(&["Hello, Jane"]).await;
    // The session is found from the other name, too.
    browser.go(&format!("{other}/dashboard")).await;
    browser.arrives_at(&app.address("/dashboard?scalekit_host_redirect=1")).await;
    browser.shows(&["Hello, Jane"]).await;
    browser.go(&format!("{other}/")).await;
    browser.click_link("Log in").await;
    browser.arrives_at(&app.address("/dashboard")).await;

    let (app, url) = app_at("http://localhost:PORT");
    assert_eq!(app.program.said("open "), url);
    browser.go(&app.address("/dashboard?tab=7")).await;
    browser.sees_login_page().await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&format!("{url}/dashboard?tab=7")).await;
    browser.shows(&["Hello, Jane"]).await;
}

/// Starts an example as in the README. Returns its URL at the other loopback name, too.
fn newcomer(name: &str, arguments: &[&str]) -> (App, String) {
    let settings = [("BIND", "127.0.0.1:0")];
    let program = Program::start(&example(name), arguments, &settings, fresh_folder());
    let app = App::listening(program);
    let other = app.url.replace("127.0.0.1", "localhost");
    (app, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_can_be_opened_under_the_other_loopback_name() {
    let Some(browser) = Browser::open().await else { return };
    for name in ["saaskit", "login"] {
        let (app, other) = newcomer(name, &[]);
        browser.go(&other).await;
        browser.follow_made_up_link("/login").await;
        browser.pick("jane@acme.test").await;
        browser.arrives_at(&app.address("/")).await;
        assert_eq!(browser.fetch("/api/me", 1).await[0]["status"], 200, "{name}");
        browser.forget_everything().await;
    }

    let (app, other) = newcomer("agentkit", &["--serve"]);
    browser.go(&other).await;
    browser.click_link("Log in").await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/")).await;
    browser.click("main form button").await;
    browser.click("button[value=allow]").await;
    browser.arrives_at(&app.address("/")).await;
    browser.shows(&["5 unread mails"]).await;
    browser.forget_everything().await;

    let (app, other) = newcomer("sso", &[]);
    browser.go(&other).await;
    browser.type_into("#email", "john@example.com").await;
    browser.click("form.card button").await;
    browser.shows(&["Test Organization"]).await;
    browser.pick("john@example.com").await;
    browser.arrives_at(&app.address("/")).await;
    assert_eq!(browser.fetch("/api/me", 1).await[0]["status"], 200);
}

/// The link in the e-mail leads to the redirect URI's host.
#[tokio::test(flavor = "multi_thread")]
async fn an_email_is_requested_at_the_redirect_uris_host() {
    let Some(browser) = Browser::open().await else { return };
    let (app, other) = newcomer("passwordless", &[]);
    let sandbox = app.program.said("sandbox on ");
    browser.go(&format!("{other}/")).await;
    browser.type_into("#email", "ada@acme.test").await;
    browser.click("form.card button").await;
    browser.arrives_at(&app.address("/?scalekit_host_redirect=1")).await;
    assert!(browser.cookies_named("passwordless_").await.is_empty());
    browser.type_into("#email", "ada@acme.test").await;
    browser.click("form.card button").await;
    browser.shows(&["Check your e-mail"]).await;
    browser.go(&format!("{sandbox}/outbox")).await;
    browser.click("#mails li:first-child a").await;
    browser.shows(&["You are logged in"]).await;
    browser.arrives_at(&app.address("/")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn www_and_the_apex_lead_to_the_same_session() {
    let Some(browser) = Browser::open().await else { return };
    // Chromium resolves all names below `localhost` to this machine.
    for (own, other) in [("site", "www.site"), ("www.site", "site")] {
        let port = free_port();
        let own = format!("http://{own}.localhost:{port}");
        let bind = format!("127.0.0.1:{port}");
        let sandbox = Sandbox::builder().redirect_uri(&format!("{own}/auth/callback")).build();
        let environment = Environment::serve(sandbox).await;
        let settings = [("BIND", &*bind), ("PUBLIC_URL", &*own)];
        let _app = App::example("saaskit", &environment, &settings);
        let other = format!("http://{other}.localhost:{port}");
        browser.go(&format!("{other}/dashboard?tab=7")).await;
        browser.sees_login_page().await;
        browser.pick("jane@acme.test").await;
        browser.arrives_at(&format!("{own}/dashboard?tab=7")).await;
        browser.go(&format!("{other}/dashboard")).await;
        browser.arrives_at(&format!("{own}/dashboard?scalekit_host_redirect=1")).await;
        browser.shows(&["Hello, Jane"]).await;
        browser.forget_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_at_two_hosts_has_a_login_and_a_logout_at_each() {
    let Some(browser) = Browser::open().await else { return };
    let listener = AsyncListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hosts = [format!("http://one.localhost:{port}"), format!("http://127.0.0.1:{port}")];
    let callbacks = hosts.each_ref().map(|host| format!("{host}/auth/callback"));
    let logouts = hosts.each_ref().map(|host| format!("{host}/auth/logout/callback"));
    let sandbox = callbacks.iter().fold(Sandbox::builder(), |all, uri| all.redirect_uri(uri));
    let sandbox = logouts.iter().fold(sandbox, |all, uri| all.post_logout_redirect_uri(uri));
    let environment = Environment::serve(sandbox.build()).await;
    let sessions = Sessions::builder(environment.sandbox.scalekit())
        .secret(SessionSecret::generate().unwrap())
        .redirect_uri(&callbacks[0])
        .additional_redirect_uri(&callbacks[1])
        .build()
        .unwrap();
    let page = async |session: Session| format!("Hello {}", session.user().email);
    let app = Router::new().route("/page", get(page)).route_layer(RequireSession::new(&sessions));
    let app = app.merge(sessions.routes()).route("/", get(async || "Bye"));
    tokio::spawn(async move { axum::serve(listener, app).await });

    for host in &hosts {
        let page = format!("{host}/page?tab=7");
        browser.go(&page).await;
        browser.sees_login_page().await;
        browser.pick("jane@acme.test").await;
        browser.arrives_at(&page).await;
        browser.shows(&["Hello jane@acme.test"]).await;
        // Otherwise the environment completes the next login without a page.
        browser.go(environment.server.environment_url()).await;
        browser.forget("sandbox_session").await;
    }
    let status = "fetch('/page').then(response => response.status)";
    browser.go(&format!("{}/page", hosts[0])).await;
    browser.go(&format!("{}/page", hosts[1])).await;
    browser.follow_made_up_link("/logout").await;
    browser.arrives_at(&format!("{}/", hosts[1])).await;
    assert_eq!(browser.evaluate(status).await, json!(401));
    browser.go(&format!("{}/page", hosts[0])).await;
    browser.shows(&["Hello jane@acme.test"]).await;
    // All other names lead to the first host.
    browser.go(&format!("http://localhost:{port}/page")).await;
    browser.arrives_at(&format!("{}/page?scalekit_host_redirect=1", hosts[0])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_and_links_of_an_app_below_a_path_work() {
    let Some(browser) = Browser::open().await else { return };
    let (app, url) = app_at("http://127.0.0.1:PORT/app");
    assert_eq!(app.program.said("open "), url);
    browser.go(&url).await;
    browser.click_link("Log in").await;
    browser.sees_login_page().await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&format!("{url}/dashboard")).await;
    browser.click_link("As JSON").await;
    browser.arrives_at(&format!("{url}/api/me")).await;
    browser.go(&format!("{url}/")).await;
    browser.click_link("Go to the dashboard").await;
    browser.arrives_at(&format!("{url}/dashboard")).await;
    browser.click("main form button").await;
    browser.arrives_at(&url).await;
    browser.shows(&["Sign up"]).await;
    assert!(browser.cookies_named("saaskit_session").await.is_empty());

    // Another name of the host, below the path.
    let other = url.replace("127.0.0.1", "localhost");
    browser.go(&format!("{other}/dashboard?tab=7")).await;
    browser.sees_login_page().await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&format!("{url}/dashboard?tab=7")).await;
    browser.shows(&["Hello, Jane"]).await;
    assert_eq!(browser.cookies_named("saaskit_session").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_by_email_works_below_a_path() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let port = free_port();
    let (bind, url) = (format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}/app"));
    let settings = [("BIND", &*bind), ("PUBLIC_URL", &*url)];
    let _app = App::example("passwordless", &environment, &settings);
    browser.go(&url).await;
    browser.type_into("#email", "ada@acme.test").await;
    browser.click("form.card button").await;
    browser.shows(&["Check your e-mail"]).await;
    let mail = environment.sandbox.mail().outbox().remove(0);
    browser.type_into("#code", &mail.code.unwrap()).await;
    browser.click("form.card button").await;
    browser.shows(&["You are logged in"]).await;
    browser.arrives_at(&url).await;
}
