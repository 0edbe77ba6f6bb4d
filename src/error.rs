//! Configuration errors.
//!
//! Other errors are in the modules that return them:
//! [`HttpClientError`](crate::http_client::HttpClientError),
//! [`StoreError`](crate::shared_store::StoreError), [`OAuthError`](crate::oauth::OAuthError),
//! [`TokenError`](crate::token::TokenError). All builders return [`ConfigError`].
//!
//! ```
//! use tower_scalekit::Scalekit;
//!
//! let error = Scalekit::builder("ftp://acme.scalekit.dev/?x=1", "", "s3cret").build().unwrap_err();
//! assert_eq!(error.problems().len(), 3); // scheme, query, empty client id: all at once
//! ```

use std::fmt;

/// Returned by builders when a setting is missing or invalid. Never returned while serving.
///
/// It lists all problems at once. `Debug` prints the same as `Display`, so that a `main` that returns
/// this error prints a sentence.
#[derive(Clone)]
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

impl ConfigError {
    /// The problems, in the order in which the settings were read; never empty.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }

    /// The same with one more problem.
    #[cfg(all(feature = "reqwest", feature = "sandbox"))]
    pub(crate) fn and(mut self, problem: ConfigProblem) -> Self {
        self.problems.push(problem);
        self
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

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigProblem> for ConfigError {
    fn from(problem: ConfigProblem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// One problem of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// A setting is invalid.
    #[error("{setting}: {reason}")]
    Invalid {
        /// The setting's name: a builder method or an environment variable.
        setting: &'static str,
        /// The reason and what is expected. Never contains the value of a secret.
        reason: String,
    },
    /// A required setting is missing or empty.
    #[error("{setting} is not set")]
    Missing {
        /// The setting's name.
        setting: &'static str,
    },
}

impl ConfigProblem {
    pub(crate) fn invalid(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { setting, reason: reason.into() }
    }
}

/// Collects problems while a builder validates its settings.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<ConfigProblem>);

impl Problems {
    pub(crate) fn push(&mut self, problem: ConfigProblem) {
        self.0.push(problem);
    }

    /// Adds that a setting is invalid.
    pub(crate) fn invalid(&mut self, setting: &'static str, reason: impl Into<String>) {
        self.push(ConfigProblem::invalid(setting, reason));
    }

    /// Adds that a required setting is missing.
    pub(crate) fn missing(&mut self, setting: &'static str) {
        self.push(ConfigProblem::Missing { setting });
    }

    /// The value; or `None`, with its problems added.
    pub(crate) fn collect<T>(&mut self, result: Result<T, impl Into<ConfigError>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.extend(error.into().problems);
                None
            }
        }
    }

    /// The same, with each problem once.
    pub(crate) fn without_repeats(self) -> Self {
        let mut once = Vec::with_capacity(self.0.len());
        for problem in self.0 {
            if !once.contains(&problem) {
                once.push(problem);
            }
        }
        Self(once)
    }

    /// The built value if there are no problems, else all of them.
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
        assert_eq!(problems.collect(Ok::<_, ConfigError>(7)), Some(7));
        problems.missing("SCALEKIT_CLIENT_ID");
        problems.invalid("redirect_uri", "needs https");
        let error = problems.finish(Some(())).unwrap_err();
        assert_eq!(error.to_string(), "SCALEKIT_CLIENT_ID is not set; redirect_uri: needs https");
    }

    #[test]
    fn debug_of_a_configuration_error_is_its_display() {
        let error = ConfigError::from(ConfigProblem::Missing { setting: "SESSION_SECRET" });
        assert_eq!(format!("{error:?}"), "SESSION_SECRET is not set");
        let returned_by_main: Box<dyn std::error::Error> = error.into();
        assert_eq!(format!("{returned_by_main:?}"), "SESSION_SECRET is not set");
    }
}
