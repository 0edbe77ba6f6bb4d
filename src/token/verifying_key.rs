//! A public key of a key set, parsed once and tied to the algorithms it may be used with.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations,
    PublicKeyUse,
};

#[derive(Debug)]
pub(crate) struct VerifyingKey {
    pub(crate) id: Option<String>,
    algorithms: Vec<(Algorithm, ParsedPublicKey)>,
    withdrawn: AtomicBool,
}

impl VerifyingKey {
    /// The key of a JWK, for those of the `allowed` algorithms that it is good for; `None` when
    /// that is none of them.
    pub(crate) fn from_jwk(jwk: &Jwk, allowed: &[Algorithm]) -> Option<Self> {
        let algorithms: Vec<_> = allowed
            .iter()
            .filter(|algorithm| declares(&jwk.common, **algorithm))
            .filter_map(|&algorithm| Some((algorithm, parse(&jwk.algorithm, algorithm)?)))
            .collect();
        let usable = !algorithms.is_empty();
        let id = jwk.common.key_id.clone();
        usable.then(|| Self { id, algorithms, withdrawn: AtomicBool::new(false) })
    }

    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.iter().any(|(fit, _)| *fit == algorithm)
    }

    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let fitting = self.algorithms.iter().find(|(fit, _)| *fit == algorithm);
        fitting.is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }

    /// Whether both are the same public key under the same name and for the same use.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let material = |key: &Self| {
            let parts = key.algorithms.iter();
            parts.map(|(fit, key)| (*fit, key.as_ref().to_vec())).collect::<Vec<_>>()
        };
        self.id == other.id && material(self) == material(other)
    }

    /// Marks the key as gone from its set: what was verified with it must be verified anew.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }
}

/// J2: what the JWK says of itself must not speak against verifying with `algorithm`.
fn declares(common: &CommonParameters, algorithm: Algorithm) -> bool {
    common.key_algorithm.is_none_or(|declared| declared == KeyAlgorithm::from(algorithm))
        && common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|ops| ops.contains(&KeyOperations::Verify))
}

fn parse(parameters: &AlgorithmParameters, algorithm: Algorithm) -> Option<ParsedPublicKey> {
    match (parameters, algorithm) {
        (AlgorithmParameters::RSA(rsa), _) => {
            let components = PublicKeyComponents { n: decode(&rsa.n)?, e: decode(&rsa.e)? };
            is_sound(&components).then_some(())?;
            components.to_parsed_public_key(rsa_parameters(algorithm)?).ok()
        }
        (AlgorithmParameters::EllipticCurve(ec), Algorithm::ES256)
            if ec.curve == EllipticCurve::P256 =>
        {
            parse_point(&signature::ECDSA_P256_SHA256_FIXED, &ec.x, &ec.y, 32)
        }
        (AlgorithmParameters::EllipticCurve(ec), Algorithm::ES384)
            if ec.curve == EllipticCurve::P384 =>
        {
            parse_point(&signature::ECDSA_P384_SHA384_FIXED, &ec.x, &ec.y, 48)
        }
        (AlgorithmParameters::OctetKeyPair(okp), Algorithm::EdDSA)
            if okp.curve == EllipticCurve::Ed25519 =>
        {
            // Anything longer would be read as X.509.
            let x = decode(&okp.x).filter(|x| x.len() == 32)?;
            ParsedPublicKey::new(&signature::ED25519, x).ok()
        }
        _ => None,
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
    x: &str,
    y: &str,
    coordinate_bytes: usize,
) -> Option<ParsedPublicKey> {
    let (x, y) = (decode(x)?, decode(y)?);
    if x.len() != coordinate_bytes || y.len() != coordinate_bytes {
        return None;
    }
    const UNCOMPRESSED: &[u8] = &[4];
    ParsedPublicKey::new(algorithm, [UNCOMPRESSED, &x, &y].concat()).ok()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// J3: 2048 to 8192 bits, an odd public exponent above 1, and not one of the moduli of the ROCA
/// generator (CVE-2017-15361), which can be factored.
fn is_sound(key: &PublicKeyComponents<Vec<u8>>) -> bool {
    let bits = match key.n.first() {
        Some(&first) if first != 0 => key.n.len() * 8 - first.leading_zeros() as usize,
        _ => return false,
    };
    let exponent_is_odd = key.e.last().is_some_and(|last| last % 2 == 1);
    (2048..=8192).contains(&bits)
        && exponent_is_odd
        && key.e.as_slice() != [1]
        && key.e.len() <= 5
        && !is_roca_modulus(&key.n)
}

/// The ROCA generator made primes that are powers of 65537 modulo many small primes; so are their
/// products. A sound modulus passes all these tests with a chance below 2^-27.
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

    fn p256(extra: Value) -> Option<VerifyingKey> {
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
    fn j2_a_key_says_itself_what_it_is_for() {
        assert!(p256(json!({})).unwrap().fits(Algorithm::ES256));
        assert!(!p256(json!({})).unwrap().fits(Algorithm::RS256));
        assert!(p256(json!({"alg": "ES256", "use": "sig", "key_ops": ["verify"]})).is_some());
        for extra in [
            json!({"alg": "RS256"}),
            json!({"alg": "ES384"}),
            json!({"alg": "ECDH-ES"}),
            json!({"use": "enc"}),
            json!({"key_ops": ["sign"]}),
            json!({"key_ops": []}),
            json!({"crv": "P-384"}),
            json!({"x": "AAAA"}),
            json!({"y": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}),
        ] {
            assert!(p256(extra.clone()).is_none(), "{extra}");
        }
    }

    #[test]
    fn j2_each_coordinate_of_a_point_has_its_full_length() {
        let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
        let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
        let point = [x, y].map(|coordinate| URL_SAFE_NO_PAD.decode(coordinate).unwrap()).concat();
        for length in [0, 31, 32, 33, 64] {
            let (x, y) = point.split_at(length);
            let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
            assert_eq!(p256(json!({"x": x, "y": y})).is_some(), length == 32, "{length}");
        }
    }

    #[test]
    fn j2_an_ed25519_key_is_its_32_bytes_and_not_another_encoding_of_them() {
        let key = TestKey::ed25519();
        let usable = |x: &[u8]| {
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(x)});
            let jwk: Jwk = serde_json::from_value(jwk).unwrap();
            VerifyingKey::from_jwk(&jwk, &[Algorithm::EdDSA]).is_some()
        };
        let der = key.public_key_der();
        let raw = der.split_at(der.len() - 32).1;
        assert!(usable(raw) && !usable(&der) && !usable(&raw[1..]));
    }

    #[test]
    fn j3_weak_rsa_keys_are_unusable() {
        let sound = |n: Vec<u8>, e: &[u8]| is_sound(&PublicKeyComponents { n, e: e.to_vec() });
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
