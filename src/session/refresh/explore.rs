//! Runs the coordinator in every order in which its steps, and the world's, can happen.
//!
//! A run is a list of choices: at each point one of the refreshers that is about to act goes on, or
//! something befalls the world. All lists are tried, each from the beginning (stateless model
//! checking), so a failure names the choices that led to it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::coordinator::{Entry, Exchanged, Outcome, Stored, World, refresh};
use crate::shared_store::StoreError;

/// What can happen besides the refreshers' own steps, each at most once in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// A lease, or the memory of a failure, reaches the end of its lifetime.
    LeaseExpires,
    /// A result reaches the end of its lifetime.
    ResultExpires,
    /// The next operation of the store fails.
    StoreFails,
    /// The person logs out.
    LogOut,
    /// A replica is killed.
    Crash(usize),
}

/// How the token endpoint behaves in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Environment {
    Answers,
    /// The first call fails without an effect.
    FailsOnce,
    /// The first call takes effect, and its answer is lost.
    LosesFirstAnswer,
    /// The session has ended there.
    Refuses,
    /// A token that was spent is taken for stolen, and ends the session.
    SpendsOnce,
}

#[derive(Debug, Default)]
struct Shared {
    entry: Option<Bytes>,
    logged_out: bool,
    /// It is known for long that there was a result.
    marked: bool,
    store_fails: bool,
    calls: usize,
    calling: usize,
    calls_at_once: usize,
}

struct Replica {
    id: usize,
    environment: Environment,
    /// Whether the marker is a step of its own, to be interrupted.
    marks: bool,
    shared: Arc<Mutex<Shared>>,
    gate: Arc<Mutex<Gate>>,
}

/// Between a replica and the scheduler.
#[derive(Debug, Default)]
struct Gate {
    /// The scheduler lets the replica do its next step.
    go: bool,
    /// The replica has nothing to do while the entry is this.
    waits_on: Option<Option<Bytes>>,
}

impl Replica {
    /// Stands still until the scheduler chooses this replica.
    async fn turn(&self) {
        poll_fn(|_| {
            let mut gate = self.gate.lock().unwrap();
            if std::mem::take(&mut gate.go) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Shared {
    fn fail(&mut self) -> Result<(), StoreError> {
        let fails = std::mem::take(&mut self.store_fails);
        if fails { Err(StoreError::Unavailable("expected in this test".into())) } else { Ok(()) }
    }
}

impl World for Replica {
    async fn read(&self) -> Result<Option<Bytes>, StoreError> {
        self.turn().await;
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        Ok(shared.entry.clone())
    }

    async fn set(
        &self,
        seen: Option<Bytes>,
        entry: &Entry,
        _: Duration,
    ) -> Result<bool, StoreError> {
        self.turn().await;
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        let same = shared.entry == seen;
        if same {
            shared.entry = Some(entry.encode());
        }
        Ok(same)
    }

    async fn stored(&self) -> Result<Stored, StoreError> {
        if self.marks {
            self.turn().await;
        }
        let mut shared = self.shared.lock().unwrap();
        shared.fail()?;
        Ok(if shared.marked { Stored::Beyond } else { Stored::Same })
    }

    async fn published(&self, generation: u32) {
        if self.marks {
            self.turn().await;
        }
        assert_eq!(generation, 1);
        self.shared.lock().unwrap().marked = true;
    }

    async fn is_ready(&self) -> bool {
        true
    }

    /// Two steps: the request takes effect, the answer arrives.
    async fn exchange(&self) -> Exchanged {
        self.turn().await;
        let exchanged = {
            let mut shared = self.shared.lock().unwrap();
            shared.calls += 1;
            shared.calling += 1;
            shared.calls_at_once = shared.calls_at_once.max(shared.calling);
            let first = shared.calls == 1;
            match self.environment {
                Environment::Refuses => Exchanged::Refused,
                Environment::SpendsOnce if !first => Exchanged::Refused,
                Environment::FailsOnce if first => Exchanged::Failed,
                // Within the grace a spent token is answered with the newest session.
                _ => {
                    if first && self.environment == Environment::LosesFirstAnswer {
                        Exchanged::Failed
                    } else {
                        Exchanged::Renewed("session 1".to_owned())
                    }
                }
            }
        };
        self.turn().await;
        self.shared.lock().unwrap().calling -= 1;
        exchanged
    }

    async fn retry(&self) -> bool {
        true
    }

    fn now(&self) -> i64 {
        0
    }

    async fn wait(&self) -> bool {
        let entry = self.shared.lock().unwrap().entry.clone();
        // What was found leased may be settled by now.
        if matches!(entry.as_deref().and_then(Entry::decode), Some(Entry::Leased { .. })) {
            self.gate.lock().unwrap().waits_on = Some(entry);
            self.turn().await;
            self.gate.lock().unwrap().waits_on = None;
        }
        true
    }
}

type Task = Pin<Box<dyn Future<Output = Outcome>>>;

/// One run. Returns the outcomes (`None`: crashed, or still waiting when nobody else can act) and
/// the number of possibilities at each choice.
fn run(
    replicas: usize,
    environment: Environment,
    events: &[Event],
    choices: &[usize],
) -> (Vec<Option<Outcome>>, Shared, Vec<usize>) {
    const MAX_STEPS: usize = 40;
    let shared = Arc::new(Mutex::new(Shared::default()));
    let outcomes = Rc::new(RefCell::new(vec![None; replicas]));
    let mut gates = Vec::new();
    let mut tasks: Vec<Option<Task>> = Vec::new();
    for id in 0..replicas {
        let gate = Arc::<Mutex<Gate>>::default();
        gates.push(Arc::clone(&gate));
        // Everywhere, it would make the runs too many.
        let marks = events.contains(&Event::ResultExpires);
        let replica = Replica { id, environment, marks, shared: Arc::clone(&shared), gate };
        tasks.push(Some(Box::pin(async move {
            let owner = format!("replica {}", replica.id);
            refresh(&replica, 0, &owner).await
        })));
    }
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = |tasks: &mut Vec<Option<Task>>, id: usize| {
        if let Some(task) = &mut tasks[id]
            && let Poll::Ready(outcome) = task.as_mut().poll(&mut cx)
        {
            outcomes.borrow_mut()[id] = Some(outcome);
            tasks[id] = None;
        }
    };
    (0..replicas).for_each(|id| poll(&mut tasks, id));

    let mut left = events.to_vec();
    let mut widths = Vec::new();
    while tasks.iter().any(Option::is_some) && widths.len() < MAX_STEPS {
        let entry = shared.lock().unwrap().entry.clone();
        let can_act = |id: &usize| {
            tasks[*id].is_some() && gates[*id].lock().unwrap().waits_on.as_ref() != Some(&entry)
        };
        let ready: Vec<usize> = (0..replicas).filter(can_act).collect();
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
        match left.remove(choice - ready.len()) {
            // The end of a session outlives its requests.
            event @ (Event::LeaseExpires | Event::ResultExpires) => {
                let mut shared = shared.lock().unwrap();
                let expires = match shared.entry.as_deref().and_then(Entry::decode) {
                    Some(Entry::Failed { .. } | Entry::Leased { .. }) => Event::LeaseExpires,
                    Some(Entry::Newest(_)) => Event::ResultExpires,
                    Some(Entry::Ended) | None => continue,
                };
                if event == expires {
                    shared.entry = None;
                }
            }
            Event::StoreFails => shared.lock().unwrap().store_fails = true,
            Event::LogOut => {
                let mut shared = shared.lock().unwrap();
                shared.entry = Some(Entry::Ended.encode());
                shared.logged_out = true;
            }
            Event::Crash(id) => tasks[id] = None,
        }
    }
    drop(tasks);
    let shared = std::mem::take(&mut *shared.lock().unwrap());
    let outcomes = outcomes.borrow().clone();
    (outcomes, shared, widths)
}

/// Tries every run and hands each to `check`; returns how many there were.
fn explore(
    replicas: usize,
    environment: Environment,
    events: &[Event],
    check: impl Fn(&[Option<Outcome>], &Shared),
) -> usize {
    let mut choices: Vec<usize> = Vec::new();
    let mut runs = 0;
    loop {
        let (outcomes, shared, widths) = run(replicas, environment, events, &choices);
        runs += 1;
        let checked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&outcomes, &shared)));
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

fn renewed(outcome: &Option<Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Renewed(sealed)) if sealed == "session 1")
}

#[test]
fn r1_whoever_comes_when_there_is_one_call_and_one_result() {
    let runs = explore(3, Environment::Answers, &[], |outcomes, shared| {
        assert!(outcomes.iter().all(renewed));
        assert_eq!(shared.calls, 1);
    });
    assert!(runs > 10_000, "{runs}");
}

#[test]
fn r2_a_failure_ends_nobodys_session() {
    for environment in [Environment::FailsOnce, Environment::LosesFirstAnswer] {
        explore(2, environment, &[Event::LeaseExpires], |outcomes, shared| {
            assert!(!outcomes.contains(&Some(Outcome::Ended)));
            assert_ne!(shared.entry, Some(Entry::Ended.encode()));
        });
    }
}

#[test]
fn r2_a_definite_refusal_ends_the_session_for_all() {
    explore(3, Environment::Refuses, &[], |outcomes, shared| {
        let ended =
            |outcome: &&Option<Outcome>| matches!(outcome, Some(Outcome::Ended | Outcome::Refused));
        assert_eq!(outcomes.iter().filter(ended).count(), 3);
        let refused = outcomes.iter().filter(|outcome| **outcome == Some(Outcome::Refused));
        assert_eq!(refused.count(), 1);
        assert_eq!((shared.calls, &shared.entry), (1, &Some(Entry::Ended.encode())));
    });
}

#[test]
fn r3_a_replica_that_dies_holds_nobody_up_for_longer_than_its_lease() {
    let events = [Event::Crash(0), Event::LeaseExpires];
    explore(2, Environment::Answers, &events, |outcomes, shared| {
        let waits_for_the_dead = outcomes[1].is_none()
            && matches!(
                shared.entry.as_deref().and_then(Entry::decode),
                Some(Entry::Leased { owner, .. }) if owner == "replica 0"
            );
        assert!(renewed(&outcomes[1]) || waits_for_the_dead);
        assert!(shared.calls <= 2);
    });
}

#[test]
fn r3_a_lease_that_runs_out_early_loses_nothing() {
    explore(2, Environment::Answers, &[Event::LeaseExpires], |outcomes, shared| {
        assert!(outcomes.iter().all(renewed));
        assert!(shared.calls_at_once <= 2 && shared.calls <= 2);
    });
}

#[test]
fn r8_a_session_that_was_logged_out_stays_so_whoever_refreshes_meanwhile() {
    let stays_ended = |_: &[Option<Outcome>], shared: &Shared| {
        if shared.logged_out {
            assert_eq!(shared.entry, Some(Entry::Ended.encode()));
        }
    };
    for environment in [Environment::Answers, Environment::FailsOnce, Environment::Refuses] {
        explore(2, environment, &[Event::LogOut], stays_ended);
    }
    explore(2, Environment::Answers, &[Event::LogOut, Event::LeaseExpires], stays_ended);
}

#[test]
fn r1_whoever_comes_when_the_result_is_forgotten_spends_no_spent_token() {
    let events = [Event::ResultExpires];
    explore(2, Environment::Answers, &events, |outcomes, shared| {
        let fine = |outcome: &Option<Outcome>| {
            // Its own cookie is of no use any more; the session itself goes on.
            renewed(outcome) || (shared.marked && *outcome == Some(Outcome::Beyond))
        };
        assert!(outcomes.iter().all(fine) && outcomes.iter().any(renewed));
        assert_ne!(shared.entry, Some(Entry::Ended.encode()));
        // Between a result and its mark nothing is forgotten: that takes a minute.
        assert!(shared.calls <= 2);
    });
}

#[test]
fn r2_a_store_that_fails_once_ends_nobodys_session() {
    let and_a_lease_expires = [Event::StoreFails, Event::LeaseExpires];
    for (environment, events) in [
        (Environment::SpendsOnce, &[Event::StoreFails][..]),
        (Environment::SpendsOnce, &[Event::StoreFails, Event::StoreFails]),
        (Environment::Answers, &and_a_lease_expires),
    ] {
        explore(2, environment, events, |outcomes, shared| {
            assert!(!outcomes.contains(&Some(Outcome::Refused)));
            assert!(!outcomes.contains(&Some(Outcome::Ended)));
            assert_ne!(shared.entry, Some(Entry::Ended.encode()));
            assert!(shared.calls <= 2);
        });
    }
}
