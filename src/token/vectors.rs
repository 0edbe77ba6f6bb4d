//! Published examples and attacks, with their counts: Wycheproof, RFC 7515, RFC 7520.
//!
//! A vector marked invalid must be rejected. A vector marked valid must be accepted, unless it
//! requires something that this crate rejects by design; then it must be rejected, and is counted
//! under that reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::jws::CompactJws;
use super::key_set::KeySet;
use super::{Algorithm, TokenError};
use crate::util::base64url::is_base64url;

const SYMMETRIC: &str = "symmetric";
const KEY_FOR_ANOTHER_ALGORITHM: &str = "key for another algorithm";
const NOT_BASE64URL: &str = "not base64url";
const P521: &str = "P-521";
const JSON_SERIALIZATION: &str = "JSON serialization";
const UNENCODED_PAYLOAD: &str = "unencoded payload (RFC 7797)";

struct Vector {
    name: String,
    key_set: Value,
    token: String,
    valid: bool,
}

impl Vector {
    fn new(name: String, key: &Value, token: &Value, valid: bool) -> Self {
        let key_set = if key.get("keys").is_some() { key.clone() } else { json!({"keys": [key]}) };
        let token = token.as_str().map_or_else(|| token.to_string(), str::to_owned);
        Self { name, key_set, token, valid }
    }

    fn verify(&self) -> Result<(), TokenError> {
        let keys = KeySet::parse(self.key_set.to_string().as_bytes(), &Algorithm::ALL).unwrap();
        keys.verify(&CompactJws::parse(&self.token)?).map(drop)
    }

    /// Rules by which a token with a valid signature is rejected.
    fn why_rejected_by_design(&self) -> Option<&'static str> {
        if self.token.starts_with('{') {
            return Some(JSON_SERIALIZATION);
        }
        let header = self.token.split('.').next().and_then(decode_object);
        if header.as_ref().is_some_and(|header| header["b64"] == false) {
            return Some(UNENCODED_PAYLOAD);
        }
        // Wycheproof lets decoders skip characters in an unsigned encoding; this crate does not.
        if !self.token.split('.').all(|segment| segment.bytes().all(is_base64url)) {
            return Some(NOT_BASE64URL);
        }
        let header = header?;
        match header["alg"].as_str()? {
            "HS256" | "HS384" | "HS512" => return Some(SYMMETRIC),
            // jsonwebtoken has no type for larger curves than P-384.
            "ES512" => return Some(P521),
            _ => {}
        }
        // Wycheproof's key of RFC 7520's PS384 example is declared for PS256.
        let keys = self.key_set["keys"].as_array()?;
        let key = keys.iter().find(|key| key.get("kid") == header.get("kid"))?;
        key.get("alg").filter(|alg| **alg != header["alg"]).map(|_| KEY_FOR_ANOTHER_ALGORITHM)
    }
}

fn decode_object(segment: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).ok()?).ok().filter(Value::is_object)
}

#[derive(Debug, Default, PartialEq)]
struct Counts {
    accepted: usize,
    /// Counts by error code, which shows that each vector failed the check it was written for.
    invalid: BTreeMap<&'static str, usize>,
    rejected_by_design: BTreeMap<&'static str, usize>,
}

impl Counts {
    fn of(vectors: impl IntoIterator<Item = Vector>) -> Self {
        let mut counts = Self::default();
        let mut wrong = Vec::new();
        for vector in vectors {
            match (vector.valid, vector.verify(), vector.why_rejected_by_design()) {
                (true, Ok(()), None) => counts.accepted += 1,
                (true, Err(_), Some(reason)) => {
                    *counts.rejected_by_design.entry(reason).or_default() += 1;
                }
                (false, Err(error), _) => *counts.invalid.entry(error.name()).or_default() += 1,
                (_, outcome, reason) => {
                    wrong.push(format!("{}: {outcome:?}, {reason:?}", vector.name));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        counts
    }

    fn total(&self) -> usize {
        let rejected = self.invalid.values().chain(self.rejected_by_design.values());
        self.accepted + rejected.sum::<usize>()
    }
}

fn read(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The signature tests of a Wycheproof file whose groups' comments start with `prefix`.
fn wycheproof(file: &str, prefix: &str) -> Vec<Vector> {
    let mut vectors = Vec::new();
    for group in read(&format!("wycheproof/{file}"))["testGroups"].as_array().unwrap() {
        let comment = group["comment"].as_str().unwrap();
        if !comment.starts_with(prefix) {
            continue;
        }
        let key = group.get("public").unwrap_or(&group["private"]);
        for test in group["tests"].as_array().unwrap() {
            let name = format!("{} {comment} {}", test["tcId"], test["comment"]);
            let valid = match test["result"].as_str() {
                Some("valid") => true,
                Some("invalid") => false,
                other => panic!("{name}: {other:?}"),
            };
            vectors.push(Vector::new(name, key, &test["jws"], valid));
        }
    }
    vectors
}

#[test]
fn wycheproof_json_web_signature() {
    let counts = Counts::of(wycheproof("json_web_signature_test.json", ""));
    let expected = Counts {
        accepted: 32,
        invalid: BTreeMap::from([
            ("invalid_algorithm", 28),
            ("malformed", 26),
            ("invalid_signature", 295),
            ("no_matching_key", 6),
        ]),
        rejected_by_design: BTreeMap::from([
            (KEY_FOR_ANOTHER_ALGORITHM, 2),
            (NOT_BASE64URL, 2),
            (P521, 2),
            (SYMMETRIC, 8),
        ]),
    };
    assert_eq!(counts, expected);
    assert_eq!(counts.total(), 401);
}

#[test]
fn wycheproof_json_web_crypto() {
    let counts = Counts::of(wycheproof("json_web_crypto_test.json", "jws_"));
    let expected = Counts {
        accepted: 2,
        invalid: BTreeMap::from([
            ("invalid_algorithm", 9),
            ("malformed", 24),
            ("invalid_signature", 9),
            ("no_matching_key", 3),
        ]),
        rejected_by_design: BTreeMap::from([(SYMMETRIC, 2)]),
    };
    assert_eq!(counts, expected);
    assert_eq!(counts.total(), 49);
}

#[test]
fn wycheproof_json_web_key() {
    let counts = Counts::of(wycheproof("json_web_key_test.json", ""));
    let expected = Counts {
        accepted: 1,
        // Unusable keys are not in the set; HMAC and ES512 are unknown.
        invalid: BTreeMap::from([("invalid_algorithm", 11), ("no_matching_key", 10)]),
        rejected_by_design: BTreeMap::from([(SYMMETRIC, 4)]),
    };
    assert_eq!(counts, expected);
    assert_eq!(counts.total(), 26);
}

#[test]
fn rfc_7515_appendix_a() {
    let file = read("rfc7515/appendix-a.json");
    let tests = file["tests"].as_array().unwrap();
    let counts = Counts::of(tests.iter().map(|test| {
        let name = test["id"].as_str().unwrap().to_owned();
        Vector::new(name, &test["jwk"], &test["jws"], test["result"] == "valid")
    }));
    let expected = Counts {
        accepted: 2,
        invalid: BTreeMap::from([("invalid_algorithm", 1)]),
        rejected_by_design: BTreeMap::from([(SYMMETRIC, 1), (P521, 1)]),
    };
    assert_eq!(counts, expected);
    assert_eq!(counts.total(), 5);
}

/// Every serialization of every RFC 7520 example that has a signature.
#[test]
fn rfc_7520_signatures() {
    let mut vectors = Vec::new();
    for name in [
        "jws/4_1.rsa_v15_signature",
        "jws/4_2.rsa-pss_signature",
        "jws/4_3.ecdsa_signature",
        "jws/4_4.hmac-sha2_integrity_protection",
        "jws/4_5.signature_with_detached_content",
        "jws/4_6.protecting_specific_header_fields",
        "jws/4_7.protecting_content_only",
        "jws/4_8.multiple_signatures",
        "curve25519/jws",
        "rfc7797/4.2.hmac-sha2_b64_false",
        "rfc7797/hmac-sha2_b64_false",
    ] {
        let example = read(&format!("rfc7520/{name}.json"));
        let key = match &example["input"]["key"] {
            Value::Array(keys) => json!({"keys": keys}),
            key => key.clone(),
        };
        for (serialization, token) in example["output"].as_object().unwrap() {
            vectors.push(Vector::new(format!("{name} {serialization}"), &key, token, true));
        }
    }
    let counts = Counts::of(vectors);
    let expected = Counts {
        accepted: 3,
        invalid: BTreeMap::new(),
        rejected_by_design: BTreeMap::from([
            (JSON_SERIALIZATION, 21),
            (P521, 1),
            (SYMMETRIC, 2),
            (UNENCODED_PAYLOAD, 1),
        ]),
    };
    assert_eq!(counts, expected);
    assert_eq!(counts.total(), 28);
}

/// Which keys of RFC 7520 section 3 and RFC 8037 are usable, and for which algorithms.
#[test]
fn rfc_7520_keys() {
    const RSA: &[Algorithm] = &[
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ];
    for (file, pointer, expected) in [
        ("jwk/3_1.ec_public_key", "", &[][..]),
        ("jwk/3_2.ec_private_key", "", &[]),
        ("jwk/3_3.rsa_public_key", "", RSA),
        ("jwk/3_4.rsa_private_key", "", RSA),
        ("jwk/3_5.symmetric_key_mac_computation", "", &[]),
        ("jwk/3_6.symmetric_key_encryption", "", &[]),
        ("curve25519/jws", "/input/key", &[Algorithm::EdDSA]),
        ("curve25519/ecdh-es", "/input/key", &[]),
    ] {
        let file_json = read(&format!("rfc7520/{file}.json"));
        let set = json!({"keys": [file_json.pointer(pointer).unwrap()]}).to_string();
        let mut usable = Algorithm::ALL.to_vec();
        usable.retain(|algorithm| KeySet::parse(set.as_bytes(), &[*algorithm]).unwrap().len() == 1);
        assert_eq!(usable, expected, "{file}");
    }
}
