//! One refresh per session and generation, whatever the number of requests and replicas.
//!
//! A refresh token works once. The first request that needs it starts a refresh in a task of its
//! own, which neither a client that disconnects nor a shutdown cancels. Other requests in this
//! process wait for the same task, those on other replicas for the same entry of the shared store.
//!
//! [`lease`] decides what a refresh does next; [`live_backend`] does it, and [`exchange`] calls the
//! environment.

mod backend;
pub(in crate::session) mod entry;
mod exchange;
mod generation;
mod lease;
mod live_backend;
#[cfg(test)]
mod model_check;
mod presented;
mod unpublished;
mod unverified;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};

pub(in crate::session) use self::entry::RefreshEntry;
use self::entry::SealedGeneration;
use self::exchange::RefreshedRecord;
use self::lease::RefreshResult;
use self::live_backend::LiveBackend;
use self::unpublished::UnpublishedResults;
use super::cookie::names::SentCookies;
use super::cookie::record::SessionRecord;
use super::{LoadedSession, Session, Sessions, UsableSession};
use crate::shared_store::{KeyNamespace, StoreError, StoreKey, unique_owner};
use crate::util::single_flight::{Flight, SingleFlight};
use crate::util::tasks::Tasks;
use crate::util::telemetry;

/// A request with a valid access token waits for a refresh until this long before the token expires.
const RESPONSE_MARGIN: Duration = Duration::from_millis(500);

/// After so many rounds, a request gets the newest session found, even if that is due again.
const MAX_ROUNDS: usize = 4;

/// How many leases are released in the background while the store rejects it.
const MAX_RELEASES: usize = 1000;

/// The cause of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RefreshTrigger {
    /// The access token is about to expire.
    Due,
    /// The app requested it, whatever the age of the token.
    Requested,
    /// No token is exchanged: only a newer session is looked for. Not a use of the session.
    LookUpOnly,
}

/// Why a refresh has no session as its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefreshError {
    /// The session was logged out or revoked, or the result of its refresh is gone.
    Ended,
    /// A limit of the session itself is reached.
    Expired,
    /// The environment rejects the refresh token.
    InvalidGrant,
    /// The environment does not respond, or not sensibly.
    Unavailable,
}

/// Refreshes under way in this process.
#[derive(Debug)]
pub(super) struct Refreshes {
    flights: SingleFlight<FlightKey, Result<Session, RefreshError>>,
    unpublished: UnpublishedResults,
    /// Limits the leases that are released in the background.
    releases: Arc<Semaphore>,
}

/// A session and the generation to be refreshed.
type FlightId = (String, u32);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FlightKey {
    id: FlightId,
    trigger: RefreshTrigger,
    /// Cookies of one generation may differ in their idle limits.
    is_past_limits: bool,
}

impl Refreshes {
    pub(super) fn new(tasks: &Tasks) -> Self {
        Self {
            flights: SingleFlight::tracked(tasks, "session refresh"),
            unpublished: UnpublishedResults::new(),
            releases: Arc::new(Semaphore::new(MAX_RELEASES)),
        }
    }
}

impl Sessions {
    /// Refreshes a session, or joins the refresh that is in progress. A request with a valid access
    /// token waits for it until shortly before the token expires.
    ///
    /// [`RefreshTrigger::Requested`] refreshes it whatever the age of its tokens, at most once in ten
    /// seconds on all replicas; within that time the result is the same. A refresh that was due does
    /// not count: it may have begun before the change that the app requests. A session past its limits
    /// is not refreshed: a newer cookie of it may be in use, which is looked for and takes its place.
    pub(crate) async fn refresh_session(
        &self,
        due: UsableSession,
        trigger: RefreshTrigger,
    ) -> LoadedSession {
        let refresh = self.join_refresh(&due.session, trigger);
        let max_wait = Duration::try_from(due.session.principal().expires_at() - self.now())
            .unwrap_or_default()
            .checked_sub(RESPONSE_MARGIN);
        let refreshed = match max_wait {
            Some(max_wait) => timeout(max_wait, refresh).await.ok().flatten(),
            None => refresh.await,
        };
        match self
            .evaluate_refreshed_session(due, refreshed.unwrap_or(Err(RefreshError::Unavailable)))
        {
            Ok(loaded) => loaded,
            Err(used) => {
                LoadedSession::Unavailable { set_cookies: self.record_rejected_use(&used).await }
            }
        }
    }

    /// Returns a session that is due as if the environment were unavailable, without its refresh:
    /// `Unavailable` if its access token has expired or revocations are unknown, `Invalid` if it was
    /// revoked.
    pub(crate) fn without_refresh(&self, due: UsableSession) -> LoadedSession {
        self.evaluate_refreshed_session(due, Err(RefreshError::Unavailable))
            .unwrap_or_else(|_| LoadedSession::unavailable())
    }

    /// Evaluates the session after its refresh. Returns `Err` with the session if its access token
    /// has expired and it was not refreshed: its use is to be recorded.
    fn evaluate_refreshed_session(
        &self,
        due: UsableSession,
        refreshed: Result<Session, RefreshError>,
    ) -> Result<LoadedSession, UsableSession> {
        let UsableSession { session: due, sent, .. } = due;
        let (lifetimes, now) = (self.inner.lifetimes, self.now());
        let is_usable = refreshed.is_ok() || now < due.principal().expires_at();
        let usable = match refreshed {
            Ok(session) => UsableSession::refreshed(session, sent),
            Err(RefreshError::Ended) => {
                return Ok(LoadedSession::Invalid { clear: SentCookies::default() });
            }
            Err(RefreshError::Expired | RefreshError::InvalidGrant) => {
                return Ok(LoadedSession::Invalid { clear: sent });
            }
            Err(RefreshError::Unavailable) if due.record().is_past_limits(lifetimes, now) => {
                return Ok(LoadedSession::unavailable());
            }
            Err(RefreshError::Unavailable) => {
                UsableSession::with_due_writes(due, sent, false, lifetimes, now)
            }
        };
        match self.check_revocations(&usable.session) {
            Err(rejected) => Ok(rejected),
            Ok(()) if is_usable => Ok(LoadedSession::Active(usable)),
            Ok(()) => Err(usable),
        }
    }

    /// Refreshes a session in a task of its own, or joins the refresh that is under way.
    fn join_refresh(
        &self,
        session: &Session,
        trigger: RefreshTrigger,
    ) -> Flight<Result<Session, RefreshError>> {
        let is_past_limits = self.is_past_limits(session);
        let (sessions, due) = (self.clone(), session.clone());
        let key = FlightKey { id: session.flight_id(), trigger, is_past_limits };
        self.inner.refreshes.flights.join(key, || async move {
            let refreshed = sessions.refresh_loop(due.clone(), trigger, is_past_limits).await;
            if let Ok(session) = &refreshed {
                sessions.update_changed_markers(&due, session);
                // Requests that have waited are authorized by the revocations of now.
                sessions.inner.revocations.read_if_due().await;
            }
            refreshed
        })
    }

    /// Refreshes until the session is not due: that of a late request may be several refreshes
    /// behind, and the newest due again.
    async fn refresh_loop(
        &self,
        mut session: Session,
        trigger: RefreshTrigger,
        is_past_limits: bool,
    ) -> Result<Session, RefreshError> {
        let mut round = if is_past_limits { RefreshTrigger::LookUpOnly } else { trigger };
        for _ in 0..MAX_ROUNDS {
            let outcome = self.refresh_generation(&session, round).await;
            // A requested refresh is not complete when an older result is found.
            let is_done =
                trigger != RefreshTrigger::Requested || !matches!(outcome, RefreshResult::Newer(_));
            let refreshed = self.session_of_result(&session, outcome, trigger).await?;
            let is_newer = refreshed.record().generation() > session.record().generation();
            session = refreshed;
            if trigger == RefreshTrigger::LookUpOnly {
                break;
            }
            if self.is_due(&session) {
                round = RefreshTrigger::Due;
            } else if is_done || !is_newer {
                break;
            } else {
                round = trigger;
            }
        }
        Ok(session)
    }

    async fn refresh_generation(
        &self,
        session: &Session,
        trigger: RefreshTrigger,
    ) -> RefreshResult<RefreshedRecord> {
        // A result that the store has not accepted yet: a task in this process has the lease.
        match self.inner.refreshes.unpublished.get(&session.flight_id()) {
            Some(RefreshEntry::Newest(SealedGeneration { session: sealed, .. })) => {
                return match self.open_sealed_record(session.record().id(), &sealed) {
                    Some(record) => RefreshResult::Refreshed(RefreshedRecord { record, sealed }),
                    None => RefreshResult::Unavailable,
                };
            }
            Some(RefreshEntry::Unverified { .. }) => return RefreshResult::Unavailable,
            Some(RefreshEntry::Ended) | None => {}
        }
        let backend = LiveBackend::new(self, session);
        lease::refresh(&backend, session.record().generation(), unique_owner(), trigger).await
    }

    async fn session_of_result(
        &self,
        session: &Session,
        outcome: RefreshResult<RefreshedRecord>,
        trigger: RefreshTrigger,
    ) -> Result<Session, RefreshError> {
        let record = match outcome {
            // An entry that was moved to another session's name does not open.
            RefreshResult::Newer(sealed) => self
                .open_sealed_record(session.record().id(), &sealed)
                .ok_or(RefreshError::Unavailable)?,
            RefreshResult::Refreshed(RefreshedRecord { record, .. }) => record,
            RefreshResult::Superseded | RefreshResult::Ended => return Err(RefreshError::Ended),
            RefreshResult::NoneNewer => return Err(RefreshError::Expired),
            // A login has replaced it meanwhile, whose cookie the response must not remove.
            RefreshResult::InvalidGrant
                if self.inner.revocations.is_record_id_revoked(session.record().id()) =>
            {
                return Err(RefreshError::Ended);
            }
            RefreshResult::InvalidGrant => {
                // A copy of the cookie must not be accepted until its token expires. In the
                // background: until the response, a login could replace the session.
                let (sessions, handle) = (self.clone(), session.clone().into());
                self.tasks().detach("session end", async move {
                    if let Err(error) = sessions.end_now(&handle).await {
                        telemetry::internal_error("session_refresh", &error);
                    }
                });
                return Err(RefreshError::InvalidGrant);
            }
            RefreshResult::Unavailable => return Err(RefreshError::Unavailable),
        };
        let now = self.now();
        if record.is_past_limits(self.inner.lifetimes, now) {
            return Err(RefreshError::Expired);
        }
        let used = match trigger {
            RefreshTrigger::LookUpOnly => record,
            RefreshTrigger::Due | RefreshTrigger::Requested => {
                record.touch(self.inner.lifetimes, now)
            }
        };
        self.seal_refreshed(used).ok_or(RefreshError::Unavailable)
    }

    /// Returns the session of a refreshed record, with its cookie, which is sealed once for all
    /// requests.
    fn seal_refreshed(&self, record: SessionRecord) -> Option<Session> {
        let cookie = self.seal(&record).ok()?;
        let session = record.into_session(self)?;
        self.remember(&cookie, &session);
        session.keep_cookie(cookie);
        Some(session)
    }

    /// Reads the state of a session's refreshes.
    pub(super) async fn read_refresh_entry(
        &self,
        id: &str,
    ) -> Result<Option<RefreshEntry>, StoreError> {
        RefreshEntry::decode_seen(&self.store().get(&self.refresh_entry_key(id)).await?)
    }

    pub(super) fn refresh_entry_key(&self, id: &str) -> StoreKey {
        self.store_key(KeyNamespace::Refresh, id)
    }
}

impl Session {
    fn flight_id(&self) -> FlightId {
        (self.record().id().to_owned(), self.record().generation())
    }
}
