//! Three processes of the example `saaskit` behind nginx, with one Redis and one environment, while
//! any of these fails. Counts wrong logouts and wrong responses.
//!
//! `cargo test` runs it for ten seconds. The long form prints figures:
//!
//! ```sh
//! cargo build --release --examples
//! CLUSTER_SECONDS=600 cargo test --release --test cluster -- --nocapture
//! ```
//!
//! `CLUSTER_SEED` repeats the choices of an earlier run, though not its timing.
//!
//! A round is 300 simultaneous requests of a session whose access token has expired. Without a
//! disturbance they are one refresh and 300 times 200. With one, the session is available again
//! afterwards, with its cookies from before and after, on each replica. The environment accepts a
//! spent refresh token for 30 s, or never: then a replica that is killed, or a failover that loses the
//! lease, may end the session. These logouts are counted.

mod cost;
mod disturbances;
mod environment;
mod figures;
mod revocations;
mod rounds;
mod site;
mod store;
mod webhooks;

#[allow(dead_code, reason = "each test uses its part")]
#[path = "../soak/messages.rs"]
mod messages;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../browser/processes.rs"]
mod processes;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../soak/random.rs"]
mod random;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../examples/running.rs"]
mod running;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../suite/redis/server.rs"]
mod server;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../suite/redis/servers.rs"]
mod servers;

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use self::disturbances::Disturbance;
use self::figures::Figures;
use self::random::Random;
use self::site::Site;
use self::store::Store;

const SHORT: u64 = 10;
const GRACE: Duration = Duration::from_secs(30);
/// Sessions whose tokens expire at the same time.
const SESSIONS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_survive_what_fails() {
    let variable = |name| env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seconds = variable("CLUSTER_SECONDS").unwrap_or(SHORT);
    let seed = variable("CLUSTER_SEED");
    let seed = seed.unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
    println!("cluster: {seconds} s, CLUSTER_SEED={seed}");
    let (mut random, mut figures) = (Random::new(seed), Figures::default());
    if seconds <= SHORT {
        let Some(site) = start(Store::single().await, Duration::ZERO).await else { return };
        rounds::undisturbed(&site, 5, &mut figures).await;
        revocations::check(&site, 1, &mut figures).await;
        webhooks::check(&site, 500, &mut figures).await;
        cost::measure(&site, 300, 1, &mut figures).await;
        disturb(&site, Disturbance::SHORT, false, &mut random, &mut figures).await;
        figures.print("one Redis server, without a grace");
        return figures.assert_good();
    }
    let time = Duration::from_secs(seconds / 4);
    for grace in [Duration::ZERO, GRACE] {
        let Some(site) = start(Store::single().await, grace).await else { return };
        if grace.is_zero() {
            rounds::undisturbed(&site, 50, &mut figures).await;
            revocations::check(&site, 10, &mut figures).await;
            webhooks::check(&site, 10_000, &mut figures).await;
            cost::measure(&site, 2000, 25, &mut figures).await;
        }
        disturb_for(&site, time, !grace.is_zero(), &mut random, &mut figures).await;
        figures.print(&format!("one Redis server, grace {grace:?}"));
        let Some(site) = start(Store::sentinel().await, grace).await else { return };
        revocations::check(&site, 3, &mut figures).await;
        disturb_for(&site, time, !grace.is_zero(), &mut random, &mut figures).await;
        figures.print(&format!("Redis with Sentinel, grace {grace:?}"));
    }
    figures.assert_good();
}

async fn start(store: Option<Store>, refresh_grace: Duration) -> Option<Arc<Site>> {
    Site::start(store?, refresh_grace).await
}

/// Rounds with random disturbances.
async fn disturb_for(
    site: &Arc<Site>,
    time: Duration,
    has_grace: bool,
    random: &mut Random,
    figures: &mut Figures,
) {
    let started = Instant::now();
    let all = Disturbance::all(&site.store);
    let mut left = Vec::new();
    while started.elapsed() < time {
        let next = (0..SESSIONS).map(|_| {
            if left.is_empty() {
                left = all.to_vec();
            }
            left.swap_remove(random.below(left.len() as u64) as usize)
        });
        let next: Vec<_> = next.collect();
        disturb(site, &next, has_grace, random, figures).await;
    }
}

/// One round with each of the disturbances.
async fn disturb(
    site: &Arc<Site>,
    disturbances: &[Disturbance],
    has_grace: bool,
    random: &mut Random,
    figures: &mut Figures,
) {
    let sessions = site.expired_sessions(disturbances.len()).await;
    for (jar, disturbance) in sessions.iter().zip(disturbances) {
        rounds::disturbed(site, jar, *disturbance, has_grace, random, figures).await;
    }
}
