//! Proofs of possession at the token endpoint (RFC 9449, section 5), with ES256. The code that
//! applications verify with is not used.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request;
use serde_json::Value;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::ec_key::thumbprint;

/// The algorithms of proofs.
pub(crate) const ALGORITHMS: [&str; 1] = ["ES256"];

/// How far `iat` may be from the clock.
const WINDOW_SECONDS: i64 = 60;

/// The thumbprint of the key whose possession the request proves, if it has a proof. The error is a
/// message for developers.
pub(crate) fn proven_key(
    environment: &Environment,
    request: &Request<Bytes>,
) -> Result<Option<String>, &'static str> {
    let mut proofs = request.headers().get_all("dpop").iter();
    let Some(proof) = proofs.next() else { return Ok(None) };
    if proofs.next().is_some() {
        return Err("the request has several DPoP headers");
    }
    let proof = proof.to_str().ok().and_then(Proof::parse).ok_or("the proof is malformed")?;
    let text = |part: &'static str, name: &str| {
        match part {
            "jwk" => proof.header.get("jwk").and_then(|jwk| jwk.get(name)),
            "header" => proof.header.get(name),
            _ => proof.claims.get(name),
        }
        .and_then(Value::as_str)
    };
    if text("header", "typ") != Some("dpop+jwt") || text("header", "alg") != Some("ES256") {
        return Err("the proof must have the type dpop+jwt and the algorithm ES256");
    }
    let jwk = |name| text("jwk", name);
    let (Some("EC"), Some("P-256"), Some(x), Some(y), None) =
        (jwk("kty"), jwk("crv"), jwk("x"), jwk("y"), jwk("d"))
    else {
        return Err("jwk must be a public key on P-256");
    };
    if !proof.is_signed_by(x, y) {
        return Err("the signature of the proof is invalid");
    }
    let url = format!("{}{}", environment.lock().environment_url, request.uri().path());
    let now = environment.now().unix_timestamp();
    let issued_at = proof.claims.get("iat").and_then(Value::as_i64);
    if text("claims", "htm") != Some(request.method().as_str()) {
        return Err("htm is not the method of the request");
    }
    if text("claims", "htu") != Some(url.as_str()) {
        return Err("htu is not the URL of the token endpoint");
    }
    if issued_at.is_none_or(|at| at.abs_diff(now) > WINDOW_SECONDS.unsigned_abs()) {
        return Err("iat is too far from the environment's clock");
    }
    let id = text("claims", "jti").filter(|id| !id.is_empty()).ok_or("jti is missing")?;
    let key = thumbprint(x, y);
    let mut state = environment.lock();
    state.used_proofs.retain(|_, until| now <= *until);
    match state.used_proofs.insert(format!("{key} {id}"), now + 2 * WINDOW_SECONDS) {
        None => Ok(Some(key)),
        Some(_) => Err("the proof was used before"),
    }
}

struct Proof<'p> {
    header: Value,
    claims: Value,
    input: &'p str,
    signature: Vec<u8>,
}

impl<'p> Proof<'p> {
    fn parse(proof: &'p str) -> Option<Self> {
        let (input, signature) = proof.rsplit_once('.')?;
        let (header, claims) = input.split_once('.')?;
        let part = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
        Some(Self {
            header: part(header)?,
            claims: part(claims)?,
            input,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    fn is_signed_by(&self, x: &str, y: &str) -> bool {
        let mut point = vec![4];
        for coordinate in [x, y] {
            match URL_SAFE_NO_PAD.decode(coordinate) {
                Ok(bytes) if bytes.len() == 32 => point.extend(bytes),
                _ => return false,
            }
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        key.verify(self.input.as_bytes(), &self.signature).is_ok()
    }
}
