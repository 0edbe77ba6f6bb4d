//! Webhook endpoints and their handle.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::webhook_endpoint::Secret;
use crate::secret::SecretString;

/// A webhook endpoint of a sandbox. Returned by
/// [`Webhooks::add_endpoint`](crate::sandbox::Webhooks::add_endpoint).
///
/// Dropping it does not remove the endpoint; [`remove`](Self::remove) does.
#[derive(Clone)]
pub struct WebhookEndpoint {
    environment: Arc<Environment>,
    id: String,
}

impl WebhookEndpoint {
    pub(crate) fn new(environment: Arc<Environment>, id: String) -> Self {
        Self { environment, id }
    }

    /// The endpoint's number, in [`Delivery::endpoint_id`](crate::sandbox::Delivery::endpoint_id).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Removes the endpoint. Pending messages to it are never delivered.
    pub fn remove(&self) {
        self.environment.lock().webhooks.remove_endpoint(&self.id);
    }

    /// Replaces the secret and returns the new one. The old one also signs for this time, by the
    /// sandbox's clock.
    ///
    /// # Panics
    ///
    /// When the operating system provides no random bytes for the secret.
    pub fn rotate_secret(&self, keep_old: Duration) -> SecretString {
        let fresh = Secret::generate();
        let text = fresh.text();
        let now = self.environment.now();
        let until = time::Duration::try_from(keep_old).unwrap_or(time::Duration::MAX);
        if let Some(endpoint) = self.environment.lock().webhooks.endpoint_mut(&self.id) {
            endpoint.rotate(fresh, now.saturating_add(until));
        }
        text
    }

    /// The current secret: `whsec_` and base64.
    ///
    /// Empty if the endpoint was removed.
    #[must_use]
    pub fn secret(&self) -> SecretString {
        let mut state = self.environment.lock();
        state
            .webhooks
            .endpoint_mut(&self.id)
            .map_or_else(|| SecretString::from(""), |endpoint| endpoint.secret())
    }
}

impl fmt::Debug for WebhookEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookEndpoint").field("id", &self.id).finish_non_exhaustive()
    }
}
