use serde::{Deserialize, Serialize};

use crate::model::wire;
use crate::util::open_enum::open_enum;

open_enum! {
    /// The state of a session.
    SessionStatus {
        /// Active.
        Active = "active",
        /// Expired.
        Expired = "expired",
        /// The user logged out.
        LoggedOut = "logout",
        /// Revoked by an administrator or an application.
        Revoked = "revoked",
    }
}

/// Details of the session's browser, sent by the browser itself and therefore not trustworthy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
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
