//! From a protected page through the hosted login page and back.

use tower_scalekit::Sandbox;

use crate::app::{App, Environment};
use crate::browser::{Browser, Kind};

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_page_requires_a_login_and_is_then_shown() {
    let Some(browser) = Browser::open().await else { return };
    let app = App::alone();
    let environment = app.program.said("sandbox on ");
    browser.go(&app.address("/")).await;
    browser.shows(&["Log in", "Sign up"]).await;
    browser.picture("home").await;

    browser.go(&app.address("/dashboard?from=mail")).await;
    browser.sees_login_page().await;
    assert!(browser.address().await.starts_with(&format!("{environment}/")));
    browser.shows(&["Sign in", "Jane Roe", "jane@acme.test"]).await;
    browser.picture("login").await;
    browser.pick("jane@acme.test").await;

    browser.arrives_at(&app.address("/dashboard?from=mail")).await;
    let me = browser.fetch("/api/me", 1).await.remove(0)["body"].take();
    let organization = me["organization_id"].as_str().unwrap();
    assert!(organization.starts_with("org_"));
    let subject = me["subject"].as_str().unwrap();
    browser.shows(&["Hello, Jane", "Jane Roe", "jane@acme.test", subject, organization]).await;
    browser.shows(&["admin", "workspace_data:read", "workspace_data:write"]).await;
    browser.picture("dashboard").await;

    browser.go(&app.address("/")).await;
    browser.shows(&["Logged in as Jane Roe", "Go to the dashboard"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_address_signs_up() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.type_into("#email", "ada@acme.test").await;
    browser.click("form.fields button.primary").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    let ada = environment.sandbox.users().get("ada@acme.test").expect("signed up");
    browser.shows(&["ada@acme.test", &ada.id, &ada.organization_id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_up_asks_for_a_name() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    browser.go(&app.address("/")).await;
    browser.click_link("Sign up").await;
    browser.type_into("#given_name", "Grace").await;
    browser.type_into("#family_name", "Hopper").await;
    browser.type_into("#email", "grace@globex.test").await;
    browser.picture("sign-up").await;
    browser.click("form.fields button.primary").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    browser.shows(&["Hello, Grace", "Grace Hopper"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_login_is_reported_and_can_be_retried() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.click("button[value=cancel]").await;
    browser.shows(&["The login was cancelled"]).await;
    assert_eq!(browser.status().await, 400);
    browser.picture("cancelled").await;

    browser.click_link("Log in again").await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    browser.shows(&["Hello, Jane"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_of_another_user_logs_no_user_in() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    // Login CSRF: another user's login, completed up to the callback.
    let theirs = format!("{}/auth/callback?code=theirs&state=theirs", app.url);
    browser.go(&theirs).await;
    assert_eq!(browser.status().await, 400);
    browser.shows(&["Something went wrong", "was started in another browser"]).await;
    browser.go(&app.address("/dashboard")).await;
    browser.sees_login_page().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_requires_scripts() {
    let Some(browser) = Browser::open_as(Kind::WithoutScripts).await else { return };
    browser.go("data:text/html,<noscript>scripts are off</noscript>").await;
    browser.shows(&["scripts are off"]).await;

    let app = App::alone();
    browser.go(&app.address("/dashboard")).await;
    browser.pick("john@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    browser.shows(&["Hello, John", "workspace_data:read"]).await;
    browser.click("main form[action='/logout'] button").await;
    browser.arrives_at(&app.address("/")).await;
    browser.shows(&["Log in", "Sign up"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_each_return_to_their_page() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    let first = browser.tab().await;
    browser.go(&app.address("/dashboard?x=1")).await;
    browser.sees_login_page().await;
    let second = browser.new_tab().await;
    browser.go(&app.address("/api/me")).await;
    browser.sees_login_page().await;

    browser.switch_to(&first).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard?x=1")).await;
    browser.shows(&["Hello, Jane"]).await;
    browser.switch_to(&second).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/api/me")).await;
    browser.shows(&["\"email\":\"jane@acme.test\""]).await;
    assert_eq!(browser.cookies_named("saaskit_login_").await.len(), 0, "no attempt is left over");
}
