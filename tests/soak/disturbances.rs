//! Disturbances during the run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::app::Stop;
use crate::environment::FAULTS;
use crate::random::Random;
use crate::store::{LAG, StoreFault};
use crate::world::{Stops, World};

/// How long the effects of a disturbance last: cached failures, closed connections.
const AFTERMATH: Duration = Duration::from_secs(3);
/// A replica that is killed holds leases of refreshes for this time.
const LEASE: Duration = Duration::from_secs(18);
/// The app fetches unknown keys twice at once and once more every 10 s.
const ROTATION_INTERVAL: Duration = Duration::from_secs(12);
/// The slowest response of the environment takes less.
const SETTLING: Duration = Duration::from_millis(1200);
const HOUR: i64 = 3600;

/// Whether a disturbance is active, and when the last one began and ended.
#[derive(Default)]
pub(crate) struct Disturbance(Mutex<Times>);

#[derive(Default)]
struct Times {
    is_active: bool,
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl Disturbance {
    fn set(&self, is_active: bool) {
        let mut times = self.0.lock().unwrap();
        times.is_active = is_active;
        *if is_active { &mut times.began } else { &mut times.ended } = Some(Instant::now());
    }

    /// Whether it excuses a failure of an operation that started at this time.
    pub(crate) fn was_active_since(&self, started: Instant) -> bool {
        self.affects(started, AFTERMATH)
    }

    /// Whether an operation that started at this time is affected, for this long after the end.
    pub(crate) fn affects(&self, started: Instant, aftermath: Duration) -> bool {
        let times = self.0.lock().unwrap();
        times.is_active || times.ended.is_some_and(|ended| ended + aftermath > started)
    }

    fn is_active(&self) -> bool {
        self.0.lock().unwrap().is_active
    }

    /// When the last one began, if it affects an operation that started at this time.
    pub(crate) fn affects_since(&self, started: Instant) -> Option<Instant> {
        let began = self.0.lock().unwrap().began;
        began.filter(|_| self.was_active_since(started))
    }
}

impl World {
    /// Whether a replica may have started without reading the revocations, and responds
    /// nevertheless.
    pub(crate) fn knows_no_revocations(&self, replica: usize) -> bool {
        let stop = &self.replicas[replica].stop;
        !self.deployment.rejects_stale
            && self
                .store_fault
                .affects_since(Instant::now())
                .is_some_and(|began| stop.was_active_since(began))
    }

    /// Whether a session that exists may be unavailable to a request that started at this time.
    pub(crate) fn excuses_unavailable(&self, started: Instant) -> bool {
        let leased = |replica: &Arc<crate::app::Replica>| {
            self.deployment.stops == Stops::Killed
                && replica.stop.affects(started, LEASE + AFTERMATH)
        };
        self.token_fault.was_active_since(started)
            || self.store_fault.was_active_since(started)
            || self.replicas.iter().any(leased)
    }
}

/// Starts all disturbances, which overlap at random.
pub(crate) fn start(
    tasks: &mut JoinSet<()>,
    world: &Arc<World>,
    mut random: impl FnMut() -> Random,
) {
    tasks.spawn(rotate_keys(Arc::clone(world), random()));
    tasks.spawn(fail_token_endpoint(Arc::clone(world), random()));
    tasks.spawn(fail_store(Arc::clone(world), random()));
    tasks.spawn(step_clocks(Arc::clone(world), random()));
    match world.deployment.stops {
        Stops::Clean => tasks.spawn(stop_replicas(Arc::clone(world), random())),
        Stops::Killed => tasks.spawn(kill_replicas(Arc::clone(world), random())),
    };
}

async fn rotate_keys(world: Arc<World>, mut random: Random) {
    world.pause(random.millis(3000)).await;
    while !world.is_over() {
        world.environment.rotate_keys().await;
        world.happened("key rotation");
        world.pause(ROTATION_INTERVAL + random.millis(3000)).await;
    }
}

async fn fail_token_endpoint(world: Arc<World>, mut random: Random) {
    while !world.is_over() {
        // Most of the time nothing is excused.
        world.pause(AFTERMATH + random.millis(4000)).await;
        world.token_fault.set(true);
        // A token whose response is lost is used again.
        let faults = &FAULTS[..if world.deployment.stops == Stops::Clean { 4 } else { 5 }];
        let fault = *random.pick(faults);
        world.environment.fail_token_endpoint(fault).await;
        world.pause(Duration::from_millis(300) + random.millis(2500)).await;
        world.environment.clear_faults().await;
        world.token_fault.set(false);
        world.happened(match fault {
            "status" => "token endpoint: 502",
            "page" => "token endpoint: web page",
            "unreachable" => "token endpoint: unreachable",
            "lost" => "token endpoint: loses responses",
            _ => "token endpoint: slow",
        });
    }
}

/// The longest outage and the retries after it are shorter than the lease of a refresh.
async fn fail_store(world: Arc<World>, mut random: Random) {
    while !world.is_over() {
        world.pause(AFTERMATH + random.millis(10_000)).await;
        // Reads must be current where a refresh token is used once.
        let faults = if world.deployment.stops == Stops::Clean { 5 } else { 6 };
        let (fault, name) = match random.below(faults) {
            0 => (StoreFault::Fails, "shared store: fails"),
            1 => (StoreFault::Hangs(Duration::from_millis(600)), "shared store: slow"),
            2 => (StoreFault::Hangs(Duration::from_secs(4)), "shared store: hangs"),
            3 => (StoreFault::LosesResponses, "shared store: loses responses"),
            4 => (StoreFault::IsFull, "shared store: is full"),
            _ => (StoreFault::Lags, "shared store: lags"),
        };
        world.store_fault.set(true);
        world.store.set_fault(Some(fault)).await;
        world.pause(Duration::from_millis(200) + random.millis(5000)).await;
        world.store.set_fault(None).await;
        // Until late operations have taken effect.
        match fault {
            StoreFault::Hangs(delay) => tokio::time::sleep(delay).await,
            StoreFault::Lags => tokio::time::sleep(LAG).await,
            StoreFault::Fails | StoreFault::IsFull | StoreFault::LosesResponses => {}
        }
        world.store_fault.set(false);
        world.happened(name);
    }
}

async fn stop_replicas(world: Arc<World>, mut random: Random) {
    while !world.is_over() {
        world.pause(AFTERMATH + random.millis(3000)).await;
        // Often while work is unfinished.
        for _ in 0..random.below(2) * 100 {
            if world.store_fault.is_active() {
                break;
            }
            world.pause(Duration::from_millis(50)).await;
        }
        let replica = &world.replicas[random.replica()];
        let stop = if random.below(2) == 0 { Stop::Drain } else { Stop::Close };
        replica.stop.set(true);
        if let Err(unfinished) = replica.stop(stop).await {
            world.wrong(unfinished);
        }
        tokio::time::sleep(random.millis(500)).await;
        replica.start().await;
        replica.stop.set(false);
        world.happened(match stop {
            Stop::Drain => "stop of a replica",
            Stop::Close => "stop of a replica, connections closed",
        });
    }
}

async fn kill_replicas(world: Arc<World>, mut random: Random) {
    world.pause(random.millis(10_000)).await;
    while !world.is_over() {
        let replica = &world.replicas[random.replica()];
        // In the middle of refreshes.
        world.environment.fail_token_endpoint("delay").await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        replica.stop.set(true);
        replica.kill();
        world.environment.clear_faults().await;
        tokio::time::sleep(random.millis(500)).await;
        replica.start().await;
        replica.stop.set(false);
        world.happened("kill of a replica");
        // Half of the time no lease of a replica that was killed excuses anything.
        world.pause(LEASE + AFTERMATH + random.millis(40_000)).await;
    }
}

async fn step_clocks(world: Arc<World>, mut random: Random) {
    // Offsets of the replicas' wall clocks from the environment's, in seconds.
    let mut apart = [0_i64; 2];
    while !world.is_over() {
        world.pause(Duration::from_millis(500) + random.millis(4000)).await;
        // The environment measures by its wall clock for how long it accepts the token that a
        // killed replica has spent.
        if random.below(2) == 0 || world.deployment.stops == Stops::Killed {
            let replica = random.replica();
            let offset = random.below(3) as i64 - 1;
            world.replicas[replica].clock.step(time::Duration::seconds(offset - apart[replica]));
            apart[replica] = offset;
            world.happened("wall clocks apart by a second");
        } else {
            let seconds = *random.pick(&[-HOUR, -HOUR, -60, 60, HOUR]);
            let _alone = world.clocks.write().await;
            // Refreshes of disconnected clients continue; they see one time.
            world.pause(SETTLING).await;
            world.environment.step_clock(seconds).await;
            for replica in &world.replicas {
                replica.clock.step(time::Duration::seconds(seconds));
            }
            world.happened(match seconds {
                ..0 => "all wall clocks back",
                _ => "all wall clocks forward",
            });
        }
    }
}
