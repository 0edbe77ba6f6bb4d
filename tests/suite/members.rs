//! Members of organizations: an administrator invites a user, who accepts, logs in with a role, is
//! given another one and is removed.

use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use tower_scalekit::api::Api;
use tower_scalekit::api::memberships::{InitialMembership, MembershipUpdate};
use tower_scalekit::api::roles::{NewRole, RoleUpdate};
use tower_scalekit::api::users::{NewMember, UserDetails};
use tower_scalekit::http_client::HttpClient as _;
use tower_scalekit::model::MembershipStatus;
use tower_scalekit::session::Deprovisioning;
use tower_scalekit::{RequireSession, Session};

use crate::deprovisioning::{deliver, listen, organization_id, status};
use crate::support::{Browser, JOHN, ORIGIN, Reading as _, World, parameter};

const ADA: &str = "ada@contractor.test";

fn world() -> World {
    let login = format!("{ORIGIN}/login");
    World::with(|sandbox| sandbox.initiate_login_url(&login), |sessions| sessions)
}

fn api(world: &World) -> Api {
    world.sandbox.scalekit().api()
}

/// Invites Ada to Acme.
async fn invited(world: &World) -> UserDetails {
    let mut ada = NewMember::new(ADA);
    ada.membership.roles = vec!["member".to_owned()];
    ada.membership.inviter_email = Some("jane@acme.test".to_owned());
    api(world).users().create(&organization_id(world, "Acme"), &ada).await.unwrap()
}

/// The link in the newest e-mail, which is an invitation.
fn link(world: &World) -> String {
    let mail = world.sandbox.mail().outbox().remove(0);
    assert_eq!((mail.email.as_str(), mail.template.as_str()), (ADA, "INVITATION"));
    assert_eq!(mail.template_variables["organization"], "Acme");
    mail.link.unwrap()
}

/// Opens a link of the environment.
async fn visit(world: &World, link: &str) -> Response<Bytes> {
    world.sandbox.client().send(Request::get(link).body(Bytes::new()).unwrap()).await.unwrap()
}

/// Follows the link of an invitation to the environment's page.
async fn follow(world: &World, browser: &mut Browser, link: &str) -> String {
    let opened = visit(world, link).await;
    assert_eq!(opened.status(), StatusCode::FOUND, "{}", opened.text());
    browser.start_login(opened.location()).await
}

async fn accepted(world: &World, browser: &mut Browser, link: &str) {
    let authorization = follow(world, browser, link).await;
    let done = browser.open(&world.sandbox.log_in(&authorization, ADA).unwrap()).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
}

async fn membership_status(world: &World, ada: &UserDetails) -> Option<MembershipStatus> {
    let ada = api(world).users().get(&ada.id).await.unwrap();
    ada.memberships[0].status.clone()
}

#[tokio::test]
async fn an_invited_user_accepts_gets_another_role_and_is_removed() {
    let world = world();
    listen(&world, Deprovisioning::new(&world.sessions));
    let acme = organization_id(&world, "Acme");
    let ada = invited(&world).await;
    assert_eq!(membership_status(&world, &ada).await, Some(MembershipStatus::PendingInvite));

    let mut browser = world.browser();
    accepted(&world, &mut browser, &link(&world)).await;
    assert_eq!(membership_status(&world, &ada).await, Some(MembershipStatus::Active));
    let me = browser.fetch("/me").await.json();
    assert_eq!((&me["sub"], &me["oid"]), (&ada.id.clone().into(), &acme.clone().into()));
    assert_eq!(me["roles"], serde_json::json!(["member"]));
    assert_eq!(browser.fetch("/admin").await.status(), StatusCode::FORBIDDEN);

    let mut promotion = MembershipUpdate::default();
    promotion.roles = Some(vec!["admin".to_owned()]);
    api(&world).memberships().update(&acme, &ada.id, &promotion).await.unwrap();
    assert_eq!(browser.fetch("/admin").await.status(), StatusCode::FORBIDDEN, "not yet");
    world.advance(300);
    assert_eq!(browser.fetch("/admin").await.status(), StatusCode::OK, "after the refresh");
    assert_eq!(browser.fetch("/me").await.json()["roles"], serde_json::json!(["admin"]));

    api(&world).memberships().delete(&acme, &ada.id).await.unwrap();
    deliver(&world).await;
    assert_eq!(status(&browser).await, StatusCode::UNAUTHORIZED);
    let authorization = browser.start_login("/login").await;
    let refused = world.sandbox.log_in(&authorization, ADA).unwrap_err();
    assert!(refused.reason.contains("not a member"), "{refused}");
    assert_eq!(api(&world).users().get(&ada.id).await.unwrap().memberships, []);
}

#[tokio::test]
async fn a_removed_user_is_out_at_the_next_refresh_without_webhooks() {
    let world = world();
    let mut browser = world.logged_in(JOHN).await;
    let john = world.sandbox.users().get(JOHN).unwrap();
    api(&world).memberships().delete(&john.organization_id, &john.id).await.unwrap();
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    world.advance(300);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_invitation_is_for_one_address_until_it_expires() {
    let world = world();
    let ada = invited(&world).await;
    let link = link(&world);
    let mut browser = world.browser();

    // Programs that open links of e-mails do not accept.
    visit(&world, &link).await;
    assert_eq!(membership_status(&world, &ada).await, Some(MembershipStatus::PendingInvite));
    let plain = browser.start_login("/login").await;
    world.sandbox.log_in(&plain, ADA).unwrap_err();
    for other in [JOHN, "eve@contractor.test"] {
        let authorization = follow(&world, &mut browser, &link).await;
        let refused = world.sandbox.log_in(&authorization, other).unwrap_err();
        assert!(refused.reason.contains("another address"), "{refused}");
    }
    assert!(world.sandbox.users().get("eve@contractor.test").is_none());

    let late = follow(&world, &mut browser, &link).await;
    world.advance(15 * 24 * 3600);
    assert_eq!(membership_status(&world, &ada).await, Some(MembershipStatus::InviteExpired));
    assert_eq!(visit(&world, &link).await.status(), StatusCode::NOT_FOUND);
    let answered = world.sandbox.log_in(&late, ADA).unwrap();
    assert_eq!(parameter(&answered, "error").as_deref(), Some("access_denied"));

    let acme = organization_id(&world, "Acme");
    let sent = api(&world).memberships().resend_invitation(&acme, &ada.id).await.unwrap();
    assert_eq!(sent.status.as_deref(), Some("pending_invite"));
    let renewed = self::link(&world);
    assert_ne!(renewed, link);
    accepted(&world, &mut browser, &renewed).await;
    // The link of an accepted invitation logs in.
    let mut second = world.browser();
    accepted(&world, &mut second, &renewed).await;
    assert_eq!(status(&second).await, StatusCode::OK);
}

#[tokio::test]
async fn a_changed_role_changes_the_permissions_of_its_members() {
    let world = world();
    let acme = organization_id(&world, "Acme");
    let api = api(&world);
    let roles = api.organization_roles(&acme);
    roles.create(&NewRole::new("editor")).await.unwrap();
    let john = world.sandbox.users().get(JOHN).unwrap();
    let mut update = MembershipUpdate::default();
    update.roles = Some(vec!["editor".to_owned()]);
    api.memberships().update(&acme, &john.id, &update).await.unwrap();
    let mut browser = world.logged_in(JOHN).await;
    assert_eq!(browser.fetch("/admin").await.status(), StatusCode::FORBIDDEN);

    let mut extended = RoleUpdate::default();
    extended.extends = Some("admin".to_owned());
    roles.update("editor", &extended).await.unwrap();
    world.advance(300);
    assert_eq!(browser.fetch("/admin").await.status(), StatusCode::OK, "inherited");
    api.roles().remove_permission("admin", "workspace_data:write").await.unwrap();
    world.advance(300);
    assert_eq!(browser.fetch("/admin").await.status(), StatusCode::FORBIDDEN);
}

/// A member of two organizations: the second one is Globex.
async fn with_two_organizations(world: &World, role: &str) -> (String, String) {
    let globex = organization_id(world, "Globex");
    let john = world.sandbox.users().get(JOHN).unwrap();
    let mut member = InitialMembership::default();
    member.roles = vec![role.to_owned()];
    member.send_invitation_email = Some(false);
    api(world).memberships().create(&globex, &john.id, &member).await.unwrap();
    (john.organization_id, globex)
}

/// Opens a page of the environment with its session cookie.
async fn open_signed_in(world: &World, url: &str, cookie: &str) -> Response<Bytes> {
    let request = Request::get(url).header("cookie", cookie).body(Bytes::new()).unwrap();
    world.sandbox.client().send(request).await.unwrap()
}

/// Signs John in at the environment, and returns its session cookie and the callback.
async fn signed_in(world: &World, authorization: &str) -> (String, String) {
    let page = visit(world, authorization).await.text();
    let transaction = page.split(r#"name="transaction" value=""#).nth(1).unwrap();
    let transaction = transaction.split('"').next().unwrap();
    let request = Request::post(format!("{}/login", world.sandbox.environment_url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(format!("transaction={transaction}&email={JOHN}")))
        .unwrap();
    let response = world.sandbox.client().send(request).await.unwrap();
    let cookie = response.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    (cookie, response.location().to_owned())
}

#[tokio::test]
async fn a_session_moves_to_another_organization_of_its_user() {
    let world = world();
    let (acme, globex) = with_two_organizations(&world, "admin").await;
    let mut browser = world.browser();
    let authorization = browser.start_login("/login?return_to=/me").await;
    let (cookie, callback) = signed_in(&world, &authorization).await;
    assert_eq!(browser.open(&callback).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.fetch("/me").await.json()["oid"], acme.as_str());

    // The identity provider of the other organization has not authenticated the user yet.
    let switch = world.sessions.switch_organization_url(&globex).to_string();
    let authorization = browser.start_login(&switch).await;
    let asked = open_signed_in(&world, &authorization, &cookie).await;
    assert_eq!(asked.status(), StatusCode::OK, "a page of the identity provider");

    let connection = world.sandbox.connections().list().remove(1);
    api(&world).connections().disable(&globex, &connection.id).await.unwrap();
    for (organization, role) in [(&globex, "admin"), (&acme, "member"), (&globex, "admin")] {
        let switch = world.sessions.switch_organization_url(organization.as_str()).to_string();
        let authorization = browser.start_login(&switch).await;
        let switched = open_signed_in(&world, &authorization, &cookie).await;
        assert_eq!(switched.status(), StatusCode::FOUND, "{}", switched.text());
        let done = browser.open(switched.location()).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
        let me = browser.fetch("/me").await.json();
        assert_eq!((&me["oid"], &me["roles"][0]), (&organization.as_str().into(), &role.into()));
        world.advance(300);
        assert_eq!(browser.fetch("/me").await.json()["oid"], organization.as_str(), "refreshed");
    }
    let foreign = world.sandbox.organizations().list()[2].id.clone();
    let switch = world.sessions.switch_organization_url(foreign).to_string();
    let authorization = browser.start_login(&switch).await;
    let asked = open_signed_in(&world, &authorization, &cookie).await;
    assert_eq!(asked.status(), StatusCode::OK, "not a member");
}

#[tokio::test]
async fn a_session_lists_the_organizations_of_its_user() {
    let world = world();
    let (acme, globex) = with_two_organizations(&world, "member").await;
    let test = world.sandbox.organizations().list()[2].id.clone();
    let john = world.sandbox.users().get(JOHN).unwrap();
    let invited = InitialMembership::default();
    api(&world).memberships().create(&test, &john.id, &invited).await.unwrap();

    let sessions = world.sessions.clone();
    let list = move |session: Session| {
        let sessions = sessions.clone();
        async move {
            let organizations = sessions.organizations(&session).await.unwrap();
            let ids = organizations.into_iter().map(|membership| membership.organization_id);
            Json(ids.collect::<Vec<_>>())
        }
    };
    let layer = RequireSession::new(&world.sessions);
    let app = Router::new().route("/organizations", get(list)).route_layer(layer);
    let mut browser = world.logged_in(JOHN).await.at(&app);
    let listed = browser.fetch("/organizations").await.json();
    assert_eq!(listed, serde_json::json!([acme, globex]), "an invitation is no membership");
}

#[tokio::test]
async fn a_member_of_two_organizations_has_the_role_of_the_selected_one() {
    let world = world();
    let (acme, globex) = with_two_organizations(&world, "admin").await;
    for (organization, role) in [(&acme, "member"), (&globex, "admin")] {
        let mut browser = world.browser();
        let login = format!("/login?organization_id={organization}");
        let authorization = browser.start_login(&login).await;
        browser.open(&world.sandbox.log_in(&authorization, JOHN).unwrap()).await;
        let me = browser.fetch("/me").await.json();
        assert_eq!(me["oid"], organization.as_str());
        assert_eq!(me["roles"], serde_json::json!([role]));
        world.advance(300);
        let me = browser.send(Method::GET, "/me", &[("accept", "*/*")]).await.json();
        assert_eq!(me["oid"], organization.as_str(), "after the refresh");
    }
}
