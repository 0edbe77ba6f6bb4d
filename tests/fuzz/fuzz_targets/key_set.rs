//! Key sets: only signatures of keys in the served set are accepted.
#![no_main]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tower_scalekit::token::{Algorithm, TokenVerifier};
use tower_scalekit_fuzz::json::Members;
use tower_scalekit_fuzz::keys::{Address, Keys, Signer};
use tower_scalekit_fuzz::{Input, START, block_on, clock, mutate};

fuzz_target!(|data: &[u8]| KNOWN.with(|known| check(known, &mut Input::new(data))));

thread_local! {
    static KNOWN: Known = Known::new();
}

struct Known {
    keys: [Value; 3],
    tokens: Vec<Token>,
}

/// A token that is good in all but, perhaps, its signature.
struct Token {
    text: String,
    signer: Signer,
    kid: Option<&'static str>,
}

/// What is served.
#[derive(Debug)]
struct Served {
    status: StatusCode,
    body: Vec<u8>,
    untouched: bool,
}

impl Known {
    fn new() -> Self {
        let keys = Keys::generate();
        let claims = json!({"iss": "https://issuer.test", "sub": "usr_1", "exp": START + 3600});
        let token = |signer: Signer, kid: Option<&'static str>| {
            let mut header = json!({"alg": signer.algorithm()});
            if let Some(kid) = kid {
                header["kid"] = kid.into();
            }
            let (header, claims) = (header.to_string(), claims.to_string());
            let text = keys.sign(signer, header.as_bytes(), claims.as_bytes());
            Token { text, signer, kid }
        };
        let tokens = Signer::ALL.iter().flat_map(|&signer| {
            [Some(signer.kid()), Some("x"), None].map(|kid| token(signer, kid))
        });
        Self { tokens: tokens.collect(), keys: keys.jwks() }
    }

    /// A key set, close to a good one or far from it.
    fn serve(&self, input: &mut Input<'_>) -> Served {
        let shape = input.byte();
        let status = *input.pick(&[200, 200, 200, 200, 200, 200, 201, 204, 304, 404, 500]);
        let status = StatusCode::from_u16(status).expect("a status");
        if shape % 4 == 0 {
            return Served { status, body: input.bytes().to_vec(), untouched: false };
        }
        if shape % 4 == 1 {
            let body = json!({"keys": self.keys}).to_string().into_bytes();
            return Served { status, body, untouched: true };
        }
        const NAMES: [&str; 14] = [
            "kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "key_ops", "k", "d", "x5c",
            "x5u",
        ];
        let fillers = if shape >= 0xf0 { 98 } else { 0 };
        let mut keys = vec![b"{}".to_vec(); fillers];
        for _ in 0..input.byte() % 6 {
            let mut key = Members::of(input.pick(&self.keys));
            key.edit(input, &NAMES);
            keys.push(key.to_bytes());
        }
        let mut body = [&b"{\"keys\":["[..], &keys.join(&b","[..]), b"]}"].concat();
        if shape % 4 == 3 {
            mutate(input, &mut body);
        }
        Served { status, body, untouched: false }
    }

    /// Whether a key of the set can have made the token's signature. Of two that say they have it
    /// may be neither, or the one that is in order.
    fn publishes(&self, served: &Served, token: &Token) -> bool {
        let set: Value = serde_json::from_slice(&served.body).unwrap_or_default();
        let keys = set["keys"].as_array().map_or(&[][..], Vec::as_slice);
        served.status == StatusCode::OK && keys.iter().take(100).any(|key| self.fits(key, token))
    }

    fn fits(&self, key: &Value, token: &Token) -> bool {
        let [ed, ec, rsa] = &self.keys;
        let same = |own: &Value, names: &[&str]| names.iter().all(|name| key[name] == own[name]);
        let same_material = match token.signer {
            Signer::Ed => same(ed, &["kty", "crv", "x"]),
            Signer::Ec => same(ec, &["kty", "crv", "x", "y"]),
            Signer::Rs | Signer::Ps => same(rsa, &["kty", "n"]) && is_65537(&key["e"]),
            Signer::Stranger | Signer::PublicKey => false,
        };
        let strings = |value: &Value| {
            value.as_array().is_some_and(|items| items.iter().all(Value::is_string))
        };
        let is_jwk = ["kid", "x5u"].iter().all(|name| key[name].is_null() || key[name].is_string())
            && (key["x5c"].is_null() || strings(&key["x5c"]));
        is_jwk
            && same_material
            && token.kid.is_none_or(|kid| key["kid"] == kid)
            && (key["alg"].is_null() || key["alg"] == token.signer.algorithm())
            && (key["use"].is_null() || key["use"] == "sig")
            && (key["key_ops"].is_null()
                || key["key_ops"].as_array().is_some_and(|ops| ops.contains(&"verify".into())))
    }
}

fn is_65537(exponent: &Value) -> bool {
    let bytes = exponent.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.is_some_and(|bytes| bytes.iter().skip_while(|byte| **byte == 0).eq(&[1, 0, 1]))
}

fn check(known: &Known, input: &mut Input<'_>) {
    let time = clock();
    let address = Address::default();
    let verifier = TokenVerifier::for_issuer(
        "https://issuer.test",
        "https://issuer.test/keys",
        address.clone(),
    )
    .any_audience()
    .algorithms([Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA])
    .cache_capacity(4)
    .clock(time.clock())
    .build()
    .expect("good settings");
    let accepts = |token: &Token| block_on(verifier.verify(&token.text)).is_ok();

    let tokens = [(); 3].map(|()| input.pick(&known.tokens));
    let first = known.serve(input);
    address.put(first.status, first.body.clone());
    for token in tokens {
        let (accepted, published) = (accepts(token), known.publishes(&first, token));
        assert!(!accepted || published, "{:?} {:?} by {first:?}", token.signer, token.kid);
        assert!(accepted || !published || !first.untouched, "{:?} rejected", token.signer);
    }
    if input.is_empty() {
        return;
    }

    // Later the set is another; what was remembered counts only as far as its key is still there.
    let second = known.serve(input);
    address.put(second.status, second.body.clone());
    time.advance(Duration::from_secs(301));
    // Any of them starts the fetch, but one with another algorithm.
    for token in tokens {
        accepts(token);
    }
    block_on(async {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    });
    let replaced = known.tokens.iter().any(|token| known.publishes(&second, token));
    for token in tokens {
        let by_first = !replaced && known.publishes(&first, token);
        let published = by_first || known.publishes(&second, token);
        assert!(
            !accepts(token) || published,
            "{:?} {:?} by {first:?}, then {second:?}",
            token.signer,
            token.kid,
        );
    }
}
