//! Mixed load over sockets with disturbances, against an oracle that knows for every simulated user
//! whether they must be logged in.
//!
//! `cargo test` runs it for ten seconds. The long form prints figures:
//!
//! ```sh
//! SOAK_SECONDS=3600 cargo test --release --test soak -- --nocapture
//! ```
//!
//! `SOAK_SEED` repeats the choices of an earlier run, though not its timing.
//!
//! Two replicas of one app share a store and a session secret. Their environment is a sandbox in a
//! process of its own, so that the memory that is measured is that of the app and of the load.
//!
//! | load | disturbances |
//! |---|---|
//! | logins, requests, parallel requests, refreshes, logouts, revocations; responses that get lost | rotation of the signing keys |
//! | bearer tokens, MCP calls, with and without the scope | a token endpoint that fails in several ways |
//! | webhooks, new and repeated, forged, replayed at an interceptor | a replica that stops and starts again |
//! | requests of every method without a valid credential | wall clocks that step, together by an hour and apart by a second |
//! | bodies that never end | |

mod app;
mod disturbances;
mod environment;
mod figures;
mod load;
mod user;
mod world;

use std::env;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::world::{Random, World};

/// Number of users, each with their own account.
const USERS: u64 = 24;

/// The sandbox, in the process that the soak test starts.
#[test]
fn environment_process() {
    if env::var_os(environment::VARIABLE).is_some() {
        environment::serve();
    }
}

#[test]
fn soak() {
    let seconds = variable("SOAK_SECONDS").unwrap_or(10);
    let seed = variable("SOAK_SEED").unwrap_or_else(random_seed);
    println!("soak: {seconds} s, SOAK_SEED={seed}");
    tokio::runtime::Runtime::new().unwrap().block_on(run(Duration::from_secs(seconds), seed));
}

fn variable(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn random_seed() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |now| now.subsec_nanos().into())
}

async fn run(duration: Duration, seed: u64) {
    let world = Arc::new(World::start(Instant::now() + duration).await);
    let random = |number: u64| Random::new(seed ^ (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut tasks = disturbances::start(&world, |number| random(200 + number));
    for number in 0..USERS {
        tasks.spawn(user::run(Arc::clone(&world), number, random(number)));
    }
    tasks.spawn(load::bearer(Arc::clone(&world), random(100)));
    tasks.spawn(load::webhooks(Arc::clone(&world), random(101)));
    tasks.spawn(load::intruder(Arc::clone(&world), random(102)));
    tasks.spawn(load::slow_bodies(Arc::clone(&world), random(103)));
    tasks.spawn(figures::sample(Arc::clone(&world), duration));
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    world.figures.print(duration);
    world.figures.assert_good(duration);
}
