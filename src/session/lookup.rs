//! From a request's cookies to the session they stand for, and back.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue};

use super::cookies::Presented;
use super::record::{NewSession, SessionRecord, SessionTooLarge};
use super::refresh::{Entry, Renewal};
use super::sealing::SealingFailed;
use super::{Opened, PresentedCookies, Purpose, Session, Sessions};
use crate::flight::Flight;
use crate::shared_store::in_time;
use crate::telemetry;

/// What a request's cookies stand for.
#[derive(Debug)]
pub(crate) enum Found {
    /// No session cookie was sent.
    Nothing,
    /// Cookies that are no session (any more): damaged, foreign, expired, revoked.
    Over,
    Live(Live),
    /// A session whose tokens should be renewed now.
    Due(Session),
    /// It cannot be told before the news of other replicas are here.
    Unsure(Flight<()>),
}

/// A session that may be used.
pub(crate) struct Live {
    pub(crate) session: Session,
    /// The session sealed anew, for the response.
    pub(crate) resealed: Option<String>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("session", &self.session).finish_non_exhaustive()
    }
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
        if let Some(news) = self.0.revocations.news() {
            return Found::Unsure(news);
        }
        let Some(found) = self.open(&presented) else { return Found::Over };
        let now = self.0.scalekit.clock().now();
        let record = found.session.record();
        if record.is_over(now) || found.revoked {
            return Found::Over;
        }
        if record.is_due_for_renewal(now) {
            return Found::Due(found.session);
        }
        if now >= found.session.principal().expires_at() {
            return Found::Over;
        }
        let reseal = found.outdated_key || record.is_due_for_touch(self.0.lifetimes, now);
        // The session goes on under its old cookie if it cannot be sealed again.
        let resealed =
            reseal.then(|| self.seal(&record.touch(self.0.lifetimes, now)).ok()).flatten();
        Found::Live(Live { session: found.session, resealed })
    }

    /// What a session that was due has become.
    pub(crate) fn settle(&self, session: &Session, renewal: Renewal) -> Settled {
        let now = self.0.scalekit.clock().now();
        let live = match renewal {
            Renewal::Renewed(renewed) => {
                Live { session: renewed.session.clone(), resealed: Some(renewed.sealed.clone()) }
            }
            Renewal::Ended => return Settled::Over,
            Renewal::Unavailable if now < session.principal().expires_at() => {
                Live { session: session.clone(), resealed: None }
            }
            Renewal::Unavailable => return Settled::Unavailable,
        };
        if self.0.revocations.covers(&live.session.0.revocable) {
            return Settled::Over;
        }
        Settled::Live(live)
    }

    /// The `Set-Cookie` values for a response whose request had this session sealed anew: of the
    /// newest there is by now, and none if the session has been ended meanwhile.
    pub(crate) async fn cookies_at_response(
        &self,
        session: &Session,
        resealed: String,
        presented: PresentedCookies,
    ) -> Vec<HeaderValue> {
        if let Some(news) = self.0.revocations.news() {
            news.await;
        }
        if self.0.revocations.covers(&session.0.revocable) {
            return Vec::new();
        }
        let entry = match in_time(self.0.store.get(&Self::standing_key(session))).await {
            Ok(entry) => entry.as_deref().and_then(Entry::decode),
            Err(error) => {
                telemetry::internal_error("session_at_response", &error);
                None
            }
        };
        let newest = match entry {
            Some(Entry::Ended) => return Vec::new(),
            Some(Entry::Newest { generation, sealed })
                if generation > session.record().generation() =>
            {
                sealed
            }
            _ => resealed,
        };
        let max_age = session.record().remaining(self.0.scalekit.clock().now());
        self.0.cookies.set_session(&newest, max_age, presented).unwrap_or_else(|| {
            // The browser keeps its cookie; this session will end with it.
            telemetry::internal_error("session_at_response", &SessionTooLarge);
            Vec::new()
        })
    }

    pub(super) fn is_due(&self, session: &Session) -> bool {
        session.record().is_due_for_renewal(self.0.scalekit.clock().now())
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
        self.keep(sealed, session, false);
    }

    /// The session in a text that this app has sealed.
    pub(super) fn unseal(&self, sealed: &str) -> Option<Session> {
        Some(self.open_sealed(sealed)?.session)
    }

    fn open(&self, presented: &Presented<'_>) -> Option<OpenSession> {
        self.open_sealed(&presented.sealed()?)
    }

    fn open_sealed(&self, sealed: &str) -> Option<OpenSession> {
        if let Some(open) = self.0.opened.get(sealed, |opened| self.judge(opened)) {
            return Some(open);
        }
        let unsealed = self.0.keys.open(Purpose::Session, self.0.cookies.session_name(), sealed)?;
        let session = SessionRecord::decode(&unsealed.content)?.into_session()?;
        let revoked = self.0.revocations.covers(&session.0.revocable);
        self.keep(sealed, session.clone(), unsealed.outdated_key);
        Some(OpenSession { session, outdated_key: unsealed.outdated_key, revoked })
    }

    fn keep(&self, sealed: &str, session: Session, outdated_key: bool) {
        let stands_as_of = AtomicU64::new(0);
        self.0.opened.insert(sealed, Opened { session, outdated_key, stands_as_of });
    }

    /// Whether an opened session still stands; asked in earnest only after a new revocation.
    fn judge(&self, opened: &Opened) -> OpenSession {
        let version = self.0.revocations.version();
        let mut revoked = false;
        if opened.stands_as_of.load(Ordering::Acquire) != version {
            revoked = self.0.revocations.covers(&opened.session.0.revocable);
            if !revoked {
                opened.stands_as_of.store(version, Ordering::Release);
            }
        }
        let session = opened.session.clone();
        OpenSession { session, outdated_key: opened.outdated_key, revoked }
    }
}

/// A session as it was found in a cookie.
struct OpenSession {
    session: Session,
    outdated_key: bool,
    revoked: bool,
}

/// A session could not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error(transparent)]
    Sealing(#[from] SealingFailed),
    #[error(transparent)]
    TooLarge(#[from] SessionTooLarge),
}
