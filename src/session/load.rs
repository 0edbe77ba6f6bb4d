//! Loading the session of a request's cookies, and setting cookies on its response.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderValue};

use super::cookie::names::Presented;
use super::cookie::record::{SessionRecord, SessionTooLarge};
use super::cookie::seal::SealingFailed;
use super::refresh::{Entry, Renewal};
use super::store::{Loaded, Reference};
use super::{Known, Opened, PresentedCookies, Purpose, RecentLogin, Session, Sessions};
use crate::shared_store::{StoreError, with_timeout};
use crate::util::single_flight::Flight;
use crate::util::telemetry;

/// The result of loading a request's session.
#[derive(Debug)]
pub(crate) enum Found {
    /// No session cookie was sent.
    Nothing,
    /// The cookies contain no session, or one that has ended.
    Over(Cookie),
    Live(Live),
    /// A session whose tokens should be refreshed now.
    Due(Session),
    /// The session can be loaded after this has completed.
    Unsure(Awaited),
    /// The shared store that keeps the session is unavailable, or revocations have not been read
    /// for too long.
    Unavailable,
}

/// What to do with the cookie of a session that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// Keep it. Either no key of this app opens it, so that it may belong to another app; or the
    /// session was ended here, so that the browser may already have another session under the same
    /// name, which a late response would remove.
    Kept,
    /// Remove it: it has expired, or the environment has rejected the session.
    Taken,
}

/// A session that may be used.
pub(crate) struct Live {
    pub(crate) session: Session,
    /// The resealed cookie of the session, for the response.
    pub(crate) resealed: Option<Resealed>,
}

/// A session's cookie that was sealed for a request.
pub(crate) struct Resealed {
    pub(crate) text: String,
    /// Whether the session has new tokens. Otherwise it was only used, or sealed with an older
    /// secret.
    pub(crate) renewed: bool,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("session", &self.session).finish_non_exhaustive()
    }
}

/// The result for a session that was due for a refresh.
#[derive(Debug)]
pub(crate) enum Settled {
    Live(Live),
    Over(Cookie),
    /// The access token has expired and the environment is unavailable.
    Unavailable,
}

/// What a request waits for before its session can be evaluated.
#[derive(Debug)]
pub(crate) enum Awaited {
    /// The revocations of other replicas.
    News(Flight<()>),
    /// A session in the shared store.
    Session { load: Flight<Loaded>, outdated_key: bool },
}

/// The result of the wait.
#[derive(Debug)]
pub(crate) enum Arrived {
    News,
    Session { loaded: Loaded, outdated_key: bool },
}

impl Future for Awaited {
    type Output = Arrived;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Arrived> {
        Poll::Ready(match &mut *self {
            Self::News(news) => {
                ready!(Pin::new(news).poll(cx));
                Arrived::News
            }
            Self::Session { load, outdated_key } => Arrived::Session {
                loaded: ready!(Pin::new(load).poll(cx)).unwrap_or(Loaded::Unavailable),
                outdated_key: *outdated_key,
            },
        })
    }
}

impl Sessions {
    /// Loads the session of a request. A cached session costs one lookup.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Found {
        let presented = self.0.cookies.presented(headers);
        if !presented.cookies().any() {
            return Found::Nothing;
        }
        if let Some(news) = self.0.revocations.news() {
            return Found::Unsure(Awaited::News(news));
        }
        if self.0.revocations.rejects_requests() {
            return Found::Unavailable;
        }
        match self.open(&presented) {
            // It may belong to another app.
            None => Found::Over(Cookie::Kept),
            Some(Open::Unreadable) => Found::Over(Cookie::Taken),
            Some(Open::Session(seen)) => self.evaluate(seen),
            Some(Open::Stored { reference, outdated_key }) => {
                let id = &reference.id;
                let known = self.0.stored.known(id, |known| self.look_at(known, outdated_key));
                let up_to_date = |seen: &Seen| {
                    // The end in the cookie may be older than that in the store, which another
                    // replica has extended.
                    seen.session.record().generation() >= reference.generation
                        && !self.has_ended(&seen.session)
                };
                match known.filter(up_to_date) {
                    Some(seen) => self.evaluate(seen),
                    None => {
                        let load = self.load(&reference);
                        Found::Unsure(Awaited::Session { load, outdated_key })
                    }
                }
            }
        }
    }

    /// Loads the session of a request that had to wait.
    pub(crate) fn find_after(&self, arrived: Arrived, headers: &HeaderMap) -> Found {
        match arrived {
            Arrived::News => self.find(headers),
            Arrived::Session { loaded: Loaded::Session(session), outdated_key } => {
                let revoked = self.0.revocations.covers(session.revocable());
                self.evaluate(Seen { session, outdated_key, revoked })
            }
            Arrived::Session { loaded: Loaded::Gone, .. } => Found::Over(Cookie::Kept),
            Arrived::Session { loaded: Loaded::Unavailable, .. } => Found::Unavailable,
        }
    }

    /// Loads the session of a request, and waits for what is necessary to evaluate it.
    pub(crate) async fn find_in_time(&self, headers: &HeaderMap) -> Found {
        let mut found = self.find(headers);
        // First the revocations, then a session in the store.
        for _ in 0..2 {
            match found {
                Found::Unsure(awaited) => found = self.find_after(awaited.await, headers),
                found => return found,
            }
        }
        found
    }

    /// Evaluates a session after its refresh.
    pub(crate) fn apply_refresh(&self, session: &Session, renewal: Renewal) -> Settled {
        let now = self.0.scalekit.clock().now();
        let live = match renewal {
            Renewal::Renewed(renewed) => {
                self.note_changed_login(session, &renewed.session);
                let resealed = Resealed { text: renewed.cookie.clone(), renewed: true };
                Live { session: renewed.session.clone(), resealed: Some(resealed) }
            }
            Renewal::Ended => return Settled::Over(Cookie::Kept),
            Renewal::InvalidGrant | Renewal::Expired => return Settled::Over(Cookie::Taken),
            Renewal::Unavailable
                if now < session.principal().expires_at() && !self.is_over(session) =>
            {
                Live { session: session.clone(), resealed: None }
            }
            Renewal::Unavailable => return Settled::Unavailable,
        };
        if self.0.revocations.covers(live.session.revocable()) {
            return Settled::Over(Cookie::Kept);
        }
        Settled::Live(live)
    }

    /// Returns the `Set-Cookie` values for a response whose request resealed this session. They
    /// contain the newest session, and are empty if the session has ended meanwhile.
    pub(crate) async fn cookies_at_response(
        &self,
        session: &Session,
        resealed: Resealed,
        presented: PresentedCookies,
    ) -> Vec<HeaderValue> {
        if let Some(news) = self.0.revocations.news() {
            news.await;
        }
        if self.0.revocations.covers(session.revocable()) {
            return Vec::new();
        }
        let newest = match self.newest_cookie(session.record(), &resealed.text).await {
            Ok(Some(newest)) => newest,
            Ok(None) => return Vec::new(),
            Err(error) => {
                telemetry::internal_error("session_at_response", &error);
                // The refresh token of the old cookie is spent; other cookies can wait until the
                // store is available.
                if !resealed.renewed {
                    return Vec::new();
                }
                resealed.text
            }
        };
        let record = session.record();
        let max_age = record.remaining(self.0.scalekit.clock().now());
        self.0.cookies.set_session(&newest, max_age, presented).unwrap_or_else(|| {
            // The browser keeps its cookie; the session ends with it.
            telemetry::internal_error("session_at_response", &SessionTooLarge);
            Vec::new()
        })
    }

    /// Returns the cookie of the newest session, which may be the one that was sealed for this
    /// request. Returns `None` if the browser has a newer one, or the session has ended.
    async fn newest_cookie(
        &self,
        record: &SessionRecord,
        resealed: &str,
    ) -> Result<Option<String>, StoreError> {
        let entry = with_timeout(self.0.store.get(&self.refresh_key(record.id()))).await?;
        let (id, generation) = (record.id(), record.generation());
        let entry = entry.as_deref().and_then(Entry::decode);
        if entry == Some(Entry::Ended) {
            return Ok(None);
        }
        Ok(match entry.and_then(Entry::last) {
            Some(last) if last.generation > generation => {
                let newest = self.unseal_stored(id, &last.sealed);
                newest.and_then(|(newest, _)| self.seal(&newest).ok())
            }
            None if self.is_beyond(id, generation).await? => None,
            _ => Some(resealed.to_owned()),
        })
    }

    pub(super) fn is_due(&self, session: &Session) -> bool {
        session.record().is_due_for_renewal(self.0.scalekit.clock().now())
    }

    /// Reads the session of a request, whether or not it may still be used.
    pub(crate) async fn peek(&self, headers: &HeaderMap) -> Option<Peeked> {
        match self.open(&self.0.cookies.presented(headers))? {
            Open::Unreadable => None,
            Open::Session(Seen { session, .. }) => Some(Peeked::Session(session)),
            Open::Stored { reference, .. } => Some(match self.load_now(&reference).await {
                Loaded::Session(session) => Peeked::Session(session),
                Loaded::Gone | Loaded::Unavailable => Peeked::Stored(reference.id),
            }),
        }
    }

    /// Seals a session, or its ID if it is in the store, for a cookie.
    pub(super) fn seal(&self, record: &SessionRecord) -> Result<String, SealingFailed> {
        let content = if record.is_stored() {
            Reference::new(record, self.0.scalekit.clock().now()).encode()
        } else {
            record.encode().ok_or(SealingFailed)?
        };
        self.0.keys.seal(Purpose::Session, self.0.cookies.session_name(), &content)
    }

    /// Caches the content of a cookie.
    pub(super) fn remember(&self, cookie: &str, session: &Session) {
        let known = Known::new(session.clone());
        if session.record().is_stored() {
            self.0.stored.remember(known);
        } else {
            self.0.opened.insert(cookie, Opened::Session { known, outdated_key: false });
        }
    }

    fn evaluate(&self, seen: Seen) -> Found {
        let Seen { session, outdated_key, revoked } = seen;
        if revoked {
            return Found::Over(Cookie::Kept);
        }
        let record = session.record();
        if self.is_over(&session) {
            let now = self.0.scalekit.clock().now();
            let may_be_newer = session.is_renewable()
                && !record.is_stored()
                && record.is_only_idle(self.0.lifetimes, now);
            return if may_be_newer { Found::Due(session) } else { Found::Over(Cookie::Taken) };
        }
        if self.is_due(&session) {
            return Found::Due(session);
        }
        let now = self.0.scalekit.clock().now();
        if now >= session.principal().expires_at() {
            return Found::Over(Cookie::Taken);
        }
        if record.generation() > 0 && session.is_first_presented() {
            self.note_presented(&session);
        }
        let touch = record.is_due_for_touch(self.0.lifetimes, now);
        if touch && record.is_stored() {
            self.touch_stored(&session, now);
        }
        let reseal = outdated_key || (touch && !record.is_stored());
        // If it cannot be resealed, the session stays valid under its old cookie.
        let sealed = reseal.then(|| self.seal(&record.touch(self.0.lifetimes, now)).ok()).flatten();
        let resealed = sealed.map(|text| Resealed { text, renewed: false });
        Found::Live(Live { session, resealed })
    }

    /// Whether the session's own limits are reached.
    pub(super) fn is_over(&self, session: &Session) -> bool {
        session.record().is_over(self.0.lifetimes, self.0.scalekit.clock().now())
    }

    pub(super) fn has_ended(&self, session: &Session) -> bool {
        let now = self.0.scalekit.clock().now();
        let expired = now >= session.principal().expires_at() && !session.is_renewable();
        expired || self.is_over(session)
    }

    /// Returns `Set-Cookie` values that remove the session's cookies, if they belong to this app.
    pub(crate) fn clear_session(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        let mut values = RecentLogin::removals(self, headers);
        if self.has_own_cookie(headers) {
            values.extend(self.0.cookies.clear_session(headers));
        }
        values
    }

    /// Whether the request has a session cookie that a key of this app opens.
    pub(crate) fn has_own_cookie(&self, headers: &HeaderMap) -> bool {
        self.open(&self.0.cookies.presented(headers)).is_some()
    }

    /// Opens the session's cookie: the first of several that opens.
    fn open(&self, presented: &Presented<'_>) -> Option<Open> {
        presented.sealed().find_map(|sealed| self.open_text(&sealed))
    }

    fn open_text(&self, sealed: &str) -> Option<Open> {
        if let Some(open) = self.0.opened.get(sealed, |opened| self.open_known(opened)) {
            return Some(open);
        }
        if !self.0.keys.may_open(sealed) {
            return None;
        }
        let name = self.0.cookies.session_name();
        let unsealed = self.0.keys.open(Purpose::Session, name, sealed)?;
        let outdated_key = unsealed.outdated_key;
        let opened = match Reference::decode(&unsealed.content) {
            Some(reference) => Opened::Stored { reference, outdated_key },
            None => {
                let record = SessionRecord::decode(&unsealed.content);
                let Some(session) = record.and_then(SessionRecord::into_session) else {
                    return Some(Open::Unreadable);
                };
                Opened::Session { known: Known::new(session), outdated_key }
            }
        };
        let open = self.open_known(&opened);
        self.0.opened.insert(sealed, opened);
        Some(open)
    }

    fn open_known(&self, opened: &Opened) -> Open {
        match opened {
            Opened::Session { known, outdated_key } => {
                Open::Session(self.look_at(known, *outdated_key))
            }
            Opened::Stored { reference, outdated_key } => {
                Open::Stored { reference: reference.clone(), outdated_key: *outdated_key }
            }
        }
    }

    /// Checks whether a session was revoked, if there are new revocations.
    fn look_at(&self, known: &Known, outdated_key: bool) -> Seen {
        let version = self.0.revocations.version();
        let mut revoked = false;
        if known.stands_as_of.load(Ordering::Acquire) != version {
            revoked = self.0.revocations.covers(known.session.revocable());
            if !revoked {
                known.stands_as_of.store(version, Ordering::Release);
            }
        }
        Seen { session: known.session.clone(), outdated_key, revoked }
    }
}

/// The content of a cookie.
enum Open {
    Session(Seen),
    /// A session in the shared store.
    Stored {
        reference: Reference,
        outdated_key: bool,
    },
    /// Sealed by this app, but not a session.
    Unreadable,
}

/// A session that was loaded.
struct Seen {
    session: Session,
    /// Its cookie is sealed with an older secret.
    outdated_key: bool,
    revoked: bool,
}

/// The session of a request, for ending it.
#[derive(Clone, Debug)]
pub(crate) enum Peeked {
    Session(Session),
    /// Its ID only, because the shared store is unavailable.
    Stored(Arc<str>),
}

impl Peeked {
    pub(crate) fn session(&self) -> Option<&Session> {
        match self {
            Self::Session(session) => Some(session),
            Self::Stored(_) => None,
        }
    }
}
