//! Controls of signing keys.

use std::sync::Arc;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::keys::SigningKey;

/// Signing keys. Returned by [`Sandbox::keys`](crate::sandbox::Sandbox::keys).
///
/// ```
/// use tower_scalekit::sandbox::Sandbox;
///
/// let sandbox = Sandbox::new();
/// sandbox.keys().rotate();
/// sandbox.keys().remove_old();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Keys<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl Keys<'_> {
    /// Signs with a new key from now on; the old one stays published at `/keys`.
    pub fn rotate(&self) {
        let key = SigningKey::generate();
        self.environment.lock().keys.rotate(key);
    }

    /// Signs with a new key from now on that replaces the old one under the same `kid`. No
    /// environment should do so, and a verifier must recover from it.
    pub fn rotate_keeping_kid(&self) {
        let key = SigningKey::generate();
        self.environment.lock().keys.replace(key);
    }

    /// Publishes another key at `/keys`, for ES256. Tokens are still signed with RS256, except with
    /// [`TokenFault::SignedWithEs256`](crate::sandbox::TokenFault::SignedWithEs256).
    pub fn publish_es256(&self) {
        self.environment.lock().keys.publishes_es256 = true;
    }

    /// Removes all former keys from `/keys`.
    pub fn remove_old(&self) {
        self.environment.lock().keys.drop_old();
    }
}
