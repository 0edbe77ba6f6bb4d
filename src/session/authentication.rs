//! When the user of a session has authenticated.
//!
//! A login alone does not prove it: the environment may complete it from a session of its own. It is
//! known from the ID token's `auth_time`, or if the login has required credentials
//! (`prompt=login`). A session that the app creates itself begins with an authentication by the app.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Session, Sessions};
use crate::util::recency::{is_recent, is_recent_or_ahead};

/// The authentication of a session's user, in its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Authentication {
    /// Unix seconds; `None` if the time is unknown.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    /// Whether the login has required credentials (`prompt=login`).
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    prompted: bool,
}

impl Authentication {
    /// The authentication of a login that is completed now.
    pub(crate) fn of_login(
        auth_time: Option<OffsetDateTime>,
        prompted: bool,
        now: OffsetDateTime,
    ) -> Self {
        let at = auth_time.map(|at| at.min(now)).or(prompted.then_some(now));
        Self { at: at.map(OffsetDateTime::unix_timestamp), prompted }
    }

    /// The authentication that an ID token names.
    pub(super) fn of_identity(auth_time: Option<OffsetDateTime>) -> Self {
        Self { at: auth_time.map(OffsetDateTime::unix_timestamp), prompted: false }
    }

    /// An authentication by the app itself.
    pub(super) fn by_app(now: OffsetDateTime) -> Self {
        Self { at: Some(now.unix_timestamp()), prompted: false }
    }

    pub(super) fn at(self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp(self.at?).ok()
    }

    pub(super) fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// How recent the authentication of a session's user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recency {
    Recent,
    /// A login that requires credentials is necessary.
    Outdated,
    /// The session has just begun with such a login, and another one would have the same result.
    NotRenewed,
}

impl Sessions {
    /// Evaluates whether a session's user has authenticated `within` this time.
    pub(crate) fn recency(&self, session: &Session, within: Duration) -> Recency {
        let (record, now) = (session.record(), self.now());
        let authentication = record.authentication();
        if authentication.at().is_some_and(|at| is_recent(at, within, now)) {
            Recency::Recent
        } else if authentication.prompted && is_recent_or_ahead(record.began_at(), within, now) {
            Recency::NotRenewed
        } else {
            Recency::Outdated
        }
    }
}
