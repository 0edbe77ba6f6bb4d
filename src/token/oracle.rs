//! Compares the verification with that of jsonwebtoken, a second implementation of the RFCs.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::testing::{
    AUDIENCE, ISSUER, JWKS_URI, KeyResponse, KeyServer, TestKey, access_claims, at_once,
};
use super::{Algorithm, TokenVerifier};

const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];

fn key_for(algorithm: Algorithm) -> &'static TestKey {
    match algorithm {
        Algorithm::ES256 => TestKey::p256(),
        Algorithm::EdDSA => TestKey::ed25519(),
        _ => TestKey::rsa(0),
    }
}

/// The same algorithm of the oracle.
fn of_oracle(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    algorithm.name().parse().unwrap()
}

fn encoding_key(algorithm: Algorithm) -> EncodingKey {
    let der = key_for(algorithm).pkcs8();
    match algorithm {
        Algorithm::ES256 => EncodingKey::from_ec_der(&der),
        Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
        // It expects the PKCS #1 key, which begins after 26 bytes of PKCS #8.
        _ => EncodingKey::from_rsa_der(&der[26..]),
    }
}

/// A verifier with the keys of all [`ALGORITHMS`], each named after its algorithm, with the
/// system's clock: the oracle supports no other.
async fn verifier() -> TokenVerifier {
    let keys = ALGORITHMS.map(|algorithm| {
        let mut jwk = key_for(algorithm).bare_jwk();
        jwk["kid"] = json!(algorithm.name());
        jwk["alg"] = json!(algorithm.name());
        jwk
    });
    let server = KeyServer::new(KeyResponse::keys(keys));
    let verifier = TokenVerifier::for_issuer(ISSUER, JWKS_URI, server)
        .audience(AUDIENCE)
        .algorithms(ALGORITHMS)
        .build()
        .unwrap();
    verifier.verify(&sign(Algorithm::RS256, &current_claims())).await.unwrap();
    verifier
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

fn current_claims() -> Map<String, Value> {
    let (mut claims, now) = (access_claims(), now());
    for (name, time) in [("iat", now), ("nbf", now - 10), ("exp", now + 3600)] {
        claims.insert(name.to_owned(), time.into());
    }
    claims
}

/// A token created by the oracle.
fn sign(algorithm: Algorithm, claims: &Map<String, Value>) -> String {
    let header =
        Header { kid: Some(format!("{algorithm:?}")), ..Header::new(of_oracle(algorithm)) };
    encode(&header, claims, &encoding_key(algorithm)).unwrap()
}

fn oracle_accepts(algorithm: Algorithm, token: &str) -> bool {
    let jwk: Jwk = serde_json::from_value(key_for(algorithm).bare_jwk()).unwrap();
    let mut validation = Validation::new(of_oracle(algorithm));
    validation.leeway = 5;
    validation.validate_nbf = true;
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "aud", "iss"]);
    decode::<Value>(token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).is_ok()
}

/// Runs the same cases every time.
fn for_each<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
        .run(strategy, |value| {
            test(value);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn what_the_oracle_signs_is_accepted() {
    let verifier = verifier().await;
    for algorithm in ALGORITHMS {
        let token = sign(algorithm, &current_claims());
        assert!(oracle_accepts(algorithm, &token), "{algorithm:?}");
        assert_eq!(at_once(verifier.verify(&token)).unwrap().subject(), "usr_1", "{algorithm:?}");
    }
}

/// Changes of a token's text that keep its signature.
#[derive(Clone, Debug)]
enum Mutation {
    Delete(Index),
    Duplicate(Index),
    Flip(Index, u8),
    Insert(Index, char),
    Swap(Index, Index),
    Truncate(Index),
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        let index = any::<Index>;
        let character = select("AQgw_-9.=+/ \"\n{}\u{e9}".chars().collect::<Vec<_>>());
        prop_oneof![
            index().prop_map(Self::Delete),
            index().prop_map(Self::Duplicate),
            (index(), 0..7_u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            (index(), character).prop_map(|(at, new)| Self::Insert(at, new)),
            (index(), index()).prop_map(|(one, other)| Self::Swap(one, other)),
            index().prop_map(Self::Truncate),
        ]
    }

    fn apply(&self, token: &str) -> String {
        let mut text: Vec<char> = token.chars().collect();
        let length = text.len();
        match self {
            Self::Delete(at) => drop(text.remove(at.index(length))),
            Self::Duplicate(at) => text.insert(at.index(length), text[at.index(length)]),
            Self::Flip(at, bit) => {
                let old = &mut text[at.index(length)];
                *old = char::from_u32(u32::from(*old) ^ (1 << bit)).unwrap();
            }
            Self::Insert(at, new) => text.insert(at.index(length), *new),
            Self::Swap(one, other) => text.swap(one.index(length), other.index(length)),
            Self::Truncate(at) => text.truncate(at.index(length).max(1)),
        }
        text.into_iter().collect()
    }
}

#[tokio::test]
async fn a_token_that_was_changed_anywhere_is_rejected() {
    let verifier = verifier().await;
    let tokens = ALGORITHMS.map(|algorithm| sign(algorithm, &current_claims()));
    let mutations = prop::collection::vec(Mutation::any(), 1..3);
    for_each(4000, &(0..tokens.len(), mutations), |(number, mutations)| {
        let token = &tokens[number];
        let changed = mutations.iter().fold(token.clone(), |text, change| change.apply(&text));
        // A token with a new `kid` waits for a fetch, which never returns that key.
        let is_accepted =
            verifier.verify(&changed).now_or_never().is_some_and(|known| known.is_ok());
        assert_eq!(is_accepted, changed == *token, "{mutations:?}");
    });
}

/// Claims that are missing, of the wrong type, at the limit, or valid.
fn claim_changes() -> impl Strategy<Value = BTreeMap<&'static str, Option<Value>>> {
    let name = select(vec!["iss", "aud", "exp", "nbf", "iat", "sub", "client_id", "jti"]);
    let now = now();
    let times = [-100_000, -100, 100, 100_000].map(|offset| Some(json!(now + offset)));
    let fractions = [-100.5, 100.5].map(|offset| Some(json!(now as f64 + offset)));
    let texts = [ISSUER, AUDIENCE, "https://acme.test/", "other", ""].map(|text| {
        let claim = json!(text);
        [json!([claim, "other"]), json!([claim, 7]), json!([[claim]]), claim].map(Some)
    });
    let odd = ["null", "true", "0", "-1", "1e300", "18446744073709551615", "[]", "{}", "\"9e9\""]
        .map(|text| Some(serde_json::from_str(text).unwrap()));
    let values = [&[None][..], &times[..], &fractions, texts.as_flattened(), &odd].concat();
    prop::collection::btree_map(name, select(values), 0..4)
}

#[tokio::test]
async fn what_is_accepted_is_accepted_by_the_oracle_too() {
    let verifier = verifier().await;
    let outcomes = std::cell::RefCell::new(BTreeMap::<_, usize>::new());
    for_each(1000, &(select(ALGORITHMS.to_vec()), claim_changes()), |(algorithm, changes)| {
        let mut claims = current_claims();
        for (name, value) in &changes {
            match value {
                None => claims.remove(*name),
                Some(value) => claims.insert((*name).to_owned(), value.clone()),
            };
        }
        let token = sign(algorithm, &claims);
        let ours = at_once(verifier.verify(&token)).is_ok();
        // To the oracle a null claim has the wrong type; here it counts as absent.
        claims.retain(|_, value| !value.is_null());
        let theirs = oracle_accepts(algorithm, &sign(algorithm, &claims));
        assert!(theirs || !ours, "{changes:?}");
        *outcomes.borrow_mut().entry((ours, theirs)).or_default() += 1;
    });
    // Both results occur.
    let outcomes = outcomes.into_inner();
    assert!(outcomes[&(true, true)] > 100 && outcomes[&(false, false)] > 100, "{outcomes:?}");
}
