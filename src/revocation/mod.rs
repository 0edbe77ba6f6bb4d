//! Revocation of sessions and bearer tokens across replicas.
//!
//! A revocation applies to a session, a user or an organization. It takes effect in this process at
//! once; other replicas read it from a log in the shared store, at most two seconds later. A
//! request only has to check revocations that are newer than the last check of its session or token.
//!
//! A counter in the shared store orders revocations and logins, because clocks differ. A revocation
//! advances it, a session records its position when it begins, and a revocation covers the sessions
//! with a lower position. A *position* is an epoch and a number; the *epoch* names the counter, and
//! is random when the counter is created. Without a shared store, the counter is this process's
//! own. Bearer tokens record nothing: a revocation covers those that were issued before it.
//!
//! The store can lose its last writes. A replica notes a loss in two cases:
//!
//! * A read of the log lacks the last entry that the replica has read, or one that it has written.
//! * A compare-and-set of the replica replaces a position of the counter whose number is lower than
//!   one it knows, or whose epoch is another one. A position that was only read may be outdated.
//!
//! The replica then reads the log from its start, and publishes what is missing.

mod builder;
mod ended;
mod known_revocations;
mod log;
mod order;
mod revocation_map;
mod target;
#[cfg(test)]
mod test_store;
#[cfg(test)]
mod tests;
mod token;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::builder::RevocationsBuilder;
pub(crate) use self::builder::{owner, revocation_scope, scope};
use self::ended::EndedSessions;
pub(crate) use self::order::Position;
pub(crate) use self::order::RecordedPosition;
use self::order::{Coverage, Epochs, random_id};
pub(crate) use self::revocation_map::RevocationKey;
use self::revocation_map::{Revocation, RevocationKind, RevocationMap};
pub(crate) use self::target::RevocableSession;
pub(crate) use self::target::{RevocationTarget, TargetKey};
pub(crate) use self::token::RevocableToken;
use crate::clock::{Clock, millis};
use crate::readiness::{self, Readiness, ReadinessCheck};
use crate::shared_store::{KeyNamespace, LogCursor, StoreError, StoreKey, StoreScope, TimedStore};
use crate::util::single_flight::{Flight, SingleFlight};
use crate::util::telemetry;

/// The maximum age of the last read of the log when a request is authorized.
const MAX_AGE: Duration = Duration::from_secs(2);
/// From this age on, the log is read in the background.
const RENEW_AGE: Duration = Duration::from_secs(1);

/// How many revocations are retained with their positions. Beyond that, logouts of environment
/// sessions are retained without them, in less memory.
pub(crate) const MAX_WITH_POSITION: usize = 100_000;
/// The minimum interval between removals of expired revocations at capacity.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The time limit for reading the counter, and of a login for what must be published before.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(2);
/// The time limit of a revocation for publishing it; the next read of the log retries.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// How many entries of the log are checked to be there after they were appended.
const MAX_APPENDED: usize = 10_000;
/// A read of the log that began so soon after an append may lack the entry, which is not lost: the
/// store may be late to show it.
const APPEND_LAG: Duration = Duration::from_secs(1);

/// Bits of a change count that are those of one instance.
const CHANGE_COUNT_BITS: u32 = 40;
/// Before any change.
const FIRST_CHANGE_COUNT: u64 = 1;

/// Number of instances in this process, each of which counts its own changes.
static INSTANCES: AtomicU64 = AtomicU64::new(0);

/// The counter outlives every session and every revocation, which last at most 401 days.
const COUNTER_LIFETIME: Duration = Duration::from_secs(800 * 24 * 60 * 60);
/// How often advancing the counter is retried after a concurrent change.
const MAX_TRIES: usize = 32;
/// How often setting it to the highest known position is retried. A login that records a higher
/// position than the counter has would outlive the revocations that follow.
const MAX_CORRECTIONS: usize = 4;
const CONTENDED: &str = "other replicas keep changing the revocation counter";

/// The revocations of an app's users, sessions and organizations, as far as this replica knows them.
/// Cheap to clone: clones share the read of the log, one in a second.
///
/// That of [`Sessions`](crate::Sessions) is returned by
/// [`Sessions::revocations`](crate::Sessions::revocations). A service that has none builds one with
/// [`Scalekit::revocations`](crate::Scalekit::revocations). Bearer tokens are checked by
/// [`RequireToken::reject_revoked`](crate::RequireToken::reject_revoked).
#[derive(Clone)]
pub struct Revocations {
    state: Arc<State>,
}

/// When a replica's revocations count as stale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Staleness {
    /// The maximum time since the log was last read to its end.
    pub(crate) after: Duration,
    /// Whether requests are then rejected.
    pub(crate) rejects: bool,
}

impl Default for Staleness {
    fn default() -> Self {
        Self { after: Duration::from_secs(60), rejects: false }
    }
}

struct State {
    store: TimedStore,
    log: StoreKey,
    counter: StoreKey,
    clock: Clock,
    /// Whether other replicas may use the same store.
    has_peers: bool,
    staleness: Staleness,
    /// Random; distinguishes the revocations of this process.
    process: u32,
    known: Mutex<KnownRevocations>,
    /// Increases with each revocation, so that an unchanged state costs a single load. Differs from
    /// that of other instances.
    change_count: AtomicU64,
    /// As of when the log was last read: the start of the read, or, after a failure, at most a second
    /// before its end. The next one is due some time later.
    /// One more than milliseconds of the monotonic clock; zero is never.
    last_read_at: AtomicU64,
    /// When the log was last read to its end, in milliseconds of the monotonic clock.
    complete_read_at: AtomicU64,
    is_stale: AtomicBool,
    /// How long a session can last that an unread revocation may cover.
    longest_session: Duration,
    /// Until when a session may be alive that an entry of the log has revoked which cannot be read: it
    /// is of another version, or was sealed with another secret. In milliseconds of the monotonic
    /// clock.
    unreadable_until: AtomicU64,
    /// Whether the log was read to its end.
    has_complete_read: AtomicBool,
    /// Whether the last read that the store responded to ended before the log did.
    has_more: AtomicBool,
    /// Since when a log that had become too long is read, in milliseconds of the monotonic clock;
    /// zero if it is not.
    catching_up_since: AtomicU64,
    reads: SingleFlight<(), ()>,
    /// How many reads have begun.
    reads_begun: AtomicU64,
    /// The number of the last read to the end of the log.
    read_to_end: AtomicU64,
    /// Publications of what the log lacks, which follow the reads.
    writes: SingleFlight<(), ()>,
    checks: SingleFlight<(), bool>,
    /// Held while revocations get their position and are published.
    publishing: tokio::sync::Mutex<()>,
    /// Held while revocations that have a position are published again.
    republishing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct KnownRevocations {
    revocations: RevocationMap,
    /// Single sessions that were ended, once other replicas can read the revocation.
    ended: EndedSessions,
    /// Those that are lost, or perhaps lost while the log is read from its start. Then those that it
    /// lacks are published again.
    lost: EndedSessions,
    /// Entries that were appended to the log and not read yet.
    appended: HashMap<RevocationKey, Appended>,
    /// Appends up to this monotonic time must be shown by the log: the store is not late with them.
    checked_until: Duration,
    /// Where the next read of the log continues.
    cursor: LogCursor,
    /// How often the store has lost entries of the log, or may have.
    losses: u64,
    /// Whether the log has not been read from its start to its end since then.
    is_rereading: bool,
    /// The highest position before the store lost its last changes, until the log is read again.
    before_loss: Option<Position>,
    epochs: Epochs,
    /// The highest position of the newest epoch.
    position: Option<Position>,
    /// How many revocations this process has made.
    made_here: u64,
    /// When expired revocations were last removed at capacity.
    swept_at: Option<Duration>,
    is_nearly_full: bool,
}

/// An entry of the log that this replica has appended.
#[derive(Clone, Copy)]
struct Appended {
    entry: Revocation,
    /// The number of reads that had begun when it was there.
    after_read: u64,
    /// Monotonic time.
    at: Duration,
}

impl Revocations {
    pub(crate) fn new(
        store: TimedStore,
        scope: &StoreScope,
        clock: Clock,
        has_peers: bool,
        staleness: Staleness,
        longest_session: Duration,
    ) -> Self {
        let process = random_id();
        let mut known = KnownRevocations::default();
        if !has_peers {
            known.observe_counter(Position { epoch: process, number: 0 });
        }
        let state = Arc::new(State {
            store,
            log: scope.key(KeyNamespace::Revocation, "log"),
            counter: scope.key(KeyNamespace::Revocation, "counter"),
            complete_read_at: AtomicU64::new(millis(clock.monotonic())),
            clock,
            has_peers,
            staleness,
            process,
            known: Mutex::new(known),
            change_count: AtomicU64::new(
                (INSTANCES.fetch_add(1, Ordering::Relaxed) << CHANGE_COUNT_BITS)
                    + FIRST_CHANGE_COUNT,
            ),
            last_read_at: AtomicU64::new(0),
            is_stale: AtomicBool::new(false),
            longest_session,
            unreadable_until: AtomicU64::new(0),
            has_complete_read: AtomicBool::new(!has_peers),
            has_more: AtomicBool::new(false),
            catching_up_since: AtomicU64::new(0),
            reads: SingleFlight::new(),
            reads_begun: AtomicU64::new(0),
            read_to_end: AtomicU64::new(0),
            writes: SingleFlight::new(),
            checks: SingleFlight::new(),
            publishing: tokio::sync::Mutex::default(),
            republishing: tokio::sync::Mutex::default(),
        });
        Self { state }
    }

    /// Returns whether this replica knows the revocations of the others: see
    /// [`readiness`].
    pub async fn readiness(&self) -> Readiness {
        if !self.state.has_peers {
            return Readiness::new(true);
        }
        readiness::wait(self.read_if_due()).await;
        let is_read = self.state.has_complete_read.load(Ordering::Acquire);
        let read_at = Duration::from_millis(self.state.complete_read_at.load(Ordering::Acquire));
        let mut readiness = Readiness::new(is_read && !self.rejects_requests());
        readiness.shared_store = Some(self.state.store.readiness());
        readiness.revocations = Some(ReadinessCheck {
            is_ok: is_read && !self.state.is_stale.load(Ordering::Acquire),
            age: is_read.then(|| self.state.clock.monotonic().saturating_sub(read_at)),
        });
        readiness
    }

    /// Ends sessions in this process at once. Returns what must be [published](Self::publish) to the
    /// other replicas, if they may not know it.
    ///
    /// An event has its own time, `issued_until`, in seconds by the environment's clock. Sessions whose
    /// tokens were issued later are unaffected, because the event may arrive late.
    pub(crate) fn record(
        &self,
        target: RevocationTarget<'_>,
        issued_until: Option<i64>,
        lifetime: Duration,
    ) -> Option<RevocationKey> {
        let state = &self.state;
        let mut key = RevocationKey::new(target.key(), issued_until, None);
        let now = state.clock.monotonic();
        let (issued_until, revoked_at) = match issued_until {
            Some(issued_until) => (issued_until, i64::MAX),
            None => (i64::MAX, state.clock.now().unix_timestamp()),
        };
        let mut known = state.known();
        if known.ended.covers(&key.key, Some(issued_until)) {
            return None;
        }
        known.made_here += 1;
        let is_logout = key.kind == RevocationKind::ByIssueTime
            && matches!(target, RevocationTarget::EnvironmentSession(_));
        let coverage = if target.is_permanent() || (is_logout && !known.has_capacity(now)) {
            Coverage::Always
        } else if state.has_peers {
            Coverage::Pending
        } else {
            known.advance_local()
        };
        key.process = (coverage != Coverage::Always).then_some(state.process);
        let entry = Revocation {
            coverage,
            issued_until,
            revoked_at,
            forget_at: now.saturating_add(lifetime),
            made_by: Some((state.process, known.made_here)),
            is_published: !state.has_peers,
        };
        state.merge(&mut known, key, entry, now);
        state.has_peers.then_some(key)
    }

    /// Publishes revocations to the other replicas.
    pub(crate) async fn publish(&self, recorded: &[RevocationKey]) -> Result<(), StoreError> {
        if recorded.is_empty() {
            return Ok(());
        }
        let state = &self.state;
        let published = state.store.within(PUBLISH_TIMEOUT, state.publish(recorded)).await;
        // A replica that only receives webhooks learns of revocations too.
        drop(state.start_due_read());
        published
    }

    /// Publishes what could not be published before. Returns `false` if that failed again, or if
    /// another publication has failed meanwhile.
    pub(crate) async fn publish_again(&self) -> bool {
        self.state.publish_again().await.is_ok()
            && self
                .state
                .known()
                .revocations
                .unpublished(self.state.clock.monotonic())
                .next()
                .is_none()
    }

    /// Reads the log, and publishes what it lacks. An entry that was appended up to this monotonic time
    /// is lost if the log does not show it. Returns `false` if the log does not have all yet.
    pub(crate) async fn check_log(&self, appended_until: Duration) -> bool {
        {
            let mut known = self.state.known();
            known.checked_until = appended_until.max(known.checked_until);
        }
        let state = Arc::clone(&self.state);
        self.state.checks.join((), || async move { state.check_log().await }).await.unwrap_or(false)
    }

    /// Returns the position for a session that begins now. While the store is unavailable, that is
    /// the last known one.
    ///
    /// # Errors
    /// Returned when no position is known: the store has been unavailable since this process started.
    pub(crate) async fn position(&self) -> Result<RecordedPosition, StoreError> {
        let counted = if self.state.has_peers { self.state.count_login().await } else { Ok(()) };
        if let Err(error) = &counted {
            telemetry::internal_error("revocation_counter", error);
        }
        let known = self.state.known();
        let begun_by = counted.is_err().then_some((self.state.process, known.made_here));
        match (known.position, counted) {
            (Some(position), _) => Ok(RecordedPosition { position: Some(position), begun_by }),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(StoreError::Unavailable("there is no revocation counter".into())),
        }
    }

    /// Changes with each revocation.
    pub(crate) fn change_count(&self) -> u64 {
        self.state.change_count.load(Ordering::Acquire)
    }

    /// Whether a revocation was known at this change count.
    pub(crate) fn has_any(change_count: u64) -> bool {
        change_count % (1 << CHANGE_COUNT_BITS) != FIRST_CHANGE_COUNT
    }

    /// Whether a session was ended, by its record ID.
    pub(crate) fn is_record_id_revoked(&self, id: &str) -> bool {
        let key = RevocationTarget::Record(id).key();
        let known = self.state.known();
        known.has_ended(&key, None) || known.revocations.with_key(key).next().is_some()
    }

    /// Whether other replicas may use the same store.
    pub(crate) fn has_peers(&self) -> bool {
        self.state.has_peers
    }

    pub(crate) fn is_revoked(&self, session: &RevocableSession) -> bool {
        let known = self.state.known();
        [session.record, session.environment_session]
            .iter()
            .flatten()
            .any(|key| known.has_ended(key, session.issued_at))
            || session.keys.iter().any(|key| known.covers(*key, session))
    }

    /// Returns the read of the log that a request must wait for; usually none.
    pub(crate) fn pending_read(&self) -> Option<Flight<()>> {
        if self.state.has_peers { self.state.start_due_read() } else { None }
    }

    /// Waits for a read of the log if there is one that a request must wait for.
    pub(crate) async fn read_if_due(&self) {
        if let Some(read) = self.pending_read() {
            read.await;
        }
    }

    /// Whether no request may be authorized: the log has revocations that are not read yet. If so
    /// configured, also if it has not been read yet, or not for too long.
    pub(crate) fn rejects_requests(&self) -> bool {
        let State { staleness, is_stale, has_complete_read, has_more, .. } = &*self.state;
        has_more.load(Ordering::Acquire)
            || (staleness.rejects
                && (is_stale.load(Ordering::Acquire) || !has_complete_read.load(Ordering::Acquire)))
    }
}

impl State {
    fn known(&self) -> MutexGuard<'_, KnownRevocations> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a read of the log if the last one is older than a second. Returns it if requests must wait
    /// for it.
    fn start_due_read(self: &Arc<Self>) -> Option<Flight<()>> {
        let age = match self.last_read_at.load(Ordering::Acquire) {
            0 => Duration::MAX,
            at => Duration::from_millis(
                millis(self.clock.monotonic()).saturating_add(1).saturating_sub(at),
            ),
        };
        if age < RENEW_AGE {
            return None;
        }
        let read = self.join_read();
        (age >= MAX_AGE).then_some(read)
    }

    /// Reads the position that a session records.
    async fn count_login(&self) -> Result<(), StoreError> {
        // Revocations of this process precede the login. The store may accept no more of them, and
        // still have the position.
        let published = self.store.within(LOGIN_TIMEOUT, self.publish_pending()).await;
        self.store.within(LOGIN_TIMEOUT, self.read_counter()).await.and(published)
    }

    /// Returns a new position, after all that sessions have recorded so far.
    async fn advance_shared_counter(&self) -> Result<Position, StoreError> {
        self.update_counter(MAX_TRIES, |highest| {
            highest.map_or_else(|| Position::of_new_counter(1), Position::next_shared)
        })
        .await?
        .ok_or_else(|| StoreError::Unavailable(CONTENDED.into()))
    }

    /// Reads the counter's position. Creates the counter if there is none, and advances it if the
    /// store has lost its last changes.
    async fn read_counter(&self) -> Result<(), StoreError> {
        self.update_counter(MAX_CORRECTIONS, |highest| {
            highest.unwrap_or_else(|| Position::of_new_counter(0))
        })
        .await
        .map(drop)
    }

    /// Sets the counter to what `next` returns for the highest known position, which is `None` if the
    /// store has no counter. Returns the position, or `None` after too many concurrent changes.
    async fn update_counter(
        &self,
        tries: usize,
        next: impl Fn(Option<Position>) -> Position,
    ) -> Result<Option<Position>, StoreError> {
        for _ in 0..tries {
            let seen = self.store.get(&self.counter).await?;
            // One that returns, as with a backup of the store, is replaced again: revocations by the
            // counters since then would not cover its sessions.
            let stored = seen
                .as_deref()
                .and_then(Position::decode)
                .filter(|stored| !self.known().epochs.is_replaced(stored.epoch));
            // A read can be outdated: another counter is the newest once its number was replaced, if
            // only by the same one.
            let is_confirmed = stored.is_some_and(|stored| self.known().is_of_counter(stored));
            let highest = stored
                .map(|stored| if is_confirmed { self.observe_counter(stored) } else { stored });
            let next = next(highest);
            if is_confirmed && stored == Some(next) {
                return Ok(stored);
            }
            let mut behind = CounterBehind { state: self, is_behind: stored < highest };
            if self
                .store
                .compare_and_set(&self.counter, seen, next.encode(), COUNTER_LIFETIME)
                .await?
            {
                drop(behind);
                self.observe_counter(next);
                return Ok(Some(next));
            }
            // The store has another number than the one that was read.
            behind.is_behind = false;
        }
        Ok(None)
    }

    /// Records the counter's position. Returns the highest known one.
    fn observe_counter(&self, position: Position) -> Position {
        let mut known = self.known();
        // The store has lost its state, and another replica has created the counter again.
        if !known.is_of_counter(position) {
            known.note_loss();
            // Known revocations may now cover more sessions.
            self.change_count.fetch_add(1, Ordering::Release);
        }
        known.observe_counter(position)
    }

    fn merge(
        &self,
        known: &mut KnownRevocations,
        key: RevocationKey,
        entry: Revocation,
        now: Duration,
    ) {
        known.revocations.make_room(now);
        let is_new = match entry.single_session(key.key).filter(|_| entry.is_published) {
            Some(ended) => known.ended.insert(ended, now),
            None => known.merge(key, entry),
        };
        if is_new {
            self.change_count.fetch_add(1, Ordering::Release);
        }
        let len = known.revocations.len();
        if len >= MAX_WITH_POSITION / 2 && !known.is_nearly_full {
            telemetry::revocations_nearly_full(len, MAX_WITH_POSITION);
        }
        if len < MAX_WITH_POSITION / 4 && known.is_nearly_full {
            telemetry::revocations_capacity_restored();
        }
        known.is_nearly_full = len >= MAX_WITH_POSITION / if known.is_nearly_full { 4 } else { 2 };
    }
}

/// A counter whose number is lower than a known one. If it was replaced, or may have been because
/// there was no response, the store has lost its last changes. Otherwise the read was outdated.
struct CounterBehind<'a> {
    state: &'a State,
    is_behind: bool,
}

impl Drop for CounterBehind<'_> {
    fn drop(&mut self) {
        if self.is_behind {
            self.state.known().note_loss();
        }
    }
}

impl std::fmt::Debug for Revocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocations").finish_non_exhaustive()
    }
}
