//! Directory users are deprovisioned whatever address they had at login.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join;
use http::StatusCode;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use tower_scalekit::sandbox::NewDirectoryUser;
use tower_scalekit::session::{
    Deprovisioned, Deprovisioning, DeprovisioningError, LocalSession, RevocationScope,
};
use tower_scalekit::shared_store::{KeyNamespace, SharedStore as _, StoreError, StoreKey};
use tower_scalekit::webhook::WebhookEvent;

use crate::deprovisioning::{
    MATCHED_USER, UNMATCHED_USER, deliver, event, in_directory, listen, local, organization_id,
    status,
};
use crate::store::FlakyStore;
use crate::support::{Browser, JANE, Reading as _, World, app};

const MAIDEN: &str = "maiden@acme.test";
const MARRIED: &str = "married@acme.test";
const CREATED: &str = "organization.directory.user_created";
const UPDATED: &str = "organization.directory.user_updated";
const DELETED: &str = "organization.directory.user_deleted";

/// An event of a directory user in `org_1`.
fn directory_event(event_type: &str, data: Value) -> WebhookEvent {
    parsed(&event(event_type, &data))
}

fn parsed(event: &Value) -> WebhookEvent {
    WebhookEvent::parse(event.to_string().as_bytes()).unwrap()
}

/// The same user with another address.
fn named(event_type: &str, email: &str) -> WebhookEvent {
    directory_event(event_type, json!({"id": "diruser_1", "email": email}))
}

fn deactivated(email: &str) -> WebhookEvent {
    directory_event(UPDATED, json!({"id": "diruser_1", "email": email, "active": false}))
}

async fn is_ended(browser: &Browser) -> bool {
    status(browser).await == StatusCode::UNAUTHORIZED
}

/// A world with a shared store and a second replica.
fn replicas() -> (World, FlakyStore, [Deprovisioning; 2]) {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let [sessions, other] = [(); 2].map(|()| world.replica(|one| one.shared_store(store.clone())));
    let both = [Deprovisioning::new(&sessions), Deprovisioning::new(&other)];
    let app = app(&sessions);
    (World { sessions, app, ..world }, store, both)
}

#[tokio::test]
async fn a_user_who_was_renamed_is_logged_out_when_deleted_or_deactivated() {
    for renames in [&[MARRIED][..], &[MARRIED, "widowed@acme.test"]] {
        for deletes in [true, false] {
            let world = World::new();
            listen(&world, Deprovisioning::new(&world.sessions));
            let user = in_directory(&world, "Acme", MAIDEN);
            let (maiden, jane) = (world.logged_in(MAIDEN).await, world.logged_in(JANE).await);
            for email in renames {
                let renamed = world.sandbox.directories().update_user(&user.id, |user| {
                    (*email).clone_into(&mut user.email);
                });
                assert!(renamed);
            }
            deliver(&world).await;
            assert!(!is_ended(&maiden).await, "a rename ends no session");
            assert!(match deletes {
                true => world.sandbox.directories().remove_user(&user.id),
                false =>
                    world.sandbox.directories().update_user(&user.id, |user| user.active = false),
            });
            deliver(&world).await;
            assert!(is_ended(&maiden).await && !is_ended(&jane).await);
        }
    }
}

#[tokio::test]
async fn the_new_address_and_the_end_may_be_in_one_event() {
    let world = World::new();
    let deprovisioning = Deprovisioning::new(&world.sessions);
    let maiden = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    let created = deprovisioning.apply(&named(CREATED, MAIDEN)).await.unwrap();
    assert_eq!(created, Deprovisioned::NotApplicable);
    assert_eq!(deprovisioning.apply(&deactivated(MARRIED)).await.unwrap(), MATCHED_USER);
    assert!(is_ended(&maiden).await);
}

#[tokio::test]
async fn the_same_id_and_address_in_another_organization_end_nothing() {
    let world = World::new();
    let deprovisioning = Deprovisioning::new(&world.sessions);
    let here = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    let there = local(&world, "usr_1", MAIDEN, Some("org_2")).await;
    let elsewhere = |event_type: &str, email: &str| {
        let mut event = event(event_type, &json!({"id": "diruser_1", "email": email}));
        event["organization_id"] = json!("org_2");
        parsed(&event)
    };
    deprovisioning.apply(&named(CREATED, MAIDEN)).await.unwrap();
    deprovisioning.apply(&elsewhere(CREATED, JANE)).await.unwrap();
    let deleted = deprovisioning.apply(&elsewhere(DELETED, MARRIED)).await.unwrap();
    assert_eq!(deleted, UNMATCHED_USER);
    assert!(!is_ended(&here).await && !is_ended(&there).await);
    assert_eq!(deprovisioning.apply(&named(DELETED, MARRIED)).await.unwrap(), MATCHED_USER);
    assert!(is_ended(&here).await && !is_ended(&there).await);
}

#[tokio::test]
async fn an_event_without_an_address_ends_the_sessions_with_earlier_ones() {
    let world = World::new();
    let deprovisioning = Deprovisioning::new(&world.sessions);
    let maiden = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    deprovisioning.apply(&named(CREATED, MAIDEN)).await.unwrap();
    // A partial event keeps what is known.
    let partial = directory_event(UPDATED, json!({"id": "diruser_1", "name": "Ms. Married"}));
    assert_eq!(deprovisioning.apply(&partial).await.unwrap(), Deprovisioned::NotApplicable);
    let deleted = directory_event(DELETED, json!({"id": "diruser_1"}));
    assert_eq!(deprovisioning.apply(&deleted).await.unwrap(), MATCHED_USER);
    assert!(is_ended(&maiden).await);
    for nameless in [json!({"id": "diruser_2"}), json!({})] {
        let deleted = directory_event(DELETED, nameless);
        assert_eq!(deprovisioning.apply(&deleted).await.unwrap(), UNMATCHED_USER);
    }
}

#[tokio::test]
async fn events_may_arrive_in_another_order() {
    let world = World::new();
    let deprovisioning = Deprovisioning::new(&world.sessions);
    let start = world.sandbox.clock().clock().now();
    world.advance(60);
    let at = |event_type: &str, email: &str, seconds: i64| {
        let mut user = json!({"id": "diruser_1", "email": email});
        if event_type == UPDATED {
            user["active"] = true.into();
        }
        let mut event = event(event_type, &user);
        let at = start + time::Duration::seconds(seconds);
        event["occurred_at"] = json!(at.format(&Rfc3339).unwrap());
        parsed(&event)
    };
    let apply = async |event: WebhookEvent| deprovisioning.apply(&event).await.unwrap();
    let maiden = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    // The rename arrived first, then the end, and the creation last.
    assert_eq!(apply(at(UPDATED, MARRIED, 20)).await, Deprovisioned::NotApplicable);
    assert_eq!(apply(at(DELETED, MARRIED, 30)).await, UNMATCHED_USER);
    assert!(!is_ended(&maiden).await);
    assert_eq!(apply(at(CREATED, MAIDEN, 10)).await, MATCHED_USER);
    assert!(is_ended(&maiden).await);

    // An event that does not say so does not reactivate the user.
    let silent = event(UPDATED, &json!({"id": "diruser_1", "title": "Dr."}));
    assert_eq!(apply(parsed(&silent)).await, MATCHED_USER);

    // A later event says that the user is active again.
    world.advance(1);
    let maiden = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    assert_eq!(apply(at(UPDATED, MAIDEN, 40)).await, Deprovisioned::NotApplicable);
    assert_eq!(apply(at(UPDATED, MAIDEN, 5)).await, Deprovisioned::NotApplicable);
    assert!(!is_ended(&maiden).await);

    // An end that occurred earlier and arrives later ends the sessions of now, once.
    assert_eq!(apply(at(DELETED, MAIDEN, 35)).await, MATCHED_USER);
    assert!(is_ended(&maiden).await);
    world.advance(1);
    let maiden = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    let silent = event(UPDATED, &json!({"id": "diruser_1", "title": "Prof."}));
    assert_eq!(apply(parsed(&silent)).await, Deprovisioned::NotApplicable);
    assert!(!is_ended(&maiden).await);

    // An event from the future hides none that follows.
    assert_eq!(apply(at(DELETED, MAIDEN, 100_000)).await, MATCHED_USER);
    assert!(is_ended(&maiden).await);
    world.advance(1);
    let again = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    assert_eq!(apply(at(UPDATED, MAIDEN, 62)).await, Deprovisioned::NotApplicable);
    assert!(!is_ended(&again).await);
}

#[tokio::test]
async fn two_replicas_apply_two_events_of_one_user_at_once() {
    for swapped in [false, true] {
        let (world, store, [one, other]) = replicas();
        let maiden = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
        let married = local(&world, "usr_1", MARRIED, Some("org_1")).await;
        one.apply(&named(CREATED, MAIDEN)).await.unwrap();
        store.yield_before_each();
        let (renamed, deleted) =
            (named(UPDATED, MARRIED), directory_event(DELETED, json!({"id": "diruser_1"})));
        let (first, second) = match swapped {
            true => join(one.apply(&deleted), other.apply(&renamed)).await,
            false => join(one.apply(&renamed), other.apply(&deleted)).await,
        };
        first.unwrap();
        second.unwrap();
        world.advance(2);
        assert!(is_ended(&maiden).await);
        // Without times, the one that arrives last decides about the address that it brings.
        let again = one.apply(&directory_event(DELETED, json!({"id": "diruser_1"}))).await;
        assert_eq!(again.unwrap(), MATCHED_USER);
        world.advance(2);
        assert!(is_ended(&married).await, "no address is lost");
    }
}

#[tokio::test]
async fn a_name_that_another_replica_records_meanwhile_is_kept() {
    let (world, store, [one, other]) = replicas();
    let maiden = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    let married = local(&world, "usr_1", MARRIED, Some("org_1")).await;
    store.take_operations();
    let go = store.hold_next_write(KeyNamespace::DirectoryUser);
    let delayed = tokio::spawn({
        let one = one.clone();
        async move { one.apply(&named(CREATED, MAIDEN)).await.unwrap() }
    });
    while store.take_operations().0 == 0 {
        tokio::task::yield_now().await;
    }
    other.apply(&named(UPDATED, MARRIED)).await.unwrap();
    go.notify_one();
    delayed.await.unwrap();
    let deleted = directory_event(DELETED, json!({"id": "diruser_1"}));
    assert_eq!(other.apply(&deleted).await.unwrap(), MATCHED_USER);
    world.advance(2);
    assert!(is_ended(&maiden).await && is_ended(&married).await);
}

#[tokio::test]
async fn a_failure_of_the_store_is_an_error_and_the_next_delivery_ends_the_sessions() {
    let (world, store, [deprovisioning, _]) = replicas();
    let maiden = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    let married = local(&world, "usr_1", MARRIED, Some("org_1")).await;
    store.set_down(true);
    let unrecorded = deprovisioning.apply(&named(CREATED, MAIDEN)).await;
    assert!(matches!(unrecorded, Err(DeprovisioningError::Store(StoreError::Unavailable(_)))));
    store.set_down(false);
    deprovisioning.apply(&named(CREATED, MAIDEN)).await.unwrap();

    store.fail_next(1);
    assert!(deprovisioning.apply(&named(DELETED, MARRIED)).await.is_err());
    assert!(is_ended(&married).await, "what the event names ends in this process");
    // Any other operation may fail, too.
    for namespace in [KeyNamespace::DirectoryUser, KeyNamespace::Revocation] {
        let go = store.hold_next_write(namespace);
        let held = tokio::spawn({
            let deprovisioning = deprovisioning.clone();
            async move { deprovisioning.apply(&named(DELETED, MARRIED)).await }
        });
        tokio::task::yield_now().await;
        store.fail_next(1);
        go.notify_one();
        assert!(held.await.unwrap().is_err(), "{namespace:?}");
    }
    assert_eq!(deprovisioning.apply(&named(DELETED, MARRIED)).await.unwrap(), MATCHED_USER);
    assert!(is_ended(&maiden).await);
}

#[tokio::test]
async fn a_full_store_blocks_no_deprovisioning() {
    let (world, store, [deprovisioning, _]) = replicas();
    let maiden = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    let married = local(&world, "usr_1", MARRIED, Some("org_1")).await;
    deprovisioning.apply(&named(CREATED, MAIDEN)).await.unwrap();
    store.reject(Some(KeyNamespace::DirectoryUser));
    assert_eq!(deprovisioning.apply(&named(DELETED, MARRIED)).await.unwrap(), MATCHED_USER);
    assert!(is_ended(&maiden).await && is_ended(&married).await);
}

#[tokio::test]
async fn an_address_that_a_full_store_does_not_record_is_an_error() {
    let (world, store, [deprovisioning, _]) = replicas();
    let maiden = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    store.reject(Some(KeyNamespace::DirectoryUser));
    let unrecorded = deprovisioning.apply(&named(CREATED, MAIDEN)).await;
    assert!(matches!(unrecorded, Err(DeprovisioningError::Store(StoreError::Full { .. }))));
    store.reject(None);
    // It arrives again.
    deprovisioning.apply(&named(CREATED, MAIDEN)).await.unwrap();
    assert_eq!(deprovisioning.apply(&named(DELETED, MARRIED)).await.unwrap(), MATCHED_USER);
    assert!(is_ended(&maiden).await);
}

#[tokio::test]
async fn the_addresses_that_a_newer_version_has_recorded_are_kept() {
    let (world, store, [deprovisioning, _]) = replicas();
    let married = local(&world, "usr_1", MARRIED, Some("org_1")).await;
    deprovisioning.apply(&named(CREATED, MAIDEN)).await.unwrap();
    let is_user = |key: &StoreKey| key.namespace() == KeyNamespace::DirectoryUser;
    let key = store.keys().into_iter().find(is_user).unwrap();
    let newer = Bytes::from_static(b"\xffnewer");
    store.put(&key, newer.clone(), Duration::from_secs(60)).await.unwrap();
    for event in [named(UPDATED, MARRIED), named(DELETED, MARRIED)] {
        assert!(deprovisioning.apply(&event).await.is_err());
        assert_eq!(store.get(&key).await.unwrap(), Some(newer.clone()));
    }
    assert!(is_ended(&married).await, "what the event names ends nevertheless");
}

#[tokio::test]
async fn the_oldest_of_more_than_sixteen_addresses_are_dropped() {
    let (world, store, [deprovisioning, _]) = replicas();
    let deprovisioning = deprovisioning.end_sessions_without_organization();
    let address = |number: usize| format!("name-{number}@acme.test");
    let mut browsers = Vec::new();
    for number in 0..20 {
        deprovisioning.apply(&named(UPDATED, &address(number))).await.unwrap();
        let user = format!("usr_{number}");
        browsers.push(local(&world, &user, &address(number), Some("org_1")).await);
    }
    deprovisioning.apply(&directory_event(DELETED, json!({"id": "diruser_1"}))).await.unwrap();
    for (number, browser) in browsers.iter().enumerate() {
        assert_eq!(is_ended(browser).await, number >= 4, "{number}");
    }
    let records: Vec<_> = store
        .seen()
        .into_iter()
        .filter(|(key, _)| key.namespace() == KeyNamespace::DirectoryUser)
        .collect();
    let [(key, value)] = records.as_slice() else { panic!("{records:?}") };
    assert!(value.len() < 600, "{}", value.len());
    let text = format!("{} {}", key.id(), String::from_utf8_lossy(value));
    assert!(!text.contains("acme") && !text.contains("diruser") && !text.contains("org_1"));
}

#[tokio::test]
async fn an_event_that_ends_a_user_drops_no_earlier_address() {
    for deletes in [true, false] {
        let (world, store, [deprovisioning, _]) = replicas();
        let deprovisioning = deprovisioning.end_sessions_without_organization();
        let address = |number: usize| format!("name-{number}@acme.test");
        let mut browsers = Vec::new();
        for number in 0..=16 {
            if number < 16 {
                deprovisioning.apply(&named(UPDATED, &address(number))).await.unwrap();
            }
            browsers.push(local(&world, "usr_1", &address(number), Some("org_1")).await);
        }
        let last = address(16);
        let event = if deletes { named(DELETED, &last) } else { deactivated(&last) };
        // The first delivery fails after the address was recorded.
        let go = store.hold_next_write(KeyNamespace::Revocation);
        let first = tokio::spawn({
            let (deprovisioning, event) = (deprovisioning.clone(), event.clone());
            async move { deprovisioning.apply(&event).await }
        });
        tokio::task::yield_now().await;
        store.fail_next(usize::MAX);
        go.notify_one();
        assert!(first.await.unwrap().is_err());
        store.fail_next(0);
        assert_eq!(deprovisioning.apply(&event).await.unwrap(), MATCHED_USER);
        for (number, browser) in browsers.iter().enumerate() {
            assert!(is_ended(browser).await, "{number}");
        }
        // An event that occurred earlier and arrives later names another one.
        let late = local(&world, "usr_1", "late@acme.test", Some("org_1")).await;
        let mut earlier = event_of("late@acme.test");
        let at = world.sandbox.clock().clock().now() - time::Duration::HOUR;
        earlier["occurred_at"] = json!(at.format(&Rfc3339).unwrap());
        assert_eq!(deprovisioning.apply(&parsed(&earlier)).await.unwrap(), MATCHED_USER);
        assert!(is_ended(&late).await);
    }
}

fn event_of(email: &str) -> Value {
    event(UPDATED, &json!({"id": "diruser_1", "email": email, "active": true}))
}

#[tokio::test]
async fn the_id_at_the_identity_provider_matches_the_subject() {
    let world = World::with(|sandbox| sandbox.modular_sso(), |sessions| sessions);
    listen(&world, Deprovisioning::new(&world.sessions));
    let (jane, other) = (world.logged_in(JANE).await, world.logged_in("john@acme.test").await);
    let me = jane.clone().fetch("/me").await.json();
    let (connection, id) = me["sub"].as_str().unwrap().split_once(';').unwrap();
    assert!(connection.starts_with("conn_"), "{me}");
    // The directory has never sent the address of the login.
    let directory = world.sandbox.directories().first_id(&organization_id(&world, "Acme")).unwrap();
    let renamed = NewDirectoryUser::new("renamed@acme.test").dp_id(id);
    let user = world.sandbox.directories().add_user(&directory, renamed);
    assert!(world.sandbox.directories().remove_user(&user.id));
    deliver(&world).await;
    assert!(is_ended(&jane).await && !is_ended(&other).await);
}

#[tokio::test]
async fn the_id_at_the_identity_provider_matches_in_its_organization_only() {
    let world = World::new();
    let deprovisioning = Deprovisioning::new(&world.sessions);
    let begin = async |subject: &str, organization: &str| {
        local(&world, subject, "someone@acme.test", Some(organization)).await
    };
    let browsers = [
        begin("conn_1;00u1", "org_1").await,
        begin("conn_2;00u1", "org_2").await,
        begin("conn_1;00U1", "org_1").await,
        begin("00u1", "org_1").await,
        begin("conn_1;", "org_1").await,
    ];
    let deleted =
        directory_event(DELETED, json!({"id": "d", "email": "x@acme.test", "dp_id": "00u1"}));
    assert_eq!(deprovisioning.apply(&deleted).await.unwrap(), MATCHED_USER);
    for (browser, expected) in browsers.iter().zip([true, false, false, false, false]) {
        assert_eq!(is_ended(browser).await, expected);
    }
}

#[tokio::test]
async fn an_app_session_of_a_modular_login_ends_by_the_id_too() {
    let world = World::with(
        |sandbox| sandbox.modular_sso(),
        |sessions| {
            sessions.on_login(|login| async move {
                let identity = login.identity();
                let mut user = identity.user().clone();
                "row-7".clone_into(&mut user.id);
                let organization = identity.organization_id().unwrap_or_default().to_owned();
                Ok(LocalSession::new(user).organization_id(organization).into())
            })
        },
    );
    let jane = world.logged_in(JANE).await;
    let organization = organization_id(&world, "Acme");
    let me = world.sandbox.users().get(JANE).unwrap();
    let id = world.sandbox.tokens().id_token_draft(&me.email, None).claims["sub"].clone();
    let (_, id) = id.as_str().unwrap().split_once(';').unwrap();
    let mut deleted = event(DELETED, &json!({"id": "d", "dp_id": id}));
    deleted["organization_id"] = json!(organization);
    let applied = Deprovisioning::new(&world.sessions).apply(&parsed(&deleted)).await.unwrap();
    assert_eq!(applied, MATCHED_USER);
    assert!(is_ended(&jane).await);
}

#[tokio::test]
async fn the_hook_gets_each_event_that_matches_no_session() {
    let world = World::new();
    let unmatched = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let (sessions, unmatched) = (world.sessions.clone(), Arc::clone(&unmatched));
        move |event: WebhookEvent| {
            let (sessions, unmatched) = (sessions.clone(), Arc::clone(&unmatched));
            async move {
                unmatched.lock().unwrap().push(event.id().to_owned());
                sessions.revoke_user("usr_1").await
            }
        }
    };
    let deprovisioning = Deprovisioning::new(&world.sessions).on_unmatched(hook);
    let apply = async |id: &str, event_type: &str, data: Value| {
        let mut event = event(event_type, &data);
        event["id"] = json!(id);
        deprovisioning.apply(&parsed(&event)).await.unwrap()
    };
    let maiden = local(&world, "usr_1", MAIDEN, Some("org_1")).await;
    let user = |email: &str| json!({"id": "diruser_1", "email": email, "active": false});
    apply("evt_created", CREATED, user(MARRIED)).await;
    assert!(!is_ended(&maiden).await);
    assert_eq!(apply("evt_unknown", UPDATED, user(MARRIED)).await, UNMATCHED_USER);
    assert!(is_ended(&maiden).await, "the hook knows the user");
    assert_eq!(apply("evt_matched", UPDATED, user(MAIDEN)).await, MATCHED_USER);
    apply("evt_nameless", DELETED, json!({})).await;
    let logout = json!({"user_session": {"session_id": "ses_unknown"}});
    let logout = apply("evt_logout", "user.logout", logout).await;
    assert_eq!(logout, Deprovisioned::Unmatched(RevocationScope::Session));
    assert_eq!(*unmatched.lock().unwrap(), ["evt_unknown", "evt_nameless", "evt_logout"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_hook_fails_or_hangs_is_an_error() {
    let world = World::new();
    for hangs in [false, true] {
        let deprovisioning =
            Deprovisioning::new(&world.sessions).on_unmatched(move |_| async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Err("the database is down")
            });
        let applied = deprovisioning.apply(&named(DELETED, MAIDEN)).await;
        assert!(matches!(applied, Err(DeprovisioningError::Hook(_))), "{applied:?}");
    }
}
