//! What a wrong configuration looks like.
//!
//! Errors of a concern live with it: [`HttpClientError`](crate::http_client::HttpClientError),
//! [`StoreError`](crate::shared_store::StoreError), [`OAuthError`](crate::oauth::OAuthError),
//! [`TokenError`](crate::token::TokenError). This module has the one that all builders share.
//!
//! ```
//! use tower_scalekit::Scalekit;
//!
//! let error = Scalekit::builder("ftp://acme.scalekit.dev/?x=1", "", "s3cret").build().unwrap_err();
//! assert_eq!(error.problems().len(), 3); // scheme, query, empty client id: all at once
//! ```

use std::fmt;

/// A setting is missing or cannot work. Raised when something is built, never while serving.
///
/// It lists every problem found, so that one run is enough to mend them all.
#[derive(Debug)]
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

impl ConfigError {
    /// What is wrong, in the order the settings were read; never empty.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigProblem> for ConfigError {
    fn from(problem: ConfigProblem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// A setting is there and cannot be used.
    #[error("{setting}: {reason}")]
    Invalid {
        /// The setting as the user knows it: a builder method or an environment variable.
        setting: &'static str,
        /// What is wrong with it and what it should be. Never the value of a secret.
        reason: String,
    },
    /// A setting that has no default is absent or empty.
    #[error("{setting} is not set")]
    Missing {
        /// The setting as the user knows it.
        setting: &'static str,
    },
}

impl ConfigProblem {
    pub(crate) fn invalid(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { setting, reason: reason.into() }
    }
}

/// Gathers problems while a builder goes through its settings.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<ConfigProblem>);

impl Problems {
    pub(crate) fn push(&mut self, problem: ConfigProblem) {
        self.0.push(problem);
    }

    /// The value, or its problems noted and `None`.
    pub(crate) fn note<T>(&mut self, result: Result<T, impl Into<ConfigError>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.extend(error.into().problems);
                None
            }
        }
    }

    /// The built value when there was no problem, else all of them.
    pub(crate) fn finish<T>(self, built: Option<T>) -> Result<T, ConfigError> {
        match built {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(ConfigError { problems: self.0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_reported_at_once() {
        let mut problems = Problems::default();
        assert_eq!(problems.note(Ok::<_, ConfigError>(7)), Some(7));
        problems.push(ConfigProblem::Missing { setting: "SCALEKIT_CLIENT_ID" });
        problems.push(ConfigProblem::invalid("redirect_uri", "needs https"));
        let error = problems.finish(Some(())).unwrap_err();
        assert_eq!(error.to_string(), "SCALEKIT_CLIENT_ID is not set; redirect_uri: needs https");
    }
}
