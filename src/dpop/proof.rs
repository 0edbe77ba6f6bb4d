//! The proof of a request: a JWS with its own key (RFC 9449, section 4.3).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize as _;
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};

use super::DpopError;
use crate::token::{Algorithm, Claims, CompactJws, TokenError, VerifyingKey};
use crate::util::base64url::is_base64url;
use crate::util::diagnosis::{CheckError as _, Shown};
use crate::util::hash::hash_parts;

/// Longer proofs are rejected unparsed. The largest RSA key and its signature have a third of it.
const MAX_BYTES: usize = 8 * 1024;
const TYPE: &str = "dpop+jwt";

/// Identifies a proof: a hash of its key and its `jti`.
pub(super) type ProofId = [u8; 16];

/// A proof whose signature and claims are valid for its request.
#[derive(Debug)]
pub(crate) struct Proof {
    /// The thumbprint of its key (RFC 7638).
    thumbprint: String,
    id: ProofId,
    /// The nonce that the client is to use next, if its own is about to expire.
    pub(crate) next_nonce: Option<Arc<str>>,
}

/// What a proof must name, other than the URL.
pub(super) struct Expected<'a> {
    pub(super) algorithms: &'a [Algorithm],
    pub(super) method: &'a str,
    pub(super) token: &'a [u8],
    pub(super) now: OffsetDateTime,
    pub(super) window: Duration,
}

impl Proof {
    /// Verifies a proof whose `htu` is accepted by `is_for_request`. Returns its nonce, too, which is
    /// not verified.
    pub(super) fn verify(
        proof: &[u8],
        expected: &Expected<'_>,
        is_for_request: impl Fn(&str) -> bool,
    ) -> Result<(Self, Option<String>), DpopError> {
        let proof = std::str::from_utf8(proof).map_err(|_| malformed("bytes that are not text"))?;
        let jws = CompactJws::parse_proof(MAX_BYTES, proof).map_err(|error| match error {
            TokenError::InvalidAlgorithm => DpopError::InvalidAlgorithm,
            _ => DpopError::Malformed,
        })?;
        if jws.header.typ.as_deref() != Some(TYPE) {
            return Err(malformed("another `typ`, or none"));
        }
        let algorithm = jws.header.algorithm;
        if !expected.algorithms.contains(&algorithm) {
            let accepted = format_args!("one of {:?}", expected.algorithms);
            return Err(DpopError::InvalidAlgorithm.logged("alg", accepted, algorithm.name()));
        }
        let (key, thumbprint) =
            jws.header_key().and_then(|jwk| public_key(&jwk, algorithm)).ok_or_else(|| {
                let expected = "the public key of the algorithm as `jwk`";
                DpopError::InvalidKey.logged("jwk", expected, "none, a private one, or another")
            })?;
        if !key.verify(algorithm, jws.signing_input, &jws.signature) {
            let found = "another signature";
            return Err(DpopError::InvalidSignature.logged("signature", "one by `jwk`", found));
        }
        let claims = jws.claims().map_err(|_| DpopError::Malformed)?;
        check_request(&claims, expected, is_for_request)?;
        let jti = required(&claims, "jti")?;
        if jti.is_empty() {
            return Err(missing("jti"));
        }
        let id = hash_parts([thumbprint.as_str(), jti]).first_chunk().copied().unwrap_or_default();
        let nonce = claims.text_or_none("nonce").map(str::to_owned);
        Ok((Self { thumbprint, id, next_nonce: None }, nonce))
    }

    /// Whether its key is the one with this thumbprint.
    pub(crate) fn has_thumbprint(&self, thumbprint: &str) -> bool {
        self.thumbprint == thumbprint
    }

    pub(super) fn id(&self) -> ProofId {
        self.id
    }
}

fn check_request(
    claims: &Claims,
    expected: &Expected<'_>,
    is_for_request: impl Fn(&str) -> bool,
) -> Result<(), DpopError> {
    let method = required(claims, "htm")?;
    if method != expected.method {
        return Err(DpopError::MethodMismatch.logged("htm", expected.method, Shown(method)));
    }
    let url = required(claims, "htu")?;
    if !is_for_request(url) {
        let expected = "the public URL of the app, with the path of the request";
        return Err(DpopError::UrlMismatch.logged("htu", expected, Shown(url)));
    }
    let issued_at = claims.date("iat").ok().flatten().ok_or_else(|| missing("iat"))?;
    if (issued_at - expected.now).abs() > expected.window {
        let around = format_args!("about {}, by the clock of this server", expected.now);
        return Err(DpopError::OutsideWindow.logged("iat", around, issued_at));
    }
    if required(claims, "ath")? != sha256(expected.token) {
        let found = "that of another one";
        return Err(DpopError::TokenMismatch.logged("ath", "the hash of the access token", found));
    }
    Ok(())
}

fn required<'c>(claims: &'c Claims, name: &'static str) -> Result<&'c str, DpopError> {
    claims.text_or_none(name).ok_or_else(|| missing(name))
}

fn missing(name: &'static str) -> DpopError {
    DpopError::InvalidClaim(name).logged(name, "a claim of the proof", "none, or of another type")
}

fn malformed(found: &str) -> DpopError {
    DpopError::Malformed.logged("format", "a signed token of the type dpop+jwt", found)
}

/// Members of private and symmetric keys (RFC 7518, section 6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key for this algorithm, and its thumbprint.
fn public_key(jwk: &Value, algorithm: Algorithm) -> Option<(VerifyingKey, String)> {
    let members = jwk.as_object()?;
    if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
        return None;
    }
    let thumbprint = thumbprint(members)?;
    let key = VerifyingKey::from_jwk(&Jwk::deserialize(jwk).ok()?, &[algorithm]).ok()?;
    Some((key, thumbprint))
}

/// The hash of the required members in alphabetical order, without white space (RFC 7638). Their values
/// need no escapes.
fn thumbprint(members: &Map<String, Value>) -> Option<String> {
    let names: &[&str] = match members.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let pairs = names
        .iter()
        .map(|name| {
            let value = members.get(*name)?.as_str()?;
            value.bytes().all(is_base64url).then(|| format!("\"{name}\":\"{value}\""))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(sha256(format!("{{{}}}", pairs.join(",")).as_bytes()))
}

fn sha256(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes))
}
