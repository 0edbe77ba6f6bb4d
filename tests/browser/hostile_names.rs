//! Names with markup, scripts or templates, and names that are too long, on every page.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tower_scalekit::Sandbox;
use tower_scalekit::http_client::HttpClient as _;
use tower_scalekit::sandbox::{NewDirectoryUser, NewUser};
use url::form_urlencoded::byte_serialize;

use crate::app::{App, Environment};
use crate::browser::{Browser, Kind};

/// A name, and the text that the page must show.
fn names() -> Vec<(String, &'static str)> {
    let long = "W".repeat(200);
    [
        ("<script>window.ran=1;alert(1)</script>", "<script>window.ran=1;alert(1)</script>"),
        ("\"'><img src=x onerror=\"window.ran=1;alert(1)\">", "\"'><img src=x onerror="),
        ("\u{202e}drawkcab\u{2066}\u{2067}", "drawkcab"),
        ("{{email}} {email} ${7*7} {% raw %}", "{{email}} {email} ${7*7} {% raw %}"),
        ("%00%0d%0aSet-Cookie: ran=1 &lt;b&gt; \\", "%00%0d%0aSet-Cookie: ran=1 &lt;b&gt; \\"),
        (&"👩‍👩‍👧‍👦".repeat(40), "👩‍👩‍👧‍👦👩‍👩‍👧‍👦"),
        (&long, "WWWWWWWWWW"),
    ]
    .map(|(name, shown)| (name.to_owned(), shown))
    .into()
}

fn encoded(name: &str) -> String {
    byte_serialize(name.as_bytes()).collect()
}

impl Browser {
    /// Asserts that no name is markup, and that the page does not scroll sideways.
    async fn is_unharmed(&self, page: &str) {
        let harm = "[typeof window.ran, document.cookie.includes('ran='),
            document.querySelectorAll('script:not([src$=\"/pageshow.js\"]), [onerror]').length]";
        let address = self.address().await;
        assert_eq!(self.evaluate(harm).await, json!(["undefined", false, 0]), "{page} {address}");
        let over = "document.documentElement.scrollWidth - innerWidth";
        let over = self.evaluate(over).await.as_i64().unwrap();
        assert!(over <= 0, "{page} {address}: {over} pixels too wide");
    }

    /// Opens a page and checks it.
    async fn opens_unharmed(&self, address: &str) {
        self.go(address).await;
        self.see("body").await;
        self.is_unharmed(address).await;
    }
}

/// An environment whose users, organizations and directories have these names.
async fn environment(sandbox: Sandbox) -> Environment {
    let environment = Environment::serve(sandbox).await;
    let sandbox = &environment.sandbox;
    for (number, (name, _)) in names().iter().enumerate() {
        let organization = sandbox.organizations().add(name, &[&format!("org{number}.test")]).id;
        let email = format!("user@org{number}.test");
        let user = NewUser::new(&email).name(name, name).organization_id(&organization);
        sandbox.users().add(user.roles([name]).permissions([name]));
        let directory = sandbox.directories().add(&organization).unwrap();
        let directory_user = NewDirectoryUser::new(&email).name(name, name).department(name);
        sandbox.directories().seed_users(&directory, [directory_user]);
    }
    environment
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_users_and_organizations_are_text_on_every_page() {
    let Some(browser) = Browser::open_as(Kind::Narrow).await else { return };
    let environment = environment(Sandbox::new()).await;
    let sandbox_url = environment.server.environment_url();
    let saaskit = App::with(&environment);
    let agentkit = App::agent_at(&environment);
    for (number, (_, shown)) in names().iter().enumerate() {
        let email = format!("user@org{number}.test");
        browser.forget_everything().await;
        browser.go(&saaskit.address("/dashboard")).await;
        browser.sees_login_page().await;
        browser.is_unharmed("login").await;
        browser.click_link("Sign up").await;
        browser.see("#given_name").await;
        browser.is_unharmed("sign-up").await;
        browser.go(&saaskit.address("/dashboard")).await;
        browser.pick(&email).await;
        browser.arrives_at(&saaskit.address("/dashboard")).await;
        browser.shows(&[shown]).await;
        browser.picture(&format!("hostile-{number}")).await;
        browser.is_unharmed("dashboard").await;
        browser.opens_unharmed(&saaskit.address("/")).await;

        browser.go(&agentkit.address("/login")).await;
        browser.arrives_at(&agentkit.address("/")).await;
        browser.is_unharmed("agentkit").await;
        browser.click("main form button").await;
        browser.shows(&["Connect Gmail?"]).await;
        browser.is_unharmed("connected account").await;
        browser.click("button[value=allow]").await;
        browser.shows(&["The account is connected"]).await;
        browser.is_unharmed("connected").await;
        browser.opens_unharmed(&agentkit.address("/")).await;
        browser.opens_unharmed(sandbox_url).await;
        browser.shows(&[shown]).await;
    }
    for page in ["/deliveries", "/outbox"] {
        browser.opens_unharmed(&format!("{sandbox_url}{page}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_customers_are_text_on_the_pages_of_their_identity_providers() {
    let Some(browser) = Browser::open_as(Kind::Narrow).await else { return };
    let environment = environment(Sandbox::builder().modular_sso().build()).await;
    let organizations = environment.sandbox.organizations().list();
    let named: Vec<_> = names()
        .into_iter()
        .map(|(name, shown)| {
            let own = organizations.iter().find(|one| one.display_name == name).unwrap();
            (own.id.clone(), own.connection_id.clone(), own.domains[0].clone(), shown)
        })
        .collect();
    let administrators: Vec<_> =
        named.iter().map(|(id, _, domain, _)| format!("{id}:user@{domain}")).collect();
    let administrators = administrators.join(",");
    let settings = [("BIND", "127.0.0.1:0"), ("SSO_ADMINISTRATORS", administrators.as_str())];
    let app = App::example("sso", &environment, &settings);
    environment.sandbox.idp().set_initiate_login_url(&app.address("/login"));
    let sandbox_url = environment.server.environment_url();
    for (id, connection, domain, shown) in named {
        browser.forget_everything().await;
        browser.opens_unharmed(&format!("{sandbox_url}/idp/{connection}")).await;
        browser.shows(&[shown]).await;
        browser.go(&app.address(&format!("/login?organization_id={id}"))).await;
        browser.shows(&[shown]).await;
        browser.is_unharmed("identity provider").await;
        browser.pick(&format!("user@{domain}")).await;
        browser.arrives_at(&app.address("/")).await;
        browser.is_unharmed("sso").await;
        browser.opens_unharmed(&app.address("/admin-portal")).await;
        browser.enter_frame("iframe.portal").await;
        browser.shows(&[shown]).await;
        browser.is_unharmed("admin portal").await;
        browser.leave_frame().await;
    }
    browser.opens_unharmed(sandbox_url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_clients_are_text_on_the_consent_page() {
    let Some(browser) = Browser::open_as(Kind::Narrow).await else { return };
    let environment = environment(Sandbox::new()).await;
    let resource = environment.sandbox.mcp().resource_id();
    let sandbox_url = environment.server.environment_url();
    for (name, shown) in names() {
        browser.forget_everything().await;
        let callback = "http://127.0.0.1:9/callback";
        let metadata = json!({
            "client_name": name, "redirect_uris": [callback], "scope": "todo:read",
            "token_endpoint_auth_method": "none",
        });
        let register = format!("{sandbox_url}/api/v1/resources/{resource}/clients:register");
        let request = Request::post(register).header("content-type", "application/json");
        let request = request.body(Bytes::from(metadata.to_string())).unwrap();
        let registered = environment.sandbox.client().send(request).await.unwrap();
        let registered: Value = serde_json::from_slice(registered.body()).unwrap();
        let authorize = format!(
            "{sandbox_url}/resources/{resource}/oauth/authorize?response_type=code&client_id={}\
             &redirect_uri={}&scope=todo:read&state=s&code_challenge_method=S256\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            registered["client_id"].as_str().unwrap(),
            encoded(callback),
        );
        browser.go(&authorize).await;
        browser.pick("jane@acme.test").await;
        browser.shows(&["Allow access?", shown]).await;
        browser.is_unharmed("consent").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_text_on_error_pages() {
    let Some(browser) = Browser::open_as(Kind::Narrow).await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let apps = [("saaskit", "127.0.0.1:0"), ("passwordless", "127.0.0.1:0")]
        .map(|(name, bind)| App::example(name, &environment, &[("BIND", bind)]));
    let [saaskit, passwordless] = &apps;
    let sandbox_url = environment.server.environment_url();
    for (name, _) in names() {
        let name = encoded(&name);
        for address in [
            saaskit.address(&format!(
                "/auth/callback?error={name}&error_description={name}&state={name}"
            )),
            saaskit.address(&format!("/login?error={name}&error_description={name}")),
            saaskit.address(&format!("/auth/switch-account?attempt={name}")),
            passwordless.address(&format!("/?return_to=%2F{name}")),
            passwordless.address(&format!("/passwordless/verify?link_token={name}")),
            format!(
                "{sandbox_url}/oauth/authorize?client_id={name}&redirect_uri={name}&state={name}"
            ),
            format!("{sandbox_url}/magicLink/{name}"),
            format!("{sandbox_url}/idp/{name}"),
            format!("{sandbox_url}/{name}"),
        ] {
            browser.opens_unharmed(&address).await;
        }
    }
}
