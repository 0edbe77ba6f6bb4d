//! A public key of a key set, parsed once and restricted to the algorithms it may be used with.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, Jwk,
    KeyAlgorithm, KeyOperations, PublicKeyUse,
};

use super::Algorithm;

/// Returned when a key of a key set cannot be used; of several reasons, the last one is the most
/// specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum UnusableKey {
    #[error("not a JWK of a known key type")]
    Malformed,
    #[error("declared for another use or algorithm (`use`, `key_ops`, `alg`)")]
    DeclaredUse,
    #[error("the key type or curve does not match an accepted algorithm")]
    KeyType,
    #[error("the key material is malformed")]
    Material,
    #[error("a weak RSA key")]
    Weak,
}

impl UnusableKey {
    /// Whether the key is for another use, which is not a problem of the key set.
    pub(crate) fn has_another_purpose(self) -> bool {
        matches!(self, Self::DeclaredUse | Self::KeyType)
    }
}

#[derive(Debug)]
pub(crate) struct VerifyingKey {
    pub(crate) id: Option<String>,
    algorithms: Vec<(Algorithm, ParsedPublicKey)>,
    removed: AtomicBool,
}

impl VerifyingKey {
    /// Parses the key of a JWK, for the `allowed` algorithms that it can be used with.
    pub(crate) fn from_jwk(jwk: &Jwk, allowed: &[Algorithm]) -> Result<Self, UnusableKey> {
        let mut algorithms = Vec::new();
        let mut reason = UnusableKey::DeclaredUse;
        for &algorithm in allowed.iter().filter(|&&algorithm| declares(&jwk.common, algorithm)) {
            match parse(&jwk.algorithm, algorithm) {
                Ok(key) => algorithms.push((algorithm, key)),
                Err(error) => reason = reason.max(error),
            }
        }
        if algorithms.is_empty() {
            return Err(reason);
        }
        Ok(Self { id: jwk.common.key_id.clone(), algorithms, removed: AtomicBool::new(false) })
    }

    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.for_algorithm(algorithm).is_some()
    }

    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.for_algorithm(algorithm).is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }

    /// Whether both are the same public key for this use, with any names.
    pub(crate) fn is_same_for(&self, other: &Self, algorithm: Algorithm) -> bool {
        self.uses().find(|(own, _)| *own == algorithm)
            == other.uses().find(|(own, _)| *own == algorithm)
    }

    /// Whether both are the same public key with the same name and uses.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.uses().eq(other.uses())
    }

    /// The algorithms that it can be used with, each with its public key.
    fn uses(&self) -> impl Iterator<Item = (Algorithm, &[u8])> {
        self.algorithms.iter().map(|(algorithm, key)| (*algorithm, key.as_ref()))
    }

    fn for_algorithm(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.algorithms.iter().find(|(fit, _)| *fit == algorithm).map(|(_, key)| key)
    }

    /// Marks the key as removed from its set: cached verifications become invalid.
    pub(crate) fn mark_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

/// `use`, `key_ops` and `alg` must allow verifying with `algorithm` (RFC 7517 section 4).
fn declares(common: &CommonParameters, algorithm: Algorithm) -> bool {
    common.key_algorithm.is_none_or(|declared| declared == KeyAlgorithm::from(algorithm))
        && common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|ops| ops.contains(&KeyOperations::Verify))
}

fn parse(
    parameters: &AlgorithmParameters,
    algorithm: Algorithm,
) -> Result<ParsedPublicKey, UnusableKey> {
    match (parameters, algorithm) {
        (AlgorithmParameters::RSA(rsa), _) => {
            let parameters = rsa_parameters(algorithm).ok_or(UnusableKey::KeyType)?;
            let components =
                PublicKeyComponents { n: decode_integer(&rsa.n)?, e: decode_integer(&rsa.e)? };
            if !is_strong(&components) {
                return Err(UnusableKey::Weak);
            }
            components.to_parsed_public_key(parameters).map_err(|_| UnusableKey::Material)
        }
        (AlgorithmParameters::EllipticCurve(ec), Algorithm::ES256)
            if ec.curve == EllipticCurve::P256 =>
        {
            parse_point(&signature::ECDSA_P256_SHA256_FIXED, 32, ec)
        }
        (AlgorithmParameters::EllipticCurve(ec), Algorithm::ES384)
            if ec.curve == EllipticCurve::P384 =>
        {
            parse_point(&signature::ECDSA_P384_SHA384_FIXED, 48, ec)
        }
        (AlgorithmParameters::OctetKeyPair(okp), Algorithm::EdDSA)
            if okp.curve == EllipticCurve::Ed25519 =>
        {
            // A longer key would be parsed as X.509.
            let x = decode(&okp.x).filter(|x| x.len() == 32).ok_or(UnusableKey::Material)?;
            ParsedPublicKey::new(&signature::ED25519, x).map_err(|_| UnusableKey::Material)
        }
        _ => Err(UnusableKey::KeyType),
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn parse_point(
    algorithm: &'static dyn VerificationAlgorithm,
    coordinate_bytes: usize,
    ec: &EllipticCurveKeyParameters,
) -> Result<ParsedPublicKey, UnusableKey> {
    const UNCOMPRESSED: u8 = 4;
    let mut point = vec![UNCOMPRESSED];
    for coordinate in [decode_integer(&ec.x)?, decode_integer(&ec.y)?] {
        let zeros = coordinate_bytes.checked_sub(coordinate.len()).ok_or(UnusableKey::Material)?;
        point.resize(point.len() + zeros, 0);
        point.extend(coordinate);
    }
    ParsedPublicKey::new(algorithm, point).map_err(|_| UnusableKey::Material)
}

/// The significant bytes of an integer: many issuers add the zero byte of a signed integer, or omit
/// the leading zero bytes of a coordinate (RFC 7518 sections 6.2.1.2 and 6.3.1.1).
fn decode_integer(text: &str) -> Result<Vec<u8>, UnusableKey> {
    let bytes = decode(text).ok_or(UnusableKey::Material)?;
    Ok(bytes.into_iter().skip_while(|&byte| byte == 0).collect())
}

/// Base64 of either alphabet, with or without padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Requires 2048 to 8192 bits, an odd public exponent above 1, and not one of the moduli of the
/// ROCA generator (CVE-2017-15361), which can be factored.
fn is_strong(key: &PublicKeyComponents<Vec<u8>>) -> bool {
    let bits = match key.n.first() {
        Some(&first) if first != 0 => key.n.len() * 8 - first.leading_zeros() as usize,
        _ => return false,
    };
    (2048..=8192).contains(&bits)
        && key.e.last().is_some_and(|last| last % 2 == 1)
        && key.e.as_slice() != [1]
        && key.e.len() <= 5
        && !is_roca_modulus(&key.n)
}

/// The ROCA generator creates primes that are powers of 65537 modulo many small primes; so are
/// their products. A sound modulus matches all of them with a probability below 2^-27.
fn is_roca_modulus(n: &[u8]) -> bool {
    const SMALL_PRIMES: [u32; 17] =
        [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    SMALL_PRIMES.iter().all(|&prime| {
        let residue = n.iter().fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % prime);
        let mut power = 1;
        (0..prime).any(|_| {
            power = power * (65537 % prime) % prime;
            power == residue
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::token::testing::TestKey;

    fn p256(extra: Value) -> Result<VerifyingKey, UnusableKey> {
        let mut jwk = json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        jwk.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let jwk: Jwk = serde_json::from_value(jwk).unwrap();
        VerifyingKey::from_jwk(&jwk, &[Algorithm::RS256, Algorithm::ES256])
    }

    #[test]
    fn use_key_ops_and_alg_restrict_a_key() {
        assert!(p256(json!({})).unwrap().fits(Algorithm::ES256));
        assert!(!p256(json!({})).unwrap().fits(Algorithm::RS256));
        assert!(p256(json!({"alg": "ES256", "use": "sig", "key_ops": ["verify"]})).is_ok());
        for (extra, reason) in [
            (json!({"alg": "RS256"}), UnusableKey::KeyType),
            (json!({"alg": "ES384"}), UnusableKey::DeclaredUse),
            (json!({"alg": "ECDH-ES"}), UnusableKey::DeclaredUse),
            (json!({"use": "enc"}), UnusableKey::DeclaredUse),
            (json!({"key_ops": ["sign"]}), UnusableKey::DeclaredUse),
            (json!({"key_ops": []}), UnusableKey::DeclaredUse),
            (json!({"crv": "P-384"}), UnusableKey::KeyType),
            (json!({"x": "AAAA"}), UnusableKey::Material),
            (json!({"y": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}), UnusableKey::Material),
        ] {
            assert_eq!(p256(extra.clone()).unwrap_err(), reason, "{extra}");
        }
    }

    #[test]
    fn each_coordinate_of_a_point_has_full_length() {
        let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
        let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
        let point = [x, y].map(|coordinate| URL_SAFE_NO_PAD.decode(coordinate).unwrap()).concat();
        for length in [0, 31, 32, 33, 64] {
            let (x, y) = point.split_at(length);
            let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
            assert_eq!(p256(json!({"x": x, "y": y})).is_ok(), length == 32, "{length}");
        }
    }

    #[test]
    fn leading_zero_bytes_of_a_coordinate_make_no_difference() {
        // 379 times the base point, whose x begins with a zero byte.
        let y = "u0yFo9jqKe-q-iRAaRLdhNWxTcMr9lbvbGvVil2UP5I";
        let key = |x: &str| p256(json!({"x": x, "y": y}));
        let exact = key("AFVDiUrz0A7X10Cr29dclrBod7eH219w7qeLkKjXwAo").unwrap();
        for x in [
            "VUOJSvPQDtfXQKvb11yWsGh3t4fbX3Dup4uQqNfACg",
            "AABVQ4lK89AO19dAq9vXXJawaHe3h9tfcO6ni5Co18AK",
            "AFVDiUrz0A7X10Cr29dclrBod7eH219w7qeLkKjXwAo=",
        ] {
            assert!(key(x).unwrap().is_same(&exact), "{x}");
        }
    }

    #[test]
    fn an_ed25519_key_is_32_bytes_without_another_encoding() {
        let key = TestKey::ed25519();
        let usable = |x: &[u8]| {
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(x)});
            let jwk: Jwk = serde_json::from_value(jwk).unwrap();
            VerifyingKey::from_jwk(&jwk, &[Algorithm::EdDSA]).is_ok()
        };
        let der = key.public_key_der();
        let raw = der.split_at(der.len() - 32).1;
        assert!(usable(raw) && !usable(&der) && !usable(&raw[1..]));
    }

    #[test]
    fn weak_rsa_keys_are_unusable() {
        let sound = |n: Vec<u8>, e: &[u8]| is_strong(&PublicKeyComponents { n, e: e.to_vec() });
        let modulus = |bytes: usize| [vec![0xc5; bytes - 1], vec![0x01]].concat();
        assert!(sound(modulus(256), &[1, 0, 1]));
        assert!(!sound(modulus(255), &[1, 0, 1]));
        assert!(!sound(modulus(1025), &[1, 0, 1]));
        assert!(!sound([vec![0], modulus(256)].concat(), &[1, 0, 1]));
        for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0, 0, 0, 1]] {
            assert!(!sound(modulus(256), exponent), "{exponent:?}");
        }
    }
}
