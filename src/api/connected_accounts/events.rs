//! Webhook events of connected accounts, for tasks that wait for one.

use std::fmt;
use std::sync::Arc;

use tokio::sync::broadcast;

use super::AccountKey;
use crate::webhook::{ConnectedAccountData, WebhookEvent};

/// Capacity of the event channel. A waiting task that misses events polls anyway.
const CAPACITY: usize = 64;

/// Forwards the `connected_account.*` webhooks to tasks of this process that wait for an account.
/// Cheap to clone; clones share one channel.
///
/// An event only triggers an earlier request to the API, whose response decides. Events are
/// optional, so any replica may receive the webhook.
///
/// ```
/// use tower_scalekit::api::connected_accounts::AccountEvents;
/// use tower_scalekit::webhook::WebhookEvent;
///
/// let events = AccountEvents::new(); // accounts.wait_until_active(&key).events(&events).await
/// let body = br#"{"id":"evt_1","type":"connected_account.oauth_succeeded","data":{"id":"ca_1"}}"#;
/// assert!(events.apply(&WebhookEvent::parse(body)?));
/// # Ok::<(), tower_scalekit::webhook::EventError>(())
/// ```
#[derive(Clone)]
pub struct AccountEvents(broadcast::Sender<Arc<ConnectedAccountData>>);

impl AccountEvents {
    /// Creates a channel for a webhook handler and waiting tasks.
    #[must_use]
    pub fn new() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }

    /// Forwards a webhook event. Returns whether it is about a connected account.
    pub fn apply(&self, event: &WebhookEvent) -> bool {
        let Some(account) = event.payload().connected_account() else { return false };
        // It is fine if no task is waiting.
        let _ = self.0.send(Arc::new(account.clone()));
        true
    }

    pub(super) fn listen(&self) -> AccountUpdates {
        AccountUpdates(Some(self.0.subscribe()))
    }
}

impl Default for AccountEvents {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AccountEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountEvents").finish_non_exhaustive()
    }
}

/// The events since the subscription.
pub(super) struct AccountUpdates(Option<broadcast::Receiver<Arc<ConnectedAccountData>>>);

impl AccountUpdates {
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Skips the events received so far.
    pub(super) fn skip_received(&mut self) {
        self.0 = self.0.take().map(|events| events.resubscribe());
    }

    /// Resolves at the next event about this account. An event that is lost among too many others
    /// would only have triggered the next request earlier.
    pub(super) async fn next_for(&mut self, key: &AccountKey) {
        while let Some(events) = &mut self.0 {
            match events.recv().await {
                Ok(account) if key.may_match(&account) => return,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => self.0 = None,
            }
        }
        std::future::pending().await
    }
}
