//! Nonces of this server (RFC 9449, section 9): derived from the time with a key, so that nothing is
//! stored, and all replicas with the key accept them. Nonces of previous keys are accepted, too.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;

use crate::session_secret::SessionSecret;

/// How long a nonce is the current one. The one before is accepted too, and the next one, of a replica
/// whose clock is ahead.
const PERIOD_SECONDS: i64 = 150;

pub(super) struct Nonces {
    current: Key,
    previous: Vec<Key>,
}

impl Nonces {
    pub(super) fn new<'s>(
        current: &SessionSecret,
        previous: impl IntoIterator<Item = &'s SessionSecret>,
    ) -> Self {
        Self { current: derive(current), previous: previous.into_iter().map(derive).collect() }
    }

    /// Accepts a nonce, and returns the current one if it is about to expire. The error is the current
    /// nonce.
    pub(super) fn check(
        &self,
        nonce: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<str>>, Arc<str>> {
        let nonce = nonce.unwrap_or_default();
        let period = now.unix_timestamp().div_euclid(PERIOD_SECONDS);
        if self.was_issued_in(nonce, period) || self.was_issued_in(nonce, period.saturating_add(1))
        {
            Ok(None)
        } else if self.was_issued_in(nonce, period.saturating_sub(1)) {
            Ok(Some(nonce_of(&self.current, period).into()))
        } else {
            Err(nonce_of(&self.current, period).into())
        }
    }

    /// Compares in constant time.
    fn was_issued_in(&self, nonce: &str, period: i64) -> bool {
        [&self.current].into_iter().chain(&self.previous).any(|key| {
            verify_slices_are_equal(nonce.as_bytes(), nonce_of(key, period).as_bytes()).is_ok()
        })
    }
}

/// The secret has other purposes, too.
fn derive(secret: &SessionSecret) -> Key {
    let key = sign(&Key::new(HMAC_SHA256, secret.bytes()), b"tower-scalekit dpop nonce");
    Key::new(HMAC_SHA256, key.as_ref())
}

fn nonce_of(key: &Key, period: i64) -> String {
    let tag = sign(key, &period.to_be_bytes());
    URL_SAFE_NO_PAD.encode(tag.as_ref().first_chunk::<16>().unwrap_or(&[0; 16]))
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds)
    }

    #[test]
    fn nonces_of_previous_secrets_are_accepted_and_renewed_with_the_current_one() {
        let [oldest, old, new] = [(); 3].map(|()| SessionSecret::generate().unwrap());
        let rotated = Nonces::new(&new, [&old, &oldest]);
        let current = rotated.check(None, at(PERIOD_SECONDS)).unwrap_err();
        for previous in [&old, &oldest] {
            let nonce = Nonces::new(previous, []).check(None, at(0)).unwrap_err();
            assert_eq!(rotated.check(Some(&nonce), at(0)), Ok(None));
            let renewed = rotated.check(Some(&nonce), at(PERIOD_SECONDS));
            assert_eq!(renewed, Ok(Some(current.clone())));
            assert!(rotated.check(Some(&nonce), at(2 * PERIOD_SECONDS)).is_err());
        }
        assert_eq!(Nonces::new(&new, []).check(Some(&current), at(PERIOD_SECONDS)), Ok(None));
    }

    #[test]
    fn a_nonce_is_accepted_for_two_periods_by_all_with_the_secret() {
        let secret = SessionSecret::generate().unwrap();
        let (one, two) = (Nonces::new(&secret, []), Nonces::new(&secret, []));
        let nonce = one.check(None, at(PERIOD_SECONDS)).unwrap_err();
        let check = |seconds| two.check(Some(&nonce), at(seconds));
        assert_eq!(check(PERIOD_SECONDS), Ok(None));
        assert_eq!(check(2 * PERIOD_SECONDS - 1), Ok(None));
        // Of a replica whose clock is ahead.
        assert_eq!(check(0), Ok(None));
        let next = check(2 * PERIOD_SECONDS).unwrap().unwrap();
        assert_ne!(next, nonce);
        assert_eq!(check(3 * PERIOD_SECONDS).unwrap_err().len(), 22);
        assert!(check(-1).is_err());

        let stranger = Nonces::new(&SessionSecret::generate().unwrap(), []);
        assert!(stranger.check(Some(&nonce), at(PERIOD_SECONDS)).is_err());
        for nonce in ["", "x"] {
            assert!(one.check(Some(nonce), at(PERIOD_SECONDS)).is_err(), "{nonce}");
        }
    }
}
