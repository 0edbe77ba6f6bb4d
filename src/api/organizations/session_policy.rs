use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::wire;

/// How long sessions of an organization's users last at the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionPolicy {
    /// As in all other organizations: the application's policy.
    #[default]
    Application,
    /// The organization's own limits, in whole minutes, rounded up.
    Custom {
        /// After which time users log in again. `None` keeps it.
        absolute_timeout: Option<Duration>,
        /// After which time without activity users log in again. `None` disables it.
        idle_timeout: Option<Duration>,
    },
}

/// The policy as the environment reads and writes it.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Settings {
    #[serde(deserialize_with = "wire::text")]
    policy_source: Option<String>,
    #[serde(deserialize_with = "wire::number", skip_serializing_if = "Option::is_none")]
    absolute_session_timeout: Option<u64>,
    #[serde(deserialize_with = "wire::text", skip_serializing_if = "Option::is_none")]
    absolute_session_timeout_unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_session_timeout_enabled: Option<bool>,
    #[serde(deserialize_with = "wire::number", skip_serializing_if = "Option::is_none")]
    idle_session_timeout: Option<u64>,
    #[serde(deserialize_with = "wire::text", skip_serializing_if = "Option::is_none")]
    idle_session_timeout_unit: Option<String>,
}

impl From<&SessionPolicy> for Settings {
    fn from(policy: &SessionPolicy) -> Self {
        let SessionPolicy::Custom { absolute_timeout, idle_timeout } = policy else {
            return Self { policy_source: Some("APPLICATION".to_owned()), ..Self::default() };
        };
        Self {
            policy_source: Some("CUSTOM".to_owned()),
            absolute_session_timeout: absolute_timeout.map(minutes),
            absolute_session_timeout_unit: absolute_timeout.map(|_| "MINUTES".to_owned()),
            idle_session_timeout_enabled: Some(idle_timeout.is_some()),
            idle_session_timeout: idle_timeout.map(minutes),
            idle_session_timeout_unit: idle_timeout.map(|_| "MINUTES".to_owned()),
        }
    }
}

impl From<Settings> for SessionPolicy {
    fn from(settings: Settings) -> Self {
        if !settings.policy_source.is_some_and(|source| source.eq_ignore_ascii_case("CUSTOM")) {
            return Self::Application;
        }
        let is_idle_limited = settings.idle_session_timeout_enabled == Some(true);
        Self::Custom {
            absolute_timeout: duration(
                settings.absolute_session_timeout,
                settings.absolute_session_timeout_unit.as_deref(),
            ),
            idle_timeout: duration(
                settings.idle_session_timeout.filter(|_| is_idle_limited),
                settings.idle_session_timeout_unit.as_deref(),
            ),
        }
    }
}

fn minutes(time: Duration) -> u64 {
    time.as_secs().div_ceil(60)
}

fn duration(count: Option<u64>, unit: Option<&str>) -> Option<Duration> {
    let seconds = match unit.map(str::to_ascii_uppercase).as_deref() {
        Some("DAYS") => 24 * 3600,
        Some("HOURS") => 3600,
        _ => 60,
    };
    count.map(|count| Duration::from_secs(count.saturating_mul(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_in_any_unit_and_written_in_minutes() {
        let custom = |absolute, idle: Option<u64>| SessionPolicy::Custom {
            absolute_timeout: Some(Duration::from_secs(absolute)),
            idle_timeout: idle.map(Duration::from_secs),
        };
        for (body, expected) in [
            (r"{}", SessionPolicy::Application),
            (r#"{"policy_source":"APPLICATION"}"#, SessionPolicy::Application),
            (
                r#"{"policy_source":"custom","absolute_session_timeout":"2",
                "absolute_session_timeout_unit":"days","idle_session_timeout":9}"#,
                custom(2 * 24 * 3600, None),
            ),
            (
                r#"{"policy_source":"CUSTOM","absolute_session_timeout":360,
                "absolute_session_timeout_unit":"MINUTES","idle_session_timeout_enabled":true,
                "idle_session_timeout":1,"idle_session_timeout_unit":"HOURS"}"#,
                custom(360 * 60, Some(3600)),
            ),
        ] {
            let settings: Settings = serde_json::from_str(body).unwrap();
            assert_eq!(SessionPolicy::from(settings), expected, "{body}");
        }
        let written = serde_json::to_value(Settings::from(&custom(61, Some(60)))).unwrap();
        assert_eq!(written["absolute_session_timeout"], 2);
        assert_eq!(written["idle_session_timeout_unit"], "MINUTES");
    }
}
