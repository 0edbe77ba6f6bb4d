//! The example `agentkit --serve`: connect Gmail, consent, return, list e-mails.

use tower_scalekit::Sandbox;

use crate::app::{App, Environment, example};
use crate::browser::{Browser, Kind};
use crate::processes::{Program, fresh_folder};

impl App {
    /// With these settings and no others.
    fn agent(settings: &[(&str, &str)]) -> Self {
        let settings = [settings, &[("BIND", "127.0.0.1:0")]].concat();
        Self::listening(Program::start(
            &example("agentkit"),
            &["--serve"],
            &settings,
            fresh_folder(),
        ))
    }

    /// With a sandbox of the test, in which users must be verified and are then redirected back.
    pub fn agent_at(environment: &Environment) -> Self {
        let sandbox = &environment.sandbox;
        let agent = Self::agent(&[
            ("SCALEKIT_ENVIRONMENT_URL", environment.server.environment_url()),
            ("SCALEKIT_CLIENT_ID", sandbox.client_id()),
            ("SCALEKIT_CLIENT_SECRET", sandbox.client_secret().expose()),
        ]);
        sandbox.connected_accounts().require_user_verification(true);
        agent
    }

    async fn logs_in(&self, browser: &Browser, email: &str) {
        browser.go(&format!("{}/login", self.url)).await;
        browser.pick(email).await;
        browser.arrives_at(&format!("{}/", self.url)).await;
    }
}

fn status(environment: &Environment, email: &str) -> &'static str {
    let id = environment.sandbox.users().get(email).unwrap().id;
    environment
        .sandbox
        .connected_accounts()
        .get("gmail", &id)
        .map_or("none", |account| account.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_connects_gmail_and_sees_their_e_mails() {
    let Some(browser) = Browser::open().await else { return };
    let agent = App::agent(&[]);
    let sandbox = agent.program.said("sandbox on ");
    browser.go(&agent.url).await;
    browser.shows(&["An agent that reads your mail"]).await;
    agent.logs_in(&browser, "jane@acme.test").await;
    browser.shows(&["Gmail is not connected yet"]).await;
    browser.picture("agentkit-connect").await;
    browser.click("main form button").await;
    browser.shows(&["Connect Gmail?", "gmail.readonly", "check that it is you"]).await;
    assert!(browser.address().await.starts_with(&format!("{sandbox}/magicLink/")));
    browser.picture("agentkit-consent").await;
    browser.click("button[value=allow]").await;
    browser.arrives_at(&format!("{}/", agent.url)).await;
    browser.shows(&["5 unread mails", "Launch checklist for Thursday", "Priya Nair"]).await;
    browser.picture("agentkit-mails").await;
    assert_eq!(browser.cookies_named("agentkit_connect_").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_that_starts_connecting_redirects_to_the_environment() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let agent = App::agent_at(&environment);
    agent.logs_in(&browser, "jane@acme.test").await;
    browser.go(&agent.address("/connect/gmail")).await;
    browser.shows(&["as jane@acme.test"]).await;
    browser.click("form button").await;
    browser.shows(&["Connect Gmail?"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_opened_by_another_user_connects_nothing() {
    let Some([browser, other]) = Browser::open_two().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let agent = App::agent_at(&environment);
    agent.logs_in(&browser, "jane@acme.test").await;
    browser.click("main form button").await;
    browser.shows(&["Connect Gmail?"]).await;
    // Jane consents, and what she would come back to gets into other hands.
    let back = environment.sandbox.consent(&browser.address().await).unwrap();
    assert_eq!(status(&environment, "jane@acme.test"), "PENDING_VERIFICATION");

    agent.logs_in(&other, "john@acme.test").await;
    other.go(&back).await;
    other.shows(&["Something went wrong", "was started in another browser"]).await;
    assert_eq!(other.status().await, 400);

    // The return is spent. Jane starts again, and John logs in to her browser before she comes back.
    browser.go(&back).await;
    browser.shows(&["Something went wrong", "already completed"]).await;
    browser.go(&agent.url).await;
    browser.click("main form button").await;
    browser.shows(&["Connect Gmail?"]).await;
    let back = environment.sandbox.consent(&browser.address().await).unwrap();
    browser.go(&format!("{}/logout", environment.server.environment_url())).await;
    browser.go(&format!("{}/login?prompt=login", agent.url)).await;
    browser.pick("john@acme.test").await;
    browser.shows(&["Switch accounts?"]).await;
    browser.click("form[action*='action=switch'] button").await;
    browser.arrives_at(&format!("{}/", agent.url)).await;
    browser.go(&back).await;
    browser.shows(&["Something went wrong", "A different user is logged in now"]).await;
    assert_eq!(browser.status().await, 403);
    browser.picture("agentkit-other-person").await;
    assert_eq!(status(&environment, "jane@acme.test"), "PENDING_VERIFICATION");
    assert_eq!(status(&environment, "john@acme.test"), "none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_state_connects_nothing() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let agent = App::agent_at(&environment);
    agent.logs_in(&browser, "jane@acme.test").await;
    browser.click("main form button").await;
    browser.shows(&["Connect Gmail?"]).await;
    let back = environment.sandbox.consent(&browser.address().await).unwrap();
    let (forged, _) = back.split_once("&state=").unwrap();
    browser.go(&format!("{forged}&state={}", "A".repeat(43))).await;
    browser.shows(&["Something went wrong"]).await;
    assert_eq!(browser.status().await, 400);
    assert_eq!(status(&environment, "jane@acme.test"), "PENDING_VERIFICATION");

    // The true one still counts; from the sandbox's last page a link leads back.
    browser.go(&back).await;
    browser.shows(&["The account is connected"]).await;
    browser.click("main a").await;
    browser.shows(&["5 unread mails"]).await;
    assert_eq!(status(&environment, "jane@acme.test"), "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_denies_is_not_connected_and_may_try_again() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let agent = App::agent_at(&environment);
    agent.logs_in(&browser, "jane@acme.test").await;
    browser.click("main form button").await;
    browser.click("button[value=deny]").await;
    browser.shows(&["The account is not connected", "You denied access"]).await;
    assert_eq!(status(&environment, "jane@acme.test"), "PENDING_AUTH");
    browser.go(&agent.url).await;
    browser.shows(&["Gmail is not connected yet"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_account_can_be_reconnected() {
    let Some(browser) = Browser::open_as(Kind::WithoutScripts).await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let agent = App::agent_at(&environment);
    let jane = environment.sandbox.users().get("jane@acme.test").unwrap().id;
    let id = environment.sandbox.connected_accounts().add("gmail", &jane);
    agent.logs_in(&browser, "jane@acme.test").await;
    browser.shows(&["5 unread mails"]).await;
    environment.sandbox.connected_accounts().expire(&id);
    browser.reload().await;
    browser.shows(&["Gmail no longer lets the agent in"]).await;
    environment.sandbox.connected_accounts().set_verified_redirect_url(&format!("{}/", agent.url));
    browser.click("main form button").await;
    browser.click("button[value=allow]").await;
    browser.arrives_at(&format!("{}/", agent.url)).await;
    browser.shows(&["5 unread mails"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_fit_a_phone() {
    let Some(browser) = Browser::open_as(Kind::Narrow).await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let agent = App::agent_at(&environment);
    agent.logs_in(&browser, "jane@acme.test").await;
    browser.fits("agentkit-connect").await;
    browser.click("main form button").await;
    browser.shows(&["Connect Gmail?"]).await;
    browser.fits("agentkit-consent").await;
    browser.click("button[value=allow]").await;
    browser.shows(&["The account is connected"]).await;
    browser.fits("agentkit-connected").await;
    browser.click("main a").await;
    browser.shows(&["5 unread mails"]).await;
    browser.fits("agentkit-mails").await;
}
