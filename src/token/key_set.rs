//! The usable keys of a JWK set (RFC 7517 section 5).

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde_json::Value;

use super::TokenError;
use super::jws::{CompactJws, Header};
use super::verifying_key::VerifyingKey;

const MAX_KEYS: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Arc<VerifyingKey>>,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set. Keys that cannot be used with an `allowed` algorithm are left out (J4), and so
    /// are two that share a name: which one is meant could not be told.
    pub(crate) fn parse(json: &[u8], allowed: &[Algorithm]) -> Result<Self, serde_json::Error> {
        let set: JwkSet = serde_json::from_slice(json)?;
        let keys: Vec<_> = set
            .keys
            .into_iter()
            .take(MAX_KEYS)
            .filter_map(|jwk| serde_json::from_value::<Jwk>(jwk).ok())
            .filter_map(|jwk| VerifyingKey::from_jwk(&jwk, allowed))
            .map(Arc::new)
            .collect();
        let is_ambiguous = |key: &Arc<VerifyingKey>| {
            key.id.is_some() && keys.iter().filter(|other| other.id == key.id).count() > 1
        };
        Ok(Self { keys: keys.iter().filter(|key| !is_ambiguous(key)).cloned().collect() })
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Keeps the very keys of `old` that are still there and withdraws those that are not, so that
    /// what was verified before stays known exactly as long as its key stands.
    pub(crate) fn succeed(mut self, old: &Self) -> Self {
        for key in &mut self.keys {
            if let Some(same) = old.keys.iter().find(|known| known.is_same(key)) {
                *key = Arc::clone(same);
            }
        }
        for known in &old.keys {
            if !self.keys.iter().any(|key| Arc::ptr_eq(key, known)) {
                known.withdraw();
            }
        }
        self
    }

    /// Checks the signature and returns the key that made it.
    pub(crate) fn verify(&self, jws: &CompactJws<'_>) -> Result<&Arc<VerifyingKey>, TokenError> {
        let key = self.find(&jws.header)?;
        if !key.verify(jws.header.algorithm, jws.signed, &jws.signature) {
            return Err(TokenError::Signature);
        }
        Ok(key)
    }

    /// J6: the key that `kid` names; without a `kid`, the only key that fits.
    fn find(&self, header: &Header) -> Result<&Arc<VerifyingKey>, TokenError> {
        let Some(id) = &header.key_id else {
            let mut fitting = self.keys.iter().filter(|key| key.fits(header.algorithm));
            let key = fitting.next().ok_or(TokenError::UnknownKey)?;
            return if fitting.next().is_none() { Ok(key) } else { Err(TokenError::UnknownKey) };
        };
        let named = self.keys.iter().find(|key| key.id.as_ref() == Some(id));
        let key = named.ok_or(TokenError::UnknownKey)?;
        if key.fits(header.algorithm) { Ok(key) } else { Err(TokenError::Algorithm) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    fn set(keys: Value) -> KeySet {
        let json = serde_json::to_vec(&json!({"keys": keys, "other": 1})).unwrap();
        KeySet::parse(&json, &[Algorithm::ES256]).unwrap()
    }

    fn key(id: &str) -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": id})
    }

    #[test]
    fn j4_unusable_keys_are_skipped_and_ambiguous_names_dropped() {
        let keys = json!([
            key("good"), {"kty": "oct", "k": "AAAA"}, {"kty": "AKP"}, 7, {}, key("twice"), key("twice"),
        ]);
        assert_eq!(set(keys).len(), 1);
        assert!(KeySet::parse(b"<html>", &[Algorithm::ES256]).is_err());
        assert!(KeySet::parse(b"{}", &[Algorithm::ES256]).is_err());
    }

    #[test]
    fn a_key_that_stays_is_the_same_key_and_one_that_goes_is_withdrawn() {
        let old = set(json!([key("stays"), key("goes")]));
        let [stays, goes] = [0, 1].map(|index| Arc::clone(&old.keys[index]));
        let new = set(json!([key("comes"), key("stays")])).succeed(&old);
        assert!(Arc::ptr_eq(&new.keys[1], &stays));
        assert!(!stays.is_withdrawn() && goes.is_withdrawn());
    }
}
