//! Why operations fail, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{ErrorKind, RedisError, ServerErrorKind};

use super::super::{KeyNamespace, StoreError};
use super::error::RedisStoreError;

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Connect(Arc<RedisStoreError>),
    #[error("there was no connection to Redis in {0:?}")]
    NoConnection(Duration),
    #[error("Redis did not respond in {0:?}")]
    NoResponse(Duration),
    #[error(transparent)]
    Redis(RedisError),
}

impl Failure {
    pub(super) fn is_unknown_script(&self) -> bool {
        matches!(self, Self::Redis(error) if has_code(error, ServerErrorKind::NoScript, "NOSCRIPT"))
    }

    /// Whether the connection may be of no use any more. A former primary rejects writes.
    pub(super) fn requires_reconnect(&self) -> bool {
        match self {
            Self::Connect(_) | Self::NoConnection(_) => false,
            Self::NoResponse(_) => true,
            Self::Redis(error) => {
                error.is_io_error()
                    || error.is_unrecoverable_error()
                    || has_code(error, ServerErrorKind::ReadOnly, "READONLY")
                    || has_code(error, ServerErrorKind::MasterDown, "MASTERDOWN")
            }
        }
    }

    pub(super) fn into_error(self, namespace: KeyNamespace) -> StoreError {
        match &self {
            Self::Redis(error) if error.code() == Some("OOM") || is_raised(error, "OOM") => {
                StoreError::Full { namespace, max_bytes: None }
            }
            _ => StoreError::Unavailable(self.into()),
        }
    }
}

/// Whether a node of a cluster has rejected a command without running it.
pub(super) fn is_rejected(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::ClusterConnectionNotFound => true,
        ErrorKind::Server(
            ServerErrorKind::Ask
            | ServerErrorKind::BusyLoading
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::Moved
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::TryAgain,
        ) => true,
        _ => is_raised(error, "READONLY"),
    }
}

fn has_code(error: &RedisError, kind: ServerErrorKind, code: &str) -> bool {
    error.kind() == ErrorKind::Server(kind) || is_raised(error, code)
}

/// Whether a script ended with this error. Redis 6.2 reports it within the text of another one.
fn is_raised(error: &RedisError, code: &str) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
        && error.detail().is_some_and(|detail| detail.contains(&format!(": -{code} ")))
}

#[cfg(test)]
mod tests {
    use ::redis::Value;

    use super::*;

    /// The error of a response line.
    fn error(line: &str) -> RedisError {
        let parsed = ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        Value::extract_error(parsed).unwrap_err()
    }

    /// The error that a script ends with in Redis 6.2.
    fn raised(line: &str) -> RedisError {
        error(&format!(
            "ERR Error running script (call to f_6b1bf486c81ceb7edf3c093f4a48582e38b1e8a3): \
             @user_script:6: @user_script: 6: -{line}"
        ))
    }

    #[test]
    fn errors_of_scripts_are_recognized_in_each_version() {
        let full = "OOM command not allowed when used memory > 'maxmemory'.";
        let replica = "READONLY You can't write against a read only replica.";
        for error in [error(full), raised(full)] {
            let full = Failure::Redis(error).into_error(KeyNamespace::Session);
            assert!(matches!(full, StoreError::Full { .. }), "{full:?}");
        }
        for error in [error(replica), raised(replica)] {
            assert!(is_rejected(&error), "{error:?}");
            assert!(Failure::Redis(error).requires_reconnect());
        }
        let other = raised("ERR unknown command");
        assert!(!is_rejected(&other) && !Failure::Redis(other.clone()).requires_reconnect());
        let other = Failure::Redis(other).into_error(KeyNamespace::Session);
        assert!(matches!(other, StoreError::Unavailable(_)), "{other:?}");
    }

    #[test]
    fn a_command_that_may_have_run_is_not_repeated() {
        for line in ["MOVED 1 127.0.0.1:1", "ASK 1 127.0.0.1:1", "TRYAGAIN later", "LOADING data"] {
            assert!(is_rejected(&error(line)), "{line}");
        }
        assert!(is_rejected(&error("CLUSTERDOWN The cluster is down")));
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        for error in [broken, error("ERR any"), error("OOM full"), error("NOSCRIPT unknown")] {
            assert!(!is_rejected(&error), "{error:?}");
        }
    }
}
