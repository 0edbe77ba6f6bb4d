//! Confidential text: client secrets, tokens, codes.
//!
//! ```
//! use tower_scalekit::secret::SecretString;
//!
//! let secret = SecretString::from("s3cret");
//! assert_eq!(format!("{secret:?}"), "SecretString([redacted])");
//! assert_eq!(secret.expose(), "s3cret");
//! ```

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// A string that is never printed and is wiped from memory when dropped.
///
/// It has no `Display` and no serde implementation. Only [`expose`](Self::expose) returns its text,
/// so every use can be found. Comparison takes constant time.
#[derive(Clone)]
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// Returns the text. Do not log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `BYTES` bytes from the system's random source, as unpadded base64url text.
    pub(crate) fn random<const BYTES: usize>() -> Result<Self, RandomSourceFailed> {
        let mut bytes = Zeroizing::new([0_u8; BYTES]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| RandomSourceFailed)?;
        Ok(Self::from(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
    }
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for SecretString {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretString([redacted])")
    }
}

impl PartialEq for SecretString {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
    }
}

impl Eq for SecretString {}

/// Returned when the operating system provides no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system's random source failed")]
pub(crate) struct RandomSourceFailed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_text_is_fresh_and_url_safe() {
        let (one, two) =
            (SecretString::random::<32>().unwrap(), SecretString::random::<32>().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.expose().len(), 43);
        assert!(one.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    }
}
