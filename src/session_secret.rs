//! The secret that the keys of sessions and stores are derived from.

use std::collections::BTreeSet;
use std::fmt;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::env;
use crate::error::{ConfigError, ConfigProblem};

const MIN_BYTES: usize = 32;
const MIN_DISTINCT_BYTES: usize = 8;

/// The secret that seals session cookies: at least 32 random bytes, the same on every replica.
///
/// `openssl rand -base64 32` generates one. Anyone who has the secret can create sessions for any
/// user.
#[derive(Clone)]
pub struct SessionSecret(Zeroizing<Vec<u8>>);

impl SessionSecret {
    /// Creates a secret from bytes.
    ///
    /// # Errors
    /// Returned when the secret is shorter than 32 bytes, or too uniform to be random.
    pub fn new(secret: impl Into<Vec<u8>>) -> Result<Self, ConfigError> {
        Self::checked("session secret", Zeroizing::new(secret.into()))
    }

    /// Reads the secret from an environment variable, or from the file named by this variable with
    /// `_FILE` appended. Surrounding white space is ignored. A value that is not UTF-8 is used byte
    /// for byte.
    ///
    /// # Errors
    /// Returned when the variable is unset or empty, the file cannot be read, or the value is not a
    /// valid secret.
    pub fn from_env(variable: &'static str) -> Result<Self, ConfigError> {
        let secret = env::bytes(variable)?.ok_or(ConfigProblem::Missing { setting: variable })?;
        Self::checked(variable, secret)
    }

    /// Like [`from_env`](Self::from_env), for an app that runs without settings during development:
    /// with debug assertions, generates a secret if the variable is unset, and prints that to
    /// standard error. Sessions then end with the process. In a release build the variable is
    /// required.
    ///
    /// # Errors
    /// Those of [`from_env`](Self::from_env).
    pub fn from_env_or_generate(variable: &'static str) -> Result<Self, ConfigError> {
        match env::bytes(variable)? {
            Some(value) => Self::checked(variable, value),
            None if cfg!(debug_assertions) => {
                eprintln!("{variable} is not set: sessions end when this process does");
                Ok(Self::generate()
                    .map_err(|error| ConfigProblem::invalid(variable, error.to_string()))?)
            }
            None => Err(ConfigProblem::Missing { setting: variable }.into()),
        }
    }

    /// Generates a random secret. Sessions that are sealed with it end with this process.
    ///
    /// # Errors
    /// Returned when the operating system provides no random bytes.
    pub fn generate() -> Result<Self, std::io::Error> {
        let mut secret = Zeroizing::new(vec![0; MIN_BYTES]);
        rand::fill(&mut secret)
            .map_err(|_| std::io::Error::other("the operating system's random source failed"))?;
        Ok(Self(secret))
    }

    fn checked(setting: &'static str, secret: Zeroizing<Vec<u8>>) -> Result<Self, ConfigError> {
        let reason = if secret.len() < MIN_BYTES {
            format!("must be at least {MIN_BYTES} bytes long, for instance openssl rand -base64 32")
        } else if secret.iter().collect::<BTreeSet<_>>().len() < MIN_DISTINCT_BYTES {
            "is too uniform to be random, use for instance openssl rand -base64 32".to_owned()
        } else {
            return Ok(Self(secret));
        };
        Err(ConfigProblem::invalid(setting, reason).into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_uniform_secrets_are_rejected() {
        for secret in [&b"short"[..], &[0; 32], &[7; 100], b"abcabcabcabcabcabcabcabcabcabcabcabc"]
        {
            assert!(SessionSecret::new(secret).is_err(), "{secret:?}");
        }
        let secret = SessionSecret::new(*b"0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(format!("{secret:?}"), "SessionSecret([redacted])");
        let unset = SessionSecret::from_env("TOWER_SCALEKIT_NO_SUCH_VARIABLE").unwrap_err();
        assert_eq!(unset.to_string(), "TOWER_SCALEKIT_NO_SUCH_VARIABLE is not set");
        assert!(SessionSecret::generate().is_ok());
    }
}
