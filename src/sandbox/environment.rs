//! The environment shared by all handles, clients and servers of a sandbox.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use crate::clock::ManualClock;
use crate::sandbox::state::State;
use crate::sandbox::state::ids::random_token;
use crate::secret::SecretString;

/// Immutable settings and the mutable state.
pub(crate) struct Environment {
    pub(crate) client_id: String,
    pub(crate) client_secret: SecretString,
    pub(crate) clock: ManualClock,
    pub(crate) settings: Settings,
    state: Mutex<State>,
}

impl Environment {
    pub(crate) fn new(clock: ManualClock, settings: Settings, state: State) -> Self {
        Self {
            client_id: "skc_58327482062864390".to_owned(),
            client_secret: SecretString::from(format!("test_{}", random_token())),
            clock,
            settings,
            state: Mutex::new(state),
        }
    }

    /// Locks the state at the current time: never across an await, a signature or a caller's
    /// closure.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = self.now();
        state
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.clock.clock().now()
    }
}

// Manual impl: the state is full of codes, tokens and cookies.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// The builder's settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) access_token_lifetime: Duration,
    pub(crate) loopback_redirects: bool,
    /// Whether users only sign in through connections, with the tokens of Modular SSO.
    pub(crate) modular_sso: bool,
    pub(crate) refresh_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access_token_lifetime: Duration::from_secs(300),
            loopback_redirects: true,
            modular_sso: false,
            refresh_grace: Duration::from_secs(30),
        }
    }
}
