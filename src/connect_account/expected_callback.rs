//! Callbacks that attempts expect, in the shared store. Each one can be used once, in any browser:
//! a callback that arrives in the wrong browser or without a session is used up, so that its
//! address cannot be used later.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::{ConnectAccount, ConnectAccountError};
use crate::shared_store::{KeyNamespace, StoreError, StoreKey};
use crate::util::hash::hash_parts;
use crate::util::telemetry;

/// Longer than the link of an attempt can be used, so that a late callback is used up too.
const EXPECTED_TTL: Duration = Duration::from_secs(60 * 60);
/// Longer than the environment waits for the verification of a user.
const SPENT_TTL: Duration = Duration::from_secs(24 * 60 * 60);
const EXPECTED: Bytes = Bytes::from_static(b"expected");
const SPENT: Bytes = Bytes::from_static(b"spent");

impl ConnectAccount {
    /// Records that a callback with this `state` is expected.
    pub(super) async fn expect_callback(&self, state: &str) -> Result<(), ConnectAccountError> {
        let key = self.callback_key("state", state);
        self.sessions().store().put(&key, EXPECTED, EXPECTED_TTL).await.map_err(unavailable)
    }

    /// Uses up a callback: its `state`, and the environment's ID of the consent, which must not be
    /// used with another `state`.
    ///
    /// # Errors
    /// [`ConnectAccountError::StateMismatch`] if either was used before or is not expected.
    pub(super) async fn consume_callback(
        &self,
        state: &str,
        auth_request_id: Option<&str>,
    ) -> Result<(), ConnectAccountError> {
        let (store, key) = (self.sessions().store(), self.callback_key("state", state));
        let mut is_first_use = store.remove_if(&key, EXPECTED).await.map_err(unavailable)?;
        if is_first_use && let Some(id) = auth_request_id {
            let key = self.callback_key("request", id);
            is_first_use =
                store.put_if_absent(&key, SPENT, SPENT_TTL).await.map_err(unavailable)?;
        }
        match is_first_use {
            true => Ok(()),
            false => Err(ConnectAccountError::StateMismatch),
        }
    }

    /// Allows a callback to be used again, because the environment did not respond.
    pub(super) async fn restore_callback(&self, state: &str, auth_request_id: &str) {
        let key = self.callback_key("request", auth_request_id);
        if self.sessions().store().remove_if(&key, SPENT).await.map_err(unavailable) == Ok(true) {
            let _ = self.expect_callback(state).await;
        }
    }

    fn callback_key(&self, kind: &str, text: &str) -> StoreKey {
        let hash = URL_SAFE_NO_PAD.encode(hash_parts([kind, text]));
        self.sessions().store_key(KeyNamespace::ConnectCallback, &hash)
    }
}

fn unavailable(error: StoreError) -> ConnectAccountError {
    telemetry::internal_error("connect_account", &error);
    ConnectAccountError::Unavailable
}
