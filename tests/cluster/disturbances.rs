//! What fails while a session is refreshed.

use std::time::Duration;

use tokio::time::sleep;

use crate::random::Random;
use crate::server::{Network, State, eventually};
use crate::site::{Outcome, Site};
use crate::store::Store;

/// The time between a refresh at the environment and its response, in which disturbances begin.
const RESPONSE_DELAY: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Disturbance {
    None,
    ReplicaKilled,
    /// With SIGTERM.
    ReplicaStopped,
    /// The token endpoint needs three seconds.
    TokensSlow,
    /// The token endpoint fails half of the time.
    TokensFail,
    RedisKilled,
    RedisPaused,
    /// No replica reaches Redis. No connection is closed.
    RedisUnreachable,
    /// One replica does not reach Redis. No connection is closed.
    ReplicaCutOff,
    /// Sentinel promotes the replica.
    PrimaryKilled,
    /// Sentinel promotes the replica, and the primary continues.
    PrimaryPaused,
}

use Disturbance::{
    None as Nothing, PrimaryKilled, PrimaryPaused, RedisKilled, RedisPaused, RedisUnreachable,
    ReplicaCutOff, ReplicaKilled, ReplicaStopped, TokensFail, TokensSlow,
};

impl Disturbance {
    /// Those of a short run.
    pub(crate) const SHORT: &[Self] = &[ReplicaStopped, RedisKilled, TokensFail];

    /// Those that apply to a store.
    pub(crate) fn all(store: &Store) -> &'static [Self] {
        match store {
            Store::Single { .. } => &[
                ReplicaKilled,
                ReplicaStopped,
                TokensSlow,
                TokensFail,
                RedisKilled,
                RedisPaused,
                RedisUnreachable,
                ReplicaCutOff,
            ],
            Store::Sentinel(_) => &[PrimaryKilled, PrimaryPaused, ReplicaKilled, ReplicaStopped],
        }
    }

    /// Whether the session may be lost where a refresh token works once: the result of the refresh
    /// is gone, or the lease.
    pub(crate) fn may_end_session(self) -> bool {
        matches!(self, ReplicaKilled | PrimaryKilled | PrimaryPaused)
    }

    /// Whether it excuses this outcome.
    pub(crate) fn excuses(self, outcome: &Outcome) -> bool {
        match outcome {
            // Recorded with its response.
            Outcome::Accepted { .. } | Outcome::Wrong(_) => true,
            Outcome::Unavailable => !matches!(self, Nothing | ReplicaStopped | TokensSlow),
            Outcome::Lost => self == ReplicaKilled,
            Outcome::LoggedOut => false,
        }
    }

    /// Prepares the token endpoint.
    pub(crate) fn prepare(self, site: &Site, random: &mut Random) {
        let slow = Duration::from_secs(3);
        site.environment.delay_tokens(if self == TokensSlow { slow } else { RESPONSE_DELAY });
        if self == TokensFail {
            site.environment.fail_tokens(random);
        }
    }

    /// Disturbs a refresh by a replica, and returns when everything runs again.
    pub(crate) async fn strike(self, site: &Site, holder: usize, random: &mut Random) {
        sleep(random.millis(600)).await;
        match (self, &site.store) {
            (ReplicaKilled | ReplicaStopped, _) => {
                // Mostly the one that refreshes.
                let replica = if random.below(4) == 0 { random.below(3) as usize } else { holder };
                site.replicas[replica].restart(self == ReplicaKilled);
            }
            (RedisKilled, Store::Single { redis, .. }) => {
                redis.kill();
                sleep(random.millis(3000)).await;
                redis.start_again().await;
            }
            (RedisPaused, Store::Single { redis, .. }) => {
                let millis = PAUSE.as_millis().to_string();
                redis.command::<()>(&["CLIENT", "PAUSE", &millis, "ALL"]).await;
                sleep(PAUSE).await;
            }
            (RedisUnreachable, Store::Single { networks, .. }) => silence(networks, random).await,
            (ReplicaCutOff, Store::Single { networks, .. }) => {
                silence(&networks[holder..=holder], random).await;
            }
            (PrimaryKilled | PrimaryPaused, Store::Sentinel(sentinel)) => {
                let mut sentinel = sentinel.lock().await;
                let primary = sentinel.primary().await;
                if self == PrimaryKilled {
                    sentinel.servers.kill(primary);
                } else {
                    sentinel.servers.signal(primary, "-STOP");
                }
                eventually("the replica is promoted", async || sentinel.primary().await != primary)
                    .await;
                sleep(random.millis(1000)).await;
                if self == PrimaryKilled {
                    sentinel.servers.start_again(primary);
                } else {
                    sentinel.servers.signal(primary, "-CONT");
                }
                sentinel.in_sync().await;
            }
            _ => {}
        }
    }
}

/// Packets are lost for a while.
async fn silence(networks: &[Network], random: &mut Random) {
    networks.iter().for_each(|network| network.set(State::Silent));
    sleep(Duration::from_secs(1) + random.millis(3000)).await;
    networks.iter().for_each(|network| network.set(State::Connected));
}
