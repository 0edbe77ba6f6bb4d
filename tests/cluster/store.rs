//! The Redis servers that the replicas share.

use tokio::sync::Mutex;

use crate::server::{Network, Redis};
use crate::servers::Sentinel;
use crate::site::REPLICAS;

pub(crate) enum Store {
    /// One server, with a network of its own to each replica.
    Single {
        redis: Redis,
        networks: Vec<Network>,
    },
    Sentinel(Mutex<Sentinel>),
}

impl Store {
    /// Prints a line and returns `None` if redis-server is not installed; in CI that is a failure.
    pub(crate) async fn single() -> Option<Self> {
        let redis = Redis::start().await?;
        let mut networks = Vec::new();
        for _ in 0..REPLICAS {
            networks.push(Network::before(&redis, None).await);
        }
        Some(Self::Single { redis, networks })
    }

    /// Prints a line and returns `None` if redis-server is not installed; in CI that is a failure.
    pub(crate) async fn sentinel() -> Option<Self> {
        let sentinel = Sentinel::start(&["--appendonly", "yes", "--appendfsync", "no"]).await?;
        Some(Self::Sentinel(Mutex::new(sentinel)))
    }

    /// The settings of a replica that select it.
    pub(crate) async fn settings(&self, replica: usize) -> Vec<(&'static str, String)> {
        match self {
            Self::Single { networks, .. } => {
                vec![("REDIS_URL", format!("redis://{}", networks[replica].address))]
            }
            Self::Sentinel(sentinel) => vec![
                ("REDIS_URL", sentinel.lock().await.urls().join(",")),
                ("REDIS_SENTINEL", "app".to_owned()),
            ],
        }
    }
}
