use std::error::Error as StdError;

use ::redis::RedisError;

use crate::error::ConfigError;

/// Returned when a [`RedisStore`](super::RedisStore) cannot connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisStoreError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server evicts values when memory is full, so that leases and revocations can be lost.
    #[error(
        "Redis has maxmemory-policy {policy}, and would drop leases and revocations when its memory is \
         full: set maxmemory-policy noeviction in redis.conf, or with CONFIG SET maxmemory-policy \
         noeviction"
    )]
    EvictionPolicy {
        /// The server's policy.
        policy: String,
    },
    /// The server is unreachable, rejects the credentials or responded with an error.
    #[error("Redis is unavailable: {0}")]
    Unreachable(#[source] Box<dyn StdError + Send + Sync>),
    /// The server is older than Redis 6.2.
    #[error("Redis {version} is too old: version 6.2 or later is required")]
    UnsupportedVersion {
        /// The server's version.
        version: String,
    },
}

impl RedisStoreError {
    pub(super) fn unreachable(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unreachable(reason.into())
    }
}

impl From<RedisError> for RedisStoreError {
    fn from(error: RedisError) -> Self {
        Self::Unreachable(error.into())
    }
}
