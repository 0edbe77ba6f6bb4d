use std::time::Duration;

use crate::error::{ConfigError, ConfigProblem};

/// The longest that browsers keep a cookie, and that a session can last.
pub(super) const MAX_LIFETIME: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The limits of a session's lifetime, whatever the environment allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    pub(super) absolute: time::Duration,
    pub(super) idle: Option<time::Duration>,
}

impl Lifetimes {
    pub(super) fn new(absolute: Duration, idle: Option<Duration>) -> Result<Self, ConfigError> {
        Ok(Self {
            absolute: checked("absolute_lifetime", absolute)?,
            idle: idle.map(|idle| checked("idle_timeout", idle)).transpose()?,
        })
    }
}

fn checked(setting: &'static str, lifetime: Duration) -> Result<time::Duration, ConfigProblem> {
    Some(lifetime)
        .filter(|lifetime| (Duration::from_secs(1)..=MAX_LIFETIME).contains(lifetime))
        .and_then(|lifetime| lifetime.try_into().ok())
        .ok_or_else(|| ConfigProblem::invalid(setting, "must be 1 second to 400 days"))
}
