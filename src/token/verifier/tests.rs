use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::error::ConfigProblem;
use crate::http_client::UnreachableClient;
use crate::token::testing::{
    AUDIENCE, ISSUER, JWKS_URI, KeyResponse, KeyServer, NOW, TestKey, access_claims_with,
    access_claims_without, at_once, manual_clock, settle,
};

pub(super) fn builder(
    server: &KeyServer,
    time: &ManualClock,
) -> TokenVerifierBuilder<ExternalIssuer> {
    TokenVerifier::for_issuer(ISSUER, JWKS_URI, server.clone()).clock(time.clock())
}

/// A verifier of tokens for [`AUDIENCE`] with key `k1`, which it has not fetched yet.
pub(super) fn set_up() -> (KeyServer, ManualClock, TokenVerifier) {
    let (server, time) = (KeyServer::serving_k1(), manual_clock());
    let verifier = builder(&server, &time).audience(AUDIENCE).build().unwrap();
    (server, time, verifier)
}

/// Verifies these claims with a valid signature.
async fn evaluate(verifier: &TokenVerifier, payload: String) -> Result<Principal, TokenError> {
    verifier.verify(&TestKey::rsa(0).token("k1", payload)).await
}

fn problems(builder: TokenVerifierBuilder<ExternalIssuer>) -> Vec<&'static str> {
    let setting = |problem: &ConfigProblem| match problem {
        ConfigProblem::Invalid { setting, .. } | ConfigProblem::Missing { setting } => *setting,
    };
    builder.build().map_or_else(|error| error.problems().iter().map(setting).collect(), |_| vec![])
}

#[test]
fn invalid_settings_are_build_errors() {
    let at =
        |url: &str| TokenVerifier::for_issuer(ISSUER, url, UnreachableClient).audience(AUDIENCE);
    let good = || at(JWKS_URI);
    let texts = "issuer, audience, client_id";
    for (builder, expected) in [
        (good(), &[][..]),
        (TokenVerifier::for_issuer(ISSUER, JWKS_URI, UnreachableClient), &["audience"]),
        (TokenVerifier::for_issuer(ISSUER, JWKS_URI, UnreachableClient).any_audience(), &[]),
        (good().any_audience().audience(""), &[texts]),
        (good().audience(""), &[texts]),
        (good().issuer(""), &[texts]),
        (good().client_id(""), &[texts]),
        (good().leeway(Duration::from_secs(60)), &[]),
        (good().leeway(Duration::from_millis(60_001)), &["leeway"]),
        (good().leeway(Duration::MAX), &["leeway"]),
        (good().not_before_leeway(Duration::from_secs(300)), &[]),
        (good().not_before_leeway(Duration::from_secs(301)), &["not_before_leeway"]),
        (good().algorithms([]), &["algorithms"]),
        (good().algorithms([Algorithm::ES256, Algorithm::EdDSA]), &[]),
        (good().cache_capacity(0), &[]),
        (at("http://acme.test/keys"), &["jwks_uri"]),
        (at("http://localhost.acme.test/keys"), &["jwks_uri"]),
        (at("ftp://acme.test/keys"), &["jwks_uri"]),
        (at("file:///etc/keys"), &["jwks_uri"]),
        (at("/keys"), &["jwks_uri"]),
        (at(""), &["jwks_uri"]),
        (at("http://127.0.0.1:8080/keys"), &[]),
        (at("http://[::1]/keys"), &[]),
        (at("http://localhost/keys"), &[]),
    ] {
        let shown = format!("{builder:?}");
        assert_eq!(problems(builder), expected, "{shown}");
    }
}

#[test]
fn all_invalid_settings_are_reported_at_once() {
    let builder = TokenVerifier::for_issuer("", "http://acme.test/keys", UnreachableClient)
        .leeway(Duration::from_secs(61))
        .algorithms([]);
    let texts = "issuer, audience, client_id";
    assert_eq!(problems(builder), ["audience", texts, "leeway", "algorithms", "jwks_uri"]);
}

#[tokio::test]
async fn each_claim_is_validated() {
    use TokenError::{
        Expired, InvalidAudience as Audience, InvalidClaim as Claim, InvalidIssuer as Issuer,
        NotYetValid,
    };
    let (_, _, verifier) = set_up();
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({"iss": "https://acme.test/"}), Err(Issuer)),
        (json!({"iss": "HTTPS://acme.test"}), Err(Issuer)),
        (json!({"iss": "https://acme.test:443"}), Err(Issuer)),
        (json!({"iss": "https://acme.tes"}), Err(Issuer)),
        (json!({"iss": ""}), Err(Issuer)),
        (json!({"iss": null}), Err(Issuer)),
        (json!({"iss": [ISSUER]}), Err(Claim("iss"))),
        (json!({"aud": AUDIENCE}), Ok(())),
        (json!({"aud": ["other", AUDIENCE]}), Ok(())),
        (json!({"aud": "other"}), Err(Audience)),
        (json!({"aud": "SKC_1"}), Err(Audience)),
        (json!({"aud": "skc_1 other"}), Err(Audience)),
        (json!({"aud": ["skc_1/", "skc_"]}), Err(Audience)),
        (json!({"aud": []}), Err(Audience)),
        (json!({"aud": null}), Err(Audience)),
        (json!({"aud": {"0": AUDIENCE}}), Err(Claim("aud"))),
        (json!({"aud": [AUDIENCE, null]}), Err(Claim("aud"))),
        (json!({"exp": NOW - 4}), Ok(())),
        (json!({"exp": NOW - 5}), Err(Expired)),
        (json!({"exp": (NOW as f64) - 4.5}), Ok(())),
        (json!({"exp": (NOW as f64) - 5.25}), Err(Expired)),
        (json!({"exp": 0}), Err(Expired)),
        (json!({"exp": 253_402_300_799_u64}), Ok(())),
        (json!({"exp": 253_402_300_800_u64}), Err(Claim("exp"))),
        (json!({"exp": u64::MAX}), Err(Claim("exp"))),
        (json!({"exp": 1e300}), Err(Claim("exp"))),
        (json!({"exp": -1}), Err(Claim("exp"))),
        (json!({"exp": i64::MIN}), Err(Claim("exp"))),
        (json!({"exp": null}), Err(Claim("exp"))),
        (json!({"exp": "9999999999"}), Err(Claim("exp"))),
        (json!({"exp": [NOW + 300]}), Err(Claim("exp"))),
        (json!({"exp": true}), Err(Claim("exp"))),
        (json!({"nbf": NOW + 60}), Ok(())),
        (json!({"nbf": NOW + 61}), Err(NotYetValid)),
        (json!({"nbf": (NOW as f64) + 60.25}), Err(NotYetValid)),
        (json!({"iat": NOW + 60}), Ok(())),
        (json!({"iat": NOW + 61}), Err(NotYetValid)),
        (json!({"nbf": NOW.to_string()}), Err(Claim("nbf"))),
        (json!({"nbf": -1}), Err(Claim("nbf"))),
        (json!({"nbf": 1e300}), Err(Claim("nbf"))),
        (json!({"iat": NOW + 1000}), Err(NotYetValid)),
        (json!({"iat": "today"}), Err(Claim("iat"))),
        (json!({"sub": 7}), Err(Claim("sub"))),
        (json!({"sub": ""}), Err(Claim("sub"))),
        (json!({"client_id": 7}), Err(Claim("client_id"))),
        (json!({"sid": {}}), Err(Claim("sid"))),
    ] {
        let outcome = evaluate(&verifier, access_claims_with(changes.clone())).await;
        assert_eq!(outcome.map(drop), expected, "{changes}");
    }
    for (name, expected) in [
        ("iss", Err(Issuer)),
        ("aud", Err(Audience)),
        ("exp", Err(Claim("exp"))),
        ("nbf", Ok(())),
        ("iat", Ok(())),
        ("jti", Ok(())),
        ("sub", Ok(())),
    ] {
        let outcome = evaluate(&verifier, access_claims_without(name)).await;
        assert_eq!(outcome.map(drop), expected, "without {name}");
    }
    // Not a valid JSON number.
    let endless = access_claims_with(json!({"exp": "HUGE"})).replace("\"HUGE\"", "1e999");
    let rejected = evaluate(&verifier, endless).await.unwrap_err();
    assert!(
        matches!(rejected, TokenError::Malformed | TokenError::InvalidClaim("exp")),
        "{rejected}"
    );
}

#[tokio::test]
async fn null_claims_count_as_absent() {
    let (_, _, verifier) = set_up();
    for name in [
        "nbf",
        "iat",
        "sub",
        "sid",
        "oid",
        "org_id",
        "azp",
        "jti",
        "scope",
        "roles",
        "nonce",
        "at_hash",
        "c_hash",
        "events",
        "typ",
        "token_use",
        "organization_id",
        "resource",
    ] {
        let accepted = evaluate(&verifier, access_claims_with(json!({name: null}))).await;
        assert_eq!(accepted.map(drop), Ok(()), "{name}");
    }
    for (name, error) in [
        ("iss", TokenError::InvalidIssuer),
        ("aud", TokenError::InvalidAudience),
        ("exp", TokenError::InvalidClaim("exp")),
    ] {
        let rejected = evaluate(&verifier, access_claims_with(json!({name: null}))).await;
        assert_eq!(rejected.unwrap_err(), error, "{name}");
    }
}

#[tokio::test]
async fn the_leeway_is_configurable() {
    for leeway in [0, 60] {
        let (server, time) = (KeyServer::serving_k1(), manual_clock());
        let builder = builder(&server, &time).audience(AUDIENCE);
        let of_both = Duration::from_secs(leeway);
        let verifier = builder.leeway(of_both).not_before_leeway(of_both).build().unwrap();
        let leeway = i64::try_from(leeway).unwrap();
        for (changes, expected) in [
            (json!({"exp": NOW - leeway + 1}), Ok(())),
            (json!({"exp": NOW - leeway}), Err(TokenError::Expired)),
            (json!({"nbf": NOW + leeway}), Ok(())),
            (json!({"nbf": NOW + leeway + 1}), Err(TokenError::NotYetValid)),
            (json!({"iat": NOW + leeway}), Ok(())),
            (json!({"iat": NOW + leeway + 1}), Err(TokenError::NotYetValid)),
        ] {
            let outcome = evaluate(&verifier, access_claims_with(changes.clone())).await;
            assert_eq!(outcome.map(drop), expected, "{leeway} {changes}");
        }
    }
}

#[tokio::test]
async fn tokens_of_other_types_are_rejected() {
    let (_, _, verifier) = set_up();
    for changes in [
        json!({"nonce": "n"}),
        json!({"at_hash": "x", "email": "jane@acme.test"}),
        json!({"c_hash": "x"}),
        json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
    ] {
        let error = evaluate(&verifier, access_claims_with(changes.clone())).await.unwrap_err();
        assert_eq!(error, TokenError::WrongTokenType, "{changes}");
    }
    let idp_login = json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 300,
        "organization_id": "org_1", "connection_id": "conn_1", "login_hint": "jane@acme.test",
    });
    assert_eq!(
        evaluate(&verifier, idp_login.to_string()).await.unwrap_err(),
        TokenError::WrongTokenType
    );
    for (typ, expected) in [
        (json!("at+jwt"), Ok(())),
        (json!("application/at+jwt"), Ok(())),
        (json!("At+Jwt"), Ok(())),
        (json!("jwt"), Ok(())),
        (json!("logout+jwt"), Err(TokenError::WrongTokenType)),
        (json!("secevent+jwt"), Err(TokenError::WrongTokenType)),
        (json!("dpop+jwt"), Err(TokenError::WrongTokenType)),
        (json!("JOSE"), Err(TokenError::WrongTokenType)),
        (json!(""), Err(TokenError::WrongTokenType)),
        (json!(7), Err(TokenError::Malformed)),
        (json!(null), Err(TokenError::Malformed)),
    ] {
        let header = json!({"alg": "RS256", "kid": "k1", "typ": typ}).to_string();
        let token = TestKey::rsa(0).token_of(header, access_claims_with(json!({})));
        assert_eq!(verifier.verify(&token).await.map(drop), expected, "{typ}");
    }
}

#[tokio::test]
async fn several_issuers_and_audiences_are_each_matched_exactly() {
    let (server, time) = (KeyServer::serving_k1(), manual_clock());
    let resource = "https://acme.test/resources/res_1";
    let builder = builder(&server, &time).issuer(resource).audience(AUDIENCE).audience(resource);
    let verifier = builder.build().unwrap();
    for (issuer, expected) in [
        (ISSUER, Ok(())),
        (resource, Ok(())),
        ("https://acme.test/resources/res_2", Err(TokenError::InvalidIssuer)),
        ("https://acme.test/resources/res_1/", Err(TokenError::InvalidIssuer)),
    ] {
        for audience in [AUDIENCE, resource] {
            let claims = access_claims_with(json!({"iss": issuer, "aud": audience}));
            assert_eq!(evaluate(&verifier, claims).await.map(drop), expected, "{issuer}");
        }
    }
}

#[tokio::test]
async fn any_audience_is_accepted_and_a_client_id_restricts_it() {
    let (server, time) = (KeyServer::serving_k1(), manual_clock());
    let any = builder(&server, &time).any_audience().build().unwrap();
    assert!(evaluate(&any, access_claims_without("aud")).await.is_ok());
    assert!(evaluate(&any, access_claims_with(json!({"aud": "other"}))).await.is_ok());
    let error = evaluate(&any, access_claims_with(json!({"aud": 7}))).await.unwrap_err();
    assert_eq!(error, TokenError::InvalidClaim("aud"));

    let builder = builder(&server, &time).any_audience();
    let one = builder.client_id("skc_1").client_id("skc_2").build().unwrap();
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({"client_id": "skc_2"}), Ok(())),
        (json!({"client_id": "skc_3"}), Err(TokenError::InvalidClaim("client_id"))),
        // `azp` is read only without a client_id.
        (json!({"client_id": "skc_3", "azp": "skc_1"}), Err(TokenError::InvalidClaim("client_id"))),
    ] {
        let outcome = evaluate(&one, access_claims_with(changes.clone())).await;
        assert_eq!(outcome.map(drop), expected, "{changes}");
    }
    let azp = |azp: Value| json!({"iss": ISSUER, "sub": "usr_1", "exp": NOW + 300, "azp": azp});
    assert!(evaluate(&one, azp(json!("skc_1")).to_string()).await.is_ok());
    let error = evaluate(&one, azp(json!("skc_3")).to_string()).await.unwrap_err();
    assert_eq!(error, TokenError::InvalidClaim("client_id"));
    let without = access_claims_without("client_id");
    let error = evaluate(&one, without).await.unwrap_err();
    assert_eq!(error, TokenError::InvalidClaim("client_id"));
}

#[tokio::test]
async fn other_algorithms_are_accepted_if_configured() {
    let keys = [("k1", TestKey::rsa(0)), ("k2", TestKey::p256()), ("k3", TestKey::ed25519())];
    let server = KeyServer::new(KeyResponse::keys(keys.map(|(kid, key)| key.jwk(kid))));
    let builder = || builder(&server, &manual_clock()).audience(AUDIENCE);
    let default = builder().build().unwrap();
    let modern = builder().algorithms([Algorithm::ES256, Algorithm::EdDSA]).build().unwrap();
    for (kid, key) in keys {
        let token = key.access_token(kid);
        let is_rsa = key.algorithm() == Algorithm::RS256;
        let expected = |good| if good { Ok(()) } else { Err(TokenError::InvalidAlgorithm) };
        assert_eq!(default.verify(&token).await.map(drop), expected(is_rsa), "{kid}");
        assert_eq!(modern.verify(&token).await.map(drop), expected(!is_rsa), "{kid}");
    }
}

/// Two principals are the same if their claims are at the same address.
fn is_same(one: &Principal, other: &Principal) -> bool {
    std::ptr::eq(one.raw_claims(), other.raw_claims())
}

#[tokio::test]
async fn a_verified_token_is_cached() {
    let (server, _, verifier) = set_up();
    let token = TestKey::rsa(0).access_token("k1");
    let first = verifier.verify(&token).await.unwrap();
    let again = at_once(verifier.clone().verify(&token)).unwrap();
    assert!(is_same(&first, &again));
    assert_eq!(server.count(), 1);
    // The same claims with another header are another token.
    let header = r#"{"kid":"k1","alg":"RS256"}"#;
    let other = TestKey::rsa(0).token_of(header, access_claims_with(json!({})));
    assert!(!is_same(&first, &at_once(verifier.verify(&other)).unwrap()));
}

#[tokio::test]
async fn a_cached_token_expires_like_any_other() {
    let (_, time, verifier) = set_up();
    let token = TestKey::rsa(0).access_token("k1");
    let first = verifier.verify(&token).await.unwrap();
    time.advance(Duration::from_millis(304_999));
    assert!(is_same(&first, &at_once(verifier.verify(&token)).unwrap()));
    time.advance(Duration::from_millis(1));
    assert_eq!(verifier.verify(&token).await.unwrap_err(), TokenError::Expired);
}

#[tokio::test]
async fn a_rejected_token_is_not_cached() {
    let (_, time, verifier) = set_up();
    let claims = access_claims_with(json!({"nbf": NOW + 120}));
    let token = TestKey::rsa(0).token("k1", claims);
    assert_eq!(verifier.verify(&token).await.unwrap_err(), TokenError::NotYetValid);
    time.advance(Duration::from_secs(60));
    assert!(at_once(verifier.verify(&token)).is_ok());
}

#[tokio::test]
async fn cached_tokens_are_dropped_with_their_key_only() {
    let (server, time, verifier) = set_up();
    let both = [TestKey::rsa(0).jwk("k1"), TestKey::rsa(1).jwk("k2")];
    server.response(KeyResponse::keys(both.clone()));
    let claims = access_claims_with(json!({"exp": NOW + 3600}));
    let goes = TestKey::rsa(0).token("k1", &claims);
    let stays = TestKey::rsa(1).token("k2", &claims);
    verifier.verify(&goes).await.unwrap();
    let staying = verifier.verify(&stays).await.unwrap();

    // Cached tokens alone also cause fetches of the set.
    server.response(KeyResponse::keys(&both[1..]));
    time.advance(Duration::from_secs(300));
    assert!(at_once(verifier.verify(&goes)).is_ok());
    settle().await;
    assert_eq!(server.count(), 2);
    assert!(is_same(&staying, &at_once(verifier.verify(&stays)).unwrap()));
    assert_eq!(verifier.verify(&goes).await.unwrap_err(), TokenError::NoMatchingKey);

    // With other key material under the same name, it is another key.
    server.response(KeyResponse::keys([TestKey::rsa(2).jwk("k1"), TestKey::rsa(1).jwk("k2")]));
    time.advance(Duration::from_secs(300));
    assert_eq!(verifier.verify(&goes).await.unwrap_err(), TokenError::InvalidSignature);
    assert!(is_same(&staying, &at_once(verifier.verify(&stays)).unwrap()));
}

#[tokio::test]
async fn cached_tokens_are_valid_for_a_day_after_the_last_fetch() {
    let (server, time, verifier) = set_up();
    let claims = access_claims_with(json!({"exp": NOW + 7 * 24 * 3600}));
    let token = TestKey::rsa(0).token("k1", claims);
    let first = verifier.verify(&token).await.unwrap();
    server.response(KeyResponse::Down);
    time.advance(Duration::from_secs(24 * 3600 - 1));
    assert!(is_same(&first, &at_once(verifier.verify(&token)).unwrap()));
    settle().await;
    time.advance(Duration::from_secs(1));
    assert_eq!(verifier.verify(&token).await.unwrap_err(), TokenError::KeysUnavailable);
}

#[tokio::test]
async fn a_cache_without_capacity_changes_no_result() {
    let server = KeyServer::serving_k1();
    let builder = builder(&server, &manual_clock()).audience(AUDIENCE).cache_capacity(0);
    let verifier = builder.build().unwrap();
    for number in 0..20 {
        let claims = access_claims_with(json!({"jti": number}));
        assert!(evaluate(&verifier, claims).await.is_ok());
    }
    assert_eq!(server.count(), 1);
}
