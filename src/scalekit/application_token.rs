//! The application's access token for the environment's API, cached until it expires.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::Scalekit;
use crate::secret::SecretString;
use crate::util::single_flight::SingleFlight;

/// A token is replaced this long before it expires, so that it outlives its request.
const MARGIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct ApplicationToken {
    pub(crate) access_token: SecretString,
    /// Monotonic time.
    pub(crate) expires_at: Duration,
}

/// Why there is no token: returned to all waiting callers.
#[derive(Clone, Debug)]
pub(crate) enum MissingToken {
    /// The environment rejected the credentials, with this error code.
    Rejected {
        code: String,
    },
    Unavailable(Arc<dyn StdError + Send + Sync>),
    UnexpectedResponse(&'static str),
}

/// The token of a [`Scalekit`] handle and its clones.
#[derive(Debug)]
pub(super) struct TokenSlot {
    current: ArcSwapOption<ApplicationToken>,
    flights: SingleFlight<(), Result<Arc<ApplicationToken>, MissingToken>>,
}

impl TokenSlot {
    pub(super) fn empty() -> Self {
        Self { current: ArcSwapOption::empty(), flights: SingleFlight::new() }
    }

    fn usable(
        &self,
        rejected: Option<&SecretString>,
        now: Duration,
    ) -> Option<Arc<ApplicationToken>> {
        self.current.load_full().filter(|token| {
            now < token.expires_at.saturating_sub(MARGIN) && rejected != Some(&token.access_token)
        })
    }
}

impl Scalekit {
    /// The cached token, or a new one from `fetch`, which runs once for concurrent callers.
    /// `rejected` is a token that the API rejected.
    pub(crate) async fn application_token<F>(
        &self,
        rejected: Option<&SecretString>,
        fetch: impl FnOnce(Self) -> F + Send,
    ) -> Result<Arc<ApplicationToken>, MissingToken>
    where
        F: Future<Output = Result<ApplicationToken, MissingToken>> + Send + 'static,
    {
        let slot = &self.environment.application_token;
        if let Some(token) = slot.usable(rejected, self.clock().monotonic()) {
            return Ok(token);
        }
        let flight = slot.flights.join((), || {
            let (scalekit, rejected) = (self.clone(), rejected.cloned());
            let fetched = fetch(self.clone());
            async move {
                let slot = &scalekit.environment.application_token;
                // Another caller's fetch may have ended since the check above.
                if let Some(token) = slot.usable(rejected.as_ref(), scalekit.clock().monotonic()) {
                    return Ok(token);
                }
                let token = Arc::new(fetched.await?);
                slot.current.store(Some(Arc::clone(&token)));
                Ok(token)
            }
        });
        flight.await.unwrap_or_else(|| {
            let interrupted = io::Error::other("the token request was interrupted");
            Err(MissingToken::Unavailable(Arc::new(interrupted)))
        })
    }

    /// Makes the next call fetch a new token, unless it has been replaced already.
    pub(crate) fn forget_application_token(&self, rejected: &Arc<ApplicationToken>) {
        self.environment
            .application_token
            .current
            .compare_and_swap(&Some(Arc::clone(rejected)), None);
    }
}
