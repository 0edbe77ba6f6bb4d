//! The example `passwordless`: codes and links of the sandbox's outbox.

use std::time::Duration;

use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::PasswordlessType;

use crate::app::{App, Environment, example};
use crate::browser::{Browser, Kind};
use crate::processes::{Program, fresh_folder};

const ADA: &str = "ada@acme.test";

fn run(settings: &[(&str, &str)]) -> App {
    App::listening(Program::start(&example("passwordless"), &[], settings, fresh_folder()))
}

async fn with_environment() -> (Environment, App) {
    let environment = Environment::serve(Sandbox::new()).await;
    let sandbox = &environment.sandbox;
    let app = run(&[
        ("BIND", "127.0.0.1:0"),
        ("SESSION_SECRET", "browser tests: not a secret of anyone's"),
        ("SCALEKIT_ENVIRONMENT_URL", environment.server.environment_url()),
        ("SCALEKIT_CLIENT_ID", sandbox.client_id()),
        ("SCALEKIT_CLIENT_SECRET", sandbox.client_secret().expose()),
    ]);
    (environment, app)
}

impl Environment {
    fn outbox(&self) -> String {
        format!("{}/outbox", self.server.environment_url())
    }
}

impl Browser {
    /// Requests an e-mail and waits for the code page.
    async fn ask_for_mail(&self, app: &App) {
        self.go(&app.address("/")).await;
        self.type_into("#email", ADA).await;
        self.click("form button").await;
        self.shows(&["Check your e-mail", ADA]).await;
    }

    /// Reads the code of the latest e-mail on the outbox page, in another tab.
    async fn read_code(&self, outbox: &str) -> String {
        let app = self.tab().await;
        self.new_tab().await;
        self.go(outbox).await;
        let code = self.see("#mails .code").await.text().await.unwrap();
        self.switch_to(&app).await;
        code
    }

    async fn enter(&self, code: &str) {
        self.type_into("#code", code).await;
        self.click("form[action='/passwordless/verify'] button").await;
    }

    /// Opens the link of the latest e-mail on the outbox page.
    async fn open_link(&self, outbox: &str) {
        self.go(outbox).await;
        self.click("#mails li:first-child a").await;
    }

    async fn is_logged_in(&self, app: &App) {
        self.is_logged_in_beside(app, 0).await;
    }

    /// Asserts the login while this many other attempts are pending.
    async fn is_logged_in_beside(&self, app: &App, attempts: usize) {
        self.shows(&["You are logged in", ADA]).await;
        let me = self.fetch("/api/me", 1).await.remove(0);
        assert_eq!((&me["status"], &me["body"]["email"]), (&200.into(), &ADA.into()));
        assert_eq!(me["body"]["subject"], ADA);
        assert_eq!(self.cookies_named("passwordless_passwordless_").await.len(), attempts);
        assert!(self.address().await.starts_with(&app.url));
    }

    async fn is_rejected(&self, status: u64, texts: &[&str]) {
        self.shows(&["Something went wrong"]).await;
        self.shows(texts).await;
        assert_eq!(self.status().await, status);
    }

    async fn is_nobody(&self, app: &App) {
        self.go(&app.address("/api/me")).await;
        self.arrives_at(&app.address("/?return_to=%2Fapi%2Fme")).await;
    }
}

fn another(code: &str) -> &'static str {
    if code == "123456" { "654321" } else { "123456" }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_from_the_outbox_logs_in_without_scripts_and_a_logout_ends_it() {
    let Some(browser) = Browser::open_as(Kind::WithoutScripts).await else { return };
    let app = run(&[("BIND", "127.0.0.1:0")]);
    let sandbox = app.program.said("sandbox on ");
    browser.go(&app.address("/api/me")).await;
    browser.arrives_at(&app.address("/?return_to=%2Fapi%2Fme")).await;
    browser.shows(&["Log in without a password"]).await;
    browser.type_into("#email", ADA).await;
    browser.click("form button").await;
    browser.shows(&["Check your e-mail", ADA, "Open its link in this browser"]).await;
    browser.picture("passwordless-code").await;
    let code = browser.read_code(&format!("{sandbox}/outbox")).await;
    browser.enter(&code).await;
    browser.arrives_at(&app.address("/api/me")).await;
    browser.shows(&["\"email\":\"ada@acme.test\"", "\"subject\":\"ada@acme.test\""]).await;

    browser.go(&app.address("/")).await;
    browser.shows(&["You are logged in", ADA]).await;
    browser.click("form[action='/logout'] button").await;
    browser.shows(&["Log in without a password"]).await;
    browser.is_nobody(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_logs_in_at_once_in_the_requesting_browser() {
    let Some(browser) = Browser::open().await else { return };
    let (environment, app) = with_environment().await;
    environment.sandbox.mail().enforce_same_browser(true);
    environment.sandbox.mail().set_passwordless_type(PasswordlessType::Link);
    browser.ask_for_mail(&app).await;
    browser.shows(&["Open its link in this browser"]).await;
    browser.open_link(&environment.outbox()).await;
    browser.arrives_at(&app.address("/")).await;
    browser.is_logged_in(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_another_browser_a_link_requires_confirmation() {
    let Some(first) = Browser::open().await else { return };
    let (environment, app) = with_environment().await;
    first.ask_for_mail(&app).await;
    drop(first);

    let Some(other) = Browser::open().await else { return };
    other.open_link(&environment.outbox()).await;
    other.shows(&["Log in to 127.0.0.1", "If you did not request it, close this page"]).await;
    other.picture("passwordless-elsewhere").await;
    assert_eq!(other.status().await, 200);
    // Opening the page had no effect.
    let link = other.address().await;
    other.is_nobody(&app).await;
    other.go(&link).await;
    other.click("main button").await;
    other.arrives_at(&app.address("/")).await;
    other.is_logged_in(&app).await;

    // The link does not work again.
    other.go(&link).await;
    other.shows(&["Log in to 127.0.0.1", "If you did not request it, close this page"]).await;
    other.click("main button").await;
    other.is_rejected(400, &["used already"]).await;
    other.go(&app.address("/")).await;
    other.is_logged_in(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_browser_is_rejected_if_the_environment_enforces_the_same() {
    let Some(first) = Browser::open().await else { return };
    let (environment, app) = with_environment().await;
    environment.sandbox.mail().enforce_same_browser(true);
    first.ask_for_mail(&app).await;
    drop(first);

    let Some(other) = Browser::open().await else { return };
    other.open_link(&environment.outbox()).await;
    other.click("main button").await;
    other.is_rejected(400, &["was requested in another browser", "Request a new e-mail"]).await;
    other.picture("passwordless-refused").await;
    other.is_nobody(&app).await;

    // The retry link.
    other.ask_for_mail(&app).await;
    other.open_link(&environment.outbox()).await;
    other.is_logged_in(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_e_mail_can_be_resent_with_a_new_code_and_the_third_is_rejected() {
    let Some(browser) = Browser::open().await else { return };
    let (environment, app) = with_environment().await;
    environment.sandbox.mail().issue_new_credentials_on_resend(true);
    browser.ask_for_mail(&app).await;
    let first = browser.read_code(&environment.outbox()).await;
    browser.click("#resend button").await;
    browser.shows(&["Check your e-mail", ADA]).await;
    let second = browser.read_code(&environment.outbox()).await;
    assert_eq!(environment.sandbox.mail().outbox().len(), 2);
    if first != second {
        browser.enter(&first).await;
        browser.is_rejected(400, &["This code is wrong", "newest e-mail"]).await;
        browser.click_link("Continue").await;
    }
    browser.click("#resend button").await;
    browser.is_rejected(429, &["Too many e-mails", "Wait a minute"]).await;
    browser.click_link("Continue").await;
    browser.enter(&second).await;
    browser.is_logged_in(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_wrong_code_says_how_to_go_on() {
    let Some(browser) = Browser::open().await else { return };
    let (environment, app) = with_environment().await;
    browser.ask_for_mail(&app).await;
    let wrong = another(&browser.read_code(&environment.outbox()).await);
    for _ in 0..5 {
        browser.enter(wrong).await;
        browser.is_rejected(400, &["This code is wrong"]).await;
        browser.click_link("Continue").await;
        browser.shows(&["Check your e-mail"]).await;
    }
    browser.enter(wrong).await;
    browser.is_rejected(429, &["Too many codes were tried", "request a new e-mail"]).await;
    browser.picture("passwordless-sixth").await;

    browser.click_link("Continue").await;
    browser.ask_for_mail(&app).await;
    let code = browser.read_code(&environment.outbox()).await;
    browser.enter(&code).await;
    // The link of the first e-mail would still work.
    browser.is_logged_in_beside(&app, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_code_is_reported() {
    let Some(browser) = Browser::open().await else { return };
    let (environment, app) = with_environment().await;
    browser.ask_for_mail(&app).await;
    let code = browser.read_code(&environment.outbox()).await;
    environment.sandbox.clock().advance(Duration::from_secs(301));
    browser.enter(&code).await;
    browser.is_rejected(400, &["has expired", "Request a new e-mail"]).await;
    browser.picture("passwordless-expired").await;
    browser.click_link("Continue").await;
    browser.shows(&["Log in without a password"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_click_logs_in() {
    let Some(browser) = Browser::open().await else { return };
    let (environment, app) = with_environment().await;
    browser.ask_for_mail(&app).await;
    let code = browser.read_code(&environment.outbox()).await;
    browser.type_into("#code", &code).await;
    let twice = "(() => {
        const form = document.querySelector(`form[action='/passwordless/verify']`);
        form.submit();
        form.submit();
    })()";
    browser.evaluate(twice).await;
    browser.is_logged_in(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_fit_a_phone() {
    let Some(browser) = Browser::open_as(Kind::Narrow).await else { return };
    let (environment, app) = with_environment().await;
    browser.go(&app.address("/")).await;
    browser.fits("passwordless").await;
    browser.ask_for_mail(&app).await;
    browser.fits("passwordless-code").await;
    browser.go(&environment.outbox()).await;
    browser.see("#mails .code").await;
    browser.fits("outbox").await;
    browser.go(&app.address("/passwordless/verify?link_token=a")).await;
    browser.click("main button").await;
    browser.is_rejected(400, &["was used already, has expired"]).await;
    browser.fits("passwordless-refused").await;
    let cookie = browser.cookies_named("passwordless_passwordless_").await.remove(0);
    browser.forget(cookie.name()).await;
    browser.go(&app.address("/passwordless/verify?link_token=a")).await;
    browser.see("main button").await;
    browser.fits("passwordless-elsewhere").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_are_dark_in_the_dark() {
    let Some(browser) = Browser::open_as(Kind::Dark).await else { return };
    let (environment, app) = with_environment().await;
    browser.ask_for_mail(&app).await;
    browser.is_dark("passwordless-code").await;
    browser.go(&environment.outbox()).await;
    browser.is_dark("outbox").await;
    browser.go(&app.address("/passwordless/verify?link_token=a")).await;
    browser.click("main button").await;
    browser.is_rejected(400, &["was used already, has expired"]).await;
    browser.is_dark("passwordless-refused").await;
}
