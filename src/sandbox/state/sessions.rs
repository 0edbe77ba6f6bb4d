//! Sessions of signed-in users: created by the login page, ended by logout or revocation.

use std::collections::BTreeMap;

use time::OffsetDateTime;

/// The last sessions, by ID. Ended ones are retained, because the API still returns them.
pub(crate) type Sessions = BTreeMap<String, Session>;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) user_id: String,
    /// Where the user was last active.
    pub(crate) organization_id: String,
    /// Where the user has signed in.
    pub(crate) authenticated_organizations: Vec<String>,
    /// The user agent of the sign-in.
    pub(crate) user_agent: Option<String>,
    pub(crate) created_at: OffsetDateTime,
    /// Time of the last sign-in, refresh or end.
    pub(crate) updated_at: OffsetDateTime,
    pub(crate) last_active_at: OffsetDateTime,
    pub(crate) end: Option<(SessionEnd, OffsetDateTime)>,
    pub(crate) cookie: String,
}

impl Session {
    pub(crate) fn is_active(&self) -> bool {
        self.end.is_none()
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    LoggedOut,
    Revoked,
}
