//! Runs the coordinator in every order in which its steps, and the world's, can happen.
//!
//! A run is a list of choices: at each point one of the actors that is about to act takes a step, or
//! an event happens. All lists are tried, each from the beginning (stateless model checking), so a
//! failure names the choices that led to it.
//!
//! A request with an older cookie is an actor of an older generation: the response that had the
//! newer one was lost, or has not arrived. As long as the session lives, such a request must get
//! the newest session, or none for the moment; [`Outcome::Beyond`] is right only where the newer
//! cookie was presented and its result has expired since.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::lease::{
    Entry, Exchanged, Lease, Outcome, Sealed, Stored, Trigger, World, note_presented, refresh,
};
use crate::shared_store::StoreError;

/// What an actor does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Actor {
    /// A request with the cookie of this generation, which is due.
    Due(u32),
    /// The same on request of the app.
    Requested(u32),
    /// The cookie of this generation is presented for the first time, once a response has had it.
    Present(u32),
}

/// What can happen besides the actors' own steps, each at most once in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// The lease, or the note of a failure or success in its place, expires.
    LeaseExpires,
    /// A result expires: possible only after its cookie was presented.
    ResultExpires,
    /// The next operation of the store fails.
    StoreFails,
    /// The user logs out.
    LogOut,
    /// A replica is killed.
    Crash(usize),
    /// Another replica, whose lease has expired, publishes the result of the first refresh.
    RefreshedElsewhere,
}

/// How the token endpoint behaves in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Environment {
    /// Spent tokens are accepted again.
    Answers,
    /// The first call fails without an effect.
    FailsOnce,
    /// The first call takes effect, and its response is lost.
    LosesFirstAnswer,
    /// The session has ended there.
    Refuses,
    /// A spent token is rejected.
    SpendsOnce,
}

/// What is the same in all runs of a test.
#[derive(Clone)]
struct Setup {
    actors: Vec<Actor>,
    environment: Environment,
    events: Vec<Event>,
    /// The generation whose result is published at the beginning.
    published: Option<u32>,
    /// Reads of the store show its state at the beginning.
    reads_are_stale: bool,
    /// The store takes no results of refreshes.
    takes_no_results: bool,
    /// The marker of the newest generation is read and written in steps of their own. Everywhere,
    /// that would make the runs too many.
    marks_are_steps: bool,
    /// Nothing happens between an attempt to acquire the lease and reading it, nor between a result
    /// and the release of the lease: for runs that were too many otherwise.
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
    /// A token was spent by an actor without the lease, or the lease has expired since.
    spent_without_lease: bool,
    /// The newest generation that was published.
    published: u32,
    /// An older result has replaced a newer one.
    went_back: bool,
    /// The newest generation that a response has had.
    delivered: u32,
    result_expired: bool,
    logged_out: bool,
    store_fails: bool,
    calls: usize,
    calling: usize,
    calls_at_once: usize,
}

impl Shared {
    fn fail(&mut self) -> Result<(), StoreError> {
        let fails = std::mem::take(&mut self.store_fails);
        if fails { Err(StoreError::Unavailable("expected in this test".into())) } else { Ok(()) }
    }

    fn newest(&self) -> Option<Sealed> {
        self.entry.as_deref().and_then(Entry::decode).and_then(Entry::last)
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

/// Between a replica and the scheduler.
#[derive(Debug, Default)]
struct Gate {
    /// The scheduler lets the replica do its next step.
    go: bool,
    /// The replica has nothing to do while the lease is this.
    waits_on: Option<Option<Bytes>>,
}

fn sealed(generation: u32) -> String {
    format!("session {generation}")
}

fn published(generation: u32) -> Bytes {
    Entry::Newest(Sealed { generation, sealed: sealed(generation), presented: false }).encode()
}

impl Replica {
    /// A step of its own, unless the steps are coarse.
    async fn small_turn(&self) {
        if !self.setup.is_coarse {
            self.turn().await;
        }
    }

    /// Stands still until the scheduler chooses this replica.
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

    async fn act(&self) -> Option<Outcome> {
        let trigger = match self.actor {
            Actor::Due(_) => Trigger::Due,
            Actor::Requested(_) => Trigger::Requested,
            Actor::Present(generation) => {
                drop(note_presented(self, generation).await);
                return None;
            }
        };
        Some(refresh(self, self.generation(), &self.owner(), trigger).await)
    }

    fn owner(&self) -> String {
        format!("{:?} {:p}", self.actor, self)
    }

    fn holds_lease(&self, shared: &Shared) -> bool {
        let lease = shared.lease.as_deref().and_then(Lease::decode);
        lease == Some(Lease::Held { owner: self.owner() })
    }
}

impl World for Replica {
    async fn read(&self) -> Result<Option<Bytes>, StoreError> {
        self.turn().await;
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        Ok(if self.setup.reads_are_stale { None } else { shared.entry.clone() })
    }

    async fn set(&self, seen: Option<Bytes>, entry: &Entry) -> Result<bool, StoreError> {
        self.turn().await;
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        if self.setup.takes_no_results && !matches!(self.actor, Actor::Present(_)) {
            return Err(StoreError::Unavailable("expected in this test".into()));
        }
        let same = shared.entry == seen;
        if same {
            shared.entry = Some(entry.encode());
            if let Entry::Newest(newest) = entry {
                shared.went_back |= newest.generation < shared.published;
                shared.published = newest.generation;
            }
        }
        Ok(same)
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
        Ok(same)
    }

    async fn read_lease(&self) -> Result<Option<Bytes>, StoreError> {
        self.small_turn().await;
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        Ok(if self.setup.reads_are_stale { None } else { shared.lease.clone() })
    }

    async fn release(&self, held: Bytes) {
        self.small_turn().await;
        let mut shared = self.shared.lock().unwrap();
        if shared.fail().is_ok() && shared.lease.as_ref() == Some(&held) {
            shared.lease = None;
        }
    }

    async fn stored(&self) -> Result<Stored, StoreError> {
        if self.setup.marks_are_steps {
            self.turn().await;
        }
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        let is_beyond = shared.spent_before > Some(self.generation());
        Ok(if is_beyond { Stored::Beyond } else { Stored::Same })
    }

    async fn is_ready(&self) -> bool {
        true
    }

    /// Two steps: the request takes effect, the response arrives.
    async fn exchange(&self) -> Exchanged {
        self.turn().await;
        let exchanged = {
            let mut shared = self.shared.lock().unwrap();
            shared.calls += 1;
            shared.calling += 1;
            shared.calls_at_once = shared.calls_at_once.max(shared.calling);
            let first = shared.calls == 1;
            let renewed = Exchanged::Renewed(sealed(self.generation() + 1));
            match self.setup.environment {
                Environment::Refuses => Exchanged::Refused,
                Environment::FailsOnce if first => Exchanged::Failed,
                environment => {
                    let is_new = shared.spent.insert(self.generation());
                    shared.spent_without_lease |= is_new && !self.holds_lease(&shared);
                    match environment {
                        Environment::SpendsOnce if !is_new => Exchanged::Refused,
                        Environment::LosesFirstAnswer if first => Exchanged::Failed,
                        _ => renewed,
                    }
                }
            }
        };
        self.turn().await;
        self.shared.lock().unwrap().calling -= 1;
        exchanged
    }

    fn keep_unpublished(&self, _: Sealed) {}

    async fn mark_spent(&self, generation: u32) -> Result<bool, StoreError> {
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

    async fn retry(&self) -> bool {
        let mut retries = self.retries.lock().unwrap();
        *retries += 1;
        *retries <= 3
    }

    async fn wait(&self) -> bool {
        let lease = self.shared.lock().unwrap().lease.clone();
        // What was found leased may be free by now.
        if !self.setup.reads_are_stale
            && matches!(lease.as_deref().and_then(Lease::decode), Some(Lease::Held { .. }))
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

type Task = Pin<Box<dyn Future<Output = Option<Outcome>>>>;

/// The outcomes of a run; `None`: crashed, or still waiting when no other actor can act.
struct Run {
    outcomes: Vec<Option<Outcome>>,
    shared: Shared,
    /// The number of possibilities at each choice.
    widths: Vec<usize>,
}

fn run(setup: &Setup, choices: &[usize]) -> Run {
    const MAX_STEPS: usize = 120;
    let mut shared = Shared::default();
    if let Some(generation) = setup.published {
        shared.entry = Some(published(generation));
        shared.spent = (0..generation).collect();
        shared.delivered = generation;
        shared.published = generation;
    }
    let shared = Arc::new(Mutex::new(shared));
    let outcomes = Rc::new(RefCell::new(vec![None; setup.actors.len()]));
    let mut gates = Vec::new();
    let mut tasks: Vec<Option<Task>> = Vec::new();
    for &actor in &setup.actors {
        let gate = Arc::<Mutex<Gate>>::default();
        gates.push(Arc::clone(&gate));
        let replica = Replica {
            actor,
            setup: setup.clone(),
            shared: Arc::clone(&shared),
            gate,
            retries: Mutex::default(),
            waits: Mutex::default(),
        };
        tasks.push(Some(Box::pin(async move { replica.act().await })));
    }
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = |tasks: &mut Vec<Option<Task>>, id: usize| {
        if let Some(task) = &mut tasks[id]
            && let Poll::Ready(outcome) = task.as_mut().poll(&mut cx)
        {
            if let Some(Outcome::Found(text) | Outcome::Renewed(text)) = &outcome {
                let generation = text.strip_prefix("session ").unwrap().parse().unwrap();
                let mut shared = shared.lock().unwrap();
                shared.delivered = shared.delivered.max(generation);
            }
            outcomes.borrow_mut()[id] = outcome;
            tasks[id] = None;
        }
    };
    (0..setup.actors.len()).for_each(|id| poll(&mut tasks, id));

    let mut left = setup.events.clone();
    let mut widths = Vec::new();
    while tasks.iter().any(Option::is_some) && widths.len() < MAX_STEPS {
        let (lease, delivered) = {
            let shared = shared.lock().unwrap();
            (shared.lease.clone(), shared.delivered)
        };
        let can_act = |id: &usize| {
            tasks[*id].is_some()
                && gates[*id].lock().unwrap().waits_on.as_ref() != Some(&lease)
                && !matches!(setup.actors[*id], Actor::Present(new) if new > delivered)
        };
        let ready: Vec<usize> = (0..tasks.len()).filter(can_act).collect();
        let possible = ready.len() + left.len();
        if possible == 0 {
            break;
        }
        let choice = choices.get(widths.len()).copied().unwrap_or(0);
        widths.push(possible);
        if let Some(&id) = ready.get(choice) {
            gates[id].lock().unwrap().go = true;
            poll(&mut tasks, id);
            continue;
        }
        let event = left.remove(choice - ready.len());
        let mut shared = shared.lock().unwrap();
        match event {
            Event::LeaseExpires => {
                shared.lease = None;
                shared.spent_without_lease |= shared.calls > 0;
            }
            Event::ResultExpires => {
                if shared.newest().is_some_and(|newest| newest.presented) {
                    shared.entry = None;
                    shared.result_expired = true;
                }
            }
            Event::StoreFails => shared.store_fails = true,
            Event::LogOut => {
                shared.entry = Some(Entry::Ended.encode());
                shared.logged_out = true;
            }
            Event::Crash(id) => tasks[id] = None,
            Event::RefreshedElsewhere => {
                if shared.entry.is_none() {
                    shared.entry = Some(published(1));
                    shared.spent.insert(0);
                    (shared.published, shared.delivered) = (1, 1);
                }
            }
        }
    }
    assert!(widths.len() < MAX_STEPS, "an endless run: {choices:?}");
    drop(tasks);
    let shared = std::mem::take(&mut *shared.lock().unwrap());
    let outcomes = outcomes.borrow().clone();
    Run { outcomes, shared, widths }
}

/// Tries every run and hands each to `check`; returns how many there were.
fn explore(setup: &Setup, check: impl Fn(&[Option<Outcome>], &Shared)) -> usize {
    let mut choices: Vec<usize> = Vec::new();
    let mut runs = 0;
    loop {
        let Run { outcomes, shared, widths } = run(setup, &choices);
        runs += 1;
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert!(!shared.went_back);
            check(&outcomes, &shared);
        }));
        if let Err(panic) = checked {
            eprintln!("choices: {choices:?}\noutcomes: {outcomes:?}\n{shared:?}");
            std::panic::resume_unwind(panic);
        }
        choices.resize(widths.len(), 0);
        while let Some(last) = choices.pop() {
            if last + 1 < widths[choices.len()] {
                choices.push(last + 1);
                break;
            }
        }
        if choices.is_empty() {
            return runs;
        }
    }
}

/// Whether a request got the session of this generation.
fn got(outcome: &Option<Outcome>, generation: u32) -> bool {
    matches!(
        outcome,
        Some(Outcome::Found(text) | Outcome::Renewed(text)) if *text == sealed(generation)
    )
}

/// No request of a live session is logged out.
fn ends_nothing(outcomes: &[Option<Outcome>], shared: &Shared) {
    for outcome in outcomes {
        let ends = matches!(
            outcome,
            Some(Outcome::Beyond | Outcome::Ended | Outcome::Idle | Outcome::Refused)
        );
        assert!(!ends);
    }
    assert_ne!(shared.entry, Some(Entry::Ended.encode()));
}

const OLD: Actor = Actor::Due(0);

#[test]
fn whatever_their_number_requests_cause_one_call_and_get_one_result() {
    let setup = Setup::new(&[OLD; 3], Environment::SpendsOnce, &[]).coarse();
    let runs = explore(&setup, |outcomes, shared| {
        assert!(outcomes.iter().all(|outcome| got(outcome, 1)));
        assert_eq!(shared.calls, 1);
    });
    assert!(runs > 10_000, "{runs}");
}

#[test]
fn a_failing_token_endpoint_ends_no_session() {
    for environment in [Environment::FailsOnce, Environment::LosesFirstAnswer] {
        explore(&Setup::new(&[OLD; 2], environment, &[Event::LeaseExpires]), ends_nothing);
    }
}

#[test]
fn a_definite_refusal_ends_the_session_for_all() {
    let setup = Setup::new(&[OLD; 3], Environment::Refuses, &[]).coarse();
    explore(&setup, |outcomes, shared| {
        let ended =
            |outcome: &&Option<Outcome>| matches!(outcome, Some(Outcome::Ended | Outcome::Refused));
        assert_eq!(outcomes.iter().filter(ended).count(), 3);
        let refused = outcomes.iter().filter(|outcome| **outcome == Some(Outcome::Refused));
        assert_eq!(refused.count(), 1);
        assert_eq!((shared.calls, &shared.entry), (1, &Some(Entry::Ended.encode())));
    });
}

#[test]
fn a_replica_that_crashes_delays_others_for_no_longer_than_its_lease() {
    let events = [Event::Crash(0), Event::LeaseExpires];
    let setup = Setup::new(&[OLD; 2], Environment::Answers, &events).coarse();
    explore(&setup, |outcomes, shared| {
        let is_held = shared.lease.as_deref().and_then(Lease::decode);
        let waits_for_the_crashed =
            outcomes[1].is_none() && matches!(is_held, Some(Lease::Held { .. }));
        assert!(got(&outcomes[1], 1) || waits_for_the_crashed);
        assert!(shared.calls <= 2);
    });
}

#[test]
fn a_lease_that_expires_early_loses_nothing() {
    let setup = Setup::new(&[OLD; 2], Environment::Answers, &[Event::LeaseExpires]);
    explore(&setup, |outcomes, shared| {
        assert!(outcomes.iter().all(|outcome| got(outcome, 1)));
        assert!(shared.calls_at_once <= 2 && shared.calls <= 2);
    });
}

#[test]
fn a_refusal_ends_no_session_whose_token_was_spent_under_the_lease() {
    let events = [Event::LeaseExpires];
    let setup = Setup::new(&[OLD; 2], Environment::SpendsOnce, &events).coarse();
    explore(&setup, |outcomes, shared| {
        if !shared.spent_without_lease {
            ends_nothing(outcomes, shared);
        }
    });
}

#[test]
fn a_session_that_was_logged_out_stays_so_whatever_is_refreshed_meanwhile() {
    let stays_ended = |_: &[Option<Outcome>], shared: &Shared| {
        if shared.logged_out {
            assert_eq!(shared.entry, Some(Entry::Ended.encode()));
        }
    };
    for environment in [Environment::Answers, Environment::FailsOnce, Environment::Refuses] {
        explore(&Setup::new(&[OLD; 2], environment, &[Event::LogOut]), stays_ended);
    }
    let events = [Event::LogOut, Event::LeaseExpires];
    explore(&Setup::new(&[OLD, Actor::Present(1)], Environment::Answers, &events), stays_ended);
}

#[test]
fn an_older_cookie_gets_the_newest_session_whatever_happens_to_the_newer_one() {
    let newer = Actor::Due(1);
    for (actors, events) in [
        // The response with the newer cookie is lost, or its cookie is presented at any time.
        (&[OLD, newer, Actor::Present(1)][..], &[][..]),
        // The refresh of the newer one dies, and its lease expires before that or after.
        (&[OLD, newer], &[Event::Crash(1), Event::LeaseExpires]),
        (&[OLD, Actor::Present(1)], &[Event::Crash(1), Event::LeaseExpires]),
        (&[OLD, OLD, Actor::Present(1)], &[]),
    ] {
        let setup = Setup::new(actors, Environment::SpendsOnce, events).published(1);
        explore(&setup, |outcomes, shared| {
            ends_nothing(outcomes, shared);
            assert!(got(&outcomes[0], 1) || got(&outcomes[0], 2));
            // The spent token was not spent again.
            assert!(shared.calls <= 1);
        });
    }
    let setup = Setup::new(&[OLD, newer], Environment::SpendsOnce, &[Event::StoreFails]);
    explore(&setup.published(1), |outcomes, shared| {
        ends_nothing(outcomes, shared);
        assert!(got(&outcomes[0], 1) || got(&outcomes[0], 2) || outcomes[0] == UNAVAILABLE);
    });
}

#[test]
fn the_result_expires_only_after_its_cookie_was_presented_and_then_harms_no_newer_cookie() {
    let actors = [OLD, Actor::Due(1), Actor::Present(1)];
    let setup = Setup::new(&actors, Environment::SpendsOnce, &[Event::ResultExpires]);
    explore(&setup.clone().published(1), |outcomes, shared| {
        assert!(got(&outcomes[1], 2));
        let is_beyond = outcomes[0] == Some(Outcome::Beyond);
        assert!(got(&outcomes[0], 1) || got(&outcomes[0], 2) || is_beyond);
        assert!(!is_beyond || shared.result_expired);
        assert_ne!(shared.entry, Some(Entry::Ended.encode()));
        assert_eq!(shared.calls, 1);
    });
    // A cookie from before the newest one is presented late.
    let late = Setup { actors: vec![OLD, Actor::Present(1), Actor::Present(2)], ..setup.clone() };
    explore(&late.published(2), |outcomes, shared| {
        let is_beyond = outcomes[0] == Some(Outcome::Beyond) && shared.result_expired;
        assert!(got(&outcomes[0], 2) || is_beyond);
        assert_eq!(shared.calls, 0);
    });
    // From the beginning, with a refresh that is still under way when its cookie arrives.
    let setup = Setup { actors: vec![OLD, OLD, Actor::Present(1)], ..setup }.coarse();
    explore(&setup, |outcomes, shared| {
        assert!(outcomes[..2].iter().any(|outcome| got(outcome, 1)));
        for outcome in &outcomes[..2] {
            let is_beyond = *outcome == Some(Outcome::Beyond);
            assert!(got(outcome, 1) || (is_beyond && shared.result_expired));
        }
        assert_eq!(shared.calls, 1);
    });
}

#[test]
fn a_result_that_is_published_and_presented_during_a_refresh_is_found() {
    let actors = [OLD, Actor::Present(1)];
    let events = [Event::RefreshedElsewhere];
    let mut setup = Setup::new(&actors, Environment::SpendsOnce, &events);
    setup.marks_are_steps = true;
    explore(&setup, |outcomes, shared| {
        ends_nothing(outcomes, shared);
        assert!(got(&outcomes[0], 1));
    });
}

#[test]
fn a_presented_cookie_publishes_the_result_that_the_store_had_not_taken() {
    let actors = [OLD, OLD, Actor::Present(1)];
    let mut setup = Setup::new(&actors, Environment::SpendsOnce, &[]).coarse();
    setup.takes_no_results = true;
    explore(&setup, |outcomes, shared| {
        assert!(outcomes[..2].iter().any(|outcome| got(outcome, 1)));
        // Until then the lease keeps the other one from spending the token again.
        assert_eq!(shared.calls, 1);
        let newest = shared.newest().unwrap();
        assert_eq!((newest.generation, newest.presented), (1, true));
    });
}

#[test]
fn requests_for_a_refresh_share_its_result_for_a_while() {
    let actors = [Actor::Requested(0), Actor::Requested(0), Actor::Requested(1)];
    let setup = Setup::new(&actors[..2], Environment::SpendsOnce, &[]);
    explore(&setup, |outcomes, shared| {
        assert!(outcomes.iter().all(|outcome| got(outcome, 1)));
        assert_eq!(shared.calls, 1);
    });
    // The newest cookie, before and after the time is up.
    let setup = Setup::new(&actors[1..], Environment::SpendsOnce, &[Event::LeaseExpires]);
    explore(&setup.published(1), |outcomes, shared| {
        assert!(got(&outcomes[0], 1) || got(&outcomes[0], 2));
        assert!(got(&outcomes[1], 2));
        assert_eq!(shared.calls, 1);
    });
}

#[test]
fn a_refusal_that_cannot_be_published_ends_no_session() {
    let mut setup = Setup::new(&[OLD], Environment::Refuses, &[]);
    setup.takes_no_results = true;
    explore(&setup, |outcomes, _| assert_eq!(outcomes[0], UNAVAILABLE));
}

#[test]
fn a_refresh_that_fails_before_the_exchange_leaves_no_lease() {
    let setup = Setup::new(&[OLD], Environment::Answers, &[Event::StoreFails]);
    explore(&setup, |_, shared| assert!(shared.calls > 0 || shared.lease.is_none()));
}

#[test]
fn a_store_that_fails_once_ends_no_session() {
    let and_a_lease_expires = [Event::StoreFails, Event::LeaseExpires];
    for (environment, events) in [
        (Environment::SpendsOnce, &[Event::StoreFails][..]),
        (Environment::SpendsOnce, &[Event::StoreFails, Event::StoreFails]),
        (Environment::Answers, &and_a_lease_expires),
    ] {
        let mut setup = Setup::new(&[OLD; 2], environment, events);
        setup.is_coarse = events.len() > 1;
        explore(&setup, |outcomes, shared| {
            ends_nothing(outcomes, shared);
            assert!(shared.calls <= 2);
        });
    }
}

#[test]
fn a_store_whose_reads_are_stale_delays_a_request_and_ends_no_session() {
    for environment in [Environment::SpendsOnce, Environment::Answers] {
        let mut setup = Setup::new(&[OLD], environment, &[]).published(1);
        setup.reads_are_stale = true;
        explore(&setup, |outcomes, shared| {
            ends_nothing(outcomes, shared);
            let graceful = environment == Environment::Answers && got(&outcomes[0], 1);
            assert!(outcomes[0] == UNAVAILABLE || graceful);
            assert_eq!(shared.newest().unwrap().generation, 1);
        });
    }
}

const UNAVAILABLE: Option<Outcome> = Some(Outcome::Unavailable);
