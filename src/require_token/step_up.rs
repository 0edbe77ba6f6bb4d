use std::time::Duration;

use time::OffsetDateTime;

use crate::challenge::{AcrValue, Challenge};
use crate::token::Claims;
use crate::util::recency::is_recent;

/// The authentication that is required of a token's user (RFC 9470).
#[derive(Clone, Debug, Default)]
pub(crate) struct StepUpRequirement {
    pub(crate) max_age: Option<Duration>,
    pub(super) acr_values: Vec<AcrValue>,
}

impl StepUpRequirement {
    /// Whether the claims of a verified token meet it. An absent or invalid claim does not.
    pub(super) fn is_met(&self, claims: &Claims, now: impl FnOnce() -> OffsetDateTime) -> bool {
        let is_recent_enough = self.max_age.is_none_or(|max_age| {
            let auth_time = claims.date("auth_time").ok().flatten();
            auth_time.is_some_and(|at| is_recent(at, max_age, now()))
        });
        is_recent_enough && (self.acr_values.is_empty() || self.accepts_acr(claims))
    }

    fn accepts_acr(&self, claims: &Claims) -> bool {
        let acr = claims.text("acr").ok().flatten();
        self.acr_values.iter().any(|value| Some(value.as_str()) == acr)
    }

    /// Adds what is required to a challenge.
    pub(super) fn challenge(&self, challenge: Challenge) -> Challenge {
        let challenge = match self.max_age {
            Some(max_age) => challenge.max_age(max_age),
            None => challenge,
        };
        challenge.acr_values(self.acr_values.clone())
    }
}
