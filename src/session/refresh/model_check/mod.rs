//! Runs the refresh state machine in every order of its steps and of external events.
//!
//! A run is a list of choices: at each point, one of the ready actors takes a step, or an event
//! happens. All lists are tried, each from the beginning (stateless model checking), so a failure
//! reports the choices that led to it.
//!
//! A request with an older cookie is an actor of an older generation: the response with the newer
//! one was lost, or has not arrived. While the session lives, such a request must get the newest
//! session, or be unavailable for the moment; [`RefreshResult::Superseded`] is correct only if the newer
//! cookie was presented and its result has expired since.

mod outcomes;
mod runs;
mod unverified;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use self::runs::{check_all_orders, ends_nothing, got};
use super::RefreshTrigger;
use super::backend::{ExchangeResult, RefreshBackend, StoredState, Verification};
use super::entry::{RefreshEntry, SealedGeneration};
use super::lease::{LeaseValue, RefreshResult, refresh};
use super::presented::record_presented;
use crate::shared_store::StoreError;

/// The operation of an actor.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Actor {
    /// A request with the cookie of this generation, which is due for a refresh.
    Due(u32),
    /// The same, on request of the app.
    Requested(u32),
    /// The cookie of this generation is presented for the first time, after a response contained
    /// it.
    Present(u32),
}

/// Events besides the actors' own steps, each at most once in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// The lease, or the record of a failure or success in its place, expires.
    LeaseExpires,
    /// A result expires: possible only after its cookie was presented.
    ResultExpires,
    /// The next operation of the store fails.
    StoreFails,
    /// The next write takes effect, but its response is lost.
    ResponseLost,
    /// The user logs out.
    LogOut,
    /// A replica is killed.
    Crash(usize),
    /// Another replica, whose lease has expired, publishes the result of the first refresh.
    RefreshedElsewhere,
    /// The store accepts a result that a process has held.
    HeldIsPublished,
    /// The keys for the tokens of the environment are available again.
    KeysReturn,
    /// All tokens that were received so far expire.
    TokensExpire,
}

/// The behaviour of the token endpoint in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Environment {
    /// Spent tokens are accepted again.
    AcceptsSpent,
    /// The first call fails without an effect.
    FailsOnce,
    /// The first call takes effect, but its response is lost.
    LosesFirstResponse,
    /// The session has ended there.
    Rejects,
    /// A spent token is rejected.
    SpendsOnce,
}

/// The parameters of all runs of a test.
#[derive(Clone)]
struct Setup {
    actors: Vec<Actor>,
    environment: Environment,
    events: Vec<Event>,
    /// The generation whose result is published at the beginning.
    published: Option<u32>,
    /// Reads of the store show its state at the beginning.
    reads_are_stale: bool,
    /// The store accepts no results of refreshes.
    takes_no_results: bool,
    /// New tokens cannot be verified at the beginning.
    keys_are_unreachable: bool,
    /// Tokens of this call are in the store at the beginning, not verified.
    received: Option<usize>,
    /// A token may be spent without a lease while the store fails.
    exchanges_alone: bool,
    /// The lease is extended before a token is spent.
    extends_lease: bool,
    /// At the end of a run, keys and store are available, no lease is left, and another request
    /// with the oldest cookie arrives: its outcome is the last one.
    recovers: bool,
    /// The marker of the newest generation is read and written in separate steps. In all tests,
    /// this would cause too many runs.
    marks_are_steps: bool,
    /// Nothing happens between an attempt to acquire the lease and reading it, nor between a result
    /// and the release of the lease; reduces the number of runs.
    is_coarse: bool,
}

impl Setup {
    fn new(actors: &[Actor], environment: Environment, events: &[Event]) -> Self {
        Self {
            actors: actors.to_vec(),
            environment,
            events: events.to_vec(),
            published: None,
            reads_are_stale: false,
            takes_no_results: false,
            keys_are_unreachable: false,
            received: None,
            exchanges_alone: false,
            extends_lease: false,
            recovers: false,
            marks_are_steps: events.contains(&Event::ResultExpires),
            is_coarse: false,
        }
    }

    fn coarse(mut self) -> Self {
        self.is_coarse = true;
        self
    }

    fn published(mut self, generation: u32) -> Self {
        self.published = Some(generation);
        self
    }
}

#[derive(Debug, Default)]
struct Shared {
    entry: Option<Bytes>,
    lease: Option<Bytes>,
    /// The older generations are marked as spent.
    spent_before: Option<u32>,
    /// Tokens that the environment has seen.
    spent: BTreeSet<u32>,
    /// A token was spent by an actor without the lease, or whose lease has expired since.
    spent_without_lease: bool,
    /// Unverified tokens whose refresh token the environment has seen.
    spent_unverified: BTreeSet<String>,
    keys_are_unreachable: bool,
    /// The tokens of the first calls, up to this number, have expired.
    expired: usize,
    /// Results that the store has not accepted, with the leases that are extended for them.
    held: Vec<(RefreshEntry, Bytes)>,
    /// The highest progress of an entry.
    progress: u64,
    /// An older result has replaced a newer one.
    went_back: bool,
    /// The newest generation that a response contained.
    delivered: u32,
    result_expired: bool,
    logged_out: bool,
    store_fails: bool,
    response_is_lost: bool,
    calls: usize,
    calling: usize,
    calls_at_once: usize,
}

impl Shared {
    fn fail(&mut self) -> Result<(), StoreError> {
        let fails = std::mem::take(&mut self.store_fails);
        if fails { Err(StoreError::Unavailable("expected in this test".into())) } else { Ok(()) }
    }

    /// Returns the result of a write, unless its response is lost.
    fn written(&mut self, applies: bool) -> Result<bool, StoreError> {
        let is_lost = std::mem::take(&mut self.response_is_lost);
        if is_lost { Err(StoreError::Unavailable("lost in this test".into())) } else { Ok(applies) }
    }

    /// Publishes the results that the processes have held.
    fn publish_held(&mut self) {
        for (result, lease) in std::mem::take(&mut self.held) {
            let there = self.entry.as_deref().map(|entry| RefreshEntry::decode(entry).unwrap());
            if there.is_none_or(|there| there.progress() < result.progress()) {
                self.note(&result);
                self.entry = Some(result.encode());
            }
            if self.lease.as_ref() == Some(&lease) {
                self.lease = None;
            }
        }
    }

    fn note(&mut self, entry: &RefreshEntry) {
        self.went_back |= entry.progress() < self.progress;
        self.progress = entry.progress();
    }

    fn newest(&self) -> Option<SealedGeneration> {
        self.entry
            .as_deref()
            .map(|entry| RefreshEntry::decode(entry).unwrap())
            .and_then(RefreshEntry::newest_verified)
    }
}

struct Replica {
    actor: Actor,
    setup: Setup,
    shared: Arc<Mutex<Shared>>,
    gate: Arc<Mutex<Gate>>,
    retries: Mutex<usize>,
    waits: Mutex<usize>,
}

/// Synchronizes a replica with the scheduler.
#[derive(Debug, Default)]
struct Gate {
    /// The scheduler allows the replica to take its next step.
    go: bool,
    /// The replica is blocked while the lease has this value.
    waits_on: Option<Option<Bytes>>,
}

fn sealed(generation: u32) -> String {
    format!("session {generation}")
}

/// The entry after the first token was spent.
fn received(call: usize) -> RefreshEntry {
    RefreshEntry::Unverified {
        base: SealedGeneration::new(0, sealed(0)),
        tokens: format!("tokens {call}"),
    }
}

fn published(generation: u32) -> Bytes {
    RefreshEntry::Newest(SealedGeneration::new(generation, sealed(generation))).encode()
}

impl Replica {
    /// A separate step, unless the steps are coarse.
    async fn small_turn(&self) {
        if !self.setup.is_coarse {
            self.turn().await;
        }
    }

    /// Waits until the scheduler chooses this replica.
    async fn turn(&self) {
        poll_fn(|_| {
            let mut gate = self.gate.lock().unwrap();
            if std::mem::take(&mut gate.go) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn generation(&self) -> u32 {
        let (Actor::Due(generation) | Actor::Requested(generation) | Actor::Present(generation)) =
            self.actor;
        generation
    }

    async fn act(&self) -> Option<RefreshResult> {
        let trigger = match self.actor {
            Actor::Due(_) => RefreshTrigger::Due,
            Actor::Requested(_) => RefreshTrigger::Requested,
            Actor::Present(generation) => {
                drop(record_presented(self, generation).await);
                return None;
            }
        };
        Some(refresh(self, self.generation(), self.owner(), trigger).await)
    }

    fn owner(&self) -> String {
        format!("{:?} {:p}", self.actor, self)
    }

    fn holds_lease(&self, shared: &Shared) -> bool {
        let lease = shared.lease.as_deref().and_then(LeaseValue::decode);
        lease == Some(LeaseValue::Held { owner: self.owner(), generation: self.generation() })
    }
}

impl RefreshBackend for Replica {
    type Refreshed = String;

    fn sealed_result(refreshed: &String) -> &str {
        refreshed
    }

    async fn read_entry(&self) -> Result<Option<Bytes>, StoreError> {
        self.turn().await;
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        Ok(if self.setup.reads_are_stale { None } else { shared.entry.clone() })
    }

    fn may_exchange_alone(&self) -> bool {
        self.setup.exchanges_alone
    }

    async fn sleep_after_failure(&self) {}

    async fn set_entry(
        &self,
        seen: Option<Bytes>,
        entry: &RefreshEntry,
    ) -> Result<bool, StoreError> {
        self.turn().await;
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        if self.setup.takes_no_results && !matches!(self.actor, Actor::Present(_)) {
            return Err(StoreError::Unavailable("expected in this test".into()));
        }
        let same = shared.entry == seen;
        if same {
            shared.entry = Some(entry.encode());
            shared.note(entry);
        }
        shared.written(same)
    }

    async fn set_lease(
        &self,
        seen: Option<Bytes>,
        lease: Bytes,
        _: Duration,
    ) -> Result<bool, StoreError> {
        if seen.is_none() {
            self.turn().await;
        } else {
            self.small_turn().await;
        }
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        let same = shared.lease == seen;
        if same {
            shared.lease = Some(lease);
        }
        shared.written(same)
    }

    async fn read_lease(&self) -> Result<Option<Bytes>, StoreError> {
        self.small_turn().await;
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        Ok(if self.setup.reads_are_stale { None } else { shared.lease.clone() })
    }

    async fn release(&self, lease: Bytes) {
        self.small_turn().await;
        let mut shared = self.shared.lock().unwrap();
        if shared.fail().is_ok() && shared.lease.as_ref() == Some(&lease) {
            shared.lease = None;
        }
    }

    async fn newer_elsewhere(&self) -> Result<StoredState, StoreError> {
        if self.setup.marks_are_steps {
            self.turn().await;
        }
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        let is_superseded = shared.spent_before > Some(self.generation());
        Ok(if is_superseded { StoredState::Superseded } else { StoredState::Same })
    }

    async fn is_ready(&self) -> bool {
        true
    }

    /// Two steps: the request takes effect, and the response arrives.
    async fn exchange(&self, unverified: Option<&str>) -> Option<ExchangeResult> {
        self.turn().await;
        let exchanged = {
            let mut shared = self.shared.lock().unwrap();
            shared.calls += 1;
            shared.calling += 1;
            shared.calls_at_once = shared.calls_at_once.max(shared.calling);
            let first = shared.calls == 1;
            let refreshed = Some(ExchangeResult::Refreshed(sealed(self.generation() + 1)));
            match self.setup.environment {
                Environment::Rejects => Some(ExchangeResult::InvalidGrant),
                Environment::FailsOnce if first => None,
                environment => {
                    let is_new = match unverified {
                        Some(tokens) => shared.spent_unverified.insert(tokens.to_owned()),
                        None => shared.spent.insert(self.generation()),
                    };
                    shared.spent_without_lease |= is_new && !self.holds_lease(&shared);
                    match environment {
                        Environment::SpendsOnce if !is_new => Some(ExchangeResult::InvalidGrant),
                        Environment::LosesFirstResponse if first => None,
                        _ => refreshed,
                    }
                }
            }
        };
        self.turn().await;
        let mut shared = self.shared.lock().unwrap();
        shared.calling -= 1;
        match exchanged {
            Some(ExchangeResult::Refreshed(_)) if shared.keys_are_unreachable => {
                Some(ExchangeResult::Unverified(format!("tokens {}", shared.calls)))
            }
            exchanged => exchanged,
        }
    }

    async fn verify(&self, tokens: &str) -> Verification {
        self.turn().await;
        let shared = self.shared.lock().unwrap();
        let call: usize = tokens.strip_prefix("tokens ").unwrap().parse().unwrap();
        if shared.keys_are_unreachable {
            Verification::Unavailable
        } else if call <= shared.expired {
            Verification::AccessTokenUnusable
        } else {
            Verification::Verified(sealed(self.generation() + 1))
        }
    }

    fn is_lease_short(&self) -> bool {
        self.setup.extends_lease
    }

    fn keep_unpublished(&self, result: RefreshEntry, lease: Bytes) {
        self.shared.lock().unwrap().held.push((result, lease));
    }

    async fn mark_reached(&self, generation: u32) -> Result<bool, StoreError> {
        if self.setup.marks_are_steps {
            self.turn().await;
        }
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        let is_new = shared.spent_before < Some(generation);
        if is_new {
            shared.spent_before = Some(generation);
        }
        Ok(is_new)
    }

    fn sealed(&self) -> Option<String> {
        Some(sealed(self.generation()))
    }

    async fn wait_to_retry(&self) -> bool {
        let mut retries = self.retries.lock().unwrap();
        *retries += 1;
        *retries <= 3
    }

    async fn wait_for_holder(&self) -> bool {
        let lease = self.shared.lock().unwrap().lease.clone();
        // The lease may be free by now.
        if !self.setup.reads_are_stale
            && matches!(
                lease.as_deref().and_then(LeaseValue::decode),
                Some(LeaseValue::Held { .. })
            )
        {
            self.gate.lock().unwrap().waits_on = Some(lease);
            self.turn().await;
            self.gate.lock().unwrap().waits_on = None;
        }
        let mut waits = self.waits.lock().unwrap();
        *waits += 1;
        *waits < 20
    }
}

const OLD: Actor = Actor::Due(0);
const UNAVAILABLE: Option<RefreshResult> = Some(RefreshResult::Unavailable);
