//! Signing keys, and their public part at `/keys`.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::sandbox::state::digest::sha256;
use crate::sandbox::state::ec_key::EcKey;
use crate::sandbox::state::ids::surely;

/// An RSA key that signs tokens with RS256.
#[derive(Debug)]
pub(crate) struct SigningKey {
    pair: KeyPair,
    kid: String,
    modulus: String,
    exponent: String,
}

impl SigningKey {
    /// The first key of every sandbox of the process: creating one takes a tenth of a second, too
    /// long for each test of a suite.
    pub(crate) fn first() -> Arc<Self> {
        static FIRST: OnceLock<Arc<SigningKey>> = OnceLock::new();
        Arc::clone(FIRST.get_or_init(|| Arc::new(Self::generate())))
    }

    /// A key that is never published.
    pub(crate) fn unpublished() -> Arc<Self> {
        static UNPUBLISHED: OnceLock<Arc<SigningKey>> = OnceLock::new();
        Arc::clone(UNPUBLISHED.get_or_init(|| Arc::new(Self::generate())))
    }

    pub(crate) fn generate() -> Self {
        let pair = surely(KeyPair::generate(KeySize::Rsa2048));
        let (modulus, exponent) =
            surely(rsa_public_key(pair.public_key().as_ref()).ok_or(aws_lc_rs::error::Unspecified));
        let [modulus, exponent] = [modulus, exponent].map(|part| URL_SAFE_NO_PAD.encode(part));
        Self { kid: thumbprint(&modulus, &exponent), pair, modulus, exponent }
    }

    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256: the same input gives the same signature.
    pub(crate) fn sign(&self, input: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        surely(self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature));
        signature
    }

    /// The public key as PEM, which a verifier that trusts `alg` would use as HMAC secret.
    pub(crate) fn public_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = surely(self.pair.public_key().as_der());
        let base64 = STANDARD.encode(der.as_ref());
        let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    fn jwk(&self) -> Value {
        json!({
            "use": "sig",
            "kty": "RSA",
            "kid": self.kid,
            "alg": "RS256",
            "n": self.modulus,
            "e": self.exponent,
        })
    }
}

/// The keys of one environment.
#[derive(Debug)]
pub(crate) struct KeyRing {
    current: Arc<SigningKey>,
    /// Newest last; contains the current key.
    published: Vec<Arc<SigningKey>>,
    pub(crate) publishes_es256: bool,
}

impl KeyRing {
    pub(crate) fn new(first: Arc<SigningKey>) -> Self {
        Self { published: vec![Arc::clone(&first)], current: first, publishes_es256: false }
    }

    pub(crate) fn current(&self) -> &Arc<SigningKey> {
        &self.current
    }

    pub(crate) fn rotate(&mut self, fresh: SigningKey) {
        self.current = Arc::new(fresh);
        self.published.push(Arc::clone(&self.current));
    }

    pub(crate) fn replace(&mut self, fresh: SigningKey) {
        let kid = self.current.kid.clone();
        self.published.retain(|key| key.kid != kid);
        self.rotate(SigningKey { kid, ..fresh });
    }

    pub(crate) fn drop_old(&mut self) {
        self.published.retain(|key| key.kid == self.current.kid);
    }

    pub(crate) fn find(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.published.iter().find(|key| key.kid == kid).cloned()
    }

    pub(crate) fn jwks(&self) -> Value {
        let mut keys: Vec<_> = self.published.iter().map(|key| key.jwk()).collect();
        if self.publishes_es256 {
            keys.push(EcKey::of_environments().signing_jwk());
        }
        json!({ "keys": keys })
    }
}

/// RFC 7638: the members of the key in alphabetical order, without white space, hashed.
fn thumbprint(modulus: &str, exponent: &str) -> String {
    let members = format!(r#"{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}"#);
    URL_SAFE_NO_PAD.encode(sha256(members.as_bytes()))
}

/// Modulus and exponent from `RSAPublicKey ::= SEQUENCE { INTEGER, INTEGER }` (RFC 8017, A.1.1).
fn rsa_public_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = der_element(der, 0x30)?;
    let (modulus, rest) = der_element(sequence, 0x02)?;
    let (exponent, _) = der_element(rest, 0x02)?;
    // A leading zero only keeps the number positive; a JWK omits it.
    Some((modulus.strip_prefix(&[0]).unwrap_or(modulus), exponent))
}

/// The content of the first element and the rest.
fn der_element(input: &[u8], expected_tag: u8) -> Option<(&[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    if tag == expected_tag { rest.split_at_checked(length) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_key_is_the_one_that_signs() {
        let key = SigningKey::first();
        let jwk = key.jwk();
        assert_eq!((jwk["e"].as_str(), jwk["alg"].as_str()), (Some("AQAB"), Some("RS256")));
        let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
        assert_eq!(n.len(), 256);
        let public = aws_lc_rs::signature::RsaPublicKeyComponents { n, e: vec![1, 0, 1] };
        let scheme = &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
        public.verify(scheme, b"input", &key.sign(b"input")).unwrap();
        assert!(key.public_pem().starts_with("-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkq"));
    }

    #[test]
    fn the_kid_is_the_thumbprint_of_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6\
                 tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v\
                 -65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08q\
                 NLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8aw\
                 apJzKnqDKgw";
        assert_eq!(thumbprint(n, "AQAB"), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn rotation_publishes_both_until_the_old_one_is_dropped() {
        let mut ring = KeyRing::new(SigningKey::first());
        let old = ring.current().kid().to_owned();
        ring.rotate(SigningKey::generate());
        assert_ne!(ring.current().kid(), old);
        assert_eq!(ring.jwks()["keys"].as_array().unwrap().len(), 2);
        ring.drop_old();
        assert!(ring.find(&old).is_none());
        assert_eq!(ring.jwks()["keys"].as_array().unwrap().len(), 1);

        let (kid, modulus) = (ring.current().kid().to_owned(), ring.current().modulus.clone());
        ring.replace(SigningKey::generate());
        assert_eq!(ring.current().kid(), kid);
        assert_ne!(ring.current().modulus, modulus);
        assert_eq!(ring.jwks()["keys"].as_array().unwrap().len(), 1);
    }
}
