//! One key and tokens of one issuer, which every crate accepts.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tower_scalekit::http_client::ServiceClient;
use tower_scalekit::token::TokenVerifier;

/// With a path, because axum-jose compares it as a URL.
pub const ISSUER: &str = "https://issuer.test/";
pub const AUDIENCE: &str = "https://api.test";

pub struct Issuer {
    key: EncodingKey,
    /// Modulus and exponent.
    pub public: PublicKeyComponents<Vec<u8>>,
}

impl Issuer {
    pub fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = pair.as_der().unwrap();
        // PKCS#8 ends with the PKCS#1 key, which begins after 26 bytes for this size.
        let key = EncodingKey::from_rsa_der(der.as_ref().split_at(26).1);
        let public = pair.public_key();
        let public = PublicKeyComponents {
            n: public.modulus().big_endian_without_leading_zero().to_vec(),
            e: public.exponent().big_endian_without_leading_zero().to_vec(),
        };
        Self { key, public }
    }

    pub fn jwk(&self) -> Value {
        json!({
            "kty": "RSA", "kid": "key-1", "use": "sig", "alg": "RS256",
            "n": URL_SAFE_NO_PAD.encode(&self.public.n), "e": URL_SAFE_NO_PAD.encode(&self.public.e),
        })
    }

    pub fn jwks(&self) -> Value {
        json!({"keys": [self.jwk()]})
    }

    /// A token of about this many bytes; `number` tells it from others.
    pub fn token(&self, bytes: usize, number: usize) -> String {
        let mut header = Header::new(Algorithm::RS256);
        (header.kid, header.typ) = (Some("key-1".into()), Some("at+jwt".into()));
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let token = |filling: usize| {
            let claims = json!({
                "iss": ISSUER, "aud": [AUDIENCE], "sub": "usr_1234567890",
                "jti": format!("tkn_{number:010}"), "client_id": "skc_1234567890",
                "iat": now, "nbf": now, "exp": now + 3600, "oid": "org_1234567890",
                "sid": "ses_1234567890", "scope": "openid profile", "roles": ["admin"],
                "permissions": ["todo:read", "todo:write"], "filling": "x".repeat(filling),
            });
            jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
        };
        token(bytes.saturating_sub(token(0).len()) * 3 / 4)
    }

    pub fn bearer(&self, bytes: usize, number: usize) -> HeaderValue {
        format!("Bearer {}", self.token(bytes, number)).try_into().unwrap()
    }

    /// This crate's verifier.
    pub fn verifier(&self, capacity: usize) -> TokenVerifier {
        let keys = self.jwks().to_string();
        let client = ServiceClient::new(tower::service_fn(move |_| {
            let keys = http_body_util::Full::new(bytes::Bytes::from(keys.clone()));
            async { Ok::<_, std::convert::Infallible>(http::Response::new(keys)) }
        }));
        TokenVerifier::for_issuer(ISSUER, "https://issuer.test/keys", client)
            .audience(AUDIENCE)
            .cache_capacity(capacity)
            .build()
            .unwrap()
    }
}
