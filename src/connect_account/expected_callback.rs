//! Callbacks that attempts expect, in the shared store. Each one can be used once, in any browser:
//! a callback that arrives in the wrong browser or without a session is used up, so that its
//! address cannot be used later.
//!
//! | key | value |
//! |---|---|
//! | a `state` | how many IDs have arrived with it (0 while it is expected), and its account |
//! | the environment's ID of a consent | the only `state` that it can be used with, or none |
//! | an account | present if too many IDs have arrived with one of its states |

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::{ConnectAccount, ConnectAccountError};
use crate::shared_store::{Change, KeyNamespace, StoreError, StoreKey};
use crate::util::hash::hash_parts;
use crate::util::telemetry;

/// Longer than the link of an attempt can be used, so that a late callback is used up too.
const EXPECTED_TTL: Duration = Duration::from_secs(60 * 60);
/// Longer than the environment waits for the verification of a user.
const SPENT_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// How many IDs are recorded per `state`, because clients without a session can send them.
const MAX_IDS: u8 = 4;
/// How often a `state` is updated again after a concurrent change.
const MAX_TRIES: usize = 16;
const BLOCKED: Bytes = Bytes::from_static(b"blocked");
/// No hash of a `state`.
const NO_STATE: &str = "none";

impl ConnectAccount {
    /// Records that a callback with this `state` is expected, for the account with this identifier.
    pub(super) async fn expect_callback(
        &self,
        state: &str,
        identifier: &str,
    ) -> Result<(), ConnectAccountError> {
        let account = hash(["account", &self.inner.connection_name, identifier]);
        let expected = StateUse { ids: 0, account }.encode();
        let key = self.callback_key(&hash(["state", state]));
        self.sessions().store().put(&key, expected, EXPECTED_TTL).await.map_err(unavailable)
    }

    /// Uses up a callback: its `state`, and the environment's ID of the consent, which must not be
    /// used with another `state`; with none, if it is not in the browser and session that began.
    ///
    /// # Errors
    /// [`ConnectAccountError::StateMismatch`] if either was used before or is not expected.
    /// [`ConnectAccountError::Unavailable`] if the store failed: the callback can be used again.
    pub(super) async fn consume_callback(
        &self,
        state: &str,
        auth_request_id: Option<&str>,
        is_own: bool,
    ) -> Result<(), ConnectAccountError> {
        let consumed = self.consume(&hash(["state", state]), auth_request_id, is_own).await;
        match consumed.map_err(unavailable)? {
            true => Ok(()),
            false => Err(ConnectAccountError::StateMismatch),
        }
    }

    /// Returns `false` if the callback is not expected.
    async fn consume(
        &self,
        state: &str,
        auth_request_id: Option<&str>,
        is_own: bool,
    ) -> Result<bool, StoreError> {
        let (store, key) = (self.sessions().store(), self.callback_key(state));
        let id = auth_request_id.map(|id| self.callback_key(&hash(["request", id])));
        let value = store.get(&key).await?.unwrap_or_default();
        let Some(seen) = StateUse::decode(&value) else { return Ok(false) };
        if seen.ids > 0 {
            if let Some(id) = id {
                self.consume_late(state, &id, &seen.account).await?;
            }
            return Ok(false);
        }
        let used = StateUse { ids: 1, account: seen.account.clone() }.encode();
        let Some(id) = id else { return store.replace_if(&key, value, used, EXPECTED_TTL).await };
        // Before the `state`, so that a retry after an outage is still expected.
        let bound_to = Bytes::from(if is_own { state.to_owned() } else { NO_STATE.to_owned() });
        let is_new = store.put_if_absent(&id, bound_to.clone(), SPENT_TTL).await?;
        let is_allowed = (is_new || store.get(&id).await? == Some(bound_to.clone()))
            && !self.is_blocked(&seen.account).await?;
        if store.replace_if(&key, value, used, EXPECTED_TTL).await? {
            return Ok(is_allowed);
        }
        // Another ID has arrived at the same time: this one counts as a later one.
        if is_new {
            store.remove_if(&id, bound_to).await?;
            self.consume_late(state, &id, &seen.account).await?;
        }
        Ok(false)
    }

    /// Uses up an ID that arrives with a `state` that was used before, possibly by an attacker who
    /// wants to use the ID with another one. The account is blocked if too many IDs arrive: the
    /// attacker may have sent the others.
    async fn consume_late(
        &self,
        state: &str,
        id: &StoreKey,
        account: &str,
    ) -> Result<(), StoreError> {
        let (store, key) = (self.sessions().store(), self.callback_key(state));
        if store.get(id).await?.is_some() {
            return Ok(());
        }
        let count = |seen: Option<&[u8]>| {
            Ok::<_, StoreError>(match seen.and_then(StateUse::decode) {
                Some(seen) if seen.ids < MAX_IDS => {
                    Change::Set(StateUse { ids: seen.ids + 1, ..seen }.encode(), true)
                }
                Some(_) => Change::Keep(false),
                // It has expired meanwhile.
                None => Change::Keep(true),
            })
        };
        match store.update(&key, EXPECTED_TTL, MAX_TRIES, count).await? {
            Some(true) => store.put_if_absent(id, NO_STATE.into(), SPENT_TTL).await.map(drop),
            _ => store.put(&self.callback_key(account), BLOCKED, SPENT_TTL).await,
        }
    }

    async fn is_blocked(&self, account: &str) -> Result<bool, StoreError> {
        Ok(self.sessions().store().get(&self.callback_key(account)).await?.is_some())
    }

    /// Allows a callback to be used again, because the environment did not respond.
    pub(super) async fn restore_callback(&self, state: &str) {
        let key = self.callback_key(&hash(["state", state]));
        let restore = |seen: Option<&[u8]>| {
            Ok::<_, StoreError>(match seen.and_then(StateUse::decode) {
                Some(seen) if seen.ids == 1 => {
                    Change::Set(StateUse { ids: 0, ..seen }.encode(), ())
                }
                _ => Change::Keep(()),
            })
        };
        let store = self.sessions().store();
        drop(store.update(&key, EXPECTED_TTL, MAX_TRIES, restore).await.map_err(unavailable));
    }

    pub(super) fn callback_key(&self, hash: &str) -> StoreKey {
        self.sessions().store_key(KeyNamespace::ConnectCallback, hash)
    }
}

/// The stored value of a `state`.
struct StateUse {
    /// How many IDs have arrived with it; 0 while it is expected.
    ids: u8,
    /// The hash of the account that it was issued for.
    account: String,
}

impl StateUse {
    fn encode(self) -> Bytes {
        format!("{} {}", self.ids, self.account).into()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (ids, account) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        Some(Self { ids: ids.parse().ok()?, account: account.to_owned() })
    }
}

fn hash<const N: usize>(parts: [&str; N]) -> String {
    URL_SAFE_NO_PAD.encode(hash_parts(parts))
}

fn unavailable(error: StoreError) -> ConnectAccountError {
    telemetry::internal_error("connect_account", &error);
    ConnectAccountError::Unavailable
}
