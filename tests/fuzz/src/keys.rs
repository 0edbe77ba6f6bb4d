//! Keys that the targets sign with and publish.

use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tower_scalekit::http_client::{HttpClient, HttpClientError};

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    Ed,
    Ec,
    Rs,
    Ps,
    /// An Ed25519 key that is not published.
    Stranger,
    /// HMAC with a public key as the secret.
    PublicKey,
}

impl Signer {
    pub const ALL: [Self; 6] =
        [Self::Ed, Self::Ec, Self::Rs, Self::Ps, Self::Stranger, Self::PublicKey];

    /// The algorithm that its signatures are of.
    pub fn algorithm(self) -> &'static str {
        match self {
            Self::Ed | Self::Stranger => "EdDSA",
            Self::Ec => "ES256",
            Self::Rs => "RS256",
            Self::Ps => "PS256",
            Self::PublicKey => "HS256",
        }
    }

    /// The name of the key it signs with, or pretends to.
    pub fn kid(self) -> &'static str {
        match self {
            Self::Ed | Self::Stranger => "ed",
            Self::Ec => "ec",
            Self::Rs | Self::Ps | Self::PublicKey => "rsa",
        }
    }
}

pub struct Keys {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
    rsa: RsaKeyPair,
    stranger: Ed25519KeyPair,
}

impl Keys {
    pub fn generate() -> Self {
        Self {
            ed: Ed25519KeyPair::generate().expect("a key"),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            stranger: Ed25519KeyPair::generate().expect("a key"),
        }
    }

    /// The public keys as an issuer publishes them.
    pub fn jwks(&self) -> [Value; 3] {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = self.ec.public_key().as_ref();
        let rsa = self.rsa.public_key();
        let modulus = rsa.modulus().big_endian_without_leading_zero().to_vec();
        let exponent = rsa.exponent().big_endian_without_leading_zero().to_vec();
        let ed = encode(self.ed.public_key().as_ref());
        let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
        [
            json!({"kty": "OKP", "crv": "Ed25519", "x": ed, "kid": "ed", "use": "sig"}),
            json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "ec", "alg": "ES256"}),
            json!({"kty": "RSA", "n": encode(&modulus), "e": encode(&exponent), "kid": "rsa"}),
        ]
    }

    /// A compact JWS of any two texts, its signature right for the signer's algorithm.
    pub fn sign(&self, signer: Signer, header: &[u8], payload: &[u8]) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let input = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(signer, input.as_bytes());
        format!("{input}.{}", encode(&signature))
    }

    fn signature(&self, signer: Signer, input: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let mut signature = vec![0; 256];
        match signer {
            Signer::Ed => self.ed.sign(input).as_ref().to_vec(),
            Signer::Stranger => self.stranger.sign(input).as_ref().to_vec(),
            Signer::Ec => self.ec.sign(&random, input).expect("a signature").as_ref().to_vec(),
            Signer::Rs => {
                let done = self.rsa.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature);
                done.expect("a signature");
                signature
            }
            Signer::Ps => {
                let done = self.rsa.sign(&RSA_PSS_SHA256, &random, input, &mut signature);
                done.expect("a signature");
                signature
            }
            Signer::PublicKey => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, self.rsa.public_key().as_ref());
                hmac::sign(&secret, input).as_ref().to_vec()
            }
        }
    }
}

/// Responds to every request with the value that was set.
#[derive(Clone, Debug, Default)]
pub struct Address(Arc<Mutex<(StatusCode, Bytes)>>);

impl Address {
    pub fn put(&self, status: StatusCode, body: impl Into<Bytes>) {
        *self.0.lock().expect("no panic so far") = (status, body.into());
    }
}

impl HttpClient for Address {
    fn send(&self, _: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        let (status, body) = self.0.lock().expect("no panic so far").clone();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Box::pin(async { Ok(response) })
    }
}
