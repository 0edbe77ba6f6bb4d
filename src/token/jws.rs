//! The compact serialization of a signed token (RFC 7515 section 7.1), parsed strictly.

use std::fmt::Display;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Algorithm, Claims, TokenError};
use crate::util::diagnosis::{CheckError as _, Shown};
use crate::util::json::parse_object;

/// Longer tokens from clients are rejected unparsed.
pub(super) const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Limit for tokens of the token endpoint, which are verified even if they are too large for a cookie.
pub(super) const MAX_ISSUED_TOKEN_BYTES: usize = 256 * 1024;
const MAX_KID_BYTES: usize = 256;

/// A parsed token whose signature is not verified. Its claims are not accessible before that.
#[derive(Debug)]
pub(crate) struct CompactJws<'a> {
    header_text: &'a str,
    pub(crate) header: Arc<JoseHeader>,
    pub(crate) signing_input: &'a [u8],
    pub(crate) signature: Vec<u8>,
    payload: &'a str,
}

impl<'a> CompactJws<'a> {
    #[cfg(test)]
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        Self::parse_up_to(MAX_TOKEN_BYTES, token, None)
    }

    /// Parses the proof of DPoP, a token whose header has its key.
    pub(crate) fn parse_proof(max_bytes: usize, proof: &'a str) -> Result<Self, TokenError> {
        Self::parse_up_to(max_bytes, proof, None)
    }

    /// Parses a token of at most this many bytes. Most tokens of an issuer have the same header, so
    /// a `known` one is not parsed again.
    pub(super) fn parse_up_to(
        max_bytes: usize,
        token: &'a str,
        known: Option<&KnownHeader>,
    ) -> Result<Self, TokenError> {
        if token.len() > max_bytes {
            return Err(malformed(format_args!(
                "{} bytes; at most {max_bytes} are read",
                token.len()
            )));
        }
        let mut segments = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(malformed(format_args!(
                "{}; opaque tokens have one",
                token.split('.').count()
            )));
        };
        let signing_input = token.get(..header.len() + 1 + payload.len()).unwrap_or_default();
        Ok(Self {
            header_text: header,
            header: match known {
                Some(known) if known.text == header => Arc::clone(&known.header),
                _ => Arc::new(JoseHeader::parse(&decode(header)?)?),
            },
            signing_input: signing_input.as_bytes(),
            signature: decode(signature)?,
            payload,
        })
    }

    /// The parameter `jwk` of the header, which only the proof of DPoP has.
    pub(crate) fn header_key(&self) -> Option<Value> {
        parse_object(&decode(self.header_text).ok()?).ok()?.remove("jwk")
    }

    /// The header, where it is not the `known` one. Call it after the signature was verified.
    pub(super) fn new_header(&self, known: Option<&KnownHeader>) -> Option<KnownHeader> {
        match known {
            Some(known) if known.text == self.header_text => None,
            _ => Some(KnownHeader {
                text: self.header_text.to_owned(),
                header: Arc::clone(&self.header),
            }),
        }
    }

    /// The claims. Call it after the signature was verified.
    pub(crate) fn claims(&self) -> Result<Claims, TokenError> {
        Claims::parse(&decode(self.payload)?)
            .map_err(|_| malformed("a payload that is no JSON object, or repeats a member"))
    }

    /// The issuer that the token names, for the log only: it may be forged.
    pub(super) fn unverified_issuer(&self) -> Option<String> {
        let payload = URL_SAFE_NO_PAD.decode(self.payload).ok()?;
        Some(parse_object(&payload).ok()?.get("iss")?.as_str()?.to_owned())
    }
}

/// The header of a verified token, encoded and parsed.
#[derive(Debug)]
pub(super) struct KnownHeader {
    text: String,
    header: Arc<JoseHeader>,
}

/// The JOSE header parameters that are read. `jku`, `jwk`, `x5u` and `x5c` are ignored.
#[derive(Debug)]
pub(crate) struct JoseHeader {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    pub(crate) typ: Option<String>,
}

impl JoseHeader {
    fn parse(json: &[u8]) -> Result<Self, TokenError> {
        let members = parse_object(json)
            .map_err(|_| malformed("a header that is no JSON object, or repeats a member"))?;
        // No extension is supported, so `crit` is rejected (RFC 7515 section 4.1.11), as is `b64`
        // (RFC 7797).
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(malformed("`crit` or `b64` in the header"));
        }
        let alg = text(&members, "alg")?.ok_or_else(|| malformed("no `alg` in the header"))?;
        let key_id = text(&members, "kid")?;
        if key_id.is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(malformed("a `kid` of more than 256 bytes"));
        }
        Ok(Self {
            algorithm: Algorithm::parse(alg).ok_or_else(|| {
                let expected = "an asymmetric algorithm of RFC 7518";
                TokenError::InvalidAlgorithm.logged("alg", expected, Shown(alg))
            })?,
            key_id: key_id.map(str::to_owned),
            typ: text(&members, "typ")?.map(str::to_owned),
        })
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, TokenError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(malformed("`alg`, `kid` or `typ` that is no string")),
    }
}

/// The error of what is no signed token.
pub(super) fn malformed(found: impl Display) -> TokenError {
    let expected = "three canonical base64url segments with JSON objects in them (RFC 7515)";
    TokenError::Malformed.logged("format", expected, found)
}

/// Decodes unpadded, canonical base64url only.
fn decode(segment: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(segment)
        .map_err(|_| malformed("a segment that is no canonical base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Result<Arc<JoseHeader>, TokenError> {
        let token = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header));
        CompactJws::parse(&token).map(|jws| jws.header)
    }

    #[test]
    fn a_token_has_three_canonical_segments() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
        assert!(CompactJws::parse(&format!("{header}.e30.AA")).is_ok());
        for token in [
            String::new(),
            "..".into(),
            format!("{header}.e30"),
            format!("{header}.e30.AA.AA"),
            format!("{header}.e30.AA.AA.AA"),
            format!("{header}=.e30.AA"),
            format!("{header}.e30.AB"), // non-zero trailing bits
            format!("{header}.e30.A+"),
            format!("{header}.e30.AA "),
            format!(" {header}.e30.AA"),
            format!("{header}.e30.A"),
            format!("{header}.e30.{}", "A".repeat(MAX_TOKEN_BYTES)),
        ] {
            assert_eq!(
                CompactJws::parse(&token).unwrap_err(),
                TokenError::Malformed,
                "{token:.80}"
            );
        }
    }

    #[test]
    fn a_known_header_is_that_of_tokens_with_the_same_text_only() {
        let token = |kid: &str| {
            let header = format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#);
            format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header))
        };
        let (one, other) = (token("1"), token("2"));
        let known = CompactJws::parse(&one).unwrap().new_header(None).unwrap();
        for (text, kid) in [(&one, "1"), (&other, "2")] {
            let jws = CompactJws::parse_up_to(100, text, Some(&known)).unwrap();
            assert_eq!(jws.header.key_id.as_deref(), Some(kid));
            assert_eq!(jws.new_header(Some(&known)).is_some(), kid == "2");
        }
    }

    #[test]
    fn unknown_algorithms_and_none_in_any_case_are_rejected() {
        for alg in ["none", "None", "NONE", "nOnE", "rs256", "RS1", "ES512", ""] {
            let header = format!(r#"{{"alg":"{alg}"}}"#);
            assert_eq!(parse(&header).unwrap_err(), TokenError::InvalidAlgorithm, "{alg}");
        }
        assert_eq!(parse("{}").unwrap_err(), TokenError::Malformed);
        assert_eq!(parse(r#"{"alg":256}"#).unwrap_err(), TokenError::Malformed);
    }

    #[test]
    fn key_ids_are_short_strings_and_nothing_is_critical() {
        let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(257));
        for header in [
            r#"{"alg":"RS256","kid":7}"#,
            r#"{"alg":"RS256","kid":null}"#,
            &long,
            r#"{"alg":"RS256","crit":[]}"#,
            r#"{"alg":"RS256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"RS256","b64":false,"crit":["b64"]}"#,
            r#"{"alg":"RS256","b64":true}"#,
            r#"{"alg":"RS256","alg":"RS256"}"#,
            r#"["RS256"]"#,
        ] {
            assert_eq!(parse(header).unwrap_err(), TokenError::Malformed, "{header:.80}");
        }
        let header = parse(r#"{"alg":"RS256","kid":"k","jku":"https://evil.test"}"#).unwrap();
        assert_eq!(header.key_id.as_deref(), Some("k"));
    }
}
