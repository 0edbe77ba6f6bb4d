//! Keys, tokens and a key endpoint for the tests of this module.

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::Algorithm;
use crate::clock::ManualClock;
use crate::http_client::{HttpClient, HttpClientError};

pub(crate) const ISSUER: &str = "https://acme.test";
pub(crate) const AUDIENCE: &str = "skc_1";
pub(crate) const JWKS_URI: &str = "https://acme.test/keys";
/// Start time of [`manual_clock`], in seconds since 1970.
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) fn manual_clock() -> ManualClock {
    ManualClock::at(OffsetDateTime::from_unix_timestamp(NOW).unwrap())
}

/// The claims of an access token that is valid for five minutes from [`NOW`].
pub(crate) fn access_claims() -> Map<String, Value> {
    members(json!({
        "iss": ISSUER, "aud": [AUDIENCE], "sub": "usr_1", "client_id": AUDIENCE, "jti": "tkn_1",
        "iat": NOW, "nbf": NOW, "exp": NOW + 300,
    }))
}

/// The members of a JSON object.
fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

/// The members of an object with changes; those of `null` remove a member.
pub(crate) fn changed(object: Value, changes: &Value) -> Map<String, Value> {
    let mut members = members(object);
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    members
}

/// [`access_claims`] with these values, `null` included.
pub(crate) fn access_claims_with(changes: Value) -> String {
    let mut claims = access_claims();
    claims.extend(members(changes));
    Value::from(claims).to_string()
}

pub(crate) fn access_claims_without(name: &str) -> String {
    let mut claims = access_claims();
    claims.remove(name).unwrap();
    Value::from(claims).to_string()
}

/// The token of a header, a payload and a signature, unchanged.
pub(crate) fn compact(
    header: impl AsRef<[u8]>,
    payload: impl AsRef<[u8]>,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())))
}

/// A key pair, created once per process.
#[derive(Debug)]
pub(crate) enum TestKey {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl TestKey {
    /// One of three RSA keys.
    pub(crate) fn rsa(index: usize) -> &'static Self {
        static KEYS: [OnceLock<TestKey>; 3] = [const { OnceLock::new() }; 3];
        KEYS[index].get_or_init(|| Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    pub(crate) fn p256() -> &'static Self {
        static KEY: OnceLock<TestKey> = OnceLock::new();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        KEY.get_or_init(|| Self::P256(EcdsaKeyPair::generate(algorithm).unwrap()))
    }

    pub(crate) fn ed25519() -> &'static Self {
        static KEY: OnceLock<TestKey> = OnceLock::new();
        KEY.get_or_init(|| Self::Ed25519(Ed25519KeyPair::generate().unwrap()))
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDSA,
            Self::P256(_) => Algorithm::ES256,
            Self::Rsa(_) => Algorithm::RS256,
        }
    }

    /// The public key, without `use` and `alg`.
    pub(crate) fn bare_jwk(&self) -> Value {
        match self {
            Self::Ed25519(pair) => {
                let x = URL_SAFE_NO_PAD.encode(pair.public_key());
                json!({"kty": "OKP", "crv": "Ed25519", "x": x})
            }
            Self::P256(pair) => {
                let point = pair.public_key().as_ref();
                let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
            }
            Self::Rsa(pair) => {
                // PKCS #1: the 256 bytes of the modulus follow nine of tags, lengths and sign.
                let n = URL_SAFE_NO_PAD.encode(&pair.public_key().as_ref()[9..265]);
                json!({"kty": "RSA", "n": n, "e": "AQAB"})
            }
        }
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.bare_jwk();
        jwk["kid"] = kid.into();
        jwk["alg"] = json!(self.algorithm().name());
        jwk["use"] = "sig".into();
        jwk
    }

    pub(crate) fn public_key_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Ed25519(pair) => pair.public_key().as_der().unwrap(),
            Self::P256(pair) => pair.public_key().as_der().unwrap(),
            Self::Rsa(pair) => pair.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    pub(crate) fn pkcs8(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Self::P256(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                der.as_ref().to_vec()
            }
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A validly signed token with exactly these texts.
    pub(crate) fn token_of(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        compact(header, payload, |signed| self.sign(signed))
    }

    pub(crate) fn token(&self, kid: &str, payload: impl AsRef<[u8]>) -> String {
        let header = json!({"alg": self.algorithm().name(), "kid": kid, "typ": "JWT"});
        self.token_of(header.to_string(), payload)
    }

    pub(crate) fn access_token(&self, kid: &str) -> String {
        self.token(kid, Value::from(access_claims()).to_string())
    }
}

/// A key endpoint that counts its requests, returns configured responses, and can be made to hang.
#[derive(Clone, Debug)]
pub(crate) struct KeyServer {
    state: Arc<KeyServerState>,
}

#[derive(Debug)]
struct KeyServerState {
    response: Mutex<KeyResponse>,
    requests: Mutex<Vec<String>>,
    is_open: watch::Sender<bool>,
}

#[derive(Clone, Debug)]
pub(crate) enum KeyResponse {
    Body(u16, Bytes),
    Down,
    Panic,
}

impl KeyResponse {
    pub(crate) fn keys(keys: impl Into<Vec<Value>>) -> Self {
        Self::Body(200, json!({"keys": keys.into()}).to_string().into())
    }
}

impl KeyServer {
    pub(crate) fn new(response: KeyResponse) -> Self {
        let state = KeyServerState {
            response: Mutex::new(response),
            requests: Mutex::default(),
            is_open: watch::Sender::new(true),
        };
        Self { state: Arc::new(state) }
    }

    /// A server with the first RSA key, as `k1`.
    pub(crate) fn serving_k1() -> Self {
        Self::new(KeyResponse::keys([TestKey::rsa(0).jwk("k1")]))
    }

    /// Sets the response from now on, also for requests that hang.
    pub(crate) fn response(&self, response: KeyResponse) {
        *self.state.response.lock().unwrap() = response;
    }

    /// Makes requests wait until [`resume`](Self::resume).
    pub(crate) fn hang(&self) {
        self.state.is_open.send_replace(false);
    }

    pub(crate) fn resume(&self) {
        self.state.is_open.send_replace(true);
    }

    /// The URLs requested so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.state.requests.lock().unwrap().len()
    }
}

impl HttpClient for KeyServer {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        self.state.requests.lock().unwrap().push(request.uri().to_string());
        Box::pin(async {
            let mut is_open = self.state.is_open.subscribe();
            is_open.wait_for(|open| *open).await.unwrap();
            let response = self.state.response.lock().unwrap().clone();
            match response {
                KeyResponse::Body(status, body) => {
                    Ok(Response::builder().status(status).body(body).unwrap())
                }
                KeyResponse::Down => Err(HttpClientError::Connect("down".into())),
                KeyResponse::Panic => panic!("expected in this test"),
            }
        })
    }
}

/// Runs the other tasks of a single-threaded runtime until they wait.
pub(crate) async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

/// The output of a future that does not wait.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    use futures::FutureExt as _;
    future.now_or_never().expect("it waits")
}
