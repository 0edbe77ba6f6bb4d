//! Sessions of people who have signed in: they begin at the login page and end by logout or
//! revocation.

use std::collections::BTreeMap;

use time::OffsetDateTime;

/// All sessions, by id; ended ones stay, because the API still tells of them.
pub(crate) type Sessions = BTreeMap<String, Session>;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) user_id: String,
    pub(crate) organization_id: String,
    /// What the browser called itself when it signed in.
    pub(crate) user_agent: Option<String>,
    pub(crate) created_at: OffsetDateTime,
    /// When it was last signed in with, refreshed or ended.
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
