use std::time::Duration;

use crate::clock::ISSUER_SKEW;
use crate::error::{ConfigError, Problems};

const MAX_EXPIRY: time::Duration = time::Duration::minutes(1);
const MAX_NOT_BEFORE: time::Duration = time::Duration::minutes(5);

/// Tolerances for clock differences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leeway {
    /// For `exp`.
    pub(crate) expiry: time::Duration,
    /// For `nbf` and `iat`.
    pub(crate) not_before: time::Duration,
}

impl Default for Leeway {
    fn default() -> Self {
        Self { expiry: time::Duration::seconds(5), not_before: ISSUER_SKEW }
    }
}

impl Leeway {
    pub(crate) fn set_expiry(&mut self, leeway: Duration) {
        self.expiry = leeway.try_into().unwrap_or(time::Duration::MAX);
    }

    pub(crate) fn set_not_before(&mut self, leeway: Duration) {
        self.not_before = leeway.try_into().unwrap_or(time::Duration::MAX);
    }

    pub(crate) fn checked(self) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        if self.expiry > MAX_EXPIRY {
            problems.invalid("leeway", "must be at most 60 s");
        }
        if self.not_before > MAX_NOT_BEFORE {
            problems.invalid("not_before_leeway", "must be at most 5 minutes");
        }
        problems.finish(Some(self))
    }
}
