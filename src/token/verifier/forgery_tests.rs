//! Tokens forged without the key.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::json;

use super::tests::{builder, set_up};
use super::*;
use crate::token::testing::{
    AUDIENCE, JWKS_URI, KeyServer, TestKey, access_claims_with, at_once, compact, manual_clock,
    settle,
};

const HEADER: &str = r#"{"alg":"RS256","kid":"k1"}"#;

fn claims() -> String {
    access_claims_with(json!({}))
}

#[tokio::test]
async fn alg_none_in_any_case_is_rejected() {
    let (_, _, verifier) = set_up();
    for alg in ["none", "None", "NONE", "nOnE"] {
        for kid in [json!("k1"), json!("unknown")] {
            let header = json!({"alg": alg, "kid": kid}).to_string();
            let signature = |signed: &[u8]| TestKey::rsa(0).sign(signed);
            for token in
                [compact(&header, claims(), |_| vec![]), compact(&header, claims(), signature)]
            {
                let error = at_once(verifier.verify(&token)).unwrap_err();
                assert_eq!(error, TokenError::InvalidAlgorithm, "{header}");
            }
        }
    }
}

#[tokio::test]
async fn the_public_key_is_not_accepted_as_hmac_secret() {
    let (server, _, verifier) = set_up();
    let key = TestKey::rsa(0);
    let jwk = key.jwk("k1");
    let der = key.public_key_der();
    let lines: Vec<_> = STANDARD.encode(&der).into_bytes().chunks(64).map(<[_]>::to_vec).collect();
    let pem =
        [&b"-----BEGIN PUBLIC KEY-----"[..], &lines.join(&b'\n'), b"-----END PUBLIC KEY-----\n"]
            .join(&b'\n');
    let n = jwk["n"].as_str().unwrap();
    let secrets = [
        pem.trim_ascii().to_vec(),
        pem,
        der,
        n.as_bytes().to_vec(),
        URL_SAFE_NO_PAD.decode(n).unwrap(),
        jwk.to_string().into_bytes(),
        vec![],
    ];
    for (alg, algorithm) in
        [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        for secret in &secrets {
            let secret = hmac::Key::new(algorithm, secret);
            let sign = |signed: &[u8]| hmac::sign(&secret, signed).as_ref().to_vec();
            for header in [json!({"alg": alg, "kid": "k1"}), json!({"alg": alg})] {
                let token = compact(header.to_string(), claims(), sign);
                let error = at_once(verifier.verify(&token)).unwrap_err();
                assert_eq!(error, TokenError::InvalidAlgorithm, "{header}");
            }
        }
    }
    settle().await;
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_key_is_used_with_its_own_algorithm_only() {
    let builder = builder(&KeyServer::serving_k1(), &manual_clock()).audience(AUDIENCE);
    let verifier = builder.algorithms([Algorithm::RS256, Algorithm::RS384, Algorithm::PS256]);
    let verifier = verifier.build().unwrap();
    let token = |alg: &str| {
        let header = json!({"alg": alg, "kid": "k1"}).to_string();
        TestKey::rsa(0).token_of(header, claims())
    };
    assert!(verifier.verify(&token("RS256")).await.is_ok());
    for alg in ["RS384", "PS256", "ES256", "EdDSA"] {
        let error = verifier.verify(&token(alg)).await.unwrap_err();
        assert_eq!(error, TokenError::InvalidAlgorithm, "{alg}");
    }
}

#[tokio::test]
async fn a_signature_of_another_key_or_of_other_bytes_is_rejected() {
    let (_, _, verifier) = set_up();
    let good = TestKey::rsa(0).token_of(HEADER, claims());
    assert!(verifier.verify(&good).await.is_ok());
    let (header, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let admin = encode(&access_claims_with(json!({"roles": ["admin"]})));
    let same_header = encode(r#"{"alg": "RS256","kid":"k1"}"#);
    let short = &URL_SAFE_NO_PAD.decode(signature).unwrap()[..255];
    for (what, token) in [
        ("another key", TestKey::rsa(1).token_of(HEADER, claims())),
        ("other claims", format!("{header}.{admin}.{signature}")),
        ("header spaced", format!("{same_header}.{payload}.{signature}")),
        ("no signature", format!("{header}.{payload}.")),
        ("zeroes", compact(HEADER, claims(), |_| vec![0; 256])),
        ("a byte less", format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(short))),
        ("swapped", format!("{payload}.{header}.{signature}")),
    ] {
        let expected =
            if what == "swapped" { TokenError::Malformed } else { TokenError::InvalidSignature };
        assert_eq!(verifier.verify(&token).await.unwrap_err(), expected, "{what}");
    }
}

#[tokio::test]
async fn keys_and_urls_in_the_header_are_ignored() {
    let (server, _, verifier) = set_up();
    let (own, stranger) = (TestKey::rsa(0), TestKey::rsa(1));
    let der = STANDARD.encode(stranger.public_key_der());
    for extra in [
        json!({"jwk": stranger.jwk("k1")}),
        json!({"jku": "https://evil.test/keys"}),
        json!({"x5u": "https://evil.test/chain.pem"}),
        json!({"x5c": [der]}),
        json!({"x5t": "AAAA", "x5t#S256": "AAAA"}),
    ] {
        for kid in [Some("k1"), None] {
            let mut header = json!({"alg": "RS256"});
            header.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            if let Some(kid) = kid {
                header["kid"] = kid.into();
            }
            let token = |key: &TestKey| key.token_of(header.to_string(), claims());
            let error = verifier.verify(&token(stranger)).await.unwrap_err();
            assert_eq!(error, TokenError::InvalidSignature, "{header}");
            assert!(verifier.verify(&token(own)).await.is_ok(), "{header}");
        }
    }
    assert!(server.requests().iter().all(|address| address == JWKS_URI));
}

#[tokio::test]
async fn malformed_tokens_with_a_valid_signature_are_rejected() {
    let (_, _, verifier) = set_up();
    let key = TestKey::rsa(0);
    assert!(verifier.verify(&key.token_of(HEADER, claims())).await.is_ok());
    let long_kid = json!({"alg": "RS256", "kid": "k".repeat(257)}).to_string();
    for header in [
        r#"{"alg":"RS256","kid":"k1","crit":["exp"],"exp":1}"#,
        r#"{"alg":"RS256","kid":"k1","crit":["b64"],"b64":true}"#,
        r#"{"alg":"RS256","kid":"k1","crit":[]}"#,
        r#"{"alg":"RS256","kid":"k1","crit":"exp"}"#,
        r#"{"alg":"RS256","kid":"k1","b64":false}"#,
        r#"{"alg":"RS256","kid":["k1"]}"#,
        r#"{"alg":"RS256","kid":1}"#,
        r#"{"alg":"RS256","kid":null}"#,
        r#"{"alg":"none","alg":"RS256","kid":"k1"}"#,
        r#"{"alg":"RS256","kid":"k1","kid":"k1"}"#,
        r#"{"alg":"RS256","kid":"k1","jwk":{"kty":"RSA","kty":"RSA"}}"#,
        r#"{"alg":["RS256"],"kid":"k1"}"#,
        r#"{"kid":"k1"}"#,
        r#"[{"alg":"RS256","kid":"k1"}]"#,
        "\u{feff}{\"alg\":\"RS256\",\"kid\":\"k1\"}",
        r#"{"alg":"RS256","kid":"k1"}{}"#,
        "",
        &long_kid,
    ] {
        let error = verifier.verify(&key.token_of(header, claims())).await.unwrap_err();
        assert_eq!(error, TokenError::Malformed, "{header:.80}");
    }
    let claims = claims();
    let open = claims.strip_suffix('}').unwrap();
    let mut not_utf8 = claims.clone().into_bytes();
    not_utf8.splice(1..1, *b"\"x\":\"\xff\",");
    let twice = |member: &str| format!("{open},{member}}}").into_bytes();
    for payload in [
        twice(r#""exp":9999999999"#),
        twice(r#""aud":"other""#),
        twice(r#""sub":"usr_2""#),
        twice(r#""\u0073ub":"usr_2""#),
        twice(r#""x":{"a":1,"a":1}"#),
        not_utf8,
        format!("[{claims}]").into_bytes(),
        format!("{claims}{claims}").into_bytes(),
        open.into(),
        vec![],
    ] {
        let shown = String::from_utf8_lossy(&payload).into_owned();
        let error = verifier.verify(&key.token_of(HEADER, payload)).await.unwrap_err();
        assert_eq!(error, TokenError::Malformed, "{shown}");
    }
}

#[tokio::test]
async fn only_the_canonical_encoding_is_accepted() {
    let (_, _, verifier) = set_up();
    let good = TestKey::rsa(0).token_of(HEADER, claims());
    assert!(verifier.verify(&good).await.is_ok());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    // 256 bytes leave four bits of the last character unused.
    let last = signature.chars().last().unwrap();
    let sloppy = char::from(u8::try_from(last).unwrap() + 1);
    let sloppy = format!("{}{sloppy}", &signature[..signature.len() - 1]);
    for other in [
        URL_SAFE.encode(&bytes),
        STANDARD.encode(&bytes),
        sloppy,
        format!(" {signature}"),
        format!("{signature}\n"),
        format!("{signature}."),
        format!("{signature}.{signature}"),
        format!("{signature}\0"),
        format!("{signature}é"),
    ] {
        let error = at_once(verifier.verify(&format!("{signed}.{other}"))).unwrap_err();
        assert_eq!(error, TokenError::Malformed, "{other}");
    }
    let json = json!({"payload": "e30", "signatures": [{"protected": "e30", "signature": "AA"}]});
    for text in ["", ".", "..", "...", "Bearer", &json.to_string(), &format!("Bearer {good}")] {
        let error = at_once(verifier.verify(text)).unwrap_err();
        assert_eq!(error, TokenError::Malformed, "{text}");
    }
}

#[tokio::test]
async fn a_token_of_more_than_16_kib_is_rejected() {
    let (_, _, verifier) = set_up();
    let token = |padding: usize| {
        let claims = access_claims_with(json!({"padding": "x".repeat(padding)}));
        TestKey::rsa(0).token_of(HEADER, claims)
    };
    let (mut fits, mut too_long) = (0, 16 * 1024);
    while too_long - fits > 1 {
        let middle = usize::midpoint(fits, too_long);
        *if token(middle).len() <= 16 * 1024 { &mut fits } else { &mut too_long } = middle;
    }
    assert!(verifier.verify(&token(fits)).await.is_ok());
    assert_eq!(verifier.verify(&token(too_long)).await.unwrap_err(), TokenError::Malformed);
}
