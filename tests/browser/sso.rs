//! Enterprise single sign-on in the example `sso`: from the app, and from the company's portal.

use tower_scalekit::Sandbox;
use tower_scalekit::model::DomainType;
use tower_scalekit::sandbox::{NewIdpInitiatedLogin, SandboxOrganization};

use crate::app::{App, Environment};
use crate::browser::Browser;

const ANA: &str = "ana@example.com";

/// The example, and an environment with its login route.
async fn started() -> (App, Environment) {
    let environment = Environment::serve(Sandbox::builder().modular_sso().build()).await;
    // Of the test organization.
    let administrators = ("SSO_ADMINISTRATORS", "org_70087756646187150:ana@example.com");
    let app = App::example("sso", &environment, &[("BIND", "127.0.0.1:0"), administrators]);
    environment.sandbox.idp().set_initiate_login_url(&app.address("/login"));
    environment.sandbox.users().add(ANA);
    (app, environment)
}

fn test_organization(environment: &Environment) -> SandboxOrganization {
    let all = environment.sandbox.organizations().list();
    let found = all.into_iter().find(|one| one.domains.iter().any(|own| own == "example.com"));
    found.expect("the test organization")
}

/// Asserts the user of `/api/me`.
async fn assert_logged_in(browser: &Browser, app: &App, organization: &SandboxOrganization) {
    let me = browser.fetch("/api/me", 1).await.remove(0)["body"].take();
    assert_eq!(me["email"], ANA, "{me}");
    assert_eq!(me["organization_id"], organization.id, "{me}");
    let subject = me["subject"].as_str().unwrap();
    assert!(subject.starts_with(&format!("{};", organization.connection_id)), "{subject}");
    assert!(browser.address().await.starts_with(&app.url));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_selects_its_companys_login() {
    let Some(browser) = Browser::open().await else { return };
    let (app, environment) = started().await;
    let organization = test_organization(&environment);
    browser.go(&app.address("/")).await;
    browser.picture("sso-home").await;
    browser.type_into("#email", "ana@nowhere.test").await;
    browser.click("form.card button").await;
    browser.shows(&["There is no single sign-on for nowhere.test yet"]).await;

    browser.type_into("#email", ANA).await;
    browser.click("form.card button").await;
    browser.shows(&["Test Organization"]).await;
    browser.picture("sso-identity-provider").await;
    browser.pick(ANA).await;
    browser.arrives_at(&app.address("/")).await;
    browser.shows(&["Your company's identity provider says so"]).await;
    assert_logged_in(&browser, &app, &organization).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_selects_its_login() {
    let Some(browser) = Browser::open().await else { return };
    let (app, environment) = started().await;
    let organization = test_organization(&environment);
    browser.go(&app.address(&format!("/login?organization_id={}", organization.id))).await;
    browser.shows(&["Test Organization"]).await;
    browser.pick(ANA).await;
    browser.arrives_at(&app.address("/")).await;
    assert_logged_in(&browser, &app, &organization).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_companys_portal_opens_the_app() {
    let Some(browser) = Browser::open().await else { return };
    let (app, environment) = started().await;
    let organization = test_organization(&environment);
    let portal =
        format!("{}/idp/{}", environment.server.environment_url(), organization.connection_id);
    browser.go(&portal).await;
    browser.picture("sso-portal").await;
    browser.type_into("input[name=relay_state]", "/api/me").await;
    browser.click("button[value=login]").await;
    browser.pick(ANA).await;
    browser.arrives_at(&app.address("/api/me")).await;
    browser.go(&app.address("/")).await;
    assert_logged_in(&browser, &app, &organization).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idp_initiated_login_with_a_foreign_relay_state_ends_at_the_start_page_and_works_once() {
    let Some(browser) = Browser::open().await else { return };
    let (app, environment) = started().await;
    let organization = test_organization(&environment);
    let idp_login = NewIdpInitiatedLogin::new(&organization.connection_id).login_hint(ANA);
    let idp_login = idp_login.relay_state("https://evil.test/stolen");
    let url = environment.sandbox.idp().login_url(idp_login).unwrap();
    browser.go(&url).await;
    browser.pick(ANA).await;
    browser.arrives_at(&app.address("/")).await;
    assert_logged_in(&browser, &app, &organization).await;

    // Again, as with the Back button: a plain login, which the environment completes at once.
    browser.go(&url).await;
    browser.arrives_at(&app.address("/")).await;
    assert_logged_in(&browser, &app, &organization).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_the_session_at_the_environment_too() {
    let Some(browser) = Browser::open().await else { return };
    let (app, environment) = started().await;
    let organization = test_organization(&environment);
    let login = app.address(&format!("/login?organization_id={}", organization.id));
    browser.go(&login).await;
    browser.pick(ANA).await;
    browser.arrives_at(&app.address("/")).await;
    browser.go(&login).await;
    browser.arrives_at(&app.address("/")).await;
    assert_logged_in(&browser, &app, &organization).await;

    browser.click("form[action='/logout'] button").await;
    browser.shows(&["Log in with your company's account"]).await;
    // On a shared computer the next user has to log in.
    browser.go(&login).await;
    browser.shows(&["Test Organization"]).await;
    assert!(!browser.address().await.starts_with(&app.url));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_at_the_identity_provider_are_explained() {
    let Some(browser) = Browser::open().await else { return };
    let (app, environment) = started().await;
    let organization = test_organization(&environment);
    browser.go(&app.address(&format!("/login?connection_id={}", organization.connection_id))).await;
    browser.click("details.failing summary").await;
    browser.click("#error option[value=signature_validation_failed]").await;
    browser.click("button[value=fail]").await;
    browser.shows(&["Something went wrong", "Contact its administrator"]).await;
    assert_eq!(browser.status().await, 400);
    browser.picture("sso-failed").await;

    // The IdP-initiated login itself may fail, before there is a login.
    let portal =
        format!("{}/idp/{}", environment.server.environment_url(), organization.connection_id);
    browser.go(&portal).await;
    browser.click("details.failing summary").await;
    browser.click("#error option[value=signature_validation_failed]").await;
    browser.click("button[value=fail]").await;
    browser.shows(&["Something went wrong", "Contact its administrator"]).await;
    assert_eq!(browser.status().await, 400);
    browser.click_link("Log in again").await;
    browser.sees_login_page().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tokens_and_other_browsers_are_rejected() {
    let Some(browser) = Browser::open().await else { return };
    let (app, environment) = started().await;
    for token in [
        environment.sandbox.tokens().access_token(ANA),
        environment.sandbox.tokens().id_token(ANA, Some("nonce")),
        "forged".to_owned(),
    ] {
        browser.go(&app.address(&format!("/login?idp_initiated_login={token}"))).await;
        browser.shows(&["Something went wrong", "is invalid or has expired"]).await;
        assert_eq!(browser.status().await, 400);
    }
    // Another user's pending login ends in their browser only.
    browser.go(&app.address("/auth/callback?code=theirs&state=theirs")).await;
    browser.shows(&["Something went wrong", "was started in another browser"]).await;
    browser.go(&app.address("/auth/callback?code=theirs")).await;
    browser.shows(&["Something went wrong"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_disables_single_sign_on_in_the_embedded_portal() {
    let Some(browser) = Browser::open().await else { return };
    let (app, environment) = started().await;
    let organization = test_organization(&environment);
    browser.go(&app.address(&format!("/login?organization_id={}", organization.id))).await;
    browser.pick(ANA).await;
    browser.arrives_at(&app.address("/")).await;
    browser.go(&app.address("/admin-portal")).await;
    browser.see("iframe.portal").await;
    browser.enter_frame("iframe.portal").await;
    browser.shows(&["Test Organization"]).await;
    browser.click("button[value=disable]").await;
    browser.see("button[value=enable]").await;
    browser.leave_frame().await;
    browser.picture("sso-admin-portal").await;

    browser.go(&app.address(&format!("/sso?email={ANA}"))).await;
    browser.shows(&["There is no single sign-on for example.com yet"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_an_administrator_verifies_selects_the_companys_login() {
    let Some(browser) = Browser::open().await else { return };
    let (app, environment) = started().await;
    let organization = test_organization(&environment);
    let domains = environment.sandbox.scalekit().api().domains();
    domains.create(&organization.id, "example.net", DomainType::OrganizationDomain).await.unwrap();
    let address = app.address("/sso?email=eve@example.net");
    browser.go(&address).await;
    browser.shows(&["There is no single sign-on for example.net yet"]).await;

    browser.go(&app.address(&format!("/login?organization_id={}", organization.id))).await;
    browser.pick(ANA).await;
    browser.arrives_at(&app.address("/")).await;
    browser.go(&app.address("/admin-portal")).await;
    browser.enter_frame("iframe.portal").await;
    browser.shows(&["Pending", "example.net"]).await;
    browser.click("button[value=enable]").await;
    browser.shows(&["Verified", "example.net"]).await;
    browser.leave_frame().await;

    // Otherwise the environment completes the login without a page.
    browser.forget("sandbox_session").await;
    browser.go(&address).await;
    browser.shows(&["Test Organization"]).await;
    browser.see("button[name=email]").await;
}
