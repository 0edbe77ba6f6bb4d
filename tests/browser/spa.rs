//! A single-page app, whose script watches the session.

use std::time::Duration;

use tower_scalekit::Sandbox;

use crate::app::{App, Environment};
use crate::browser::Browser;
use crate::running::until;

async fn logged_in(browser: &Browser, environment: &Environment, idle_seconds: &str) -> App {
    let settings = [("BIND", "127.0.0.1:0"), ("IDLE_SECONDS", idle_seconds)];
    let app = App::example("spa", environment, &settings);
    browser.go(&app.address("/")).await;
    browser.shows(&["not logged in", "Log in"]).await;
    browser.click("#login").await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/")).await;
    browser.shows(&["Logged in as jane@acme.test (admin)"]).await;
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_shows_the_user_and_notices_that_the_session_was_revoked() {
    let Some(browser) = Browser::open().await else { return };
    let short = Duration::from_secs(2);
    let sandbox = Sandbox::builder().access_token_lifetime(short).build();
    let environment = Environment::serve(sandbox).await;
    let app = logged_in(&browser, &environment, "1800").await;
    browser.click("#load").await;
    browser.shows(&["\"reader\": \"jane@acme.test\""]).await;
    browser.picture("spa").await;

    // Scripts read no token.
    assert_eq!(browser.evaluate("document.cookie").await, "");

    // The environment ends the session, which its next refresh reveals.
    assert_eq!(environment.sandbox.users().revoke_sessions("jane@acme.test"), 1);
    loop {
        let info = &browser.fetch("/auth/session", 1).await[0]["body"];
        if info["access_token_expires_at"].as_i64() <= info["now"].as_i64() {
            break;
        }
    }
    browser.click("#load").await;
    browser.shows(&["your session has ended", "Log in"]).await;
    drop(app);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_notices_a_logout_in_another_tab() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = logged_in(&browser, &environment, "1800").await;
    let page = browser.tab().await;
    let _other = browser.new_tab().await;
    browser.go(&app.address("/logout")).await;
    browser.switch_to(&page).await;
    browser.shows(&["your session has ended", "Log in"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_warns_before_the_session_ends_and_extends_it() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    // The page warns in the last minute.
    let _app = logged_in(&browser, &environment, "62").await;
    browser.shows(&["Your session is about to end"]).await;
    browser.click("#stay").await;
    until("the session is refreshed", || environment.sandbox.requests().refreshes() == 1).await;
    browser.shows(&["Logged in as jane@acme.test"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_notices_that_an_unused_session_has_ended() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let _app = logged_in(&browser, &environment, "3").await;
    browser.shows(&["your session has ended", "Log in"]).await;
}
