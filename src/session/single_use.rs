//! What may be used once, on all replicas: the attempt of a login, a code or link, or the callback of a
//! connected account.
//!
//! One stored value has the state. A request [`claim`](SingleUse::claim)s it before it spends the
//! code. It ends with [`complete`](SingleUse::complete), [`deny`](SingleUse::deny) or
//! [`fail`](SingleUse::fail); or can be repeated, after [`release`](SingleUse::release), or with
//! the tokens that it has, after [`keep_login`](SingleUse::keep_login) and
//! [`take_kept_login`](SingleUse::take_kept_login). A request that cannot claim it
//! [waits](SingleUse::wait_until_completed) for the one that has.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Purpose, SessionRecord, Sessions};
use crate::shared_store::{StoreError, StoreKey};
use crate::util::shared_results::RESULT_TTL;
use crate::util::telemetry;

/// The stored value of what was used.
const USED: Bytes = Bytes::from_static(b"used");
/// Replaces it once the login has completed.
const COMPLETED: Bytes = Bytes::from_static(b"completed");
/// Replaces it once the app has denied the login.
const DENIED: Bytes = Bytes::from_static(b"denied");
/// Replaces it once the login has failed permanently.
const FAILED: Bytes = Bytes::from_static(b"failed");

/// Precedes a verified login that is stored for another use.
const KEPT: &str = "kept:";

/// A second request waits this long for the first one, however slow the store is.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(8);
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The result of a use, which is stored for the same request on another replica.
pub(crate) trait StoredResult: Sized {
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>>;

    fn decode(content: &[u8]) -> Option<Self>;
}

/// Something that may be used once.
pub(crate) struct SingleUse<'a> {
    pub(crate) sessions: &'a Sessions,
    pub(crate) key: StoreKey,
    /// What is stored is sealed under it. Only requests that may share the result know it.
    pub(crate) sealing_name: String,
    /// How long the store keeps that it is used.
    pub(crate) used_ttl: Duration,
    /// How long the store keeps how the use has ended.
    pub(crate) end_ttl: Duration,
}

impl SingleUse<'_> {
    /// Marks it as used. Returns `false` if it was used before. While the store is unavailable, it
    /// counts as unused: the login continues.
    pub(crate) async fn claim(&self) -> bool {
        or_logged(self.sessions.store().put_if_absent(&self.key, USED, self.used_ttl).await, true)
    }

    /// Allows it to be used again.
    pub(crate) async fn release(&self) {
        or_logged(self.sessions.store().remove_if(&self.key, USED).await, false);
    }

    /// Stores the verified login, so that the same request can be retried without the spent code.
    /// Returns `false` if it could not be stored.
    pub(crate) async fn keep_login(&self, login: &SessionRecord) -> bool {
        let content = login.encode().map(Zeroizing::new);
        let Some(sealed) = content.and_then(|content| self.seal(&self.sealing_name, &content))
        else {
            return false;
        };
        let kept = format!("{KEPT}{sealed}").into();
        let stored = self.sessions.store().replace_if(&self.key, USED, kept, self.used_ttl).await;
        or_logged(stored, false)
    }

    /// Marks it as used again. Returns the login that an earlier use has stored. If the store fails,
    /// there may be one.
    pub(crate) async fn take_kept_login(&self) -> Result<Option<SessionRecord>, StoreError> {
        let store = self.sessions.store();
        let Some(kept) = store.get(&self.key).await? else { return Ok(None) };
        let Some(login) = self.open_login(&kept) else { return Ok(None) };
        let is_taken = store.replace_if(&self.key, kept, USED, self.used_ttl).await?;
        Ok(is_taken.then_some(login))
    }

    fn open_login(&self, kept: &[u8]) -> Option<SessionRecord> {
        let sealed = std::str::from_utf8(kept).ok()?.strip_prefix(KEPT)?;
        SessionRecord::decode(&self.open(&self.sealing_name, sealed)?)
    }

    /// Records that the login has completed, and for a short time its sealed result, for the same
    /// request on another replica: the browser may have dropped the response.
    pub(crate) async fn complete(&self, result: &impl StoredResult) {
        let name = self.result_name();
        if self.sessions.has_shared_store()
            && let Some(sealed) = result.encode().and_then(|result| self.seal(&name, &result))
        {
            let key = self.result_key(&name);
            let stored = self.sessions.store().put(&key, sealed.into(), RESULT_TTL).await;
            or_logged(stored.map(|()| true), false);
        }
        self.replace_used(COMPLETED).await;
    }

    /// Records that the app has denied the login.
    pub(crate) async fn deny(&self) {
        self.replace_used(DENIED).await;
    }

    /// Records that the login has failed permanently.
    pub(crate) async fn fail(&self) {
        self.replace_used(FAILED).await;
    }

    async fn replace_used(&self, end: Bytes) {
        let replaced = self.sessions.store().replace_if(&self.key, USED, end, self.end_ttl);
        or_logged(replaced.await, false);
    }

    /// Waits for the request that uses it.
    pub(crate) async fn wait_until_completed<T: StoredResult>(&self) -> OtherRequest<T> {
        let started = Instant::now();
        let mut has_waited = false;
        loop {
            let Ok(value) = self.sessions.store().get(&self.key).await else {
                return OtherRequest::Pending;
            };
            if value == Some(COMPLETED) {
                return match self.result().await {
                    Some(result) => OtherRequest::Completed(result),
                    None if has_waited => OtherRequest::CompletedMeanwhile,
                    None => OtherRequest::CompletedBefore,
                };
            }
            if value == Some(DENIED) {
                return OtherRequest::Denied;
            }
            let is_used = value == Some(USED);
            // Another value is a kept login: of this request, which can be repeated, or of one with
            // another code.
            if value == Some(FAILED)
                || (!is_used
                    && !has_waited
                    && value.is_some_and(|kept| self.open_login(&kept).is_none()))
            {
                return OtherRequest::Failed;
            }
            if !is_used || started.elapsed() >= MAX_WAIT {
                return OtherRequest::Pending;
            }
            has_waited = true;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn result<T: StoredResult>(&self) -> Option<T> {
        let name = self.result_name();
        let sealed = self.sessions.store().get(&self.result_key(&name)).await.ok()??;
        T::decode(&self.open(&name, std::str::from_utf8(&sealed).ok()?)?)
    }

    fn result_name(&self) -> String {
        format!("result {}", self.sealing_name)
    }

    /// The result expires earlier than it is known that the login has completed.
    fn result_key(&self, name: &str) -> StoreKey {
        self.sessions.store_key(self.key.namespace(), name)
    }

    fn seal(&self, name: &str, content: &Zeroizing<Vec<u8>>) -> Option<String> {
        self.sessions.sealing_keys().seal(Purpose::PendingLogin, name, content).ok()
    }

    fn open(&self, name: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        Some(self.sessions.sealing_keys().open(Purpose::PendingLogin, name, sealed)?.content)
    }
}

/// Returns the result of an operation, or `default` if the store fails, which is logged.
fn or_logged(result: Result<bool, StoreError>, default: bool) -> bool {
    result.unwrap_or_else(|error| {
        telemetry::internal_error("attempt", &error);
        default
    })
}

/// How another request that uses the same has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherRequest<T> {
    /// It has completed a moment ago, with this result.
    Completed(T),
    /// It has completed before.
    CompletedBefore,
    /// It has completed while this request has waited. The result is not available.
    CompletedMeanwhile,
    /// The app has denied the login.
    Denied,
    /// It has failed permanently.
    Failed,
    /// It is still in progress, or was interrupted and can be repeated.
    Pending,
}
