use serde::Deserialize;
use time::OffsetDateTime;

use crate::model::lenient;
use crate::util::open_enum::open_enum;

/// An account at another service that a user lets your app act with. Its tokens are not told.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ConnectedAccount {
    /// `ca_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Whose it is, in the words of your app.
    #[serde(deserialize_with = "lenient::text")]
    pub identifier: Option<String>,
    /// The connection it belongs to (`conn_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub connection_id: Option<String>,
    /// The name of that connection.
    #[serde(deserialize_with = "lenient::text")]
    pub connection_name: Option<String>,
    /// The service, for instance `GMAIL`.
    #[serde(deserialize_with = "lenient::text")]
    pub provider: Option<String>,
    /// How your app is let in, for instance `OAUTH`.
    #[serde(deserialize_with = "lenient::text")]
    pub authorization_type: Option<String>,
    /// Whether it can be used.
    #[serde(deserialize_with = "lenient::word")]
    pub status: Option<ConnectedAccountStatus>,
    /// What the status was before, where the event is about that.
    #[serde(deserialize_with = "lenient::word")]
    pub old_status: Option<ConnectedAccountStatus>,
    /// When its token expires.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub token_expires_at: Option<OffsetDateTime>,
    /// When it was last used.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub last_used_at: Option<OffsetDateTime>,
}

open_enum! {
    /// Whether an account can be used.
    ConnectedAccountStatus {
        /// It can.
        Active = "ACTIVE",
        /// Its person has taken it back.
        Disconnected = "DISCONNECTED",
        /// Its tokens have expired: its person has to let your app in again.
        Expired = "EXPIRED",
        /// Its person has not let your app in yet.
        PendingAuth = "PENDING_AUTH",
        /// Its person has to be verified yet.
        PendingVerification = "PENDING_VERIFICATION",
    }
}
