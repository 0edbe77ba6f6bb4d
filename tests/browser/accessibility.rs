//! Every page of the examples and of the environment: checked by axe, at two widths and in both
//! colour schemes. Requires axe-core, which `tests/interop/install` installs.

use std::env;
use std::fs;
use std::path::PathBuf;

use tower_scalekit::Sandbox;
use tower_scalekit::api::connected_accounts::{AccountKey, NewConnectedAccount};

use crate::app::{App, Environment};
use crate::browser::{Browser, Kind};

const JANE: &str = "jane@acme.test";
const JOHN: &str = "john@acme.test";
const BIND: (&str, &str) = ("BIND", "127.0.0.1:0");

/// The source of axe, or `None` if it is not installed, which is a failure in CI.
fn axe() -> Option<String> {
    let test = env::current_exe().unwrap();
    let target = test.ancestors().nth(3).map(PathBuf::from).unwrap();
    let source = fs::read_to_string(target.join("interop/node_modules/axe-core/axe.min.js"));
    if source.is_err() {
        assert!(env::var("CI").as_deref() != Ok("true"), "axe-core is missing");
        println!("skipped: axe-core is not installed (tests/interop/install)");
    }
    source.ok()
}

struct Tour {
    browser: Browser,
    axe: String,
}

impl Tour {
    async fn of(kind: Kind) -> Option<Self> {
        let axe = axe()?;
        Some(Self { browser: Browser::open_as(kind).await?, axe })
    }

    async fn sees(&self, name: &str, wanted: &[&str]) {
        self.browser.shows(wanted).await;
        self.browser.is_accessible(&format!("tour-{name}"), &self.axe).await;
    }

    async fn opens(&self, name: &str, url: &str, wanted: &[&str]) {
        self.browser.go(url).await;
        self.sees(name, wanted).await;
    }

    /// Of hosted login and sessions.
    async fn saaskit(&self) {
        let browser = &self.browser;
        let environment = Environment::serve(Sandbox::new()).await;
        let app = App::with(&environment);
        self.opens("saaskit-home", &app.address("/"), &["What to try"]).await;
        self.opens("saaskit-404", &app.address("/nothing"), &["Page not found"]).await;
        self.opens("hosted-login", &app.address("/dashboard"), &["Sign in", JANE]).await;
        browser.click_link("Sign up").await;
        self.sees("hosted-sign-up", &["Create your account"]).await;
        browser.go(&app.address("/dashboard")).await;
        browser.click("button[value=cancel]").await;
        self.sees("login-cancelled", &["The login was cancelled"]).await;
        browser.go(&app.address("/dashboard")).await;
        browser.pick(JOHN).await;
        browser.arrives_at(&app.address("/dashboard")).await;
        self.sees("saaskit-dashboard", &["Hello, John"]).await;
        self.opens("saaskit-403", &app.address("/api/admin"), &["This page is not for you"]).await;
        self.opens("saaskit-home-in", &app.address("/"), &["Go to the dashboard"]).await;
        let organizations = app.address("/organizations");
        self.opens("saaskit-organizations", &organizations, &["Your organizations"]).await;

        let sandbox = environment.server.environment_url();
        browser.go(sandbox).await;
        browser.forget("sandbox_session").await;
        browser.go(&app.address("/dashboard")).await;
        browser.follow_made_up_link(&app.address("/login?return_to=/dashboard")).await;
        browser.pick(JANE).await;
        self.sees("switch-account", &["Switch accounts?"]).await;
        self.opens("sandbox-home", sandbox, &["Scalekit sandbox"]).await;
        self.opens("sandbox-outbox", &format!("{sandbox}/outbox"), &["Outbox"]).await;
        self.opens("sandbox-deliveries", &format!("{sandbox}/deliveries"), &["Webhook deliveries"])
            .await;
    }

    async fn login(&self) {
        let environment = Environment::serve(Sandbox::new()).await;
        let app = App::example("login", &environment, &[BIND]);
        self.opens("login-home", &app.address("/"), &["Ways to log in"]).await;
    }

    /// Of login by e-mail.
    async fn passwordless(&self) {
        let browser = &self.browser;
        let environment = Environment::serve(Sandbox::new()).await;
        let app = App::example("passwordless", &environment, &[BIND]);
        self.opens("passwordless-home", &app.address("/"), &["What to try"]).await;
        browser.type_into("#email", "ada.of.a.long.name@long-domain.acme.test").await;
        browser.click("form button").await;
        self.sees("passwordless-code", &["Check your e-mail"]).await;
        browser.type_into("#code", "000000").await;
        browser.click("form[action='/passwordless/verify'] button").await;
        self.sees("passwordless-wrong-code", &["Something went wrong"]).await;
        let outbox = format!("{}/outbox", environment.server.environment_url());
        self.opens("sandbox-outbox-mail", &outbox, &["ada.of.a.long.name"]).await;
    }

    /// Of single sign-on.
    async fn sso(&self) {
        let browser = &self.browser;
        let environment = Environment::serve(Sandbox::builder().modular_sso().build()).await;
        let organization = environment.sandbox.organizations().list().remove(0);
        let administrators = format!("{}:{JANE}", organization.id);
        let settings = [BIND, ("SSO_ADMINISTRATORS", administrators.as_str())];
        let app = App::example("sso", &environment, &settings);
        environment.sandbox.idp().set_initiate_login_url(&app.address("/login"));
        self.opens("sso-home", &app.address("/"), &["What to try"]).await;
        let unknown = app.address("/sso?email=jane@nowhere.test");
        self.opens("sso-unknown-domain", &unknown, &["There is no single sign-on"]).await;
        let known = app.address("/sso?email=jane@acme.test");
        self.opens("sso-identity-provider", &known, &["Acme"]).await;
        browser.pick(JANE).await;
        self.sees("sso-home-in", &["Set up single sign-on"]).await;
        self.opens("sso-admin-portal", &app.address("/admin-portal"), &["Single sign-on"]).await;
        let sandbox = environment.server.environment_url();
        let portal = format!("{sandbox}/idp/{}", organization.connection_id);
        self.opens("sso-portal", &portal, &["Your apps"]).await;
        let failed = environment.sandbox.idp().failed_login_url("access_denied", "x").unwrap();
        self.opens("sso-failed", &failed, &["Something went wrong"]).await;
    }

    /// Of connected accounts.
    async fn agentkit(&self) {
        let browser = &self.browser;
        let environment = Environment::serve(Sandbox::new()).await;
        let agent = App::agent_at(&environment);
        let accounts = environment.sandbox.connected_accounts();
        accounts.set_verified_redirect_url(&agent.address("/"));
        self.opens("agentkit-home", &agent.address("/"), &["What to try"]).await;
        browser.go(&agent.address("/login")).await;
        browser.pick(JANE).await;
        self.sees("agentkit-connect", &["Connect your mailbox"]).await;
        self.opens("agentkit-question", &agent.address("/connect/gmail"), &["Connect gmail"]).await;
        browser.click("main form button").await;
        self.sees("agentkit-consent", &["Connect Gmail?"]).await;
        browser.click("button[value=allow]").await;
        self.sees("agentkit-mails", &["unread mails"]).await;

        accounts.require_user_verification(false);
        let accounts = environment.sandbox.scalekit().api().connected_accounts();
        let exa = AccountKey::new("exa", "user_123");
        accounts.create(&NewConnectedAccount::new(&exa)).await.unwrap();
        let link = accounts.authorization_link(&exa).await.unwrap();
        self.opens("sandbox-api-key", link.url().as_str(), &["Connect Exa?", "API key"]).await;
        browser.click("button[value=allow]").await;
        browser.shows(&["Connect Exa?"]).await; // a key is required
        browser.type_into("#api_key", "exa-of-jane").await;
        browser.click("button[value=allow]").await;
        self.sees("sandbox-connected", &["The account is connected"]).await;
        assert!(accounts.get(&exa).await.unwrap().is_active());
    }

    /// Of the app's own login page.
    async fn bring_your_own_auth(&self) {
        let environment = Environment::serve(Sandbox::new()).await;
        let id = environment.sandbox.mcp().resource_id();
        let settings = [BIND, ("MCP_RESOURCE_ID", &*id), ("MCP_CONNECTION_ID", "conn_1")];
        let app = App::example("bring_your_own_auth", &environment, &settings);
        let login = app.address("/login?login_request_id=lri_1&state=s");
        self.opens("own-login", &login, &["This is the app's own page"]).await;
        self.browser.type_into("#email", JANE).await;
        self.browser.type_into("#password", "guess").await;
        self.browser.click("form button").await;
        self.sees("own-login-wrong-password", &["is wrong"]).await;
        self.browser.type_into("#email", JANE).await;
        self.browser.type_into("#password", "demo").await;
        self.browser.click("form button").await;
        self.sees("own-login-expired", &["The login has expired"]).await;
    }

    async fn spa(&self) {
        let environment = Environment::serve(Sandbox::new()).await;
        let app = App::example("spa", &environment, &[BIND]);
        self.opens("spa", &app.address("/"), &["not logged in"]).await;
    }
}

async fn tours(kind: Kind) {
    let Some(tour) = Tour::of(kind).await else { return };
    tour.saaskit().await;
    tour.login().await;
    tour.passwordless().await;
    tour.sso().await;
    tour.agentkit().await;
    tour.bring_your_own_auth().await;
    tour.spa().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_and_light_pages_are_accessible() {
    tours(Kind::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_and_dark_pages_are_accessible() {
    tours(Kind::Dark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn narrow_and_light_pages_are_accessible() {
    tours(Kind::Narrow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn narrow_and_dark_pages_are_accessible() {
    tours(Kind::NarrowDark).await;
}
