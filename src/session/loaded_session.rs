//! Whether a request may use its session, and what that changes.

use std::sync::atomic::Ordering;

use http::HeaderValue;

use super::cookie::names::SentCookies;
use super::{Lifetimes, Session, Sessions};
use crate::clock::UnixMillis;
use crate::revocation::Revocations;

/// Whether a request has a session that it may use.
#[derive(Debug)]
pub(crate) enum LoadedSession {
    /// No session cookie was sent.
    Missing,
    /// The cookies contain no session, or one that has ended. `clear` names the cookies to remove,
    /// if a key of this app opens them. It is empty if they may belong to another app, if another
    /// version of this app has sealed them, or if the session was ended here: the browser may
    /// already have another session, which a late response would remove.
    Invalid {
        clear: SentCookies,
    },
    Active(UsableSession),
    /// The access token is about to expire; or the cookie is past its idle limit, and another replica
    /// may have a newer session. A refresh starts only after the CSRF check.
    RefreshDue(UsableSession),
    /// The shared store that keeps the session is unavailable; or revocations have not been read to
    /// their end, or for too long; or the access token has expired and the environment is
    /// unavailable. In the last case `set_cookies` extends the idle limit; otherwise it is empty.
    Unavailable {
        set_cookies: Vec<HeaderValue>,
    },
}

impl LoadedSession {
    pub(super) const fn unavailable() -> Self {
        Self::Unavailable { set_cookies: Vec::new() }
    }
}

/// A session that a request may use, and what is to be written when it does.
#[derive(Clone, Debug)]
pub(crate) struct UsableSession {
    pub(crate) session: Session,
    pub(super) sent: SentCookies,
    /// Why the response sets the session's cookie.
    pub(crate) set_cookie_reason: Option<SetCookieReason>,
    /// A write to the shared store is due: the session was used, or the browser has its refreshed
    /// cookie.
    pub(super) has_due_store_write: bool,
}

impl UsableSession {
    pub(super) fn unchanged(session: Session, sent: SentCookies) -> Self {
        Self { session, sent, set_cookie_reason: None, has_due_store_write: false }
    }

    pub(super) fn refreshed(session: Session, sent: SentCookies) -> Self {
        Self {
            set_cookie_reason: Some(SetCookieReason::Refreshed),
            ..Self::unchanged(session, sent)
        }
    }

    /// Determines whether the cookie or the store must be updated. The session is not past its limits.
    pub(super) fn with_due_writes(
        session: Session,
        sent: SentCookies,
        outdated_key: bool,
        lifetimes: Lifetimes,
        now: impl Into<UnixMillis>,
    ) -> Self {
        let record = session.record();
        let touch = record.is_due_for_touch(lifetimes, now);
        let reseal = outdated_key || (touch && !record.is_stored());
        Self {
            set_cookie_reason: reseal.then_some(SetCookieReason::Resealed),
            has_due_store_write: (touch && record.is_stored())
                || (record.generation() > 0 && !session.was_presented()),
            session,
            sent,
        }
    }

    /// Whether serving the request changes something: the cookie, or the session in the store.
    pub(crate) fn has_effects(&self) -> bool {
        self.set_cookie_reason.is_some() || self.has_due_store_write
    }
}

/// Why a response sets the session's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetCookieReason {
    /// The session has new tokens.
    Refreshed,
    /// Its idle timeout was extended, or it was sealed with an older secret.
    Resealed,
}

impl Sessions {
    /// Evaluates whether a request may use this session now.
    pub(super) fn evaluate_session(
        &self,
        session: Session,
        outdated_key: bool,
        sent: SentCookies,
    ) -> LoadedSession {
        if let Err(rejected) = self.check_revocations(&session) {
            return rejected;
        }
        let record = session.record();
        let (lifetimes, now) = (self.inner.lifetimes, self.clock().unix_millis());
        if record.is_past_limits(lifetimes, now) {
            // The browser may have a newer cookie.
            return if session.is_refreshable()
                && !record.is_stored()
                && record.is_only_idle(lifetimes, now)
            {
                LoadedSession::RefreshDue(UsableSession::unchanged(session, sent))
            } else {
                LoadedSession::Invalid { clear: sent }
            };
        }
        if record.is_due_for_refresh(now) {
            LoadedSession::RefreshDue(UsableSession::unchanged(session, sent))
        } else if now >= session.principal().expires_at().into() {
            LoadedSession::Invalid { clear: sent }
        } else {
            LoadedSession::Active(UsableSession::with_due_writes(
                session,
                sent,
                outdated_key,
                lifetimes,
                now,
            ))
        }
    }

    /// Rejects a session that was revoked, or that may have been.
    pub(super) fn check_revocations(&self, session: &Session) -> Result<(), LoadedSession> {
        if self.is_revoked(session) {
            Err(LoadedSession::Invalid { clear: SentCookies::default() })
        } else if self.inner.revocations.rejects_requests() {
            Err(LoadedSession::unavailable())
        } else {
            Ok(())
        }
    }

    /// Checks whether a session was revoked, if there are new revocations.
    pub(super) fn is_revoked(&self, session: &Session) -> bool {
        let change_count = self.inner.revocations.change_count();
        if session.checked_revocations().load(Ordering::Acquire) == change_count {
            return false;
        }
        // Without any revocation, the session's targets need not be hashed.
        let is_revoked = Revocations::has_any(change_count)
            && self.inner.revocations.is_revoked(session.revocable());
        if !is_revoked {
            session.checked_revocations().store(change_count, Ordering::Release);
        }
        is_revoked
    }

    pub(super) fn is_due(&self, session: &Session) -> bool {
        session.record().is_due_for_refresh(self.clock().unix_millis())
    }

    /// Whether the session's own limits are reached.
    pub(crate) fn is_past_limits(&self, session: &Session) -> bool {
        session.record().is_past_limits(self.inner.lifetimes, self.clock().unix_millis())
    }

    /// Whether the session's own limits are reached, or an access token that cannot be refreshed has
    /// expired.
    pub(super) fn is_expired(&self, session: &Session) -> bool {
        (!session.is_refreshable()
            && self.clock().unix_millis() >= session.principal().expires_at().into())
            || self.is_past_limits(session)
    }
}
