//! Users who are deprovisioned at their company are logged out.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use tower::ServiceExt as _;
use tower_scalekit::http_client::ServiceClient;
use tower_scalekit::sandbox::{DeliveryState, SandboxDirectoryUser};
use tower_scalekit::session::{Deprovisioned, Deprovisioning, LocalSession, RevocationScope, User};
use tower_scalekit::shared_store::MemoryStore;
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::webhook_verify::WebhookSecret;
use tower_scalekit::{Sandbox, WebhookVerify};

use crate::store::FlakyStore;
use crate::support::{Browser, FETCH, JANE, JOHN, Reading as _, World, app, send};

pub(crate) const MATCHED_USER: Deprovisioned = Deprovisioned::Matched(RevocationScope::User);
pub(crate) const UNMATCHED_USER: Deprovisioned = Deprovisioned::Unmatched(RevocationScope::User);

/// Handles the sandbox's webhooks, as `saaskit` does.
pub(crate) fn listen(world: &World, deprovisioning: Deprovisioning) {
    let endpoint =
        world.sandbox.webhooks().add_endpoint("https://app.example.com/webhooks/scalekit");
    let secret = WebhookSecret::new(endpoint.secret().expose()).unwrap();
    let clock = world.sandbox.clock().clock();
    let layer = WebhookVerify::new(secret).clock(clock.clone());
    let router: Router = Router::new()
        .route("/webhooks/scalekit", post(deprovision))
        .layer(layer.deduplicate(MemoryStore::new(clock)))
        .with_state(deprovisioning);
    let service = router.map_request(|request: Request<Bytes>| request.map(Body::from));
    world.sandbox.webhooks().set_client(ServiceClient::new(service));
}

async fn deprovision(
    State(deprovisioning): State<Deprovisioning>,
    event: WebhookEvent,
) -> StatusCode {
    match deprovisioning.apply(&event).await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

pub(crate) fn organization_id(world: &World, name: &str) -> String {
    let organizations = world.sandbox.organizations().list();
    organizations.iter().find(|one| one.display_name.starts_with(name)).unwrap().id.clone()
}

pub(crate) fn in_directory(world: &World, organization: &str, email: &str) -> SandboxDirectoryUser {
    let directory =
        world.sandbox.directories().first_id(&organization_id(world, organization)).unwrap();
    let users = world.sandbox.directories().users(&directory);
    let known = users.into_iter().find(|user| user.email == email);
    known.unwrap_or_else(|| world.sandbox.directories().add_user(&directory, email))
}

pub(crate) async fn status(browser: &Browser) -> StatusCode {
    send(browser.app(), browser.request(Method::GET, "/me", &FETCH)).await.status()
}

pub(crate) async fn deliver(world: &World) {
    world.sandbox.webhooks().deliver_due().await;
    let deliveries = world.sandbox.webhooks().deliveries();
    assert!(!deliveries.is_empty());
    assert!(deliveries.iter().all(|one| one.state == DeliveryState::Delivered), "{deliveries:?}");
}

#[tokio::test]
async fn a_user_deleted_in_the_directory_is_logged_out_at_the_next_request() {
    let world = World::new();
    listen(&world, Deprovisioning::new(&world.sessions));
    let (jane, john) = (world.logged_in(JANE).await, world.logged_in(JOHN).await);
    let user = in_directory(&world, "Acme", JANE);
    assert_eq!(status(&jane).await, StatusCode::OK);

    assert!(world.sandbox.directories().remove_user(&user.id));
    deliver(&world).await;
    assert_eq!(
        (status(&jane).await, status(&john).await),
        (StatusCode::UNAUTHORIZED, StatusCode::OK)
    );
}

#[tokio::test]
async fn a_user_set_inactive_in_the_directory_is_logged_out_and_may_log_in_again() {
    let world = World::new();
    listen(&world, Deprovisioning::new(&world.sessions));
    let jane = world.logged_in(JANE).await;
    let user = in_directory(&world, "Acme", JANE);
    let change = |change: fn(&mut SandboxDirectoryUser)| {
        assert!(world.sandbox.directories().update_user(&user.id, change));
    };
    change(|user| user.given_name = "Janet".into());
    deliver(&world).await;
    assert_eq!(status(&jane).await, StatusCode::OK, "a changed name ends no session");

    change(|user| user.active = false);
    deliver(&world).await;
    assert_eq!(status(&jane).await, StatusCode::UNAUTHORIZED);

    world.advance(1);
    change(|user| user.active = true);
    deliver(&world).await;
    assert_eq!(status(&jane).await, StatusCode::UNAUTHORIZED, "the session stays ended");
    assert_eq!(status(&world.logged_in(JANE).await).await, StatusCode::OK);
}

#[tokio::test]
async fn the_directory_of_another_organization_ends_nothing() {
    let world = World::new();
    listen(&world, Deprovisioning::new(&world.sessions).on_directory_disabled());
    let (jane, gita) = (world.logged_in(JANE).await, world.logged_in("gita@globex.test").await);
    let namesake = in_directory(&world, "Globex", JANE);
    assert!(world.sandbox.directories().update_user(&namesake.id, |user| user.active = false));
    assert!(world.sandbox.directories().remove_user(&namesake.id));
    deliver(&world).await;
    assert_eq!((status(&jane).await, status(&gita).await), (StatusCode::OK, StatusCode::OK));

    let directory =
        world.sandbox.directories().first_id(&organization_id(&world, "Globex")).unwrap();
    assert!(world.sandbox.directories().set_enabled(&directory, false));
    deliver(&world).await;
    assert_eq!(
        (status(&jane).await, status(&gita).await),
        (StatusCode::OK, StatusCode::UNAUTHORIZED)
    );
}

#[tokio::test]
async fn every_replica_rejects_within_two_seconds() {
    let world = World::new();
    let store = Arc::new(MemoryStore::new(world.sandbox.clock().clock()));
    let [one, other] = [(); 2].map(|()| world.replica(|one| one.shared_store(Arc::clone(&store))));
    listen(&world, Deprovisioning::new(&one));
    let mut jane = Browser::new(&app(&other), &world.sandbox);
    jane.log_in(&world.sandbox, JANE).await;
    assert_eq!(status(&jane).await, StatusCode::OK);

    let user = in_directory(&world, "Acme", JANE);
    assert!(world.sandbox.directories().remove_user(&user.id));
    deliver(&world).await;
    world.advance(2);
    assert_eq!(status(&jane).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_event_that_the_store_does_not_accept_is_sent_again() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = world.replica(|one| one.shared_store(store.clone()));
    listen(&world, Deprovisioning::new(&sessions));
    let user = in_directory(&world, "Acme", JANE);
    store.set_down(true);
    assert!(world.sandbox.directories().remove_user(&user.id));
    world.sandbox.webhooks().deliver_due().await;
    let deliveries = world.sandbox.webhooks().deliveries();
    let attempt = deliveries.last().unwrap().attempts.last().unwrap();
    assert_eq!(attempt.status, Some(StatusCode::SERVICE_UNAVAILABLE));

    store.set_down(false);
    world.advance(5);
    deliver(&world).await;
}

/// The sessions that an event may end: of a user, of the same user in another organization, of
/// another user with the same e-mail address, and of an unrelated user.
async fn ended(deprovisioning: fn(Deprovisioning) -> Deprovisioning, event: &Value) -> [bool; 4] {
    let world = World::new();
    let begin = async |organization: &str, user: &str, email: &str| {
        let mut person = User::default();
        user.clone_into(&mut person.id);
        email.clone_into(&mut person.email);
        let session = LocalSession::new(person).organization_id(organization);
        let cookies = world.sessions.create(session, &HeaderMap::new()).await.unwrap();
        let mut begun = Response::new(Bytes::new());
        cookies.set(begun.headers_mut());
        let mut browser = world.browser();
        browser.store_cookies(&begun);
        assert_eq!(status(&browser).await, StatusCode::OK);
        browser
    };
    let browsers = [
        begin("org_1", "usr_1", "Jane@Acme.test").await,
        begin("org_2", "usr_1", "jane@acme.test").await,
        begin("org_1", "usr_2", "jane@acme.test").await,
        begin("org_3", "usr_3", "john@acme.test").await,
    ];
    let event = WebhookEvent::parse(event.to_string().as_bytes()).unwrap();
    let deprovisioning = deprovisioning(Deprovisioning::new(&world.sessions));
    let applied = deprovisioning.apply(&event).await.unwrap();
    let mut ended = [false; 4];
    for (ended, browser) in ended.iter_mut().zip(&browsers) {
        *ended = status(browser).await == StatusCode::UNAUTHORIZED;
    }
    let matched = matches!(applied, Deprovisioned::Matched(_));
    assert_eq!(matched, ended != [false; 4], "{applied:?}");
    ended
}

#[tokio::test]
async fn each_event_ends_only_the_matching_sessions() {
    let directory_user = |rest: Value| {
        let mut user = json!({"id": "diruser_1", "email": "jane@acme.test"});
        user.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        user
    };
    let membership = json!({"organization": {"id": "org_1"}, "user": {"id": "usr_1"}});
    let nobody = [false; 4];
    for (event_type, data, expected) in [
        (
            "organization.directory.user_deleted",
            directory_user(json!({})),
            [true, false, true, false],
        ),
        (
            "organization.directory.user_updated",
            directory_user(json!({"active": false})),
            [true, false, true, false],
        ),
        ("organization.directory.user_updated", directory_user(json!({"active": true})), nobody),
        ("organization.directory.user_updated", directory_user(json!({"active": "no"})), nobody),
        ("organization.directory.user_created", directory_user(json!({"active": false})), nobody),
        ("organization.directory.user_deleted", json!({"id": "diruser_1"}), nobody),
        ("user.organization_membership_deleted", membership.clone(), [true, false, false, false]),
        ("user.organization_membership_updated", membership, nobody),
        ("user.logout", json!({"user": {"id": "usr_1"}}), [true, true, false, false]),
        (
            "user.logout",
            json!({"user": {"id": "usr_1"}, "user_session": {"session_id": "ses_other"}}),
            nobody,
        ),
        (
            "user.logout",
            json!({"user": {"id": "usr_1"}, "user_session": {"session_id": {"odd": 1}}}),
            nobody,
        ),
        ("user.logout", json!({"user_session": {"user_id": "usr_1"}}), [true, true, false, false]),
        ("organization.deleted", json!({"id": "org_1"}), [true, false, true, false]),
        ("organization.directory_disabled", json!({"id": "dir_1"}), nobody),
        ("organization.sso_disabled", json!({"id": "conn_1"}), nobody),
        ("organization.made_up", json!({"email": "jane@acme.test"}), nobody),
    ] {
        let event = event(event_type, &data);
        assert_eq!(ended(|one| one, &event).await, expected, "{event}");
    }
    for event_type in
        ["organization.directory_disabled", "organization.sso_disabled", "organization.sso_deleted"]
    {
        let event = event(event_type, &json!({"id": "x"}));
        let opted = |one: Deprovisioning| one.on_directory_disabled().on_sso_disabled();
        assert_eq!(ended(opted, &event).await, [true, false, true, false], "{event}");
    }
}

pub(crate) fn event(event_type: &str, data: &Value) -> Value {
    json!({"id": "evt_1", "type": event_type, "organization_id": "org_1", "data": data})
}

#[tokio::test]
async fn a_late_logout_event_ends_no_later_login_but_a_late_deprovisioning_does() {
    let world = World::new();
    let deprovisioning = Deprovisioning::new(&world.sessions);
    let then = world.sandbox.clock().clock().now();
    let late = |event_type: &str, data: Value| {
        let mut event = event(event_type, &data);
        event["occurred_at"] = json!(then.format(&Rfc3339).unwrap());
        event["organization_id"] = json!(organization_id(&world, "Acme"));
        WebhookEvent::parse(event.to_string().as_bytes()).unwrap()
    };
    world.advance(600);
    let jane = world.logged_in(JANE).await;
    let user_id = me(&jane).await["sub"].clone();
    let logout = late("user.logout", json!({"user": {"id": user_id}}));
    assert_eq!(deprovisioning.apply(&logout).await.unwrap(), MATCHED_USER);
    assert_eq!(status(&jane).await, StatusCode::OK);
    let lockout = late("organization.directory.user_deleted", json!({"email": JANE}));
    assert_eq!(deprovisioning.apply(&lockout).await.unwrap(), MATCHED_USER);
    assert_eq!(status(&jane).await, StatusCode::UNAUTHORIZED);
}

async fn me(browser: &Browser) -> Value {
    send(browser.app(), browser.request(Method::GET, "/me", &FETCH)).await.json()
}

/// A browser with a session of a user with this ID and address.
pub(crate) async fn local(
    world: &World,
    id: &str,
    email: &str,
    organization: Option<&str>,
) -> Browser {
    let mut user = User::default();
    id.clone_into(&mut user.id);
    email.clone_into(&mut user.email);
    let mut session = LocalSession::new(user);
    if let Some(organization) = organization {
        session = session.organization_id(organization);
    }
    let cookies = world.sessions.create(session, &HeaderMap::new()).await.unwrap();
    let mut begun = Response::new(Bytes::new());
    cookies.set(begun.headers_mut());
    let mut browser = world.browser();
    browser.store_cookies(&begun);
    browser
}

fn disabled(email: &str) -> WebhookEvent {
    directory_user_disabled("diruser_1", email)
}

fn directory_user_disabled(id: &str, email: &str) -> WebhookEvent {
    let data = json!({"id": id, "email": email, "active": false});
    let event = event("organization.directory.user_updated", &data);
    WebhookEvent::parse(event.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn apply_returns_what_it_matched_on_every_replica() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let [sessions, replica] =
        [(); 2].map(|()| world.replica(|one| one.shared_store(store.clone())));
    let world = World { sessions, ..world };
    let deprovisioning = Deprovisioning::new(&replica);
    assert_eq!(deprovisioning.apply(&disabled(JANE)).await.unwrap(), UNMATCHED_USER);
    local(&world, "usr_1", JANE, Some("org_1")).await;
    assert_eq!(deprovisioning.apply(&disabled(JANE)).await.unwrap(), MATCHED_USER);
    let unknown = directory_user_disabled("diruser_2", "jane.roe@acme.test");
    assert_eq!(deprovisioning.apply(&unknown).await.unwrap(), UNMATCHED_USER);
    let created = event("organization.directory.user_created", &json!({"email": JANE}));
    let created = WebhookEvent::parse(created.to_string().as_bytes()).unwrap();
    assert_eq!(deprovisioning.apply(&created).await.unwrap(), Deprovisioned::NotApplicable);
    let deleted = event("organization.deleted", &json!({"id": "org_1"}));
    let deleted = WebhookEvent::parse(deleted.to_string().as_bytes()).unwrap();
    let expected = Deprovisioned::Matched(RevocationScope::Organization);
    assert_eq!(deprovisioning.apply(&deleted).await.unwrap(), expected);
}

#[tokio::test]
async fn a_session_is_matched_by_those_of_its_names_that_the_store_has() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let world = World::with(|sandbox| sandbox, |sessions| sessions.shared_store(store.clone()));
    store.fail_puts(b"begun", 1);
    local(&world, "usr_1", JANE, Some("org_1")).await;
    let deprovisioning = Deprovisioning::new(&world.sessions);
    let mut matched = 0;
    for (event_type, data) in [
        ("organization.directory.user_deleted", json!({"id": "diruser_1", "email": JANE})),
        ("organization.deleted", json!({"id": "org_1"})),
    ] {
        let event = WebhookEvent::parse(event(event_type, &data).to_string().as_bytes()).unwrap();
        let applied = deprovisioning.apply(&event).await.unwrap();
        matched += usize::from(matches!(applied, Deprovisioned::Matched(_)));
    }
    assert!(matched > 0);
}

#[tokio::test]
async fn an_event_whose_names_could_not_be_read_is_unmatched() {
    let world = World::new();
    let deprovisioning = Deprovisioning::new(&world.sessions);
    let out_of_range = "\"n\": 1e999";
    for (event_type, data, expected) in [
        (
            "user.organization_membership_deleted",
            format!(r#"{{"user": {{"id": "usr_1", {out_of_range}}}}}"#),
            UNMATCHED_USER,
        ),
        (
            "user.logout",
            format!(r#"{{"user_session": {{"session_id": "ses_1", {out_of_range}}}}}"#),
            Deprovisioned::Unmatched(RevocationScope::Session),
        ),
        (
            "user.login",
            format!(r#"{{"user_session": {{"session_id": "ses_1", {out_of_range}}}}}"#),
            Deprovisioned::NotApplicable,
        ),
    ] {
        let body = format!(
            r#"{{"id": "evt_1", "type": "{event_type}", "organization_id": "org_1", "data": {data}}}"#
        );
        let event = WebhookEvent::parse(body.as_bytes()).unwrap();
        assert!(!event.is_complete());
        assert_eq!(deprovisioning.apply(&event).await.unwrap(), expected, "{event_type}");
    }
}

#[tokio::test]
async fn addresses_are_compared_trimmed_and_case_insensitively() {
    for (in_session, in_event) in [
        ("jane@acme.test", " Jane@ACME.test "),
        (" JANE@acme.test", "jane@acme.test"),
        ("Ä@acme.test", "ä@acme.test"),
    ] {
        let world = World::new();
        let browser = local(&world, "usr_1", in_session, Some("org_1")).await;
        let applied = Deprovisioning::new(&world.sessions).apply(&disabled(in_event)).await;
        assert_eq!(applied.unwrap(), MATCHED_USER, "{in_session:?} {in_event:?}");
        assert_eq!(status(&browser).await, StatusCode::UNAUTHORIZED);
    }
    let world = World::new();
    let mailed = local(&world, "jane@acme.test", JANE, None).await;
    let own_id = local(&world, "Jane", JANE, None).await;
    world.sessions.revoke_user("Jane@ACME.test").await.unwrap();
    assert_eq!(status(&mailed).await, StatusCode::UNAUTHORIZED);
    world.sessions.revoke_user("jane").await.unwrap();
    assert_eq!(status(&own_id).await, StatusCode::OK, "other ids are case-sensitive");
}

#[tokio::test]
async fn sessions_without_an_organization_end_by_directory_events_only_if_enabled() {
    let world = World::new();
    let mailed = local(&world, JANE, JANE, None).await;
    let other = local(&world, "usr_2", JANE, Some("org_2")).await;
    let deprovisioning = Deprovisioning::new(&world.sessions);
    assert_eq!(deprovisioning.apply(&disabled(JANE)).await.unwrap(), UNMATCHED_USER);
    assert_eq!(status(&mailed).await, StatusCode::OK);
    let opted = deprovisioning.end_sessions_without_organization();
    assert_eq!(opted.apply(&disabled(JANE)).await.unwrap(), MATCHED_USER);
    assert_eq!(status(&mailed).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&other).await, StatusCode::OK, "another organization's");
}

#[tokio::test]
async fn the_app_revokes_by_address_and_organization() {
    let world = World::new();
    let begin = async || {
        [
            local(&world, "usr_1", JANE, Some("org_1")).await,
            local(&world, "usr_1", JANE, Some("org_2")).await,
            local(&world, JANE, JANE, None).await,
        ]
    };
    for (organization, expected) in [
        (Some("org_1"), [true, false, false]),
        (Some("org_2"), [false, true, false]),
        (None, [false, false, true]),
    ] {
        world.advance(1);
        let browsers = begin().await;
        world.sessions.revoke_email(" JANE@acme.test", organization).await.unwrap();
        for (browser, is_ended) in browsers.iter().zip(expected) {
            let ended = status(browser).await == StatusCode::UNAUTHORIZED;
            assert_eq!(ended, is_ended, "{organization:?}");
        }
    }
}
