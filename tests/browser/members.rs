//! A member of an organization, from the invitation to the removal, in the example `saaskit`.

use serde_json::json;
use tower_scalekit::Sandbox;
use tower_scalekit::api::memberships::{InitialMembership, MembershipUpdate};
use tower_scalekit::api::users::NewMember;

use crate::app::{App, Environment};
use crate::browser::Browser;

const ADA: &str = "ada@contractor.test";

#[tokio::test(flavor = "multi_thread")]
async fn an_invited_user_joins_gets_another_role_and_is_removed() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with_webhooks(&environment);
    let sandbox = &environment.sandbox;
    sandbox.idp().set_initiate_login_url(&app.address("/login"));
    let acme = sandbox.organizations().list()[0].id.clone();
    let api = sandbox.scalekit().api();
    let mut member = NewMember::new(ADA);
    member.membership.roles = vec!["member".to_owned()];
    member.membership.inviter_email = Some("jane@acme.test".to_owned());
    let ada = api.users().create(&acme, &member).await.unwrap();

    browser.go(&format!("{}/outbox", environment.server.environment_url())).await;
    browser.shows(&[ADA, "INVITATION", "inviter: jane@acme.test"]).await;
    browser.picture("members-invitation").await;
    browser.click("#mails a").await;
    browser.pick(ADA).await;
    browser.arrives_at(&app.address("/")).await;
    browser.go(&app.address("/dashboard")).await;
    let me = browser.fetch("/api/me", 1).await.remove(0)["body"].take();
    assert_eq!((&me["subject"], &me["roles"]), (&json!(ada.id), &json!(["member"])), "{me}");
    assert_eq!(me["organization_id"], acme.as_str());
    assert_eq!(browser.fetch("/api/admin", 1).await[0]["status"], 403);

    let mut promotion = MembershipUpdate::default();
    promotion.roles = Some(vec!["admin".to_owned()]);
    api.memberships().update(&acme, &ada.id, &promotion).await.unwrap();
    let refresh = "fetch('/auth/refresh', { method: 'POST' }).then(response => response.status)";
    assert_eq!(browser.evaluate(refresh).await, 200);
    let me = browser.fetch("/api/me", 1).await.remove(0)["body"].take();
    assert_eq!(me["roles"], json!(["admin"]), "{me}");

    api.memberships().delete(&acme, &ada.id).await.unwrap();
    sandbox.webhooks().deliver_due().await;
    assert_eq!(browser.fetch("/api/me", 1).await[0]["status"], 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_chooses_among_the_organizations_of_the_account() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    let sandbox = &environment.sandbox;
    let globex = sandbox.organizations().list()[1].id.clone();
    let john = sandbox.users().get("john@acme.test").unwrap();
    let mut member = InitialMembership::default();
    member.roles = vec!["admin".to_owned()];
    member.send_invitation_email = Some(false);
    let memberships = sandbox.scalekit().api().memberships();
    memberships.create(&globex, &john.id, &member).await.unwrap();

    // Globex has no identity provider of its own, which would ask first.
    let connection = sandbox.organizations().list()[1].connection_id.clone();
    assert!(sandbox.connections().set_enabled(&connection, false));

    let page = app.address("/organizations");
    browser.go(&page).await;
    browser.pick("john@acme.test").await;
    browser.arrives_at(&page).await;
    browser.shows(&["Acme (current)", "Globex"]).await;
    browser.picture("organizations").await;
    browser.click_link("Globex").await;
    browser.arrives_at(&page).await;
    browser.shows(&["Acme", "Globex (current)"]).await;
    let me = browser.fetch("/api/me", 1).await.remove(0)["body"].take();
    assert_eq!((&me["organization_id"], &me["roles"]), (&json!(globex), &json!(["admin"])), "{me}");
    for (link, current) in [("Acme", "Acme (current)"), ("Globex", "Globex (current)")] {
        browser.click_link(link).await;
        browser.arrives_at(&page).await;
        browser.shows(&[current]).await;
    }
    // A link of another organization moves no session there.
    let foreign = &sandbox.organizations().list()[2].id;
    browser.go(&app.address(&format!("/login?organization_id={foreign}"))).await;
    browser.go(&page).await;
    browser.shows(&["Globex (current)"]).await;
}
