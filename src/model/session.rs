use std::fmt;

use serde::Deserialize;

use crate::model::wire;

/// The state of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionStatus {
    /// Active.
    Active,
    /// Expired.
    Expired,
    /// The user logged out.
    LoggedOut,
    /// Revoked by an administrator or an application.
    Revoked,
    /// A status that this version does not know.
    Unknown(String),
}

impl SessionStatus {
    /// The value as the API writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::LoggedOut => "logout",
            Self::Revoked => "revoked",
            Self::Unknown(word) => word,
        }
    }
}

impl From<&str> for SessionStatus {
    /// Ignores case: the API reference has both spellings.
    fn from(word: &str) -> Self {
        let known = [Self::Active, Self::Expired, Self::LoggedOut, Self::Revoked];
        let same = |status: &Self| status.as_str().eq_ignore_ascii_case(word);
        known.into_iter().find(same).unwrap_or_else(|| Self::Unknown(word.to_owned()))
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Details of the session's browser, sent by the browser itself and therefore not trustworthy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SessionDevice {
    /// For instance `Chrome`.
    #[serde(deserialize_with = "wire::text")]
    pub browser: Option<String>,
    /// For instance `120.0.0.0`.
    #[serde(deserialize_with = "wire::text")]
    pub browser_version: Option<String>,
    /// `desktop`, `mobile`, `tablet` or `other`.
    #[serde(deserialize_with = "wire::text")]
    pub device_type: Option<String>,
    /// The IP address that the user signed in from.
    #[serde(deserialize_with = "wire::text")]
    pub ip: Option<String>,
    /// The estimated location of that address.
    pub location: Option<SessionLocation>,
    /// For instance `macOS`.
    #[serde(deserialize_with = "wire::text")]
    pub os: Option<String>,
    /// For instance `14.2`.
    #[serde(deserialize_with = "wire::text")]
    pub os_version: Option<String>,
    /// The `User-Agent` header.
    #[serde(deserialize_with = "wire::text")]
    pub user_agent: Option<String>,
}

/// Estimated location of an IP address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SessionLocation {
    /// For instance `San Francisco`.
    #[serde(deserialize_with = "wire::text")]
    pub city: Option<String>,
    /// Decimal degrees.
    #[serde(deserialize_with = "wire::text")]
    pub latitude: Option<String>,
    /// Decimal degrees.
    #[serde(deserialize_with = "wire::text")]
    pub longitude: Option<String>,
    /// The country, for instance `United States`.
    #[serde(deserialize_with = "wire::text")]
    pub region: Option<String>,
    /// The state or province, for instance `CA`.
    #[serde(deserialize_with = "wire::text")]
    pub region_subdivision: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_known_in_any_case() {
        for (word, status) in [
            ("active", SessionStatus::Active),
            ("ACTIVE", SessionStatus::Active),
            ("Logout", SessionStatus::LoggedOut),
            ("revoked", SessionStatus::Revoked),
            ("EXPIRED", SessionStatus::Expired),
            ("Frozen", SessionStatus::Unknown("Frozen".to_owned())),
        ] {
            assert_eq!(SessionStatus::from(word), status);
        }
    }
}
