//! From a request's cookies to the session they stand for, and back.

use http::{HeaderMap, HeaderValue};

use super::cookies::Presented;
use super::record::{NewSession, SessionRecord, SessionTooLarge};
use super::refresh::Renewal;
use super::sealing::SealingFailed;
use super::{Opened, PresentedCookies, Purpose, Session, Sessions};
use crate::oauth::LogoutRequest;

/// What a request's cookies stand for.
#[derive(Debug)]
pub(crate) enum Found {
    /// No session cookie was sent.
    Nothing,
    /// Cookies that are no session (any more): damaged, foreign, expired.
    Over,
    Live(Live),
    /// A session whose tokens should be renewed now.
    Due(Session),
}

/// A session that may be used.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) session: Session,
    /// To be put on the response; most often nothing.
    pub(crate) set_cookies: Vec<HeaderValue>,
}

/// What became of a session that was due.
#[derive(Debug)]
pub(crate) enum Settled {
    Live(Live),
    Over,
    /// The access token has expired and the environment does not answer.
    Unavailable,
}

impl Sessions {
    /// Finds the session of a request, at no more cost than a look-up if it was seen before.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Found {
        let presented = self.0.cookies.presented(headers);
        if !presented.cookies().any() {
            return Found::Nothing;
        }
        let Some(opened) = self.open(&presented) else { return Found::Over };
        let now = self.0.scalekit.clock().now();
        let record = opened.session.record();
        if record.is_over(now) {
            return Found::Over;
        }
        if record.is_due_for_renewal(now) {
            return Found::Due(opened.session);
        }
        if now >= opened.session.principal().expires_at() {
            return Found::Over;
        }
        let mut set_cookies = Vec::new();
        if opened.outdated_key || record.is_due_for_touch(self.0.lifetimes, now) {
            let touched = record.touch(self.0.lifetimes, now);
            // The session goes on under its old cookie if it cannot be sealed again.
            set_cookies = self.give(&touched, presented.cookies()).unwrap_or_default();
        }
        Found::Live(Live { session: opened.session, set_cookies })
    }

    /// What a session that was due has become.
    pub(crate) fn settle(
        &self,
        session: &Session,
        renewal: Renewal,
        presented: PresentedCookies,
    ) -> Settled {
        match renewal {
            Renewal::Renewed(renewed) => {
                let now = self.0.scalekit.clock().now();
                let max_age = renewed.session.record().remaining(now);
                let cookies = self.0.cookies.set_session(&renewed.sealed, max_age, presented);
                Settled::Live(Live {
                    session: renewed.session.clone(),
                    set_cookies: cookies.unwrap_or_default(),
                })
            }
            Renewal::Ended => Settled::Over,
            Renewal::Unavailable => {
                if self.0.scalekit.clock().now() < session.principal().expires_at() {
                    Settled::Live(Live { session: session.clone(), set_cookies: Vec::new() })
                } else {
                    Settled::Unavailable
                }
            }
        }
    }

    /// Begins a session: the `Set-Cookie` values that give it to the browser, in place of any
    /// other that it has (L11).
    pub(crate) fn begin(
        &self,
        new: NewSession,
        presented: PresentedCookies,
    ) -> Result<Vec<HeaderValue>, BeginError> {
        let now = self.0.scalekit.clock().now();
        let record = SessionRecord::begin(new, self.0.lifetimes, now).ok_or(SealingFailed)?;
        self.give(&record, presented)
    }

    /// The environment's logout of a session.
    pub(crate) fn logout_request(&self, session: Option<&Session>) -> LogoutRequest {
        let request =
            LogoutRequest::new().post_logout_redirect_uri(self.0.post_logout_redirect_uri.as_str());
        match session {
            Some(session) => request.id_token_hint(session.record().id_token()),
            None => request,
        }
    }

    /// The session of a request as far as it can be read, whether or not it may still be used.
    pub(crate) fn peek(&self, headers: &HeaderMap) -> Option<Session> {
        Some(self.open(&self.0.cookies.presented(headers))?.session)
    }

    fn give(
        &self,
        record: &SessionRecord,
        presented: PresentedCookies,
    ) -> Result<Vec<HeaderValue>, BeginError> {
        let sealed = self.seal(record)?;
        let max_age = record.remaining(self.0.scalekit.clock().now());
        let cookies = self.0.cookies.set_session(&sealed, max_age, presented);
        Ok(cookies.ok_or(SessionTooLarge)?)
    }

    pub(super) fn seal(&self, record: &SessionRecord) -> Result<String, SealingFailed> {
        let content = record.encode().ok_or(SealingFailed)?;
        self.0.keys.seal(Purpose::Session, self.0.cookies.session_name(), &content)
    }

    /// Remembers what a sealed text holds, so that it need not be opened.
    pub(super) fn remember(&self, sealed: &str, session: Session) {
        self.0.opened.insert(sealed, Opened { session, outdated_key: false });
    }

    fn open(&self, presented: &Presented<'_>) -> Option<Opened> {
        let sealed = presented.sealed()?;
        if let Some(opened) = self.0.opened.get(&sealed, Clone::clone) {
            return Some(opened);
        }
        let unsealed =
            self.0.keys.open(Purpose::Session, self.0.cookies.session_name(), &sealed)?;
        let session = SessionRecord::decode(&unsealed.content)?.into_session()?;
        let opened = Opened { session, outdated_key: unsealed.outdated_key };
        self.0.opened.insert(&sealed, opened.clone());
        Some(opened)
    }
}

/// A session could not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error(transparent)]
    Sealing(#[from] SealingFailed),
    #[error(transparent)]
    TooLarge(#[from] SessionTooLarge),
}
