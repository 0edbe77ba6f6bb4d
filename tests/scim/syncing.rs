//! Interrupted full syncs, and events during one.

use std::time::Instant;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower_scalekit::sandbox::{Endpoint, HeldRequests, SandboxDirectoryUser};

use crate::app::{App, World, amount};
use crate::processes::PATIENCE;
use crate::sender::{Kind, Message, Sender, messages};

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_the_directory_after_a_sync_that_was_killed_and_events_meanwhile() {
    let count = amount("SCIM_USERS", 300);
    let world = World::with_users(count).await;
    let users = world.sandbox.directories().users(&world.directory);
    let began = Instant::now();
    let mut app = world.start();
    assert_eq!(app.program.said("synced "), format!("{count} users"));
    assert_eq!(app.users(&world.http).await, world.truth());
    eprintln!("{count} users in {:.1?}", began.elapsed());
    assert!(!app.program.errors().contains("syncing"), "a progress bar for no terminal");
    app.program.kill();

    // A user is removed without an event: only the next complete sync finds out.
    silently(&world, || assert!(world.sandbox.directories().remove_user(&users[20].id)));
    let mut app = world.start();
    let held = in_the_middle(&world, count).await;
    assert_eq!(unfinished(&world), 1);
    app.program.kill();
    drop(held);

    let app = world.start();
    let held = in_the_middle(&world, count).await;
    assert_eq!(unfinished(&world), 2);
    let deleted = live_events(&world, &app, &users).await;
    drop(held);
    app.program.said("synced ");

    let mut expected = world.truth();
    // Still in the directory, as in a page that is older than the event.
    expected.retain(|user| user["id"] != deleted.id);
    let shown = app.users(&world.http).await;
    let (gone, shown): (Vec<_>, _) = shown.into_iter().partition(|user| user["id"] == users[20].id);
    assert_eq!(shown, expected);
    assert!(gone.len() == 1 && gone[0]["active"] == false, "{gone:?}");

    let mut app = app;
    app.program.kill();
    let app = world.start();
    app.program.said("synced ");
    let shown = app.users(&world.http).await;
    assert_eq!(without(shown, &users[20]), expected, "and it stays so");
}

/// Sends changes while the sync waits; returns the user whose deletion no listing contains.
async fn live_events(
    world: &World,
    app: &App,
    users: &[SandboxDirectoryUser],
) -> SandboxDirectoryUser {
    let (sandbox, before) = (&world.sandbox, messages(world).len());
    let [early, late] = [&users[5], &users[users.len() - 3]];
    for user in [early, late] {
        assert!(sandbox.directories().remove_user(&user.id));
    }
    for user in [&users[7], &users[users.len() - 5]] {
        assert!(sandbox.directories().update_user(&user.id, |user| {
            user.family_name = "Meanwhile".to_owned();
            user.active = false;
        }));
    }
    sandbox.directories().add_user(&world.directory, "stays@acme.test");
    let brief = sandbox.directories().add_user(&world.directory, "brief@acme.test");
    assert!(sandbox.directories().remove_user(&brief.id));
    let deleted = users[users.len() - 10].clone();
    let data = json!({ "id": deleted.id, "organization_id": deleted.organization_id });
    sandbox.webhooks().emit("organization.directory.user_deleted", data);

    // Newest first: each deletion arrives before the creation.
    let sender = Sender::new(world, &app.url);
    let mut messages: Vec<Message> = messages(world).split_off(before);
    messages.reverse();
    assert!(messages.iter().any(|message| message.event_type.ends_with("user_created")));
    for message in &messages {
        assert_eq!(sender.deliver(message, Kind::Genuine).await, Ok(StatusCode::CREATED));
    }
    let shown = app.users(&world.http).await;
    for user in [early, late, &brief, &deleted] {
        assert!(shown.iter().all(|shown| shown["id"] != user.id), "{}", user.email);
    }
    deleted
}

/// Waits until the sync has some of its pages, and delays the rest.
async fn in_the_middle(world: &World, count: usize) -> HeldRequests {
    let some = world.sandbox.requests().count(Endpoint::Api) + 2 + count / 30 / 3;
    let waiting = async {
        while world.sandbox.requests().count(Endpoint::Api) < some {
            tokio::task::yield_now().await;
        }
        world.sandbox.faults().hold(Endpoint::Api)
    };
    let held = timeout(PATIENCE, waiting).await.unwrap();
    let query = "SELECT count(*) FROM users WHERE seen_in = (SELECT max(number) FROM syncs)";
    let found = usize::try_from(world.count(query)).unwrap();
    assert!((1..count - 30).contains(&found), "{found} users, which is not the middle");
    held
}

fn unfinished(world: &World) -> i64 {
    world.count("SELECT count(*) FROM syncs WHERE NOT finished")
}

/// There is no event for it.
fn silently(world: &World, change: impl FnOnce()) {
    assert!(world.sandbox.directories().set_enabled(&world.directory, false));
    change();
    assert!(world.sandbox.directories().set_enabled(&world.directory, true));
}

fn without(mut users: Vec<Value>, user: &SandboxDirectoryUser) -> Vec<Value> {
    users.retain(|shown| shown["id"] != user.id);
    users
}
