//! What a login may use once, on all replicas: its attempt, or a code or link.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Purpose, SessionRecord, Sessions};
use crate::shared_store::{StoreError, StoreKey};
use crate::util::telemetry;

/// The stored value of what was used.
const USED: Bytes = Bytes::from_static(b"used");
/// Replaces it once the login has completed.
const COMPLETED: Bytes = Bytes::from_static(b"completed");
/// Replaces it once the login has failed permanently.
const FAILED: Bytes = Bytes::from_static(b"failed");

/// Precedes a verified login that is stored for another use.
const KEPT: &str = "kept:";
/// Precedes the sealed result of a completed login.
const RESULT: &str = "result:";

/// A second request waits this long for the first one, however slow the store is.
const MAX_WAIT: Duration = Duration::from_secs(8);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Something that may be used once.
pub(crate) struct SingleUse<'a> {
    pub(crate) sessions: &'a Sessions,
    pub(crate) key: StoreKey,
    /// How long it is known to be used.
    pub(crate) lifetime: Duration,
    /// How long the result is known.
    pub(crate) retention: Duration,
}

impl SingleUse<'_> {
    /// Marks it as used. Returns `false` if it was used before. While the store is unavailable, it
    /// counts as unused: the login continues.
    pub(crate) async fn claim(&self) -> bool {
        or_logged(self.sessions.store().put_if_absent(&self.key, USED, self.lifetime).await, true)
    }

    /// Allows it to be used again.
    pub(crate) async fn release(&self) {
        or_logged(self.sessions.store().remove_if(&self.key, USED).await, false);
    }

    /// Stores the verified login, so that the same request can be retried without the spent code.
    /// `name` is the sealing name. Returns `false` if it could not be stored.
    pub(crate) async fn store_login(&self, name: &str, login: &SessionRecord) -> bool {
        let Some(content) = login.encode().map(Zeroizing::new) else { return false };
        let Ok(sealed) = self.sessions.sealing_keys().seal(Purpose::PendingLogin, name, &content)
        else {
            return false;
        };
        let kept = format!("{KEPT}{sealed}").into();
        let stored = self.sessions.store().replace_if(&self.key, USED, kept, self.lifetime).await;
        or_logged(stored, false)
    }

    /// Marks it as used again. Returns the login that an earlier use has stored under this name.
    pub(crate) async fn take_login(&self, name: &str) -> Option<SessionRecord> {
        let store = self.sessions.store();
        let kept = store.get(&self.key).await.ok()??;
        let sealed = std::str::from_utf8(&kept).ok()?.strip_prefix(KEPT)?;
        let opened = self.sessions.sealing_keys().open(Purpose::PendingLogin, name, sealed)?;
        let login = SessionRecord::decode(&opened.content)?;
        store.replace_if(&self.key, kept, USED, self.lifetime).await.ok()?.then_some(login)
    }

    /// Records the result of the login, for requests on other replicas.
    pub(crate) async fn finish(&self, is_completed: bool) {
        self.replace_used(if is_completed { COMPLETED } else { FAILED }).await;
    }

    async fn replace_used(&self, result: Bytes) {
        let replaced = self.sessions.store().replace_if(&self.key, USED, result, self.retention);
        or_logged(replaced.await, false);
    }

    /// Records that the login has completed, and its sealed result, for the same request on another
    /// replica. `name` is the sealing name.
    pub(crate) async fn finish_with(&self, name: &str, result: &[u8]) {
        let sealed = self.sessions.sealing_keys().seal(Purpose::PendingLogin, name, result);
        let Ok(sealed) = sealed else { return self.finish(true).await };
        self.replace_used(format!("{RESULT}{sealed}").into()).await;
    }

    /// Returns the result of the login that another request has completed.
    pub(crate) async fn result(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let value = self.sessions.store().get(&self.key).await.ok()??;
        let sealed = std::str::from_utf8(&value).ok()?.strip_prefix(RESULT)?;
        Some(self.sessions.sealing_keys().open(Purpose::PendingLogin, name, sealed)?.content)
    }

    /// Waits for the request that uses it, and returns its result.
    pub(crate) async fn wait_until_completed(&self) -> OtherRequest {
        let started = Instant::now();
        let mut has_waited = false;
        loop {
            let Ok(value) = self.sessions.store().get(&self.key).await else {
                return OtherRequest::Pending;
            };
            if value.as_ref().is_some_and(is_completed) {
                return match has_waited {
                    true => OtherRequest::CompletedMeanwhile,
                    false => OtherRequest::CompletedBefore,
                };
            }
            let is_used = value == Some(USED);
            // Another value is a kept login. Found at once, it belongs to another code.
            if value == Some(FAILED) || (value.is_some() && !is_used && !has_waited) {
                return OtherRequest::Failed;
            }
            if !is_used || started.elapsed() >= MAX_WAIT {
                return OtherRequest::Pending;
            }
            has_waited = true;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

fn is_completed(value: &Bytes) -> bool {
    *value == COMPLETED || value.starts_with(RESULT.as_bytes())
}

/// Returns the result of an operation, or `default` if the store fails, which is logged.
fn or_logged(result: Result<bool, StoreError>, default: bool) -> bool {
    result.unwrap_or_else(|error| {
        telemetry::internal_error("login_attempt", &error);
        default
    })
}

/// The result of another request for the same login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherRequest {
    /// It completed the login before.
    CompletedBefore,
    /// It completed the login while this request has waited.
    CompletedMeanwhile,
    /// The login has failed permanently.
    Failed,
    /// It is still in progress, or was interrupted and can be repeated.
    Pending,
}
