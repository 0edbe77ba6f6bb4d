//! The session cookie of a request: opening it, and removing it.

use http::{HeaderMap, HeaderValue};

use super::cookie::names::{RequestCookies, SentCookies};
use super::cookie::record::SessionRecord;
use super::stored_session_ref::StoredSessionRef;
use super::{Purpose, RecentLogin, Session, Sessions};

/// A session cookie that a key of this app has opened.
#[derive(Clone, Debug)]
pub(super) struct OpenCookie {
    pub(super) content: CookieContent,
    /// It is sealed with an older secret.
    pub(super) outdated_key: bool,
}

#[derive(Clone, Debug)]
pub(super) enum CookieContent {
    Session(Session),
    /// A session in the shared store.
    Stored(StoredSessionRef),
    /// Sealed by this app, in a format that it does not know: by another version of it.
    Unreadable,
}

impl Sessions {
    /// Returns `Set-Cookie` values that remove the cookies of a session that has ended, and those of
    /// its login.
    pub(crate) fn removals(&self, clear: SentCookies, headers: &HeaderMap) -> Vec<HeaderValue> {
        match clear.is_empty() {
            true => Vec::new(),
            false => self.removals_with_login(clear, headers),
        }
    }

    /// Returns `Set-Cookie` values that remove the session's cookies, if they belong to this app.
    pub(crate) fn session_removals(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        let cookies = self.cookies().read(headers);
        let clear = self.open(&cookies).map(|_| cookies.sent()).unwrap_or_default();
        self.removals_with_login(clear, headers)
    }

    fn removals_with_login(&self, clear: SentCookies, headers: &HeaderMap) -> Vec<HeaderValue> {
        // First: behind nginx, four are sent.
        let mut values = self.cookies().removals_of(clear);
        values.extend(RecentLogin::removals(self, headers));
        values
    }

    /// Whether the request has a session cookie that a key of this app opens.
    pub(crate) fn has_own_cookie(&self, headers: &HeaderMap) -> bool {
        self.open(&self.cookies().read(headers)).is_some()
    }

    /// Opens the session's cookie: the first of several that opens.
    pub(super) fn open(&self, cookies: &RequestCookies<'_>) -> Option<OpenCookie> {
        cookies.candidates().find_map(|chunks| self.open_chunks(chunks))
    }

    fn open_chunks(&self, chunks: [&[u8]; 3]) -> Option<OpenCookie> {
        if let Some(cookie) = self.inner.cookie_cache.get_joined(&chunks, OpenCookie::clone) {
            return Some(cookie);
        }
        let sealed = String::from_utf8(chunks.concat()).ok()?;
        if !self.sealing_keys().may_open(&sealed) {
            return None;
        }
        let opened =
            self.sealing_keys().open(Purpose::Session, self.cookies().session_name(), &sealed)?;
        let cookie = OpenCookie {
            content: match StoredSessionRef::decode(&opened.content) {
                Some(reference) => CookieContent::Stored(reference),
                None => SessionRecord::decode(&opened.content)
                    .and_then(|record| record.into_session(self))
                    .map_or(CookieContent::Unreadable, CookieContent::Session),
            },
            outdated_key: opened.outdated_key,
        };
        self.inner.cookie_cache.insert(&sealed, cookie.clone());
        Some(cookie)
    }
}
