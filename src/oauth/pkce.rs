use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::{RandomSourceFailed, SecretString};

/// The code verifier of PKCE (RFC 7636): stored until the code is exchanged, used once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeVerifier(SecretString);

impl CodeVerifier {
    /// Creates a verifier from 32 random bytes, as 43 characters.
    ///
    /// # Errors
    /// When the operating system provides no random bytes.
    pub fn generate() -> Result<Self, std::io::Error> {
        Self::random().map_err(std::io::Error::other)
    }

    pub(crate) fn random() -> Result<Self, RandomSourceFailed> {
        SecretString::random::<32>().map(Self)
    }

    /// The code challenge for the authorization URL (method S256).
    #[must_use]
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.0.expose().as_bytes()))
    }

    /// The verifier as text, for the token request.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl From<SecretString> for CodeVerifier {
    /// Restores a stored verifier.
    fn from(text: SecretString) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_matches_rfc_7636_appendix_b() {
        let verifier = SecretString::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let challenge = CodeVerifier::from(verifier).challenge();
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn verifiers_are_fresh_and_long_enough() {
        let (one, two) = (CodeVerifier::generate().unwrap(), CodeVerifier::generate().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.expose().len(), 43);
    }
}
