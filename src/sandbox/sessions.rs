//! Sessions of people who have signed in: they begin at the login page and end by logout or
//! revocation.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::environment::new_id;
use super::keys::random_token;
use super::people::User;
use super::state::State;

/// All sessions, by id; ended ones stay, because the API still tells of them.
pub(super) type Sessions = BTreeMap<String, Session>;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) user_id: String,
    pub(super) organization_id: String,
    /// What the browser called itself when it signed in.
    pub(super) user_agent: Option<String>,
    pub(super) created_at: OffsetDateTime,
    /// When it was last signed in with, refreshed or ended.
    pub(super) updated_at: OffsetDateTime,
    pub(super) last_active_at: OffsetDateTime,
    pub(super) end: Option<(SessionEnd, OffsetDateTime)>,
    cookie: String,
}

impl Session {
    pub(super) fn is_active(&self) -> bool {
        self.end.is_none()
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionEnd {
    LoggedOut,
    Revoked,
}

impl State {
    /// A session of the user in a browser: its id (`sid`) and the cookie that stands for it.
    pub(super) fn start_session(
        &mut self,
        user: &User,
        user_agent: Option<&str>,
        now: OffsetDateTime,
    ) -> (String, String) {
        let (id, cookie) = (new_id("ses"), random_token());
        let session = Session {
            user_id: user.id.clone(),
            organization_id: user.organization_id.clone(),
            user_agent: user_agent.map(str::to_owned),
            created_at: now,
            updated_at: now,
            last_active_at: now,
            end: None,
            cookie: cookie.clone(),
        };
        self.sessions.insert(id.clone(), session);
        (id, cookie)
    }

    /// The live session a browser's cookies stand for, and its user.
    pub(super) fn session_of<'a>(
        &self,
        mut cookies: impl Iterator<Item = &'a str>,
    ) -> Option<(String, User)> {
        cookies.find_map(|cookie| {
            let known = |session: &Session| session.cookie == cookie && session.is_active();
            let (id, session) = self.sessions.iter().find(|(_, session)| known(session))?;
            let user = self.people.users.iter().find(|user| user.id == session.user_id)?;
            Some((id.clone(), user.clone()))
        })
    }

    /// Notes that somebody was there.
    pub(super) fn touch_session(&mut self, id: &str, now: OffsetDateTime) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.last_active_at = now;
            session.updated_at = now;
        }
    }

    /// Says whether it was alive.
    pub(super) fn end_session(&mut self, id: &str, how: SessionEnd, now: OffsetDateTime) -> bool {
        self.grants.revoke_session(id);
        let session = self.sessions.get_mut(id).filter(|session| session.is_active());
        session.is_some_and(|session| {
            session.updated_at = now;
            session.end.replace((how, now)).is_none()
        })
    }

    /// Revokes the sessions of the user with this address and says how many were alive.
    pub(super) fn end_sessions_of(&mut self, email: &str, now: OffsetDateTime) -> usize {
        let user_id = self.people.find(email).map(|user| user.id.clone());
        user_id.map_or(0, |user_id| self.revoke_sessions_of(&user_id, now).len())
    }

    /// Revokes the sessions of the user with this id and gives those that were alive.
    pub(super) fn revoke_sessions_of(&mut self, user_id: &str, now: OffsetDateTime) -> Vec<String> {
        let of_user = self.sessions.iter().filter(|(_, session)| session.user_id == user_id);
        let mut ids: Vec<_> = of_user.map(|(id, _)| id.clone()).collect();
        ids.retain(|id| self.end_session(id, SessionEnd::Revoked, now));
        ids
    }
}
