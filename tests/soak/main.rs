//! Mixed load over sockets with disturbances, against an oracle that knows for every simulated user
//! whether they must be logged in.
//!
//! `cargo test` runs it for ten seconds. The long form prints figures:
//!
//! ```sh
//! SOAK_SECONDS=3600 cargo test --release --test soak -- --nocapture
//! ```
//!
//! `SOAK_STORE=redis` keeps the shared state in Redis servers, which the test starts, in place of
//! memory. `SOAK_SEED` repeats the choices of an earlier run, though not its timing. `RUST_LOG` shows what the
//! app logs.
//!
//! There are two deployments, with a sandbox each. In one, replicas stop cleanly, and a refresh token
//! is accepted once. In the other, they are killed, and the environment accepts a spent token for
//! 30 s. By the seed, each keeps sessions in cookies or in the store, and accepts or rejects requests
//! while revocations cannot be read. The two replicas of a deployment share a store, which survives
//! them, and a session secret. The sandboxes are processes
//! of their own, so that the memory that is measured is that of the apps and of the load.
//!
//! | load | disturbances |
//! |---|---|
//! | logins, requests, parallel requests, refreshes, logouts, revocations; responses that get lost | rotation of the signing keys |
//! | bearer tokens, MCP calls, with and without the scope | a token endpoint that fails in several ways |
//! | webhooks, new and repeated, forged, replayed at an interceptor | a shared store that fails, hangs, loses responses or lags |
//! | requests of every method without a valid credential | a replica that stops or is killed, and starts again |
//! | bodies that never end | wall clocks that step, together by an hour and apart by a second |

mod app;
mod disturbances;
mod environment;
mod figures;
mod load;
mod messages;
mod random;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../suite/redis/server.rs"]
mod server;
mod store;
mod user;
mod world;

use std::env;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use self::figures::Figures;
use self::random::Random;
use self::world::{Deployment, Stops, World};

/// Number of users of a deployment, each with their own account.
const USERS: u64 = 16;

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
    let in_redis = match env::var("SOAK_STORE").as_deref() {
        Ok("redis") => true,
        Ok("memory") | Err(_) => false,
        Ok(other) => panic!("SOAK_STORE is {other}, not memory or redis"),
    };
    println!("soak: {seconds} s, store in Redis: {in_redis}, SOAK_SEED={seed}");
    if env::var_os(EnvFilter::DEFAULT_ENV).is_some() {
        tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).init();
    }
    tokio::runtime::Runtime::new().unwrap().block_on(run(
        Duration::from_secs(seconds),
        seed,
        in_redis,
    ));
}

fn variable(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn random_seed() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |now| now.subsec_nanos().into())
}

async fn run(duration: Duration, seed: u64, in_redis: bool) {
    let figures = Arc::new(Figures::default());
    let mut seeds = Random::new(seed);
    let mut tasks = JoinSet::new();
    let mut stores = Vec::new();
    for stops in [Stops::Clean, Stops::Killed] {
        let [store_backed, rejects_stale] = [(); 2].map(|()| seeds.below(2) == 0);
        let deployment = Deployment { stops, store_backed, rejects_stale };
        println!("soak: {deployment:?}");
        let end = Instant::now() + duration;
        let world = World::start(deployment, Arc::clone(&figures), end, in_redis).await;
        let Some(world) = world else { return };
        let mut random = || Random::new(seeds.below(u64::MAX).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        stores.push(world.store.clone());
        disturbances::start(&mut tasks, &world, &mut random);
        for number in 0..USERS {
            tasks.spawn(user::run(Arc::clone(&world), number, random()));
        }
        tasks.spawn(load::bearer(Arc::clone(&world), random()));
        tasks.spawn(load::webhooks(Arc::clone(&world), random()));
        tasks.spawn(load::intruder(Arc::clone(&world), random()));
        tasks.spawn(load::slow_bodies(world, random()));
    }
    tasks.spawn(figures::sample(Arc::clone(&figures), stores, duration));
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    figures.print(duration);
    figures.assert_good(duration);
}
