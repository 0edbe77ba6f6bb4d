use std::time::Duration;

use crate::clock::ISSUER_SKEW;
use crate::error::{ConfigError, ConfigProblem, Problems};

/// Tolerances for clock differences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leeway {
    /// For `exp`.
    pub(crate) expiry: Duration,
    /// For `nbf` and `iat`.
    pub(crate) not_before: Duration,
}

impl Default for Leeway {
    fn default() -> Self {
        Self { expiry: Duration::from_secs(5), not_before: ISSUER_SKEW.unsigned_abs() }
    }
}

impl Leeway {
    pub(crate) fn checked(self) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        if self.expiry > Duration::from_secs(60) {
            problems.push(ConfigProblem::invalid("leeway", "must be at most 60 s"));
        }
        if self.not_before > Duration::from_secs(300) {
            problems.push(ConfigProblem::invalid("not_before_leeway", "must be at most 5 minutes"));
        }
        problems.finish(Some(self))
    }
}
