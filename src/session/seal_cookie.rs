//! The session cookie of a response: sealing it, and caching what it contains.

use http::HeaderMap;

use super::cookie::record::{SessionRecord, SessionTooLarge};
use super::cookie::seal::SealingFailed;
use super::open_cookie::{CookieContent, OpenCookie};
use super::stored_session_ref::StoredSessionRef;
use super::{CreateSessionError, Purpose, Session, SessionCookies, Sessions};

impl Sessions {
    /// Seals a session, or its ID if it is in the store, for a cookie.
    pub(super) fn seal(&self, record: &SessionRecord) -> Result<String, SealingFailed> {
        let content = match record.is_stored() {
            true => StoredSessionRef::new(record, self.now()).encode(),
            false => record.encode().ok_or(SealingFailed)?,
        };
        self.sealing_keys().seal(Purpose::Session, self.cookies().session_name(), &content)
    }

    /// Returns the value of a new session's cookie, and the `Set-Cookie` headers for it.
    pub(super) fn seal_new(
        &self,
        record: &SessionRecord,
        request_headers: &HeaderMap,
    ) -> Result<(String, SessionCookies), CreateSessionError> {
        let sealed = self.seal(record)?;
        let sent = self.cookies().read(request_headers).sent();
        let cookies = self
            .cookies()
            .set_session(&sealed, record.remaining(self.now()), sent)
            .ok_or(SessionTooLarge)?;
        Ok((sealed, SessionCookies::new(cookies)))
    }

    /// Caches the content of a cookie.
    pub(super) fn remember(&self, cookie: &str, session: &Session) {
        if session.record().is_stored() {
            self.inner.session_cache.remember(session.clone());
        } else {
            let content = CookieContent::Session(session.clone());
            self.inner.cookie_cache.insert(cookie, OpenCookie { content, outdated_key: false });
        }
    }
}
