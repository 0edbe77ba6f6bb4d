//! What webhooks tell of accounts, for those who wait.

use std::fmt;
use std::sync::Arc;

use tokio::sync::broadcast;

use super::AccountKey;
use crate::webhook::{ConnectedAccount, WebhookEvent};

/// So many events may pass before who waits has looked; who misses some looks in any case.
const CAPACITY: usize = 64;

/// Takes the `connected_account.*` webhooks to those who wait for an account in this process. Cheap
/// to clone; clones tell each other.
///
/// An event only makes them look earlier: what counts is what the API says then. No one depends on
/// it, so it does not matter which of several replicas a webhook reaches.
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
pub struct AccountEvents(broadcast::Sender<Arc<ConnectedAccount>>);

impl AccountEvents {
    /// For a webhook's handler and whoever waits.
    #[must_use]
    pub fn new() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }

    /// Takes in a webhook, and says whether it is about a connected account.
    pub fn apply(&self, event: &WebhookEvent) -> bool {
        let Some(account) = event.payload().connected_account() else { return false };
        // No one may be waiting, which is fine.
        let _ = self.0.send(Arc::new(account.clone()));
        true
    }

    pub(super) fn listen(&self) -> SignedPayload {
        SignedPayload(Some(self.0.subscribe()))
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

/// The events since a user began to listen.
pub(super) struct SignedPayload(Option<broadcast::Receiver<Arc<ConnectedAccount>>>);

impl SignedPayload {
    pub(super) fn nothing() -> Self {
        Self(None)
    }

    /// Leaves out what was told until now.
    pub(super) fn forget(&mut self) {
        self.0 = self.0.take().map(|events| events.resubscribe());
    }

    /// Resolves when there was an event about this account. One that is lost among too many about
    /// others would only have hastened the next look.
    pub(super) async fn about(&mut self, key: &AccountKey) {
        while let Some(events) = &mut self.0 {
            match events.recv().await {
                Ok(account) if key.may_be(&account) => return,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => self.0 = None,
            }
        }
        std::future::pending().await
    }
}
