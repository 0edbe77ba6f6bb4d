//! The proofs of RFC 9449, and each rule of its section 4.3.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::proof::Expected;
use super::{DpopError, Proof};
use crate::token::Algorithm;
use crate::token::testing::{TestKey, changed, compact};

/// The access token, the proof and the thumbprint of the examples in sections 4.1, 6.1 and 7.1.
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const PROOF: &str = concat!(
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUk",
    "lDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUw",
    "Q2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaH",
    "R0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoi",
    "ZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimP",
    "PToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
);
const TOKEN_ENDPOINT_PROOF: &str = concat!(
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUk",
    "lDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUw",
    "Q2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Im",
    "h0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0z",
    "drj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg",
);
const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const URL: &str = "https://resource.example.org/protectedresource";
const ISSUED_AT: i64 = 1_562_262_618;
/// The hash of the token.
const ATH: &str = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo";

const ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];

fn verify(proof: &str) -> Result<Proof, DpopError> {
    verify_with(proof, |_| {})
}

fn verify_with(proof: &str, change: impl FnOnce(&mut Expected<'_>)) -> Result<Proof, DpopError> {
    let mut expected = Expected {
        algorithms: &ALGORITHMS,
        method: "GET",
        token: TOKEN.as_bytes(),
        now: OffsetDateTime::from_unix_timestamp(ISSUED_AT).unwrap(),
        window: time::Duration::minutes(1),
    };
    change(&mut expected);
    Proof::verify(proof.as_bytes(), &expected, |url| url == URL).map(|(proof, _)| proof)
}

/// A proof of this key; changes of `null` remove a member.
fn proof_of(key: &TestKey, header: Value, claims: Value) -> String {
    let own = json!({"typ": "dpop+jwt", "alg": key.algorithm().name(), "jwk": key.bare_jwk()});
    let valid = json!({"jti": "one", "htm": "GET", "htu": URL, "iat": ISSUED_AT, "ath": ATH});
    key.token_of(
        Value::from(changed(own, &header)).to_string(),
        Value::from(changed(valid, &claims)).to_string(),
    )
}

fn rejected(header: Value, claims: Value) -> DpopError {
    verify(&proof_of(TestKey::p256(), header, claims)).unwrap_err()
}

#[test]
fn the_example_of_the_rfc_is_accepted_and_is_of_its_key() {
    let proof = verify(PROOF).unwrap();
    assert!(proof.has_thumbprint(THUMBPRINT));
    assert!(!proof.has_thumbprint(ATH) && !proof.has_thumbprint(""));
}

#[test]
fn the_token_endpoints_example_is_for_another_request() {
    assert_eq!(verify(TOKEN_ENDPOINT_PROOF).unwrap_err(), DpopError::MethodMismatch);
    let as_post = |expected: &mut Expected<'_>| expected.method = "POST";
    assert_eq!(verify_with(TOKEN_ENDPOINT_PROOF, as_post).unwrap_err(), DpopError::UrlMismatch);
}

#[test]
fn keys_of_each_type_have_the_thumbprint_of_rfc_7638() {
    for key in [TestKey::p256(), TestKey::ed25519(), TestKey::rsa(0)] {
        let proof = proof_of(key, json!({}), json!({}));
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.bare_jwk()).unwrap();
        let thumbprint = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap();
        assert!(verify(&proof).unwrap().has_thumbprint(&thumbprint), "{thumbprint}");
    }
}

#[test]
fn the_header_must_be_that_of_a_proof() {
    for typ in [json!(null), json!("JWT"), json!("at+jwt"), json!("DPOP+JWT"), json!(7)] {
        assert_eq!(rejected(json!({"typ": typ}), json!({})), DpopError::Malformed, "{typ}");
    }
    for header in [json!({"crit": ["exp"]}), json!({"b64": false}), json!({"alg": null})] {
        assert_eq!(rejected(header.clone(), json!({})), DpopError::Malformed, "{header}");
    }
}

#[test]
fn the_algorithm_must_be_asymmetric_and_accepted() {
    for alg in ["none", "None", "HS256", "ES256K", "es256"] {
        assert_eq!(rejected(json!({"alg": alg}), json!({})), DpopError::InvalidAlgorithm, "{alg}");
    }
    let proof = proof_of(TestKey::p256(), json!({}), json!({}));
    let with_others = |expected: &mut Expected<'_>| expected.algorithms = &[Algorithm::EdDSA];
    assert_eq!(verify_with(&proof, with_others).unwrap_err(), DpopError::InvalidAlgorithm);
}

#[test]
fn the_key_must_be_public_and_fit_the_algorithm() {
    let jwk = |changes: Value| json!({"jwk": changed(TestKey::p256().bare_jwk(), &changes)});
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let header = jwk(json!({private: "AAAA"}));
        assert_eq!(rejected(header, json!({})), DpopError::InvalidKey, "{private}");
    }
    for header in [
        json!({"jwk": null}),
        json!({"jwk": "a key"}),
        json!({"jwk": {}}),
        json!({"jwk": TestKey::ed25519().bare_jwk()}),
        json!({"jwk": TestKey::rsa(0).bare_jwk()}),
        json!({"jwk": {"kty": "oct", "k": "AAAA"}}),
        json!({"jwk": null, "kid": "one"}),
        jwk(json!({"x": null})),
        jwk(json!({"x": "AAAA"})),
        jwk(json!({"x": "\"}"})),
        jwk(json!({"crv": "P-384"})),
        jwk(json!({"use": "enc"})),
        jwk(json!({"alg": "ES384"})),
        jwk(json!({"key_ops": ["sign"]})),
    ] {
        assert_eq!(rejected(header.clone(), json!({})), DpopError::InvalidKey, "{header}");
    }
    // As browsers export it.
    let exported = jwk(json!({"ext": true, "key_ops": ["verify"]}));
    assert!(verify(&proof_of(TestKey::p256(), exported, json!({}))).is_ok());
}

#[test]
fn the_signature_must_be_by_that_key() {
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": TestKey::p256().bare_jwk()});
    let payload = json!({"jti": "1", "htm": "GET", "htu": URL, "iat": ISSUED_AT, "ath": ATH});
    for signature in [vec![], vec![0; 64], TestKey::p256().sign(b"something else")] {
        let proof = compact(header.to_string(), payload.to_string(), |_| signature.clone());
        assert_eq!(verify(&proof).unwrap_err(), DpopError::InvalidSignature, "{signature:?}");
    }
    let (signed, signature) = PROOF.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let (_, other) = TOKEN_ENDPOINT_PROOF.split_once('.').unwrap();
    let (other, _) = other.split_once('.').unwrap();
    let mixed = format!("{header}.{other}.{signature}");
    assert_eq!(verify(&mixed).unwrap_err(), DpopError::InvalidSignature);
}

#[test]
fn what_is_no_token_is_malformed() {
    let oversized = proof_of(TestKey::p256(), json!({}), json!({"x": "x".repeat(8 * 1024)}));
    let padded = format!("{PROOF}=");
    let jwe = format!("{PROOF}.a.b");
    for proof in ["", ".", "..", "a.b.c", "\u{e9}", &oversized, &padded, &jwe, &PROOF[1..]] {
        assert_eq!(verify(proof).unwrap_err(), DpopError::Malformed, "{proof}");
    }
    let list = TestKey::p256().token_of(
        json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": TestKey::p256().bare_jwk()}).to_string(),
        "[]",
    );
    assert_eq!(verify(&list).unwrap_err(), DpopError::Malformed);
}

#[test]
fn each_claim_is_required_and_typed() {
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        for value in [json!(null), json!([]), json!({}), json!(true)] {
            let error = rejected(json!({}), json!({name: value}));
            assert_eq!(error, DpopError::InvalidClaim(name), "{name} {value}");
        }
    }
    assert_eq!(rejected(json!({}), json!({"jti": ""})), DpopError::InvalidClaim("jti"));
    assert_eq!(
        rejected(json!({}), json!({"iat": ISSUED_AT.to_string()})),
        DpopError::InvalidClaim("iat")
    );
}

#[test]
fn the_proof_is_for_this_method_url_and_token() {
    for method in ["POST", "get", "GET ", ""] {
        let error = rejected(json!({}), json!({"htm": method}));
        assert_eq!(error, DpopError::MethodMismatch, "{method}");
    }
    let error = rejected(json!({}), json!({"htu": "https://resource.example.org/"}));
    assert_eq!(error, DpopError::UrlMismatch);
    for hash in [THUMBPRINT, "", &format!("{ATH}=")] {
        let error = rejected(json!({}), json!({"ath": hash}));
        assert_eq!(error, DpopError::TokenMismatch, "{hash}");
    }
    let other_token = |expected: &mut Expected<'_>| expected.token = b"another";
    assert_eq!(verify_with(PROOF, other_token).unwrap_err(), DpopError::TokenMismatch);
}

#[test]
fn the_proof_was_issued_within_the_window() {
    let at = |seconds: i64| {
        verify_with(PROOF, |expected| {
            expected.now += time::Duration::seconds(seconds);
        })
    };
    for seconds in [-60, 0, 60] {
        assert!(at(seconds).is_ok(), "{seconds}");
    }
    for seconds in [-61, 61, 1_000_000] {
        assert_eq!(at(seconds).unwrap_err(), DpopError::OutsideWindow, "{seconds}");
    }
    for date in [json!(0), json!(253_402_300_799_i64)] {
        assert_eq!(rejected(json!({}), json!({"iat": date})), DpopError::OutsideWindow, "{date}");
    }
}
