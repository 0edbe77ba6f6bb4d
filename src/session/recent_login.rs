//! Logins that were completed within the last minute.
//!
//! A cookie records the last one: its final page, for a callback that is requested again, and that
//! the browser should now have a session cookie. If another app on the host keeps replacing the
//! session cookie, or the browser does not store it, each page would start another login, and the
//! environment would complete it without interaction.

use http::{HeaderMap, HeaderValue};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::pending_cookies::{decode_time, encode_time};
use super::{Attempt, AttemptKind, Sessions};
use crate::util::return_to::ReturnTo;

const LIFETIME: Duration = Duration::MINUTE;

/// Longer pages are not stored.
const MAX_PAGE_BYTES: usize = 512;
/// How many are removed at once.
const MAX_REMOVED: usize = 4;

pub(crate) struct RecentLogin {
    id: String,
    completed_at: OffsetDateTime,
    /// Whether it began because the session of the previous one was gone within the same minute.
    is_repeated: bool,
    return_to: ReturnTo,
}

impl RecentLogin {
    /// Returns `Set-Cookie` values that record a login that has just completed.
    pub(crate) fn cookies(
        sessions: &Sessions,
        attempt: &impl Attempt,
        return_to: &ReturnTo,
        headers: &HeaderMap,
    ) -> Vec<HeaderValue> {
        let Some(id) = attempt.id() else { return Vec::new() };
        let fits = return_to.as_str().len() <= MAX_PAGE_BYTES;
        let return_to = if fits { return_to.clone() } else { sessions.start_page().clone() };
        let completed_at = sessions.scalekit().clock().now();
        let is_repeated = sessions.attempts::<Self>(headers).next().is_some()
            && !sessions.has_own_cookie(headers);
        sessions
            .keep_attempt(&Self { id, completed_at, is_repeated, return_to }, headers)
            .unwrap_or_default()
    }

    /// Returns the final page of the login with this `state`, if known.
    pub(crate) fn page(sessions: &Sessions, headers: &HeaderMap, state: &str) -> Option<ReturnTo> {
        sessions.attempt::<Self>(state, headers).0.map(|recent| recent.return_to)
    }

    /// Whether the browser has just completed a login and another one would most likely fail in the
    /// same way: its session cookie belongs to another app, or is missing for the second time.
    pub(crate) fn has_lost_session_cookie(sessions: &Sessions, headers: &HeaderMap) -> bool {
        let Some(recent) = sessions.attempts::<Self>(headers).next() else { return false };
        let is_replaced = !sessions.cookies().read(headers).present().is_empty();
        (is_replaced || recent.is_repeated) && !sessions.has_own_cookie(headers)
    }

    /// Returns `Set-Cookie` values that remove the recorded logins, including expired ones: if the
    /// wall clock is ahead, they are recent again once it is corrected.
    pub(crate) fn removals(sessions: &Sessions, headers: &HeaderMap) -> Vec<HeaderValue> {
        sessions
            .kept_attempts::<Self>(headers)
            .take(MAX_REMOVED)
            .filter_map(|recent| sessions.end_attempt(&recent))
            .collect()
    }
}

impl Attempt for RecentLogin {
    const KIND: AttemptKind = AttemptKind::RecentLogin;
    const MAX: usize = 1;

    fn id(&self) -> Option<String> {
        Some(self.id.clone())
    }

    fn began_at(&self) -> OffsetDateTime {
        self.completed_at
    }

    fn ends_at(&self) -> OffsetDateTime {
        self.completed_at.saturating_add(LIFETIME)
    }

    /// `whether it is repeated ‖ completion, Unix seconds ‖ return_to`
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let is_repeated = [u8::from(self.is_repeated)];
        let return_to = self.return_to.as_str().as_bytes();
        Some(Zeroizing::new(
            [&is_repeated[..], &encode_time(self.completed_at), return_to].concat(),
        ))
    }

    fn decode(id: &str, content: &[u8]) -> Option<Self> {
        let (is_repeated, rest) = content.split_first()?;
        let (completed_at, return_to) = decode_time(rest)?;
        Some(Self {
            id: id.to_owned(),
            completed_at,
            is_repeated: *is_repeated != 0,
            return_to: ReturnTo::parse(std::str::from_utf8(return_to).ok()?)?,
        })
    }
}
