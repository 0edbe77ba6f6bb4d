//! Logins that were completed a moment ago.
//!
//! The browser keeps the last one in a cookie of its own: the page that it ended at, for a callback
//! that comes again, and that the session's cookie should be there. Where another app on the host keeps
//! replacing that cookie, or the browser does not keep it, each page would start the next login, and
//! the environment would complete it without a question.

use http::{HeaderMap, HeaderValue};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::{Attempt, AttemptKind, Sessions};
use crate::util::return_to::ReturnTo;

const LIFETIME: Duration = Duration::MINUTE;

/// Longer pages are not kept.
const MAX_PAGE_BYTES: usize = 512;
/// So many are removed at once.
const MAX_REMOVED: usize = 4;

pub(crate) struct RecentLogin {
    id: String,
    completed_at: OffsetDateTime,
    /// It began because the session of the one before was gone within the same minute.
    is_repeated: bool,
    return_to: ReturnTo,
}

impl RecentLogin {
    /// `Set-Cookie` values with which the browser keeps a login that has just been completed.
    pub(crate) fn cookies(
        sessions: &Sessions,
        attempt: &impl Attempt,
        return_to: &ReturnTo,
        headers: &HeaderMap,
    ) -> Vec<HeaderValue> {
        let Some(id) = attempt.id() else { return Vec::new() };
        let fits = return_to.as_str().len() <= MAX_PAGE_BYTES;
        let return_to = if fits { return_to.clone() } else { ReturnTo::root() };
        let completed_at = sessions.scalekit().clock().now();
        let is_repeated = sessions.attempts::<Self>(headers).next().is_some()
            && !sessions.has_own_cookie(headers);
        let recent = Self { id, completed_at, is_repeated, return_to };
        sessions.keep_attempt(&recent, headers).unwrap_or_default()
    }

    /// The page that the login of this `state` ended at, if it is known.
    pub(crate) fn page(sessions: &Sessions, headers: &HeaderMap, state: &str) -> Option<ReturnTo> {
        let (recent, _) = sessions.attempt::<Self>(state, headers);
        recent.map(|recent| recent.return_to)
    }

    /// Whether the browser has just completed a login, and another one would most likely end in the
    /// same way: it sends another app's cookie in place of the session's, or none for the second time.
    pub(crate) fn has_lost_its_session(sessions: &Sessions, headers: &HeaderMap) -> bool {
        let Some(recent) = sessions.attempts::<Self>(headers).next() else { return false };
        let is_replaced = sessions.cookies().presented(headers).cookies().any();
        (is_replaced || recent.is_repeated) && !sessions.has_own_cookie(headers)
    }

    /// `Set-Cookie` values that remove the logins that the browser keeps.
    pub(crate) fn removals(sessions: &Sessions, headers: &HeaderMap) -> Vec<HeaderValue> {
        let kept = sessions.attempts::<Self>(headers).take(MAX_REMOVED);
        kept.filter_map(|recent| sessions.end_attempt(&recent)).collect()
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
        let completed_at = self.completed_at.unix_timestamp().to_be_bytes();
        let return_to = self.return_to.as_str().as_bytes();
        Some(Zeroizing::new([&is_repeated[..], &completed_at, return_to].concat()))
    }

    fn decode(id: &str, content: &[u8]) -> Option<Self> {
        let (is_repeated, rest) = content.split_first()?;
        let (completed_at, return_to) = rest.split_first_chunk()?;
        let completed_at = OffsetDateTime::from_unix_timestamp(i64::from_be_bytes(*completed_at));
        Some(Self {
            id: id.to_owned(),
            completed_at: completed_at.ok()?,
            is_repeated: *is_repeated != 0,
            return_to: ReturnTo::parse(std::str::from_utf8(return_to).ok()?)?,
        })
    }
}
