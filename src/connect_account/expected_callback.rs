//! Callbacks that attempts expect, in the shared store. Each one can be used once, in any browser:
//! a callback that arrives in the wrong browser or without a session is used up, so that its
//! address cannot be used later.
//!
//! | key | value |
//! |---|---|
//! | a `state` | how many IDs have arrived with it (0 while it is expected), its account, and the first ID |
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
        let expected = StateUse { ids: 0, first_id: None, account }.encode();
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
        let id_hash = auth_request_id.map(|id| hash(["request", id]));
        let id = id_hash.as_deref().map(|hash| self.callback_key(hash));
        let value = store.get(&key).await?.unwrap_or_default();
        let Some(seen) = StateUse::decode(&value) else { return Ok(false) };
        let no_state = Bytes::from_static(NO_STATE.as_bytes());
        if seen.ids > 0 {
            if let Some(id) = id
                && store.put_if_absent(&id, no_state, SPENT_TTL).await?
            {
                self.count_late(state, &id, &seen.account).await?;
            }
            return Ok(false);
        }
        let used =
            StateUse { ids: 1, first_id: id_hash.clone(), account: seen.account.clone() }.encode();
        let Some(id) = id else { return store.replace_if(&key, value, used, EXPECTED_TTL).await };
        // Before the `state`, so that a retry after an outage is still expected.
        let bound_to = if is_own { Bytes::from(state.to_owned()) } else { no_state.clone() };
        let is_new = store.put_if_absent(&id, bound_to.clone(), SPENT_TTL).await?;
        let is_allowed = (is_new || store.get(&id).await? == Some(bound_to.clone()))
            && !self.is_blocked(&seen.account).await?;
        if store.replace_if(&key, value, used, EXPECTED_TTL).await? {
            return Ok(is_allowed);
        }
        // Another request has used the `state` at the same time.
        let winner = store.get(&key).await?.and_then(|value| StateUse::decode(&value));
        if is_new && winner.is_none_or(|winner| winner.first_id != id_hash) {
            if is_own {
                store.replace_if(&id, bound_to, no_state, SPENT_TTL).await?;
            }
            self.count_late(state, &id, &seen.account).await?;
        }
        Ok(false)
    }

    /// Counts an ID that has arrived with a `state` that another ID has used, possibly by an attacker
    /// who wants to use this one with another `state`. It is bound to none before, so that a store that
    /// fails in between leaves nothing to use. The account is blocked if too many IDs arrive: the
    /// attacker may have sent the others. Those are not stored.
    async fn count_late(
        &self,
        state: &str,
        id: &StoreKey,
        account: &str,
    ) -> Result<(), StoreError> {
        let (store, key) = (self.sessions().store(), self.callback_key(state));
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
        if store.update(&key, EXPECTED_TTL, MAX_TRIES, count).await? == Some(true) {
            return Ok(());
        }
        store.put(&self.callback_key(account), BLOCKED, SPENT_TTL).await?;
        store.remove_if(id, NO_STATE.into()).await.map(drop)
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
    /// The hash of the first one.
    first_id: Option<String>,
    /// The hash of the account that it was issued for.
    account: String,
}

impl StateUse {
    /// `ids account`, and the first ID
    fn encode(self) -> Bytes {
        let Self { ids, first_id, account } = self;
        match first_id {
            Some(id) => format!("{ids} {account} {id}").into(),
            None => format!("{ids} {account}").into(),
        }
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(value).ok()?.split(' ');
        Some(Self {
            ids: parts.next()?.parse().ok()?,
            account: parts.next()?.to_owned(),
            first_id: parts.next().map(str::to_owned),
        })
    }
}

fn hash<const N: usize>(parts: [&str; N]) -> String {
    URL_SAFE_NO_PAD.encode(hash_parts(parts))
}

fn unavailable(error: StoreError) -> ConnectAccountError {
    telemetry::internal_error("connect_account", &error);
    ConnectAccountError::Unavailable
}
