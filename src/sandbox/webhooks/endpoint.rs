//! Where messages go, and the handle to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::webhook_endpoint::Secret;
use crate::secret::SecretString;

/// A webhook endpoint of a sandbox. Made by
/// [`Webhooks::add_endpoint`](crate::sandbox::Webhooks::add_endpoint).
///
/// Dropping it changes nothing; [`remove`](Self::remove) does.
#[derive(Clone)]
pub struct WebhookEndpoint {
    environment: Arc<Environment>,
    id: String,
}

impl WebhookEndpoint {
    pub(crate) fn new(environment: Arc<Environment>, id: String) -> Self {
        Self { environment, id }
    }

    /// Which of the endpoints it is, in [`Delivery::endpoint_id`](crate::sandbox::Delivery::endpoint_id).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes the endpoint away. Messages that were not delivered to it yet never will be.
    pub fn remove(&self) {
        self.environment.lock().webhooks.remove_endpoint(&self.id);
    }

    /// Makes a new secret, gives it, and signs with it alone from now on.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes for the secret.
    pub fn rotate_secret(&self) -> SecretString {
        self.rotate_secret_keeping_old(Duration::ZERO)
    }

    /// Makes a new secret, gives it, and signs with both for so long, by the sandbox's clock.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes for the secret.
    pub fn rotate_secret_keeping_old(&self, period: Duration) -> SecretString {
        let fresh = Secret::generate();
        let text = fresh.text();
        let now = self.environment.now();
        let until = time::Duration::try_from(period).unwrap_or(time::Duration::MAX);
        if let Some(endpoint) = self.environment.lock().webhooks.endpoint_mut(&self.id) {
            endpoint.rotate(fresh, now.saturating_add(until));
        }
        text
    }

    /// What its signatures are checked with: `whsec_` and base64.
    ///
    /// It is empty once the endpoint was removed.
    #[must_use]
    pub fn secret(&self) -> SecretString {
        let mut state = self.environment.lock();
        let endpoint = state.webhooks.endpoint_mut(&self.id);
        endpoint.map_or_else(|| SecretString::from(""), |endpoint| endpoint.secret())
    }
}

impl fmt::Debug for WebhookEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookEndpoint").field("id", &self.id).finish_non_exhaustive()
    }
}
