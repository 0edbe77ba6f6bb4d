use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::ConnectedAccountStatus;
use crate::model::lenient;

/// An account at another service with which your app acts for a user, without its tokens.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ConnectedAccountData {
    /// `ca_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Your app's identifier of the user.
    #[serde(deserialize_with = "lenient::text")]
    pub identifier: Option<String>,
    /// The connection (`conn_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub connection_id: Option<String>,
    /// The connection's name.
    #[serde(deserialize_with = "lenient::text")]
    pub connection_name: Option<String>,
    /// The service, for instance `GMAIL`.
    #[serde(deserialize_with = "lenient::text")]
    pub provider: Option<String>,
    /// How your app is authorized, for instance `OAUTH`.
    #[serde(deserialize_with = "lenient::text")]
    pub authorization_type: Option<String>,
    /// The status.
    #[serde(deserialize_with = "lenient::open_enum")]
    pub status: Option<ConnectedAccountStatus>,
    /// The previous status, if the event is about a change of it.
    #[serde(deserialize_with = "lenient::open_enum")]
    pub old_status: Option<ConnectedAccountStatus>,
    /// Expiry of its token.
    #[serde(with = "lenient::timestamp")]
    pub token_expires_at: Option<OffsetDateTime>,
    /// Time of the last use.
    #[serde(with = "lenient::timestamp")]
    pub last_used_at: Option<OffsetDateTime>,
}
