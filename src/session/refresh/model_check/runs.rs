//! Tries every order of steps and events.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use super::*;

type Task = Pin<Box<dyn Future<Output = Option<RefreshResult>>>>;

/// The outcomes of a run. `None`: crashed, or still waiting when no other actor can act.
struct Run {
    outcomes: Vec<Option<RefreshResult>>,
    shared: Shared,
    /// The number of options at each choice.
    widths: Vec<usize>,
}

fn run(setup: &Setup, choices: &[usize]) -> Run {
    const MAX_STEPS: usize = 120;
    let mut shared = Shared::default();
    if let Some(generation) = setup.published {
        shared.entry = Some(published(generation));
        shared.spent = (0..generation).collect();
        shared.delivered = generation;
        shared.progress = 2 * u64::from(generation);
    }
    if let Some(call) = setup.received {
        let entry = received(call);
        shared.spent.insert(0);
        shared.note(&entry);
        shared.entry = Some(entry.encode());
    }
    shared.keys_are_unreachable = setup.keys_are_unreachable;
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
            if let Some(RefreshResult::Newer(text) | RefreshResult::Refreshed(text)) = &outcome {
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
                && !matches!(
                    setup.actors[*id],
                    Actor::Due(new) | Actor::Present(new) if new > delivered
                )
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
            // Runs in which it expires earlier are too many; other tests cover them.
            Event::LeaseExpires if setup.takes_no_results && shared.held.is_empty() => {}
            Event::LeaseExpires => {
                // It is extended for a result that is held.
                let lease = shared.lease.take();
                let is_extended = shared.held.iter().any(|(_, held)| Some(held) == lease.as_ref());
                if is_extended {
                    shared.lease = lease;
                } else {
                    let lease = lease.as_deref().and_then(LeaseValue::decode);
                    let is_held = matches!(lease, Some(LeaseValue::Held { .. }));
                    shared.spent_without_lease |= is_held && shared.calls > 0;
                }
            }
            Event::ResultExpires => {
                if shared.newest().is_some_and(|newest| newest.presented) {
                    shared.entry = None;
                    shared.result_expired = true;
                }
            }
            Event::StoreFails => shared.store_fails = true,
            Event::ResponseLost => shared.response_is_lost = true,
            Event::LogOut => {
                shared.entry = Some(RefreshEntry::Ended.encode());
                shared.logged_out = true;
            }
            Event::Crash(id) => tasks[id] = None,
            Event::RefreshedElsewhere => {
                if shared.entry.is_none() {
                    shared.entry = Some(published(1));
                    shared.spent.insert(0);
                    (shared.progress, shared.delivered) = (2, 1);
                }
            }
            Event::HeldIsPublished => shared.publish_held(),
            Event::KeysReturn => shared.keys_are_unreachable = false,
            Event::TokensExpire => shared.expired = shared.calls,
        }
    }
    assert!(widths.len() < MAX_STEPS, "an endless run: {choices:?}");
    drop(tasks);
    if setup.recovers {
        let outcome = recovered(setup, &shared);
        outcomes.borrow_mut().push(Some(outcome));
    }
    let shared = std::mem::take(&mut *shared.lock().unwrap());
    let outcomes = outcomes.borrow().clone();
    Run { outcomes, shared, widths }
}

/// Returns the outcome of a request after all outages have ended.
fn recovered(setup: &Setup, shared: &Arc<Mutex<Shared>>) -> RefreshResult {
    {
        let mut shared = shared.lock().unwrap();
        (shared.keys_are_unreachable, shared.store_fails) = (false, false);
        shared.publish_held();
        shared.lease = None;
    }
    let gate = Arc::<Mutex<Gate>>::default();
    let replica = Replica {
        actor: Actor::Due(0),
        setup: Setup { takes_no_results: false, ..setup.clone() },
        shared: Arc::clone(shared),
        gate: Arc::clone(&gate),
        retries: Mutex::default(),
        waits: Mutex::default(),
    };
    let mut task = Box::pin(replica.act());
    loop {
        gate.lock().unwrap().go = true;
        let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(outcome) = polled {
            return outcome.unwrap();
        }
    }
}

/// Tries every run and passes each to `check`. Returns how many there were.
pub(super) fn check_all_orders(
    setup: &Setup,
    check: impl Fn(&[Option<RefreshResult>], &Shared),
) -> usize {
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
pub(super) fn got(outcome: &Option<RefreshResult>, generation: u32) -> bool {
    matches!(
        outcome,
        Some(RefreshResult::Newer(text) | RefreshResult::Refreshed(text)) if *text == sealed(generation)
    )
}

/// Asserts that no request of a valid session is logged out.
pub(super) fn ends_nothing(outcomes: &[Option<RefreshResult>], shared: &Shared) {
    for outcome in outcomes {
        let ends = matches!(
            outcome,
            Some(
                RefreshResult::Superseded
                    | RefreshResult::Ended
                    | RefreshResult::NoneNewer
                    | RefreshResult::InvalidGrant
            )
        );
        assert!(!ends);
    }
    assert_ne!(shared.entry, Some(RefreshEntry::Ended.encode()));
}
