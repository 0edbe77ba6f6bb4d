//! Disturbances during the run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::world::{Random, World};

/// How long the effects of a disturbance last: cached failures, closed connections.
const AFTERMATH: Duration = Duration::from_secs(2);
/// The app fetches unknown keys twice at once and once more every 10 s.
const ROTATION_INTERVAL: Duration = Duration::from_secs(12);
/// The slowest response of the environment takes less.
const SETTLING: Duration = Duration::from_millis(1200);
const HOUR: i64 = 3600;

/// Whether a disturbance is active, and when the last one ended.
#[derive(Default)]
pub(crate) struct Disturbance(Mutex<Times>);

#[derive(Default)]
struct Times {
    is_active: bool,
    ended: Option<Instant>,
}

impl Disturbance {
    fn set(&self, is_active: bool) {
        let mut times = self.0.lock().unwrap();
        times.is_active = is_active;
        times.ended = Some(Instant::now());
    }

    /// Whether it excuses a failure of an operation that started at this time.
    pub(crate) fn was_active_since(&self, started: Instant) -> bool {
        let times = self.0.lock().unwrap();
        times.is_active || times.ended.is_some_and(|ended| ended + AFTERMATH > started)
    }
}

/// Starts all disturbances, which overlap at random.
pub(crate) fn start(world: &Arc<World>, random: impl Fn(u64) -> Random) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(rotate_keys(Arc::clone(world), random(0)));
    tasks.spawn(fail_token_endpoint(Arc::clone(world), random(1)));
    tasks.spawn(restart_replicas(Arc::clone(world), random(2)));
    tasks.spawn(step_clocks(Arc::clone(world), random(3)));
    tasks
}

async fn rotate_keys(world: Arc<World>, mut random: Random) {
    world.pause(random.millis(3000)).await;
    while !world.is_over() {
        world.environment.rotate_keys().await;
        world.figures.happened("key rotation");
        world.pause(ROTATION_INTERVAL + random.millis(3000)).await;
    }
}

async fn fail_token_endpoint(world: Arc<World>, mut random: Random) {
    while !world.is_over() {
        // Most of the time nothing is excused.
        world.pause(AFTERMATH + random.millis(4000)).await;
        world.token_fault.set(true);
        let fault = world.environment.fail_token_endpoint(random.below(4)).await;
        world.pause(Duration::from_millis(300) + random.millis(2500)).await;
        world.environment.clear_faults().await;
        world.token_fault.set(false);
        world.figures.happened(match fault {
            "status" => "token endpoint: 502",
            "page" => "token endpoint: web page",
            "unreachable" => "token endpoint: unreachable",
            _ => "token endpoint: slow",
        });
    }
}

async fn restart_replicas(world: Arc<World>, mut random: Random) {
    while !world.is_over() {
        world.pause(AFTERMATH + random.millis(3000)).await;
        let replica = &world.replicas[random.replica()];
        replica.stop.set(true);
        replica.restart(random.millis(500)).await;
        replica.stop.set(false);
        world.figures.happened("restart of a replica");
    }
}

async fn step_clocks(world: Arc<World>, mut random: Random) {
    // Offsets of the replicas' wall clocks from the environment's, in seconds.
    let mut apart = [0_i64; 2];
    while !world.is_over() {
        world.pause(Duration::from_millis(500) + random.millis(4000)).await;
        if random.below(2) == 0 {
            let replica = random.replica();
            let offset = random.below(3) as i64 - 1;
            world.replicas[replica].clock.step(time::Duration::seconds(offset - apart[replica]));
            apart[replica] = offset;
            world.figures.happened("wall clocks apart by a second");
        } else {
            let seconds = *random.pick(&[-HOUR, -HOUR, -60, 60, HOUR]);
            let _alone = world.clocks.write().await;
            // Refreshes of disconnected clients continue; they see one time.
            world.pause(SETTLING).await;
            world.environment.step_clock(seconds).await;
            for replica in &world.replicas {
                replica.clock.step(time::Duration::seconds(seconds));
            }
            world.figures.happened(match seconds {
                ..0 => "all wall clocks back",
                _ => "all wall clocks forward",
            });
        }
    }
}
