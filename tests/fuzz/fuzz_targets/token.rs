//! Tokens: accepted if and only if a published key has signed them and their claims are valid.
#![no_main]

use std::time::Duration;

use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use tower_scalekit::clock::ManualClock;
use tower_scalekit::token::{Algorithm, Principal, TokenError, TokenVerifier};
use tower_scalekit::{Sandbox, Scalekit};
use tower_scalekit_fuzz::json::{Members, unambiguous_object};
use tower_scalekit_fuzz::keys::{Address, Keys, Signer};
use tower_scalekit_fuzz::{Input, START, block_on, clock, may_have_new_key, mutate};

const ISSUER: &str = "https://issuer.test";
const LEEWAY: f64 = 5.0;
const SKEW: f64 = 60.0;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => ENVIRONMENT.with(|environment| environment.check_any_text(&mut input)),
        1 => ENVIRONMENT.with(|environment| environment.check_mutation(&mut input)),
        _ => ISSUED.with(|issued| issued.check(&mut input)),
    }
});

thread_local! {
    static ENVIRONMENT: Environment = Environment::new();
    static ISSUED: Issued = Issued::new();
}

/// A sandbox, whose time goes on: key sets age, and tokens with unknown keys cause fetches.
struct Environment {
    time: ManualClock,
    scalekit: Scalekit,
    verifier: TokenVerifier,
    good: String,
    id_token: String,
    idp_login: String,
}

impl Environment {
    fn new() -> Self {
        let time = clock();
        let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let sandbox = Sandbox::builder().clock(time.clone()).access_token_lifetime(century).build();
        let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id());
        let idp_login = json!({"connection_id": "conn_1", "iat": START, "exp": START + 300});
        Self {
            time,
            scalekit: sandbox.scalekit(),
            verifier: verifier.build().expect("good settings"),
            good: sandbox.tokens().access_token("jane@acme.test"),
            id_token: sandbox.tokens().id_token("jane@acme.test", None),
            idp_login: sandbox.tokens().sign(idp_login),
        }
    }

    fn check_any_text(&self, input: &mut Input<'_>) {
        self.time.advance(Duration::from_secs(*input.pick(&[0, 1, 10, 301])));
        self.check(&String::from_utf8_lossy(input.rest()));
    }

    fn check_mutation(&self, input: &mut Input<'_>) {
        self.time.advance(Duration::from_secs(*input.pick(&[0, 1, 10, 301])));
        let mut token =
            input.pick(&[&self.good, &self.id_token, &self.idp_login]).as_bytes().to_vec();
        for _ in 0..32 {
            if !input.is_empty() {
                mutate(input, &mut token);
            }
        }
        self.check(&String::from_utf8_lossy(&token));
    }

    fn check(&self, token: &str) {
        let verified = block_on(self.verifier.verify(token));
        assert!(
            verified.as_ref().err() != Some(&TokenError::KeysUnavailable)
                || may_have_new_key(token.as_bytes(), &self.good),
            "{token}"
        );
        assert_eq!(verified.is_ok(), token == self.good, "{verified:?} for {token}");
        if token != self.idp_login {
            let redirected = block_on(self.scalekit.verify_idp_initiated_login(token));
            redirected.expect_err("no IdP-initiated login");
        }
        // Whatever strangers send, a good token stays good.
        block_on(self.verifier.verify(&self.good)).expect("the good token");
    }
}

/// An issuer that signs any two texts, and that stands still.
struct Issued {
    keys: Keys,
    verifier: TokenVerifier,
}

impl Issued {
    fn new() -> Self {
        let keys = Keys::generate();
        let published = Address::default();
        published.put(StatusCode::OK, json!({"keys": keys.jwks()}).to_string());
        let verifier = TokenVerifier::for_issuer(ISSUER, "https://issuer.test/keys", published)
            .audience("api")
            .algorithms([Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA])
            .organization_claim("oid")
            .organization_claim("org_id")
            .cache_capacity(16)
            .clock(clock().clock());
        Self { keys, verifier: verifier.build().expect("good settings") }
    }

    fn check(&self, input: &mut Input<'_>) {
        let signer = *input.pick(&Signer::ALL);
        let header = json!({"alg": signer.algorithm(), "kid": signer.kid(), "typ": "JWT"});
        let claims = json!({
            "iss": ISSUER, "aud": ["api"], "sub": "usr_1", "client_id": "skc_1", "scope": "a b",
            "exp": START + 300, "iat": START, "nbf": START,
        });
        let headers = ["alg", "kid", "typ", "crit", "b64", "jku", "jwk", "x5c", "cty"];
        let names = [
            "iss",
            "aud",
            "exp",
            "nbf",
            "iat",
            "sub",
            "client_id",
            "azp",
            "oid",
            "org_id",
            "sid",
            "scope",
            "scopes",
            "roles",
            "permissions",
            "nonce",
            "at_hash",
            "c_hash",
            "events",
            "organization_id",
            "connection_id",
        ];
        let [header, payload] =
            [(header, &headers[..]), (claims, &names[..])].map(|(base, names)| {
                if input.byte() % 8 == 0 {
                    return input.bytes().to_vec();
                }
                let mut members = Members::of(&base);
                members.edit(input, names);
                let mut text = members.to_bytes();
                if input.byte() % 8 == 7 {
                    mutate(input, &mut text);
                }
                text
            });

        let token = self.keys.sign(signer, &header, &payload);
        let expected = expected(signer, &header, &payload).filter(|_| token.len() <= 16 * 1024);
        // The first time it is judged, the second time it may be remembered.
        for _ in 0..2 {
            let verified = block_on(self.verifier.verify(&token));
            let claims = verified.as_ref().map(Principal::raw_claims).ok();
            assert_eq!(
                claims,
                expected.as_ref(),
                "{signer:?}, {verified:?}: {} . {}",
                header.escape_ascii(),
                payload.escape_ascii(),
            );
        }
    }
}

/// What an acceptable token says; `None` for all others.
fn expected(signer: Signer, header: &[u8], payload: &[u8]) -> Option<Map<String, Value>> {
    let header = unambiguous_object(header)?;
    let raw = unambiguous_object(payload)?;
    // A null claim is an absent one.
    let mut claims = raw.clone();
    claims.retain(|_, value| !value.is_null());
    let published = !matches!(signer, Signer::Stranger | Signer::PublicKey);
    let good_header = header.get("alg")? == signer.algorithm()
        && header.get("kid").is_none_or(|kid| kid == signer.kid())
        && header.get("typ").is_none_or(is_typ)
        && !header.contains_key("crit")
        && !header.contains_key("b64");

    let has = |name: &str| claims.contains_key(name);
    let other_kind = ["nonce", "at_hash", "c_hash", "events"].iter().any(|mark| has(mark))
        || (!has("sub") && (has("organization_id") || has("connection_id")));

    let good_audience = match claims.get("aud")? {
        Value::Array(several) => {
            several.iter().all(Value::is_string) && several.contains(&Value::from("api"))
        }
        one => one == "api",
    };
    let date =
        |name: &str| claims.get(name).map(|date| date.as_f64().filter(|date| is_date(*date)));
    #[allow(clippy::cast_precision_loss)]
    let now = START as f64;
    let with_timeout = date("exp")?? > now - LEEWAY
        && ["nbf", "iat"].iter().all(|name| {
            date(name).is_none_or(|start| start.is_some_and(|start| start <= now + SKEW))
        });

    let texts = ["sub", "client_id", "azp", "oid", "org_id", "sid"];
    let good_texts = texts.iter().all(|name| claims.get(*name).is_none_or(Value::is_string));
    let subject = ["sub", "client_id", "azp"].iter().find_map(|name| claims.get(*name))?;
    let good = published
        && good_header
        && claims.get("iss")? == ISSUER
        && !other_kind
        && good_audience
        && with_timeout
        && good_texts
        && subject != "";
    good.then_some(raw)
}

fn is_typ(typ: &Value) -> bool {
    let typ = typ.as_str().unwrap_or("?").to_ascii_lowercase();
    ["jwt", "application/jwt", "at+jwt", "application/at+jwt"].contains(&&*typ)
}

/// Up to the year 9999.
fn is_date(seconds: f64) -> bool {
    (0.0..253_402_300_800.0).contains(&seconds)
}
