//! A verified token in its parts. Claims compress, once they are decoded; signatures do not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::SecretString;

/// Header, claims and signature of a verified token, decoded.
pub(super) fn split(token: &SecretString) -> Option<(String, String, Vec<u8>)> {
    let mut parts = token.expose().split('.').map(|part| URL_SAFE_NO_PAD.decode(part));
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    Some((
        String::from_utf8(header.ok()?).ok()?,
        String::from_utf8(claims.ok()?).ok()?,
        signature.ok()?,
    ))
}

/// The token of these parts.
pub(super) fn join(header: &str, claims: &str, signature: &[u8]) -> SecretString {
    let parts = [header.as_bytes(), claims.as_bytes(), signature];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".").into()
}
