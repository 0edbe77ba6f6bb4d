//! `/api/v1/sessions` and `/api/v1/users/{user_id}/sessions`.
//!
//! Sessions have no time limits here, so the responses contain none (`absolute_expires_at`,
//! `idle_expires_at`) and the status is never `expired`. Of the device, only the user agent is
//! known.

use bytes::Bytes;
use http::Request;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::paging::PageRequest;
use super::{ApiErrorResponse, ApiResult, checked, parse, timestamp};
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::sessions::{Session, SessionEnd};

pub(super) fn get(environment: &Environment, id: &str) -> ApiResult {
    let id = session_id(id)?;
    let state = environment.lock();
    Ok(details(environment, id, state.sessions.get(id).ok_or(UNKNOWN_SESSION)?))
}

/// A session that has ended is not changed.
pub(super) fn revoke(environment: &Environment, id: &str) -> ApiResult {
    let (id, now) = (session_id(id)?, environment.now());
    let mut state = environment.lock();
    state.end_session(id, SessionEnd::Revoked, now);
    let session = state.sessions.get(id).ok_or(UNKNOWN_SESSION)?;
    Ok(json!({ "revoked_session": revoked_details(id, session) }))
}

/// Newest first.
pub(super) fn list(
    environment: &Environment,
    user_id: &str,
    request: &Request<Bytes>,
) -> ApiResult {
    let query = Parameters::from_query(request);
    let page = PageRequest::parse(&query, 30, 100)?;
    let filter = Filter::parse(&query)?;
    let state = environment.lock();
    let user_id = known_user(&state, user_id)?;
    let position = |id: &str, session: &Session| (session.created_at, id.to_owned());
    let mut found: Vec<_> = state
        .sessions
        .iter()
        .filter(|(_, session)| session.user_id == user_id && filter.admits(session))
        .collect();
    found.sort_by_key(|(id, session)| std::cmp::Reverse(position(id, session)));
    let start = match &page.from {
        None => 0,
        Some(from) => {
            // The session may no longer be in the list: it was revoked, and active ones are
            // requested.
            let session = state
                .sessions
                .get(from)
                .filter(|session| session.user_id == user_id)
                .ok_or(ApiErrorResponse::invalid("page_token belongs to another list"))?;
            let from = position(from, session);
            found.iter().take_while(|(id, session)| position(id, session) > from).count()
        }
    };
    Ok(page.response(
        "sessions",
        &found,
        start,
        |(id, _)| (*id).clone(),
        |(id, session)| details(environment, id, session),
    ))
}

pub(super) fn revoke_all(environment: &Environment, user_id: &str) -> ApiResult {
    let now = environment.now();
    let mut state = environment.lock();
    let user_id = known_user(&state, user_id)?;
    let sessions: Vec<_> = state
        .revoke_sessions_of(user_id, now)
        .iter()
        .filter_map(|id| Some((id, state.sessions.get(id)?)))
        .map(|(id, session)| revoked_details(id, session))
        .collect();
    Ok(json!({ "revoked_sessions": sessions, "total_revoked": sessions.len() }))
}

const UNKNOWN_SESSION: ApiErrorResponse = ApiErrorResponse::not_found("session not found");

fn session_id(id: &str) -> Result<&str, ApiErrorResponse> {
    checked(id, "ses_", "session_id must start with ses_")
}

fn known_user<'a>(state: &State, id: &'a str) -> Result<&'a str, ApiErrorResponse> {
    let id = checked(id, "usr_", "user_id must start with usr_")?;
    match state.users.with_id(id) {
        Some(_) => Ok(id),
        None => Err(ApiErrorResponse::not_found("user not found")),
    }
}

#[derive(Debug)]
struct Filter {
    statuses: Vec<String>,
    start_time: Option<OffsetDateTime>,
    end_time: Option<OffsetDateTime>,
}

impl Filter {
    fn parse(query: &Parameters) -> Result<Self, ApiErrorResponse> {
        let statuses: Vec<_> = query.all("filter.status").map(str::to_ascii_lowercase).collect();
        if !statuses.iter().all(|known| STATUSES.contains(&known.as_str())) {
            return Err(ApiErrorResponse::invalid("filter.status is unknown"));
        }
        let (start_time, end_time) =
            (parse::time(query, "filter.start_time")?, parse::time(query, "filter.end_time")?);
        if let (Some(start), Some(end)) = (start_time, end_time)
            && end <= start
        {
            return Err(ApiErrorResponse::invalid(
                "filter.end_time must be after filter.start_time",
            ));
        }
        Ok(Self { statuses, start_time, end_time })
    }

    fn admits(&self, session: &Session) -> bool {
        let status = status(session);
        (self.statuses.is_empty() || self.statuses.iter().any(|wanted| wanted == status))
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
fn details(environment: &Environment, id: &str, session: &Session) -> Value {
    let mut details = common_details(id, session);
    let organization_id = &session.organization_id;
    details.extend(without_nulls(json!({
        "organization_id": organization_id,
        "authenticated_organizations": session.authenticated_organizations,
        "authenticated_clients": [
            { "client_id": environment.client_id, "organization_id": organization_id },
        ],
        "device": session.user_agent.as_ref().map(|agent| json!({ "user_agent": agent })),
    })));
    details.into()
}

/// `sessionsRevokedSessionDetails`
fn revoked_details(id: &str, session: &Session) -> Value {
    common_details(id, session).into()
}

fn common_details(id: &str, session: &Session) -> Map<String, Value> {
    let ended = |by| session.end.and_then(|(end, at)| (end == by).then(|| timestamp(at)));
    without_nulls(json!({
        "session_id": id,
        "user_id": session.user_id,
        "status": status(session),
        "created_at": timestamp(session.created_at),
        "updated_at": timestamp(session.updated_at),
        "last_active_at": timestamp(session.last_active_at),
        "logout_at": ended(SessionEnd::LoggedOut),
        "expired_at": ended(SessionEnd::Revoked),
    }))
}
