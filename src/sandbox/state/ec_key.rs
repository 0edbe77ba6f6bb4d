//! Keys on P-256.

use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::sandbox::respond::members;
use crate::sandbox::state::digest::sha256;
use crate::sandbox::state::ids::surely;

/// A key that signs with ES256.
#[derive(Debug)]
pub(crate) struct EcKey {
    pair: EcdsaKeyPair,
}

impl EcKey {
    pub(crate) fn generate() -> Self {
        Self { pair: surely(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)) }
    }

    /// The second key of every environment of the process.
    pub(crate) fn of_environments() -> &'static Self {
        static KEY: OnceLock<EcKey> = OnceLock::new();
        KEY.get_or_init(Self::generate)
    }

    pub(crate) fn sign(&self, input: &[u8]) -> Vec<u8> {
        surely(self.pair.sign(&SystemRandom::new(), input)).as_ref().to_vec()
    }

    pub(crate) fn public_jwk(&self) -> Value {
        let (x, y) = self.coordinates();
        json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
    }

    /// The public key as an environment publishes it.
    pub(crate) fn signing_jwk(&self) -> Value {
        let mut jwk = members(self.public_jwk());
        jwk.extend(members(json!({
            "kid": self.thumbprint(), "alg": "ES256", "use": "sig",
        })));
        jwk.into()
    }

    pub(crate) fn thumbprint(&self) -> String {
        let (x, y) = self.coordinates();
        thumbprint(&x, &y)
    }

    fn coordinates(&self) -> (String, String) {
        // An uncompressed point: the byte 4, and two coordinates of 32 bytes.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).and_then(|both| both.split_at_checked(32)).unwrap_or_default();
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }
}

/// RFC 7638: the members of a key on P-256 in alphabetical order, without white space, hashed.
pub(crate) fn thumbprint(x: &str, y: &str) -> String {
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(sha256(members.as_bytes()))
}
