//! What several revocations of the same user cover.

use super::*;

const USER: RevocationTarget<'_> = RevocationTarget::User("usr_1");

#[tokio::test]
async fn a_later_revocation_elsewhere_is_kept_while_an_earlier_one_gets_its_position() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let old = begin(&here).await;
    read(&clock, &here).await;
    let counter = scope().key(KeyNamespace::Revocation, "counter");
    let before = store.get(&counter).await.unwrap();
    store.set(Fails::RespondsLate);
    let mut publishing = Box::pin(here.revoke(USER, HOUR));
    for _operation in ["read the counter", "advance it"] {
        assert!(futures::poll!(&mut publishing).is_pending());
    }
    store.set(Fails::Not);
    assert_ne!(store.get(&counter).await.unwrap(), before, "it has a position");
    let between = begin(&there).await;
    there.revoke(USER, HOUR).await.unwrap();
    here.state.join_read().await;
    publishing.await.unwrap();
    for one in [&here, &there] {
        assert!(one.is_revoked(&old) && one.is_revoked(&between));
        assert!(!one.is_revoked(&begin(one).await));
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Revoke,
    LogIn,
    Read,
}

/// What happens at a replica, which may be cut off from the store.
#[derive(Clone, Copy, Debug)]
struct Event {
    step: Step,
    replica: usize,
    is_online: bool,
}

/// Whether a login that follows a revocation must live.
fn is_ordered(events: &[Event], revocation: usize, login: usize) -> bool {
    let [revoked, begun] = [events[revocation], events[login]];
    let has_read = events[revocation..login]
        .iter()
        .any(|event| event.step == Step::Read && event.replica == begun.replica);
    // A replica without the store does not know of revocations by others that it has not read, and
    // others do not know of a revocation that the store has not accepted.
    revoked.replica == begun.replica || (revoked.is_online && (begun.is_online || has_read))
}

#[tokio::test]
async fn whatever_is_revoked_where_logins_before_it_end_and_later_ones_live() {
    const LENGTH: u32 = 3;
    let steps = [Step::Revoke, Step::LogIn, Step::Read];
    let possible: Vec<Event> = [0, 1]
        .into_iter()
        .flat_map(|replica| [true, false].map(|is_online| (replica, is_online)))
        .flat_map(|(replica, is_online)| steps.map(|step| Event { step, replica, is_online }))
        .filter(|event| event.is_online || event.step != Step::Read)
        .collect();
    for case in 0..possible.len().pow(LENGTH) {
        let events: Vec<Event> = (0..LENGTH)
            .map(|place| possible[case / possible.len().pow(place) % possible.len()])
            .collect();
        // The replicas are interchangeable.
        if events[0].replica == 0 {
            check(&events).await;
        }
    }
}

async fn check(events: &[Event]) {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let all = [replica(&store, &clock), replica(&store, &clock)];
    for one in &all {
        drop(begin(one).await);
        read_now(one).await;
    }
    let mut begun: Vec<(usize, RevocableSession)> = Vec::new();
    for (number, event) in events.iter().enumerate() {
        store.set(if event.is_online { Fails::Not } else { Fails::Unavailable });
        let here = &all[event.replica];
        match event.step {
            Step::Revoke => assert_eq!(here.revoke(USER, HOUR).await.is_ok(), event.is_online),
            Step::LogIn => begun.push((number, begin(here).await)),
            Step::Read => read_now(here).await,
        }
        for (login, session) in &begun {
            for later in events[*login..=number].iter().filter(|one| one.step == Step::Revoke) {
                assert!(all[later.replica].is_revoked(session), "{number} {login} {events:?}");
            }
        }
    }
    store.set(Fails::Not);
    for one in all.iter().chain(&all) {
        read_now(one).await;
    }
    let late = replica(&store, &clock);
    read_now(&late).await;
    let revocations = || (0..events.len()).filter(|number| events[*number].step == Step::Revoke);
    for (login, session) in &begun {
        let is_revoked = late.is_revoked(session);
        for one in &all {
            assert_eq!(one.is_revoked(session), is_revoked, "{login} {events:?}");
        }
        if revocations().any(|revocation| revocation > *login) {
            assert!(is_revoked, "{login} {events:?}");
        } else if revocations().all(|revocation| is_ordered(events, revocation, *login)) {
            assert!(!is_revoked, "{login} {events:?}");
        }
    }
}

#[tokio::test]
async fn a_publication_is_incomplete_if_another_has_failed_meanwhile() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let here = replica(&store, &clock);
    drop(begin(&here).await);
    read(&clock, &here).await;
    store.set(Fails::Full);
    here.revoke(USER, HOUR).await.unwrap_err();
    store.set(Fails::Yields);
    let mut publishing = Box::pin(here.publish_again());
    assert!(futures::poll!(&mut publishing).is_pending());
    store.set(Fails::Unavailable);
    here.revoke(RevocationTarget::User("usr_2"), HOUR).await.unwrap_err();
    store.set(Fails::Not);
    assert!(!publishing.await, "the second one is not published");
    assert!(here.publish_again().await);
}
