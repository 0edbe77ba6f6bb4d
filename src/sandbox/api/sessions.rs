//! `/api/v1/sessions` and `/api/v1/users/{user_id}/sessions`.
//!
//! Sessions have no time limits here, so the responses contain none (`absolute_expires_at`,
//! `idle_expires_at`) and the status is never `expired`. Of the device, only the user agent is
//! known.

use std::cmp::Reverse;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::paging::{OTHER_LIST, PageRequest};
use super::user_key::Key;
use super::{ApiErrorResponse, ApiResult, parse, timestamp};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::sessions::{Session, SessionEnd};

pub(super) fn get(state: &State, id: &str, client_id: &str) -> ApiResult {
    Ok(details(id, known_session(state, id)?, client_id))
}

/// A session that has ended is not changed.
pub(super) fn revoke(state: &mut State, id: &str) -> ApiResult {
    known_session(state, id)?;
    state.end_session(id, SessionEnd::Revoked);
    Ok(json!({ "revoked_session": common_details(id, known_session(state, id)?) }))
}

/// Newest first.
pub(super) fn list(state: &State, user_id: &str, query: &Parameters, client_id: &str) -> ApiResult {
    let page = PageRequest::parse(query, 30, 100)?;
    let filter = Filter::parse(query)?;
    check_user(state, user_id)?;
    let mut found: Vec<_> = state
        .sessions
        .iter()
        .filter(|(_, session)| session.user_id == user_id && filter.admits(session))
        .collect();
    found.sort_by_key(|(id, session)| Reverse((session.created_at, *id)));
    let start = match &page.from {
        None => 0,
        Some(from) => {
            // The session may no longer be in the list: it was revoked, and active ones are
            // requested.
            let first = state
                .sessions
                .get(from)
                .filter(|session| session.user_id == user_id)
                .ok_or(OTHER_LIST)?;
            found.partition_point(|(id, session)| {
                (session.created_at, *id) > (first.created_at, from)
            })
        }
    };
    Ok(page.response(
        "sessions",
        &found,
        start,
        |(id, _)| (*id).clone(),
        |(id, session)| details(id, session, client_id),
    ))
}

pub(super) fn revoke_all(state: &mut State, user_id: &str) -> ApiResult {
    check_user(state, user_id)?;
    let sessions: Vec<_> = state
        .revoke_sessions_of(user_id)
        .iter()
        .filter_map(|id| Some(common_details(id, state.sessions.get(id)?)))
        .collect();
    Ok(json!({ "total_revoked": sessions.len(), "revoked_sessions": sessions }))
}

fn known_session<'s>(state: &'s State, id: &str) -> ApiResult<&'s Session> {
    parse::id(id, "ses_", "session_id must start with ses_")?;
    state.sessions.get(id).ok_or(ApiErrorResponse::not_found("session not found"))
}

fn check_user(state: &State, id: &str) -> ApiResult<()> {
    Key::Id(id).find(state).map(drop)
}

#[derive(Debug)]
struct Filter {
    statuses: Vec<String>,
    start_time: Option<OffsetDateTime>,
    end_time: Option<OffsetDateTime>,
}

impl Filter {
    fn parse(query: &Parameters) -> ApiResult<Self> {
        let filter = Self {
            statuses: query.all("filter.status").map(str::to_ascii_lowercase).collect(),
            start_time: parse::time(query, "filter.start_time")?,
            end_time: parse::time(query, "filter.end_time")?,
        };
        if !filter.statuses.iter().all(|known| STATUSES.contains(&known.as_str())) {
            return Err(ApiErrorResponse::invalid("filter.status is unknown"));
        }
        match (filter.start_time, filter.end_time) {
            (Some(start), Some(end)) if end <= start => {
                Err(ApiErrorResponse::invalid("filter.end_time must be after filter.start_time"))
            }
            _ => Ok(filter),
        }
    }

    fn admits(&self, session: &Session) -> bool {
        (self.statuses.is_empty() || self.statuses.iter().any(|known| known == status(session)))
            && self.start_time.is_none_or(|start| start <= session.created_at)
            && self.end_time.is_none_or(|end| session.created_at <= end)
    }
}

const STATUSES: [&str; 4] = ["active", "expired", "revoked", "logout"];

fn status(session: &Session) -> &'static str {
    match session.end {
        None => "active",
        Some((SessionEnd::LoggedOut, _)) => "logout",
        Some((SessionEnd::Revoked, _)) => "revoked",
    }
}

/// `sessionsSessionDetails`
fn details(id: &str, session: &Session, client_id: &str) -> Value {
    let mut details = common_details(id, session);
    details.extend(without_nulls(json!({
        "organization_id": session.organization_id,
        "authenticated_organizations": session.authenticated_organizations,
        "authenticated_clients": [{
            "client_id": client_id,
            "organization_id": session.organization_id,
        }],
        "device": session.user_agent.as_ref().map(|agent| json!({ "user_agent": agent })),
    })));
    details.into()
}

/// `sessionsRevokedSessionDetails`
fn common_details(id: &str, session: &Session) -> Map<String, Value> {
    let (logout_at, expired_at) = match session.end {
        None => (None, None),
        Some((SessionEnd::LoggedOut, at)) => (Some(timestamp(at)), None),
        Some((SessionEnd::Revoked, at)) => (None, Some(timestamp(at))),
    };
    without_nulls(json!({
        "session_id": id,
        "user_id": session.user_id,
        "status": status(session),
        "created_at": timestamp(session.created_at),
        "updated_at": timestamp(session.updated_at),
        "last_active_at": timestamp(session.last_active_at),
        "logout_at": logout_at,
        "expired_at": expired_at,
    }))
}
