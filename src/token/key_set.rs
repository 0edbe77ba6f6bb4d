//! The usable keys of a JWK set (RFC 7517 section 5).

use std::sync::Arc;

use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde_json::Value;

use super::jws::{CompactJws, JoseHeader};
use super::verifying_key::{UnusableKey, VerifyingKey};
use super::{Algorithm, TokenError};
use crate::util::telemetry;

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
    /// Parses a key set. Keys that cannot be used with an `allowed` algorithm are skipped.
    pub(crate) fn parse(json: &[u8], allowed: &[Algorithm]) -> Result<Self, serde_json::Error> {
        let set: JwkSet = serde_json::from_slice(json)?;
        let mut keys: Vec<Arc<VerifyingKey>> = Vec::new();
        for jwk in set.keys.iter().take(MAX_KEYS) {
            match Jwk::deserialize(jwk)
                .map_err(|_| UnusableKey::Malformed)
                .and_then(|jwk| VerifyingKey::from_jwk(&jwk, allowed))
            {
                Ok(key) if keys.iter().any(|known| known.is_same(&key)) => {}
                Ok(key) => keys.push(Arc::new(key)),
                Err(reason) => {
                    telemetry::key_skipped(jwk.get("kid"), reason, reason.has_another_purpose());
                }
            }
        }
        Ok(Self { keys })
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Keeps the keys of `old` that are unchanged and marks the others as removed, so that cached
    /// verifications are valid exactly as long as their key is in the set.
    pub(crate) fn replacing(mut self, old: &Self) -> Self {
        for key in &mut self.keys {
            if let Some(same) = old.keys.iter().find(|known| known.is_same(key)) {
                *key = Arc::clone(same);
            }
        }
        for known in &old.keys {
            if !self.keys.iter().any(|key| Arc::ptr_eq(key, known)) {
                known.mark_removed();
            }
        }
        self
    }

    /// Verifies the signature and returns its key.
    pub(crate) fn verify(&self, jws: &CompactJws<'_>) -> Result<&Arc<VerifyingKey>, TokenError> {
        let key = self.find(&jws.header)?;
        if !key.verify(jws.header.algorithm, jws.signing_input, &jws.signature) {
            return Err(TokenError::InvalidSignature);
        }
        Ok(key)
    }

    /// The key with this `kid`; without a `kid`, the only matching key. Two different matching keys
    /// are ambiguous and rejected; the same key under two names is one.
    fn find(&self, header: &JoseHeader) -> Result<&Arc<VerifyingKey>, TokenError> {
        let mut named =
            self.keys.iter().filter(|key| header.key_id.is_none() || key.id == header.key_id);
        let mut fitting = named.clone().filter(|key| key.fits(header.algorithm));
        match fitting.next() {
            Some(key) if fitting.all(|other| key.is_same_for(other, header.algorithm)) => Ok(key),
            None if header.key_id.is_some() && named.next().is_some() => {
                Err(TokenError::InvalidAlgorithm)
            }
            _ => Err(TokenError::NoMatchingKey),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    const OTHER_X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
    const OTHER_Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";

    fn set(keys: Value) -> KeySet {
        let json = serde_json::to_vec(&json!({"keys": keys, "other": 1})).unwrap();
        KeySet::parse(&json, &[Algorithm::ES256]).unwrap()
    }

    fn key(id: &str) -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": id})
    }

    #[test]
    fn unusable_keys_are_skipped() {
        let keys = json!([
            key("good"), {"kty": "oct", "k": "AAAA"}, {"kty": "AKP"}, 7, {},
        ]);
        assert_eq!(set(keys).len(), 1);
        assert!(KeySet::parse(b"<html>", &[Algorithm::ES256]).is_err());
        assert!(KeySet::parse(b"{}", &[Algorithm::ES256]).is_err());
    }

    #[test]
    fn ambiguous_keys_are_rejected() {
        let mut nameless = key("");
        nameless.as_object_mut().unwrap().remove("kid");
        let mut other = key("twice");
        (other["x"], other["y"]) = (OTHER_X.into(), OTHER_Y.into());
        let keys = set(json!([key("once"), key("twice"), other, nameless]));
        let find = |kid: Option<&str>| {
            let header = JoseHeader {
                algorithm: Algorithm::ES256,
                key_id: kid.map(str::to_owned),
                typ: None,
            };
            keys.find(&header).map(|key| key.id.clone())
        };
        assert_eq!(find(Some("once")), Ok(Some("once".to_owned())));
        assert_eq!(find(Some("twice")), Err(TokenError::NoMatchingKey));
        assert_eq!(find(None), Err(TokenError::NoMatchingKey));
    }

    #[test]
    fn unchanged_keys_are_kept_and_others_are_marked_as_removed() {
        let old = set(json!([key("stays"), key("goes")]));
        let [stays, goes] = [0, 1].map(|index| Arc::clone(&old.keys[index]));
        let new = set(json!([key("comes"), key("stays")])).replacing(&old);
        assert!(Arc::ptr_eq(&new.keys[1], &stays));
        assert!(!stays.is_removed() && goes.is_removed());
    }
}
