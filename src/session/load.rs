//! Loading the session of a request's cookies, and setting cookies on its response.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderValue};
use time::OffsetDateTime;
use tokio::time::Sleep;

use super::cookie::names::SentCookies;
use super::cookie::record::SessionTooLarge;
use super::open_cookie::{CookieContent, OpenCookie};
use super::refresh::{Entry, RefreshError, Trigger};
use super::store::{Reference, StoreUnavailable};
use super::{Lifetimes, Session, Sessions};
use crate::clock::UnixMillis;
use crate::revocation::Revocations;
use crate::shared_store::StoreError;
use crate::util::single_flight::Flight;
use crate::util::telemetry;

/// The session of a request.
#[derive(Debug)]
pub(crate) enum LoadedSession {
    /// The future that loads it. Its output has no further one.
    Loading(Loading),
    /// No session cookie was sent.
    Missing,
    /// The cookies contain no session, or one that has ended. `clear` names the cookies to remove,
    /// if a key of this app opens them. It is empty if they may belong to another app, if another
    /// version of this app has sealed them, or if the session was ended here: the browser may
    /// already have another session, which a late response would remove.
    Invalid {
        clear: SentCookies,
    },
    Active(RequestSession),
    /// The access token is about to expire. A refresh starts only after the CSRF check.
    RefreshDue(RequestSession),
    /// The shared store that keeps the session is unavailable, or revocations have not been read to
    /// their end, or for too long.
    Unavailable,
    /// The access token has expired and the environment is unavailable. The session is in use
    /// nevertheless.
    RefreshUnavailable(RequestSession),
}

/// Returned when it is unknown whether a browser has a valid session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionUnavailable;

/// A session that a request may use.
#[derive(Clone, Debug)]
pub(crate) struct RequestSession {
    pub(crate) session: Session,
    sent: SentCookies,
    /// Why the response sets the session's cookie.
    pub(crate) set_cookie: Option<SetCookieReason>,
    /// The shared store does not know yet that the session is in use.
    is_use_unrecorded: bool,
}

impl RequestSession {
    pub(super) fn unchanged(session: Session, sent: SentCookies) -> Self {
        Self { session, sent, set_cookie: None, is_use_unrecorded: false }
    }

    /// Determines whether the cookie or the store must be updated. The session is not past its limits.
    fn with_due_writes(
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
            set_cookie: reseal.then_some(SetCookieReason::Resealed),
            is_use_unrecorded: (touch && record.is_stored())
                || (record.generation() > 0 && !session.was_confirmed()),
            session,
            sent,
        }
    }

    /// Whether serving the request changes something: the cookie, or the session in the store.
    pub(crate) fn has_effects(&self) -> bool {
        self.set_cookie.is_some() || self.is_use_unrecorded
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

/// Waits for the revocation log, the shared store or a refresh.
#[derive(Debug)]
pub(crate) struct Loading {
    sessions: Sessions,
    sent: SentCookies,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// The revocations of other replicas.
    RevocationLog { read: Flight<()>, cookie: Option<OpenCookie> },
    /// A session in the shared store.
    Store { load: Flight<Result<Option<Session>, StoreUnavailable>>, outdated_key: bool },
    /// Waits until shortly before the access token expires; without a deadline if it has expired.
    Refresh {
        session: Session,
        refresh: Flight<Result<Session, RefreshError>>,
        deadline: Option<Pin<Box<Sleep>>>,
    },
}

/// The session of a request, whether or not it may still be used.
#[derive(Clone, Debug)]
pub(crate) struct SessionHandle {
    pub(super) id: Arc<str>,
    /// `None` if the shared store does not have it, or is unavailable.
    pub(crate) session: Option<Session>,
}

impl SessionHandle {
    /// A session in the shared store, by its ID.
    pub(super) fn stored(id: &str) -> Self {
        Self { id: id.into(), session: None }
    }
}

impl From<Session> for SessionHandle {
    fn from(session: Session) -> Self {
        Self { id: session.record().id().into(), session: Some(session) }
    }
}

impl Future for Loading {
    type Output = LoadedSession;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LoadedSession> {
        let this = self.get_mut();
        loop {
            let Self { sessions, sent, step } = &mut *this;
            return Poll::Ready(match step {
                Step::RevocationLog { read, cookie } => {
                    ready!(Pin::new(read).poll(cx));
                    match sessions.load_opened(cookie.take(), *sent) {
                        LoadedSession::Loading(next) => {
                            *this = next;
                            continue;
                        }
                        loaded => loaded,
                    }
                }
                Step::Store { load, outdated_key } => {
                    let loaded = ready!(Pin::new(load).poll(cx)).unwrap_or(Err(StoreUnavailable));
                    sessions.evaluate_stored(loaded, *outdated_key, *sent)
                }
                Step::Refresh { session, refresh, deadline } => {
                    let refreshed = match (Pin::new(refresh).poll(cx), deadline) {
                        (Poll::Ready(refreshed), _) => refreshed,
                        (Poll::Pending, Some(deadline)) => {
                            ready!(deadline.as_mut().poll(cx));
                            None
                        }
                        (Poll::Pending, None) => return Poll::Pending,
                    };
                    sessions.after_refresh(
                        session,
                        refreshed.unwrap_or(Err(RefreshError::Unavailable)),
                        *sent,
                    )
                }
            });
        }
    }
}

impl Sessions {
    /// Loads the session of a request. A cached session costs one lookup.
    pub(crate) fn load(&self, headers: &HeaderMap) -> LoadedSession {
        let cookies = self.cookies().read(headers);
        let sent = cookies.sent();
        if sent.is_empty() {
            return LoadedSession::Missing;
        }
        self.load_opened(self.open(&cookies), sent)
    }

    /// Loads the session of a request, and waits for what is necessary to evaluate it.
    pub(crate) async fn load_async(&self, headers: &HeaderMap) -> LoadedSession {
        match self.load(headers) {
            LoadedSession::Loading(loading) => loading.await,
            loaded => loaded,
        }
    }

    /// Returns the valid session of this browser, which a login would replace.
    pub(crate) async fn valid_session(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Session>, SessionUnavailable> {
        match self.load_async(headers).await {
            LoadedSession::Active(request)
            | LoadedSession::RefreshDue(request)
            | LoadedSession::RefreshUnavailable(request) => Ok(Some(request.session)),
            LoadedSession::Missing | LoadedSession::Invalid { .. } => Ok(None),
            LoadedSession::Unavailable | LoadedSession::Loading(_) => {
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

    /// Returns a session that is due without its refresh: `RefreshUnavailable` if its access token has
    /// expired, `Invalid` if it was revoked.
    pub(crate) fn without_refresh(&self, due: RequestSession) -> LoadedSession {
        self.after_refresh(&due.session, Err(RefreshError::Unavailable), due.sent)
    }

    /// Refreshes a session, or joins the refresh that is in progress.
    ///
    /// [`Trigger::Requested`] refreshes it whatever the age of its tokens, at most once in ten
    /// seconds on all replicas; within that time the result is the same. A refresh that was due does
    /// not count: it may have begun before the change that the app requests.
    pub(crate) fn refresh_session(&self, request: RequestSession, trigger: Trigger) -> Loading {
        let RequestSession { session, sent, .. } = request;
        let refresh = self.join_refresh(&session, trigger);
        let deadline = self.refresh_deadline(&session);
        self.loading(sent, Step::Refresh { session, refresh, deadline })
    }

    fn loading(&self, sent: SentCookies, step: Step) -> Loading {
        Loading { sessions: self.clone(), sent, step }
    }

    /// Loads the session of an opened cookie. One that does not open may belong to another app. A
    /// cookie without a session counts as none, whether revocations are known or not.
    fn load_opened(&self, cookie: Option<OpenCookie>, sent: SentCookies) -> LoadedSession {
        let Some(cookie) = cookie else {
            telemetry::session_cookie_unopened();
            return LoadedSession::Invalid { clear: SentCookies::default() };
        };
        if !matches!(cookie.content, CookieContent::Unreadable)
            && let Some(read) = self.inner.revocations.pending_read()
        {
            let step = Step::RevocationLog { read, cookie: Some(cookie) };
            return LoadedSession::Loading(self.loading(sent, step));
        }
        let OpenCookie { content, outdated_key } = cookie;
        match content {
            CookieContent::Session(session) => self.evaluate(session, outdated_key, sent),
            CookieContent::Reference(reference) => match self.inner.stored.cached(&reference.id) {
                // The cached copy may have an earlier idle limit than the store, where another
                // replica has extended it: it is read again.
                Some(session)
                    if session.record().generation() >= reference.generation
                        && !self.is_expired(&session) =>
                {
                    self.evaluate(session, outdated_key, sent)
                }
                _ => {
                    let load = self.load_from_store_shared(&reference);
                    LoadedSession::Loading(self.loading(sent, Step::Store { load, outdated_key }))
                }
            },
            // The replica whose version has set the cookie can read it.
            CookieContent::Unreadable => LoadedSession::Invalid { clear: SentCookies::default() },
        }
    }

    /// Loads the current state of a session that may have been held for long.
    pub(super) async fn reload(&self, session: &Session) -> LoadedSession {
        self.inner.revocations.read_if_stale().await;
        // The copy may be older than the last use of the session in the store.
        if !session.record().is_stored() || !self.is_past_limits(session) {
            return self.evaluate(session.clone(), false, SentCookies::default());
        }
        let loaded = self.load_from_store(&Reference::new(session.record(), self.now())).await;
        self.evaluate_stored(loaded, false, SentCookies::default())
    }

    fn evaluate_stored(
        &self,
        loaded: Result<Option<Session>, StoreUnavailable>,
        outdated_key: bool,
        sent: SentCookies,
    ) -> LoadedSession {
        match loaded {
            Ok(Some(session)) => self.evaluate(session, outdated_key, sent),
            Ok(None) => LoadedSession::Invalid { clear: SentCookies::default() },
            Err(StoreUnavailable) => LoadedSession::Unavailable,
        }
    }

    fn evaluate(&self, session: Session, outdated_key: bool, sent: SentCookies) -> LoadedSession {
        if self.is_revoked(&session) {
            return LoadedSession::Invalid { clear: SentCookies::default() };
        }
        if self.inner.revocations.rejects_requests() {
            return LoadedSession::Unavailable;
        }
        let record = session.record();
        let (lifetimes, now) = (self.inner.lifetimes, self.clock().unix_millis());
        if record.is_past_limits(lifetimes, now) {
            // The browser may have a newer cookie.
            return if session.is_refreshable()
                && !record.is_stored()
                && record.is_only_idle(lifetimes, now)
            {
                LoadedSession::RefreshDue(RequestSession::unchanged(session, sent))
            } else {
                LoadedSession::Invalid { clear: sent }
            };
        }
        if record.is_due_for_refresh(now) {
            LoadedSession::RefreshDue(RequestSession::unchanged(session, sent))
        } else if now >= session.principal().expires_at().into() {
            LoadedSession::Invalid { clear: sent }
        } else {
            LoadedSession::Active(RequestSession::with_due_writes(
                session,
                sent,
                outdated_key,
                lifetimes,
                now,
            ))
        }
    }

    /// Records in the background that a session is in use, and that the browser has its newest
    /// cookie.
    pub(crate) fn record_use(&self, request: &RequestSession) {
        let RequestSession { session, is_use_unrecorded: true, .. } = request else { return };
        let (record, now) = (session.record(), self.now());
        if record.generation() > 0 && session.mark_confirmed() {
            self.record_presented(session);
        }
        if record.is_stored() && record.is_due_for_touch(self.inner.lifetimes, now) {
            self.touch_stored(session, now);
        }
    }

    /// Records the use of a session by a request that is rejected because the session cannot be
    /// refreshed. Returns the `Set-Cookie` values that extend its idle limit.
    pub(crate) fn record_rejected_use(&self, request: &RequestSession) -> Vec<HeaderValue> {
        self.record_use(request);
        let RequestSession { session, sent, set_cookie: Some(reason), .. } = request else {
            return Vec::new();
        };
        let now = self.now();
        self.cookie_of(session, *reason, now)
            .and_then(|cookie| {
                self.cookies().set_session(&cookie, session.record().remaining(now), *sent)
            })
            .unwrap_or_default()
    }

    /// Evaluates a session after its refresh.
    fn after_refresh(
        &self,
        due: &Session,
        refreshed: Result<Session, RefreshError>,
        sent: SentCookies,
    ) -> LoadedSession {
        let (lifetimes, now) = (self.inner.lifetimes, self.now());
        let is_usable = refreshed.is_ok() || now < due.principal().expires_at();
        let request = match refreshed {
            Ok(session) => {
                self.update_changed_markers(due, &session);
                RequestSession {
                    set_cookie: Some(SetCookieReason::Refreshed),
                    ..RequestSession::unchanged(session, sent)
                }
            }
            Err(RefreshError::Ended) => {
                return LoadedSession::Invalid { clear: SentCookies::default() };
            }
            Err(RefreshError::Expired | RefreshError::InvalidGrant) => {
                return LoadedSession::Invalid { clear: sent };
            }
            Err(RefreshError::Unavailable) if due.record().is_past_limits(lifetimes, now) => {
                return LoadedSession::Unavailable;
            }
            Err(RefreshError::Unavailable) => {
                RequestSession::with_due_writes(due.clone(), sent, false, lifetimes, now)
            }
        };
        if self.is_revoked(&request.session) {
            LoadedSession::Invalid { clear: SentCookies::default() }
        } else if self.inner.revocations.rejects_requests() {
            LoadedSession::Unavailable
        } else if is_usable {
            LoadedSession::Active(request)
        } else {
            LoadedSession::RefreshUnavailable(request)
        }
    }

    /// Returns the `Set-Cookie` values for the response to a request whose session has changed. They
    /// contain the newest session, and are empty if the session has ended meanwhile.
    pub(crate) async fn set_cookie(&self, request: &RequestSession) -> Vec<HeaderValue> {
        let RequestSession { session, sent, set_cookie: Some(reason), .. } = request else {
            return Vec::new();
        };
        self.inner.revocations.read_if_stale().await;
        if self.is_revoked(session) {
            return Vec::new();
        }
        let now = self.now();
        let newest = self.newest_cookie(session, *reason, now).await.unwrap_or_else(|error| {
            telemetry::internal_error("session_at_response", &error);
            // The refresh token of the old cookie is spent, or its idle limit is near.
            self.cookie_of(session, *reason, now)
        });
        let Some(newest) = newest else { return Vec::new() };
        self.cookies().set_session(&newest, session.record().remaining(now), *sent).unwrap_or_else(
            || {
                // The browser keeps its cookie; the session ends with it.
                telemetry::internal_error("session_at_response", &SessionTooLarge);
                Vec::new()
            },
        )
    }

    /// Returns the cookie of the newest session, which may be that of this request. Returns `None` if
    /// the browser has a newer one, or the session has ended.
    async fn newest_cookie(
        &self,
        session: &Session,
        reason: SetCookieReason,
        now: OffsetDateTime,
    ) -> Result<Option<String>, StoreError> {
        let (id, generation) = (session.record().id(), session.record().generation());
        let entry = self.refresh_entry(id).await?;
        if entry == Some(Entry::Ended) {
            return Ok(None);
        }
        Ok(match entry.and_then(Entry::newest_verified) {
            Some(last) if last.generation > generation => {
                self.unseal_stored(id, &last.sealed).and_then(|newest| self.seal(&newest).ok())
            }
            None if self.has_reached_newer(id, generation).await? => None,
            _ => self.cookie_of(session, reason, now),
        })
    }

    /// Returns the cookie of a request's session. If it cannot be resealed, the session stays valid
    /// under its old cookie.
    fn cookie_of(
        &self,
        session: &Session,
        reason: SetCookieReason,
        now: OffsetDateTime,
    ) -> Option<String> {
        match reason {
            SetCookieReason::Refreshed => session.sealed().map(str::to_owned),
            SetCookieReason::Resealed => {
                self.seal(&session.record().touch(self.inner.lifetimes, now)).ok()
            }
        }
    }

    pub(super) fn is_due(&self, session: &Session) -> bool {
        session.record().is_due_for_refresh(self.clock().unix_millis())
    }

    /// Reads the session of a request, for ending it.
    pub(crate) async fn session_handle(&self, headers: &HeaderMap) -> Option<SessionHandle> {
        match self.open(&self.cookies().read(headers))?.content {
            CookieContent::Session(session) => Some(session.into()),
            CookieContent::Reference(reference) => Some(SessionHandle {
                session: self.load_from_store(&reference).await.ok().flatten(),
                id: reference.id,
            }),
            CookieContent::Unreadable => None,
        }
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

    /// Checks whether a session was revoked, if there are new revocations.
    fn is_revoked(&self, session: &Session) -> bool {
        let change_count = self.inner.revocations.change_count();
        if session.checked_revocations().load(Ordering::Acquire) == change_count {
            return false;
        }
        // Without any revocation, the session's names need not be hashed.
        let is_revoked = Revocations::has_any(change_count)
            && self.inner.revocations.is_revoked(session.revocable());
        if !is_revoked {
            session.checked_revocations().store(change_count, Ordering::Release);
        }
        is_revoked
    }
}
