//! Layout on a small screen, and dark mode.

use crate::app::App;
use crate::browser::{Browser, Kind};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wider_than_a_phone() {
    let Some(browser) = Browser::open_as(Kind::Narrow).await else { return };
    let app = App::alone();
    browser.go(&app.address("/")).await;
    browser.fits("home").await;
    browser.go(&app.address("/dashboard")).await;
    browser.sees_login_page().await;
    browser.fits("login").await;
    browser.click_link("Sign up").await;
    browser.see("#given_name").await;
    browser.fits("sign-up").await;
    browser.go(&app.address("/dashboard")).await;
    browser.click("button[value=cancel]").await;
    browser.shows(&["The login was cancelled"]).await;
    browser.fits("cancelled").await;
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    browser.fits("dashboard").await;
    browser.go(&app.program.said("sandbox on ")).await;
    browser.fits("sandbox").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dark_pages_are_dark() {
    let Some(browser) = Browser::open_as(Kind::Dark).await else { return };
    let app = App::alone();
    browser.go(&app.address("/")).await;
    browser.is_dark("home").await;
    browser.go(&app.address("/dashboard")).await;
    browser.sees_login_page().await;
    browser.is_dark("login").await;
    browser.click("button[value=cancel]").await;
    browser.shows(&["The login was cancelled"]).await;
    browser.is_dark("cancelled").await;
    browser.click_link("Log in again").await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    browser.is_dark("dashboard").await;
}
