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
use crate::sandbox::tokens::signing::decoded_json;

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
    let [Some("dpop+jwt"), Some("ES256")] = texts(&proof.header, ["/typ", "/alg"]) else {
        return Err("the proof must have the type dpop+jwt and the algorithm ES256");
    };
    let [Some("EC"), Some("P-256"), Some(x), Some(y), None] =
        texts(&proof.header, ["/jwk/kty", "/jwk/crv", "/jwk/x", "/jwk/y", "/jwk/d"])
    else {
        return Err("jwk must be a public key on P-256");
    };
    if !proof.is_signed_by(x, y) {
        return Err("the signature of the proof is invalid");
    }
    let mut state = environment.lock();
    let now = state.now.unix_timestamp();
    let [method, url, id] = texts(&proof.claims, ["/htm", "/htu", "/jti"]);
    if method != Some(request.method().as_str()) {
        return Err("htm is not the method of the request");
    }
    if url.and_then(|url| url.strip_prefix(&state.environment_url)) != Some(request.uri().path()) {
        return Err("htu is not the URL of the token endpoint");
    }
    let issued_at = proof.claims.get("iat").and_then(Value::as_i64);
    if issued_at.is_none_or(|at| at.abs_diff(now) > WINDOW_SECONDS.unsigned_abs()) {
        return Err("iat is too far from the environment's clock");
    }
    let id = id.filter(|id| !id.is_empty()).ok_or("jti is missing")?;
    let key = thumbprint(x, y);
    state.used_proofs.retain(|_, until| now <= *until);
    match state.used_proofs.insert(format!("{key} {id}"), now + 2 * WINDOW_SECONDS) {
        None => Ok(Some(key)),
        Some(_) => Err("the proof was used before"),
    }
}

/// Texts of a JSON object, by their JSON pointers.
fn texts<'v, const N: usize>(object: &'v Value, pointers: [&str; N]) -> [Option<&'v str>; N] {
    pointers.map(|pointer| object.pointer(pointer).and_then(Value::as_str))
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
        Some(Self {
            header: decoded_json(header)?,
            claims: decoded_json(claims)?,
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
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(self.input.as_bytes(), &self.signature)
            .is_ok()
    }
}
