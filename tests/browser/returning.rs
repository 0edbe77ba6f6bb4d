//! Callbacks that are opened again, and two apps on one host.

use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::Endpoint;

use crate::app::{App, Environment};
use crate::browser::Browser;

const JANE: &str = "jane@acme.test";
const PAGE: &str = "/dashboard?tab=7";

/// Asserts that the browser shows the page of a logged-in user.
async fn is_logged_in(browser: &Browser, app: &App) {
    browser.arrives_at(&app.address(PAGE)).await;
    browser.shows(&["Hello, Jane"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn back_after_a_login_leads_into_the_app() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    browser.go(&app.address("/")).await;
    browser.go(&app.address(PAGE)).await;
    browser.sees_login_page().await;
    let authorization = browser.address().await;
    browser.pick(JANE).await;
    is_logged_in(&browser, &app).await;
    // The environment's page in the history redirects to the callback, with the same `state`.
    browser.back().await;
    is_logged_in(&browser, &app).await;
    // The same page in a tab that is restored after the browser has ended its session there.
    browser.new_tab().await;
    browser.go(environment.server.environment_url()).await;
    browser.forget("sandbox_session").await;
    browser.go(&authorization).await;
    browser.pick(JANE).await;
    is_logged_in(&browser, &app).await;
    assert_eq!(environment.sandbox.requests().count(Endpoint::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_is_opened_again_leads_into_the_app() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    browser.go(&app.address(PAGE)).await;
    browser.sees_login_page().await;
    let authorization = browser.address().await;
    let callback = environment.sandbox.log_in(&authorization, JANE).unwrap();
    for _ in 0..2 {
        browser.go(&callback).await;
        is_logged_in(&browser, &app).await;
    }
    browser.follow_made_up_link(&callback).await;
    is_logged_in(&browser, &app).await;
    let first = browser.tab().await;
    browser.new_tab().await;
    browser.go(&callback).await;
    is_logged_in(&browser, &app).await;
    assert_eq!(environment.sandbox.requests().count(Endpoint::Token), 1);

    // Without a session, a page leads to the login and back to the page, if that is known.
    browser.switch_to(&first).await;
    browser.forget("saaskit_session").await;
    browser.go(&callback).await;
    assert_eq!(browser.status().await, 400);
    browser.click_link("Log in again").await;
    browser.pick(JANE).await;
    is_logged_in(&browser, &app).await;
    browser.forget_everything().await;
    browser.go(&callback).await;
    browser.click_link("Log in again").await;
    browser.pick(JANE).await;
    browser.arrives_at(&app.address("/")).await;
}

/// Cookies ignore ports: both apps have the same name for theirs, and each its own secret.
#[tokio::test(flavor = "multi_thread")]
async fn the_cookies_of_another_app_on_the_host_are_left_alone() {
    let Some(browser) = Browser::open().await else { return };
    let (app, other) = (App::alone(), App::alone());
    browser.go(&app.address(PAGE)).await;
    browser.pick(JANE).await;
    is_logged_in(&browser, &app).await;
    let session = browser.cookies_named("saaskit_session").await;
    for page in ["/", "/dashboard", "/login", "/auth/callback?code=a&state=b", "/logout"] {
        browser.go(&other.address(page)).await;
    }
    browser.go(&other.address("/")).await;
    browser.shows(&["Log in", "Sign up"]).await;
    browser.go(&app.address(PAGE)).await;
    is_logged_in(&browser, &app).await;
    let now = browser.cookies_named("saaskit_session").await;
    assert_eq!(now.len(), 1);
    assert_eq!(now[0].value(), session[0].value());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_cookie_that_another_app_replaces_is_named_on_one_page() {
    let Some(browser) = Browser::open().await else { return };
    let environments =
        [Environment::serve(Sandbox::new()).await, Environment::serve(Sandbox::new()).await];
    let of = |environment, secret| {
        let settings = [("BIND", "127.0.0.1:0"), ("SESSION_SECRET", secret)];
        App::example("saaskit", environment, &settings)
    };
    let app = of(&environments[0], "browser tests: the secret of the first app");
    let other = of(&environments[1], "browser tests: the secret of the second app");
    browser.go(&app.address(PAGE)).await;
    browser.pick(JANE).await;
    is_logged_in(&browser, &app).await;
    browser.go(&other.address(PAGE)).await;
    browser.sees_login_page().await;
    browser.pick(JANE).await;
    is_logged_in(&browser, &other).await;

    let logins = environments[0].sandbox.requests().count(Endpoint::Token);
    browser.go(&app.address(PAGE)).await;
    browser.shows(&["Something went wrong", "the cookie saaskit_session"]).await;
    assert_eq!(browser.status().await, 400);
    assert!(browser.address().await.starts_with(&app.address("/login?")));
    assert_eq!(environments[0].sandbox.requests().count(Endpoint::Token), logins);
    // The user may retry, and the other app is unaffected.
    browser.click_link("Log in again").await;
    browser.sees_login_page().await;
    browser.go(&other.address(PAGE)).await;
    is_logged_in(&browser, &other).await;
    browser.go(&app.address(PAGE)).await;
    browser.pick(JANE).await;
    is_logged_in(&browser, &app).await;
}
