//! Start, shutdown and crashes.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::{sleep, timeout};
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::Endpoint;

use crate::app::{App, Environment};
use crate::browser::Browser;
use crate::processes::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn a_login_and_a_session_outlive_the_process() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let mut app = App::with(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.sees_login_page().await;

    app.program.kill();
    let app = App::at(app.bound(), &environment);
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    browser.shows(&["Hello, Jane"]).await;

    let mut app = app;
    app.program.kill();
    let app = App::at(app.bound(), &environment);
    browser.reload().await;
    browser.arrives_at(&app.address("/dashboard")).await;
    browser.shows(&["Hello, Jane"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_login_finish_and_exits_with_0() {
    let environment = Environment::serve(Sandbox::new()).await;
    let sandbox = &environment.sandbox;
    let mut app = App::with(&environment);
    let login = get(&app.address("/login"), "").await;
    let callback = sandbox.log_in(text(&login, header::LOCATION), "jane@acme.test").unwrap();
    let cookie = text(&login, header::SET_COOKIE).split(';').next().unwrap().to_owned();

    let held = sandbox.faults().hold(Endpoint::Token);
    let finishing = tokio::spawn(async move { get(&callback, &cookie).await });
    until("the code is being exchanged", || sandbox.requests().count(Endpoint::Token) == 1).await;
    app.program.terminate();
    let bound = app.bound().to_owned();
    until("the port is closed", || TcpStream::connect(&bound).is_err()).await;
    drop(held);

    let finished = finishing.await.unwrap();
    assert_eq!(finished.status(), StatusCode::SEE_OTHER);
    assert!(text(&finished, header::SET_COOKIE).starts_with("saaskit_session="));
    assert_eq!(app.program.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_an_idle_server_at_once() {
    let mut app = App::alone();
    app.program.terminate();
    assert_eq!(app.program.ended().code(), Some(0));
}

#[test]
fn a_port_in_use_is_reported_on_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut app = App::run(&[("BIND", &address)]);
    assert_eq!(app.ended().code(), Some(1));
    let errors = app.errors();
    assert!(errors.starts_with(&format!("error: cannot listen on {address} (BIND): ")), "{errors}");
    assert!(errors.ends_with(": set BIND to another port, such as 127.0.0.1:3001\n"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn an_incomplete_configuration_is_an_error() {
    let url = ("SCALEKIT_ENVIRONMENT_URL", "https://acme.scalekit.dev");
    let id = ("SCALEKIT_CLIENT_ID", "skc_1");
    let secret = ("SCALEKIT_CLIENT_SECRET", "secret");
    let empty = ("SCALEKIT_CLIENT_SECRET", "");
    for (settings, missing) in [
        (vec![url, id], vec!["SCALEKIT_CLIENT_SECRET"]),
        (vec![url, id, empty], vec!["SCALEKIT_CLIENT_SECRET"]),
        (vec![id, secret], vec!["SCALEKIT_ENVIRONMENT_URL"]),
        (vec![secret], vec!["SCALEKIT_ENVIRONMENT_URL", "SCALEKIT_CLIENT_ID"]),
        (vec![url, id, secret, ("SESSION_SECRET", "short")], vec!["SESSION_SECRET"]),
        (vec![("PUBLIC_URL", "app.example.com")], vec!["PUBLIC_URL"]),
        (vec![("PUBLIC_URL", "https://a b")], vec!["PUBLIC_URL"]),
        // In a sandbox anyone can log in as any user.
        (vec![("PUBLIC_URL", "https://app.example.com")], vec!["SCALEKIT_ENVIRONMENT_URL"]),
        (vec![("PUBLIC_URL", "http://10.0.0.1:3000")], vec!["SCALEKIT_ENVIRONMENT_URL"]),
    ] {
        let settings = [settings, vec![("BIND", "127.0.0.1:0")]].concat();
        let mut app = App::run(&settings);
        assert_eq!(app.ended().code(), Some(2), "{settings:?}");
        let errors = app.errors();
        for name in missing {
            assert!(errors.contains(name), "{name} is not in {errors}");
        }
    }
}

async fn get(url: &str, cookie: &str) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(url).header(header::COOKIE, cookie).body(Empty::<Bytes>::new());
    client.request(request.unwrap()).await.unwrap()
}

fn text(response: &Response<Incoming>, name: header::HeaderName) -> &str {
    response.headers()[name].to_str().unwrap()
}

pub async fn until(what: &str, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
