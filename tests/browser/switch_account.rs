//! A login as another user than the session's, in the example `saaskit`.

use std::net::TcpListener;

use tower_scalekit::Sandbox;

use crate::app::{App, Environment};
use crate::browser::Browser;

const JANE: &str = "jane@acme.test";
const JOHN: &str = "john@acme.test";

async fn assert_logged_in(browser: &Browser, app: &App, email: &str) {
    browser.arrives_at(&app.address("/dashboard")).await;
    let me = browser.fetch("/api/me", 1).await.remove(0)["body"].take();
    assert_eq!(me["email"], email, "{me}");
}

/// Follows a link that logs in as John where Jane is logged in.
async fn logs_in_as_john(browser: &Browser, app: &App, environment: &Environment) {
    // Otherwise the environment logs in as Jane again, without its login page.
    browser.go(environment.server.environment_url()).await;
    browser.forget("sandbox_session").await;
    browser.go(&app.address("/dashboard")).await;
    browser.follow_made_up_link(&app.address("/login?return_to=/dashboard")).await;
    browser.pick(JOHN).await;
    browser.shows(&[&format!("as {JANE}"), &format!("for {JOHN}")]).await;
    assert!(browser.address().await.starts_with(&app.address("/auth/switch-account?attempt=")));
}

async fn the_user_decides(browser: &Browser, app: &App, environment: &Environment) {
    browser.go(&app.address("/dashboard")).await;
    browser.pick(JANE).await;
    assert_logged_in(browser, app, JANE).await;
    logs_in_as_john(browser, app, environment).await;
    browser.click("form[action$='action=keep'] button").await;
    assert_logged_in(browser, app, JANE).await;
    browser.reload().await;
    assert_logged_in(browser, app, JANE).await;

    logs_in_as_john(browser, app, environment).await;
    browser.click("form[action$='action=switch'] button").await;
    assert_logged_in(browser, app, JOHN).await;
    browser.reload().await;
    assert_logged_in(browser, app, JOHN).await;
    assert_eq!(browser.cookies_named("saaskit_switch_").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_keeps_a_session_or_switches_to_another_user() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    the_user_decides(&browser, &App::with(&environment), &environment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_switches_on_localhost() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    // A free port.
    let bind = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://localhost:{}", bind.port());
    let settings = [("BIND", bind.to_string()), ("PUBLIC_URL", url.clone())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut app = App::example("saaskit", &environment, &settings);
    app.url = url;
    the_user_decides(&browser, &app, &environment).await;
}
