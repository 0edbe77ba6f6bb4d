//! Deliveries out of order, duplicate, tampered with and stale, to an example that is killed
//! meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use http::StatusCode;
use tokio::time::sleep;
use tower_scalekit::sandbox::{Endpoint, Fault};

use crate::app::{App, World, amount};
use crate::sender::{Kind, Message, Sender, messages};

const KILLS: usize = 3;
const AT_ONCE: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn events_alone_bring_the_table_to_the_senders_state() {
    deliver_much(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_syncs_bring_the_table_to_the_senders_state() {
    deliver_much(true).await;
}

async fn deliver_much(syncs_meanwhile: bool) {
    let count = amount("SCIM_DELIVERIES", 1_000);
    let world = World::with_users(50).await;
    let app = world.start();
    assert_eq!(app.program.said("synced "), "50 users");
    assert_eq!(app.users(&world.http).await, world.truth());
    if !syncs_meanwhile {
        world.sandbox.faults().add(Endpoint::Api, Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    }

    let mut random = Random(7);
    change_much(&world, count * 70 / 100, &mut random);
    let sent = messages(&world);
    assert_eq!(sent.len(), count * 70 / 100);
    let plan = plan(&sent, count, &mut random);
    let sender = Sender::new(&world, &app.url);
    let responded = AtomicUsize::new(0);
    let began = Instant::now();
    let sending = futures::stream::iter(&plan).map(async |(message, kind)| {
        let response = sender.deliver(message, *kind).await;
        responded.fetch_add(1, Ordering::SeqCst);
        (*kind, response)
    });
    let sending = sending.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
    let (responses, app) =
        tokio::join!(sending, kill_again_and_again(&world, app, &responded, count));

    for (kind, response) in &responses {
        let expected = match kind {
            Kind::Genuine => StatusCode::CREATED,
            Kind::Tampered | Kind::Stale => StatusCode::BAD_REQUEST,
        };
        assert_eq!(response.as_ref(), Ok(&expected), "{kind:?}");
    }
    if syncs_meanwhile {
        app.program.said("synced ");
    }
    assert_eq!(app.users(&world.http).await, world.truth());
    assert_eq!(handled(&world), sent.len());
    let rejected = responses.iter().filter(|(kind, _)| *kind != Kind::Genuine).count();
    eprintln!(
        "{} deliveries in {:.1?}: {} events handled, {} of them news, {rejected} rejected, {} users",
        responses.len(),
        began.elapsed(),
        sent.len(),
        world.count("SELECT count(*) FROM events WHERE changed_user"),
        world.truth().len(),
    );

    // Some deliveries again, and a full sync.
    for message in sent.iter().step_by(10) {
        assert_eq!(sender.deliver(message, Kind::Genuine).await, Ok(StatusCode::CREATED));
    }
    assert_eq!(handled(&world), sent.len());
    world.sandbox.faults().clear(Endpoint::Api);
    let app = again(&world, app);
    app.program.said("synced ");
    assert_eq!(app.users(&world.http).await, world.truth());
    assert_eq!(world.count("SELECT count(*) FROM users WHERE gone_since IS NOT NULL"), 0);
}

fn handled(world: &World) -> usize {
    world.count("SELECT count(*) FROM events").try_into().unwrap()
}

/// Kills the example at a quarter, a half and three quarters of the deliveries.
async fn kill_again_and_again(
    world: &World,
    mut app: App,
    responded: &AtomicUsize,
    count: usize,
) -> App {
    for kill in 1..=KILLS {
        while responded.load(Ordering::SeqCst) < count * kill / (KILLS + 1) {
            sleep(Duration::from_millis(1)).await;
        }
        app = tokio::task::block_in_place(|| again(world, app));
    }
    app
}

/// Sends SIGKILL and restarts.
fn again(world: &World, mut app: App) -> App {
    app.program.kill();
    world.start_at(app.bound())
}

/// Every user is created, changed and deleted.
fn change_much(world: &World, events: usize, random: &mut Random) {
    let sandbox = &world.sandbox;
    let mut ids: Vec<_> =
        sandbox.directories().users(&world.directory).into_iter().map(|user| user.id).collect();
    for number in 0..events {
        // No two events have the same time: their order of arrival would decide.
        sandbox.clock().advance(Duration::from_micros(1));
        let somebody = random.below(ids.len().max(1));
        match random.below(10) {
            _ if ids.len() < 10 => {
                let new = format!("new{number}@acme.test");
                ids.push(sandbox.directories().add_user(&world.directory, new.as_str()).id);
            }
            0..3 => {
                let new = format!("new{number}@acme.test");
                ids.push(sandbox.directories().add_user(&world.directory, new.as_str()).id);
            }
            3..8 => {
                assert!(sandbox.directories().update_user(&ids[somebody], |user| {
                    user.family_name = format!("Change {number}");
                    user.active = number % 4 != 0;
                }));
            }
            _ => assert!(sandbox.directories().remove_user(&ids.swap_remove(somebody))),
        }
    }
}

/// All messages in random order, with 20 % duplicates, 5 % tampered with and 5 % stale.
fn plan(sent: &[Message], count: usize, random: &mut Random) -> Vec<(Message, Kind)> {
    let mut plan: Vec<_> = sent.iter().map(|message| (message.clone(), Kind::Genuine)).collect();
    for (kind, percent) in [(Kind::Genuine, 20), (Kind::Tampered, 5), (Kind::Stale, 5)] {
        for _ in 0..count * percent / 100 {
            plan.push((sent[random.below(sent.len())].clone(), kind));
        }
    }
    for last in (1..plan.len()).rev() {
        plan.swap(last, random.below(last + 1));
    }
    plan
}

/// xorshift: the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 32).unwrap() % end
    }
}
