//! One refresh per session and generation, whatever the number of requests and replicas.
//!
//! A refresh token works once. The first request that needs it starts a refresh in a task of its
//! own, which neither a client that disconnects nor a shutdown cancels. Other requests in this
//! process wait for the same task, those on other replicas for the same entry of the shared store
//! (see [`lease`]).

pub(in crate::session) mod entry;
mod exchange;
mod generation;
mod lease;
#[cfg(test)]
mod model_check;
mod unpublished;

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, Sleep, sleep};

pub(in crate::session) use self::entry::Entry;
use self::entry::{REFRESH_GRACE, Refreshed, Sealed, StoredRecord};
pub(crate) use self::lease::Trigger;
use self::lease::{
    ExchangeResult, FAILURE_LIFETIME, LEASE, RefreshBackend, RefreshResult, StoredState,
    Verification,
};
use self::unpublished::UnpublishedResults;
use super::cookie::record::SessionRecord;
use super::{Session, Sessions};
use crate::shared_store::{KeyNamespace, StoreError, StoreKey, unique_owner};
use crate::util::single_flight::{Flight, SingleFlight};
use crate::util::tasks::Tasks;
use crate::util::telemetry;

/// Interval between reads of a lease that another task holds, and how long to wait for it.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const MAX_WAIT: Duration = Duration::from_secs(12);

/// Tries to publish a result while the lease lasts.
const MAX_RETRIES: u32 = 3;

/// An older lease is extended before a token is spent: what follows takes up to 17 s.
const MAX_LEASE_AGE: Duration = Duration::from_secs(1);

/// A request with a valid access token waits for a refresh until this long before the token expires.
const RESPONSE_MARGIN: Duration = Duration::from_millis(500);

/// A request that is so many refreshes behind gets the session as of then.
const MAX_ROUNDS: usize = 4;

/// How many leases are released in the background while the store rejects it.
const MAX_RELEASES: usize = 1000;

/// Why a refresh has no session as its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefreshError {
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
    flights: SingleFlight<(FlightId, Trigger), Result<Session, RefreshError>>,
    unpublished: UnpublishedResults,
    /// Limits the leases that are released in the background.
    releases: Arc<Semaphore>,
}

/// A session and the generation to be refreshed.
type FlightId = (String, u32);

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
    /// Refreshes a session in a task of its own, or joins the refresh that is under way.
    pub(super) fn join_refresh(
        &self,
        session: &Session,
        trigger: Trigger,
    ) -> Flight<Result<Session, RefreshError>> {
        let trigger = if self.is_past_limits(session) { Trigger::Idle } else { trigger };
        let (sessions, due) = (self.clone(), session.clone());
        self.inner.refreshes.flights.join((session.flight_id(), trigger), || async move {
            let refreshed = sessions.refresh_loop(due, trigger).await;
            if refreshed.is_ok() {
                // Requests that have waited are authorized by the revocations of now.
                sessions.inner.revocations.read_if_stale().await;
            }
            refreshed
        })
    }

    /// Returns when a request no longer waits for a refresh, and is authorized by its access token.
    /// `None` if that has expired, or does so too soon: the request waits for the refresh.
    pub(super) fn refresh_deadline(&self, session: &Session) -> Option<Pin<Box<Sleep>>> {
        Duration::try_from(session.principal().expires_at() - self.now())
            .unwrap_or_default()
            .checked_sub(RESPONSE_MARGIN)
            .map(|wait| Box::pin(sleep(wait)))
    }

    /// Refreshes until the session is not due: that of a late request may be several refreshes
    /// behind, and the newest due again.
    async fn refresh_loop(
        &self,
        mut session: Session,
        mut trigger: Trigger,
    ) -> Result<Session, RefreshError> {
        for _ in 0..MAX_ROUNDS {
            let outcome = self.refresh_generation(&session, trigger).await;
            // A requested refresh is not complete when an older result is found.
            let is_done =
                trigger != Trigger::Requested || !matches!(outcome, RefreshResult::Newer(_));
            let refreshed = self.refreshed_or_ended(&session, outcome).await?;
            let is_newer = refreshed.record().generation() > session.record().generation();
            session = refreshed;
            if self.is_due(&session) {
                trigger = Trigger::Due;
            } else if is_done || !is_newer {
                break;
            }
        }
        Ok(session)
    }

    async fn refresh_generation(
        &self,
        session: &Session,
        trigger: Trigger,
    ) -> RefreshResult<Refreshed> {
        // A result that the store has not accepted yet: a task in this process has the lease.
        match self.inner.refreshes.unpublished.get(&session.flight_id()) {
            Some(Entry::Newest(Sealed { sealed, .. })) => {
                return match self.unseal_stored(session.record().id(), &sealed) {
                    Some(record) => RefreshResult::Refreshed(Refreshed { record, sealed }),
                    None => RefreshResult::Unavailable,
                };
            }
            Some(Entry::Unverified { .. }) => return RefreshResult::Unavailable,
            Some(Entry::Ended) | None => {}
        }
        let backend = LiveBackend::new(self, session);
        lease::refresh(&backend, session.record().generation(), &backend.owner, trigger).await
    }

    async fn refreshed_or_ended(
        &self,
        session: &Session,
        outcome: RefreshResult<Refreshed>,
    ) -> Result<Session, RefreshError> {
        let record = match outcome {
            // An entry that was moved to another session's name does not open.
            RefreshResult::Newer(sealed) => self
                .unseal_stored(session.record().id(), &sealed)
                .ok_or(RefreshError::Unavailable)?,
            RefreshResult::Refreshed(Refreshed { record, .. }) => record,
            RefreshResult::Superseded | RefreshResult::Ended => return Err(RefreshError::Ended),
            RefreshResult::Idle => return Err(RefreshError::Expired),
            // A login has replaced it meanwhile, whose cookie the response must not remove.
            RefreshResult::InvalidGrant
                if self.inner.revocations.is_id_revoked(session.record().id()) =>
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
        self.seal_refreshed(record.touch(self.inner.lifetimes, now))
            .ok_or(RefreshError::Unavailable)
    }

    /// Returns the session of a refreshed record, with its cookie, which is sealed once for all
    /// requests.
    fn seal_refreshed(&self, record: SessionRecord) -> Option<Session> {
        let cookie = self.seal(&record).ok()?;
        let session = record.into_session(self)?;
        self.remember(&cookie, &session);
        session.keep_sealed(cookie);
        Some(session)
    }

    /// Records in the background that a browser has sent a refreshed session's cookie. From then on,
    /// the result of the refresh is kept for a limited time only.
    pub(super) fn record_presented(&self, session: &Session) {
        let (sessions, session) = (self.clone(), session.clone());
        self.tasks().detach("session cookie confirmed", async move {
            let backend = LiveBackend::new(&sessions, &session);
            if let Err(error) =
                lease::record_presented(&backend, session.record().generation()).await
            {
                telemetry::internal_error("session_refresh", &error);
            }
        });
    }

    /// Reads the state of a session's refreshes.
    pub(super) async fn refresh_entry(&self, id: &str) -> Result<Option<Entry>, StoreError> {
        Entry::decode_seen(&self.store().get(&self.refresh_key(id)).await?)
    }

    pub(super) fn refresh_key(&self, id: &str) -> StoreKey {
        self.store_key(KeyNamespace::Refresh, id)
    }
}

impl Session {
    fn flight_id(&self) -> FlightId {
        (self.record().id().to_owned(), self.record().generation())
    }
}

/// [`RefreshBackend`] with the shared store and the token endpoint.
struct LiveBackend<'a> {
    sessions: &'a Sessions,
    session: &'a Session,
    key: StoreKey,
    lease_key: StoreKey,
    owner: String,
    started: Instant,
    /// When the lease was acquired or extended.
    leased_at: Mutex<Instant>,
    retries: AtomicU32,
}

impl<'a> LiveBackend<'a> {
    fn new(sessions: &'a Sessions, session: &'a Session) -> Self {
        let started = Instant::now();
        Self {
            sessions,
            session,
            key: sessions.refresh_key(session.record().id()),
            lease_key: sessions.store_key(KeyNamespace::RefreshLease, session.record().id()),
            owner: unique_owner(),
            started,
            leased_at: Mutex::new(started),
            retries: AtomicU32::new(0),
        }
    }
}

impl RefreshBackend for LiveBackend<'_> {
    type Refreshed = Refreshed;

    async fn read_entry(&self) -> Result<Option<Bytes>, StoreError> {
        self.sessions.store().get(&self.key).await
    }

    async fn set_entry(&self, seen: Option<Bytes>, entry: &Entry) -> Result<bool, StoreError> {
        let ttl = self.sessions.store_ttl(self.session.record());
        let ttl = match entry {
            // Afterwards the revocations decide: they are retained for as long as the session.
            Entry::Ended => REFRESH_GRACE,
            Entry::Newest(newest) if newest.confirmed => {
                ttl.min(self.sessions.inner.refresh_retention)
            }
            Entry::Newest(_) | Entry::Unverified { .. } => ttl,
        };
        self.sessions.store().compare_and_set(&self.key, seen, entry.encode(), ttl).await
    }

    async fn set_lease(
        &self,
        seen: Option<Bytes>,
        lease: Bytes,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let now = Instant::now();
        let is_set =
            self.sessions.store().compare_and_set(&self.lease_key, seen, lease, ttl).await?;
        if is_set && ttl == LEASE {
            *self.leased_at.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
        Ok(is_set)
    }

    async fn read_lease(&self) -> Result<Option<Bytes>, StoreError> {
        self.sessions.store().get(&self.lease_key).await
    }

    async fn release(&self, lease: Bytes) {
        let (store, key) = (self.sessions.store(), &self.lease_key);
        let Err(error) = store.remove_if(key, lease.clone()).await else { return };
        telemetry::internal_error("session_refresh", &error);
        // Beyond the limit, the lease expires.
        let Ok(permit) = Arc::clone(&self.sessions.inner.refreshes.releases).try_acquire_owned()
        else {
            return;
        };
        let (tasks, store, key) = (self.sessions.tasks().clone(), store.clone(), key.clone());
        self.sessions.tasks().detach("lease of a session refresh", async move {
            tasks
                .repeat_for(LEASE, move || {
                    let (store, key, lease) = (store.clone(), key.clone(), lease.clone());
                    async move { store.remove_if(&key, lease).await.is_ok() }
                })
                .await;
            drop(permit);
        });
    }

    fn may_exchange_alone(&self) -> bool {
        self.sessions.inner.refresh_during_outages
            && self.sessions.now() >= self.session.principal().expires_at()
    }

    fn keep_unpublished(&self, result: Entry, lease: Bytes) {
        self.sessions.keep_until_published(self.session, result, lease);
    }

    async fn mark_reached(&self, generation: u32) -> Result<bool, StoreError> {
        debug_assert_eq!(generation, self.session.record().generation());
        self.sessions.mark_reached(self.session.record()).await
    }

    fn sealed(&self) -> Option<String> {
        self.sessions.seal_stored(self.session.record()).ok()
    }

    async fn newer_elsewhere(&self) -> Result<StoredState, StoreError> {
        let record = self.session.record();
        if record.is_stored() {
            let (id, began_at) = (record.id(), record.began_at().unix_timestamp());
            let value = self.sessions.stored_value(id).await?;
            if value.is_none() && self.sessions.may_lack(id, Some(began_at)) {
                return Err(StoreError::Unavailable("it may not have the session yet".into()));
            }
            match value.map_or(Ok(None), |value| self.sessions.open_stored(id, &value))? {
                None => return Ok(StoredState::Gone),
                Some(StoredRecord { record: there, .. })
                    if there.generation() > record.generation() =>
                {
                    return Ok(match self.sessions.seal_stored(&there) {
                        Ok(sealed) => StoredState::Newer(sealed),
                        Err(_) => StoredState::Superseded,
                    });
                }
                Some(_) => {}
            }
        }
        Ok(match self.sessions.has_reached_newer(record.id(), record.generation()).await? {
            true => StoredState::Superseded,
            false => StoredState::Same,
        })
    }

    async fn is_ready(&self) -> bool {
        self.sessions
            .scalekit()
            .remote_keys()
            .ready()
            .await
            .inspect_err(|error| telemetry::internal_error("session_refresh", error))
            .is_ok()
    }

    fn is_lease_short(&self) -> bool {
        self.leased_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > MAX_LEASE_AGE
    }

    async fn exchange(&self, unverified: Option<&str>) -> Option<ExchangeResult<Refreshed>> {
        self.exchange_tokens(unverified).await
    }

    async fn verify(&self, tokens: &str) -> Verification<Refreshed> {
        self.verify_received(tokens).await
    }

    async fn sleep_after_failure(&self) {
        sleep(FAILURE_LIFETIME).await;
    }

    async fn wait_to_retry(&self) -> bool {
        sleep(POLL_INTERVAL).await;
        self.retries.fetch_add(1, Ordering::Relaxed) < MAX_RETRIES
    }

    async fn wait_for_holder(&self) -> bool {
        sleep(POLL_INTERVAL).await;
        self.started.elapsed() < MAX_WAIT
    }
}
