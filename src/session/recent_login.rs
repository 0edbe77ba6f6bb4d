//! Logins that were completed within the last minute.
//!
//! A cookie records the last one: its final page, for a callback that is requested again, and that
//! the browser should now have a session cookie. If another app on the host keeps replacing the
//! session cookie, or the browser does not store it, each page would start another login, and the
//! environment would complete it without interaction.

use http::{HeaderMap, HeaderValue};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::short_lived_cookies::{decode_time, encode_time};
use super::{Sessions, ShortLivedCookie, ShortLivedCookieKind};
use crate::util::return_to::ReturnTo;

const LIFETIME: Duration = Duration::MINUTE;

/// How many logins may complete in a row without interaction, and how soon after each other.
const MAX_IN_A_ROW: u8 = 3;
const LOOP_WINDOW: Duration = Duration::seconds(10);

/// Longer pages are not stored.
const MAX_PAGE_BYTES: usize = 512;
/// How many are removed at once.
const MAX_REMOVED: usize = 4;

pub(crate) struct RecentLogin {
    id: String,
    completed_at: OffsetDateTime,
    /// Whether it began because the session of the previous one was gone within the same minute.
    is_repeated: bool,
    /// How many logins were completed right before it.
    before: u8,
    return_to: ReturnTo,
}

impl RecentLogin {
    /// Returns `Set-Cookie` values that record a login that has just completed.
    pub(crate) fn cookies(
        sessions: &Sessions,
        attempt: &impl ShortLivedCookie,
        return_to: &ReturnTo,
        headers: &HeaderMap,
    ) -> Vec<HeaderValue> {
        let Some(id) = attempt.id() else { return Vec::new() };
        let completed_at = sessions.now();
        let former = sessions.short_lived::<Self>(headers).next();
        let recent = Self {
            id,
            completed_at,
            is_repeated: former.is_some() && !sessions.has_own_cookie(headers),
            before: former
                .filter(|former| former.has_just_completed(completed_at))
                .map_or(0, |former| (former.before + 1).min(MAX_IN_A_ROW)),
            return_to: match return_to.as_str().len() <= MAX_PAGE_BYTES {
                true => return_to.clone(),
                false => sessions.start_page().clone(),
            },
        };
        sessions.store_short_lived(&recent, headers).unwrap_or_default()
    }

    /// Returns the final page of the login with this `state`, if known.
    pub(crate) fn page(sessions: &Sessions, headers: &HeaderMap, state: &str) -> Option<ReturnTo> {
        sessions.find_short_lived::<Self>(state, headers).0.map(|recent| recent.return_to)
    }

    /// Whether the browser has just completed a login and another one would most likely fail in the
    /// same way: its session cookie belongs to another app, or is missing for the second time.
    pub(crate) fn has_lost_session_cookie(sessions: &Sessions, headers: &HeaderMap) -> bool {
        let Some(recent) = sessions.short_lived::<Self>(headers).next() else { return false };
        let is_replaced = !sessions.cookies().read(headers).sent().is_empty();
        (is_replaced || recent.is_repeated) && !sessions.has_own_cookie(headers)
    }

    /// Whether logins complete one right after the other: the layer around the pages does not accept
    /// the session that the login begins.
    pub(crate) fn is_loop(sessions: &Sessions, headers: &HeaderMap) -> bool {
        sessions.short_lived::<Self>(headers).next().is_some_and(|recent| {
            recent.before + 1 >= MAX_IN_A_ROW && recent.has_just_completed(sessions.now())
        })
    }

    fn has_just_completed(&self, now: OffsetDateTime) -> bool {
        (now - self.completed_at).abs() < LOOP_WINDOW
    }

    /// Returns `Set-Cookie` values that remove the recorded logins, including expired ones: if the
    /// wall clock is ahead, they are recent again once it is corrected.
    pub(crate) fn removals(sessions: &Sessions, headers: &HeaderMap) -> Vec<HeaderValue> {
        sessions
            .short_lived_with_expired::<Self>(headers)
            .take(MAX_REMOVED)
            .filter_map(|recent| sessions.short_lived_removal(&recent))
            .collect()
    }
}

impl ShortLivedCookie for RecentLogin {
    const KIND: ShortLivedCookieKind = ShortLivedCookieKind::RecentLogin;
    const MAX: usize = 1;

    fn id(&self) -> Option<String> {
        Some(self.id.clone())
    }

    fn stored_at(&self) -> OffsetDateTime {
        self.completed_at
    }

    fn ends_at(&self) -> OffsetDateTime {
        self.completed_at.saturating_add(LIFETIME)
    }

    /// `logins before, and whether it is repeated in the lowest bit ‖ completion, Unix seconds ‖ return_to`
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let flags = self.before << 1 | u8::from(self.is_repeated);
        let return_to = self.return_to.as_str().as_bytes();
        Some(Zeroizing::new([&[flags][..], &encode_time(self.completed_at), return_to].concat()))
    }

    fn decode(id: &str, content: &[u8]) -> Option<Self> {
        let (flags, rest) = content.split_first()?;
        let (completed_at, return_to) = decode_time(rest)?;
        Some(Self {
            id: id.to_owned(),
            completed_at,
            is_repeated: flags & 1 != 0,
            before: (flags >> 1).min(MAX_IN_A_ROW),
            return_to: ReturnTo::parse(std::str::from_utf8(return_to).ok()?)?,
        })
    }
}
