use std::sync::Arc;
use std::time::Duration;

use super::nonces::Nonces;
use super::replays::Replays;
use super::urls::PublicUrl;
use super::{Dpop, Inner};
use crate::error::{ConfigError, Problems};
use crate::session_secret::SessionSecret;
use crate::shared_store::{SharedStore, StoreScope, TimedStore};
use crate::token::Algorithm;

const MAX_WINDOW: Duration = Duration::from_secs(5 * 60);
/// How much the clocks of replicas may differ, and how far a clock may be set back.
const CLOCK_MARGIN: Duration = Duration::from_secs(60);
/// More would be gigabytes of used proofs.
const MAX_CAPACITY: usize = 50_000_000;

/// Builds a [`Dpop`].
#[must_use]
pub struct DpopBuilder {
    urls: Vec<String>,
    algorithms: Vec<Algorithm>,
    is_required: bool,
    window: Duration,
    nonce_secret: Option<SessionSecret>,
    previous_secrets: Vec<SessionSecret>,
    replay_capacity: usize,
    store: Option<TimedStore>,
}

impl DpopBuilder {
    pub(super) fn new(public_url: String) -> Self {
        Self {
            urls: vec![public_url],
            algorithms: vec![Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA],
            is_required: false,
            window: Duration::from_secs(60),
            nonce_secret: None,
            previous_secrets: Vec::new(),
            replay_capacity: 1_000_000,
            store: None,
        }
    }

    /// Accepts proofs for another public URL of this app, such as a second host name.
    pub fn additional_url(mut self, public_url: impl Into<String>) -> Self {
        self.urls.push(public_url.into());
        self
    }

    /// Sets the accepted signature algorithms of proofs. Default: ES256, ES384 and EdDSA. Clients learn
    /// them from challenges and from the metadata of a resource. RSA keys of a client have up to 8192
    /// bits: verifying with one takes several times as long.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Rejects bearer tokens. Default: tokens that are not bound to a key are accepted as bearer tokens.
    pub fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Sets how far `iat` of a proof may be from this server's clock, in either direction. Default:
    /// 60 s, at most 5 minutes.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Requires a nonce of this server in each proof (RFC 9449, section 9), so that proofs cannot be
    /// made in advance. Default: not required.
    ///
    /// A request without a current one gets 401 `use_dpop_nonce` with the header `DPoP-Nonce`, and
    /// clients repeat it. Nonces are derived from the secret and the time, so all replicas with one
    /// secret accept them, for 150 to 300 seconds. A response to an older nonce has the next one.
    pub fn require_nonce(mut self, secret: &SessionSecret) -> Self {
        self.nonce_secret = Some(secret.clone());
        self
    }

    /// Adds a secret that was used for nonces before. Nonces that are derived from it are accepted and
    /// renewed with the current secret. Can be called several times. Default: none. Requires
    /// [`require_nonce`](Self::require_nonce). Before a rotation, add the new secret here on every
    /// replica: a replica rejects nonces of a secret that it does not have, and clients repeat the
    /// request only once. See [how to rotate secrets](crate::guides::secret_rotation).
    pub fn previous_secret(mut self, secret: &SessionSecret) -> Self {
        self.previous_secrets.push(secret.clone());
        self
    }

    /// Sets how many used proofs are remembered in this process. Default: a million, at about 50 bytes
    /// each; at most 50 million.
    ///
    /// A proof is remembered for at least twice the [window](Self::window) and a minute, at most for twice
    /// as long as that. Only proofs of valid tokens are remembered. At most a quarter of them are of one
    /// subject, so that a client cannot exclude the others. Beyond that, requests get 503 until older
    /// proofs are forgotten.
    pub fn replay_capacity(mut self, proofs: usize) -> Self {
        self.replay_capacity = proofs;
        self
    }

    /// Sets the store that all replicas of this app share. Each request with a proof writes to it once.
    /// Default: a replica accepts a proof that another one has accepted before, within the window. The
    /// clocks of replicas may differ by a minute.
    ///
    /// Layers around one another that share a store must have clones of one [`Dpop`]: the inner one would
    /// otherwise find the proof used.
    ///
    /// While the store is unavailable or full, these requests get 503.
    pub fn shared_store(mut self, store: impl SharedStore) -> Self {
        self.store = Some(TimedStore::new(store));
        self
    }

    /// Validates the settings.
    ///
    /// # Errors
    /// Returned when settings are invalid. Lists all of them.
    pub fn build(self) -> Result<Dpop, ConfigError> {
        let mut problems = Problems::default();
        let urls: Vec<_> =
            self.urls.iter().filter_map(|url| problems.collect(PublicUrl::parse(url))).collect();
        if self.algorithms.is_empty() {
            problems.invalid("algorithms", "set one or more");
        }
        if self.window.is_zero() || self.window > MAX_WINDOW {
            problems.invalid("window", "must be longer than zero, and at most 5 minutes");
        }
        if self.replay_capacity == 0 || self.replay_capacity > MAX_CAPACITY {
            problems.invalid("replay_capacity", "must be between 1 and 50 million");
        }
        if self.nonce_secret.is_none() && !self.previous_secrets.is_empty() {
            problems.missing("require_nonce");
        }
        let algorithm_names: Vec<_> =
            self.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        let inner = Inner {
            urls,
            algorithm_names: algorithm_names.join(" ").into(),
            algorithms: self.algorithms,
            is_required: self.is_required,
            window: time::Duration::try_from(self.window).unwrap_or(time::Duration::ZERO),
            nonces: self.nonce_secret.map(|secret| Nonces::new(&secret, &self.previous_secrets)),
            // From the earliest `iat` that is accepted to the latest time at which it is.
            replays: Replays::new(
                self.replay_capacity,
                self.window.saturating_mul(2).saturating_add(CLOCK_MARGIN),
                // Replicas share the scope even if their URLs differ, as during a deployment.
                self.store.map(|store| (store, StoreScope::new(["dpop"]))),
            ),
        };
        problems.finish(Some(Dpop { inner: Arc::new(inner) }))
    }
}

impl std::fmt::Debug for DpopBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DpopBuilder")
            .field("urls", &self.urls)
            .field("algorithms", &self.algorithms)
            .field("is_required", &self.is_required)
            .field("window", &self.window)
            .field("requires_nonce", &self.nonce_secret.is_some())
            .field("replay_capacity", &self.replay_capacity)
            .field("shares_replays", &self.store.is_some())
            .finish()
    }
}
