//! Loading the session of a request: at once if it is cached.

use futures::future::BoxFuture;
use http::HeaderMap;

use super::cookie::names::SentCookies;
use super::open_cookie::{CookieContent, OpenCookie};
use super::store::StoreUnavailable;
use super::stored_session_ref::StoredSessionRef;
use super::{LoadedSession, RefreshTrigger, Session, SessionHandle, Sessions, UsableSession};
use crate::util::telemetry;

/// The session of a request, or what loads it.
pub(crate) enum SessionLoad {
    Done(LoadedSession),
    Pending(PendingSession),
}

/// Waits for the revocation log, the shared store or a refresh.
pub(crate) type PendingSession = BoxFuture<'static, LoadedSession>;

impl SessionLoad {
    pub(crate) async fn wait(self) -> LoadedSession {
        match self {
            Self::Done(loaded) => loaded,
            Self::Pending(pending) => pending.await,
        }
    }
}

/// Returned when it is unknown whether a browser has a valid session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionUnavailable;

impl Sessions {
    /// Loads the session of a request. A cached session costs one lookup.
    pub(crate) fn load(&self, headers: &HeaderMap) -> SessionLoad {
        let cookies = self.cookies().read(headers);
        let sent = cookies.sent();
        if sent.is_empty() {
            return SessionLoad::Done(LoadedSession::Missing);
        }
        match self.open(&cookies) {
            Some(cookie) => self.load_opened(cookie, sent),
            // It may belong to another app.
            None => {
                telemetry::session_cookie_unopened();
                SessionLoad::Done(LoadedSession::Invalid { clear: SentCookies::default() })
            }
        }
    }

    /// Loads the session of an opened cookie. A cookie without a session counts as none, whether
    /// revocations are known or not.
    fn load_opened(&self, cookie: OpenCookie, sent: SentCookies) -> SessionLoad {
        if !matches!(cookie.content, CookieContent::Unreadable)
            && let Some(read) = self.inner.revocations.pending_read()
        {
            let sessions = self.clone();
            return SessionLoad::Pending(Box::pin(async move {
                // Once: a slow store may have another one due by then.
                read.await;
                sessions.load_content(cookie, sent).wait().await
            }));
        }
        self.load_content(cookie, sent)
    }

    fn load_content(&self, cookie: OpenCookie, sent: SentCookies) -> SessionLoad {
        let OpenCookie { content, outdated_key } = cookie;
        match content {
            CookieContent::Session(session) => {
                SessionLoad::Done(self.evaluate_session(session, outdated_key, sent))
            }
            CookieContent::Stored(reference) => {
                match self.inner.session_cache.cached(&reference.id) {
                    // The cached copy may have an earlier idle limit than the store, where another
                    // replica has extended it: it is read again.
                    Some(session)
                        if session.record().generation() >= reference.generation
                            && !self.is_expired(&session) =>
                    {
                        SessionLoad::Done(self.evaluate_session(session, outdated_key, sent))
                    }
                    _ => {
                        let (sessions, load) =
                            (self.clone(), self.load_from_store_shared(&reference));
                        SessionLoad::Pending(Box::pin(async move {
                            let loaded = load.await.unwrap_or(Err(StoreUnavailable));
                            sessions.evaluate_stored_session(loaded, outdated_key, sent)
                        }))
                    }
                }
            }
            // The replica whose version has set the cookie can read it.
            CookieContent::Unreadable => {
                SessionLoad::Done(LoadedSession::Invalid { clear: SentCookies::default() })
            }
        }
    }

    /// Loads the current state of a session that may have been held for long.
    pub(super) async fn reload(&self, session: &Session) -> LoadedSession {
        let record = session.record();
        let content = if record.is_stored() {
            // The end of a stored session is known from the store only, after an hour.
            CookieContent::Stored(StoredSessionRef::new(record, record.began_at()))
        } else {
            CookieContent::Session(session.clone())
        };
        let cookie = OpenCookie { content, outdated_key: false };
        self.load_opened(cookie, SentCookies::default()).wait().await
    }

    /// Evaluates what the store has returned for a cookie.
    fn evaluate_stored_session(
        &self,
        loaded: Result<Option<Session>, StoreUnavailable>,
        outdated_key: bool,
        sent: SentCookies,
    ) -> LoadedSession {
        match loaded {
            Ok(Some(session)) => self.evaluate_session(session, outdated_key, sent),
            Ok(None) => LoadedSession::Invalid { clear: SentCookies::default() },
            Err(StoreUnavailable) => LoadedSession::unavailable(),
        }
    }

    /// Returns the valid session of this browser, which a login would replace.
    pub(crate) async fn valid_session(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Session>, SessionUnavailable> {
        let loaded = match self.load(headers).wait().await {
            // It is valid if a newer cookie of it is in use.
            LoadedSession::RefreshDue(due) if self.is_past_limits(&due.session) => {
                self.refresh_session(due, RefreshTrigger::LookUpOnly).await
            }
            loaded => loaded,
        };
        match loaded {
            LoadedSession::Active(UsableSession { session, .. })
            | LoadedSession::RefreshDue(UsableSession { session, .. }) => Ok(Some(session)),
            LoadedSession::Missing | LoadedSession::Invalid { .. } => Ok(None),
            LoadedSession::Unavailable { .. } => {
                let Some(SessionHandle { id, session: None }) = self.session_handle(headers).await
                else {
                    return Err(SessionUnavailable);
                };
                // An older state has the same user. A session that is missing, or of another
                // version of the app, blocks no login.
                Ok(self
                    .stored_value(&id)
                    .await
                    .map_err(|error| {
                        telemetry::internal_error("stored_session", &error);
                        SessionUnavailable
                    })?
                    .and_then(|value| self.open_stored(&id, &value).ok()?)
                    .and_then(|older| older.record.into_session(self)))
            }
        }
    }
}
