//! Tokens that cannot be verified when they are received, and results that the store does not accept.

use super::*;

fn setup(actors: &[Actor], environment: Environment, events: &[Event]) -> Setup {
    let mut setup = Setup::new(actors, environment, events).coarse();
    setup.keys_are_unreachable = true;
    setup.recovers = true;
    setup
}

/// Asserts that the session is valid when everything is available again.
fn recovers(outcomes: &[Option<RefreshResult>], shared: &Shared) {
    ends_nothing(outcomes, shared);
    let (last, others) = outcomes.split_last().unwrap();
    assert!(got(last, 1), "{last:?}");
    let is_expected =
        |one: &Option<RefreshResult>| one.is_none() || *one == UNAVAILABLE || got(one, 1);
    assert!(others.iter().all(is_expected));
}

#[test]
fn tokens_that_cannot_be_verified_are_spent_once_and_kept_for_all() {
    let mut setup = setup(&[OLD; 3], Environment::SpendsOnce, &[]);
    setup.recovers = false;
    check_all_orders(&setup, |outcomes, shared| {
        assert!(outcomes.iter().all(|outcome| *outcome == UNAVAILABLE));
        assert_eq!(shared.calls, 1);
        let entry = shared.entry.as_deref().map(|entry| Entry::decode(entry).unwrap());
        assert!(matches!(entry, Some(Entry::Unverified { .. })));
        let lease = shared.lease.as_deref().and_then(RefreshLock::decode);
        assert_eq!(lease, Some(RefreshLock::FailedRecently));
    });
}

#[test]
fn any_replica_verifies_them_when_the_keys_return() {
    let returns = setup(&[OLD; 2], Environment::SpendsOnce, &[Event::KeysReturn]);
    check_all_orders(&returns, |outcomes, shared| {
        recovers(outcomes, shared);
        assert_eq!(shared.calls, 1);
    });
    let events = [Event::KeysReturn, Event::LeaseExpires];
    let mut verifies = setup(&[OLD; 2], Environment::SpendsOnce, &events);
    verifies.received = Some(1);
    check_all_orders(&verifies, |outcomes, shared| {
        recovers(outcomes, shared);
        assert_eq!(shared.calls, 0);
    });
}

#[test]
fn expired_ones_are_refreshed_once_with_their_own_refresh_token() {
    let events = [Event::TokensExpire, Event::KeysReturn];
    check_all_orders(&setup(&[OLD; 2], Environment::SpendsOnce, &events), |outcomes, shared| {
        recovers(outcomes, shared);
        assert!(shared.calls <= 2);
    });
    let mut setup = setup(&[OLD; 2], Environment::SpendsOnce, &[Event::LeaseExpires]);
    setup.keys_are_unreachable = false;
    setup.received = Some(0);
    setup.extends_lease = true;
    check_all_orders(&setup, |outcomes, shared| {
        if !shared.spent_without_lease {
            recovers(outcomes, shared);
        }
    });
}

#[test]
fn a_store_that_fails_at_any_step_loses_no_unverified_tokens() {
    for events in [
        &[Event::StoreFails, Event::StoreFails][..],
        &[Event::StoreFails, Event::KeysReturn],
        &[Event::StoreFails, Event::StoreFails, Event::HeldIsPublished],
    ] {
        check_all_orders(&setup(&[OLD; 2], Environment::SpendsOnce, events), recovers);
    }
}

#[test]
fn a_replica_that_crashes_delays_the_verification_for_no_longer_than_its_lease() {
    let mut setup = setup(&[OLD; 2], Environment::AcceptsSpent, &[Event::Crash(0)]);
    check_all_orders(&setup, recovers);
    setup.events.push(Event::LeaseExpires);
    setup.keys_are_unreachable = false;
    for call in [0, 1] {
        setup.received = Some(call);
        check_all_orders(&setup, recovers);
    }
}

#[test]
fn a_result_that_the_store_rejects_is_published_before_its_token_is_spent_again() {
    for keys_are_unreachable in [false, true] {
        for events in [
            &[Event::LeaseExpires][..],
            &[Event::LeaseExpires, Event::LeaseExpires],
            &[Event::LeaseExpires, Event::KeysReturn],
            &[Event::LeaseExpires, Event::HeldIsPublished],
        ] {
            let mut setup = setup(&[OLD; 2], Environment::SpendsOnce, events);
            setup.keys_are_unreachable = keys_are_unreachable;
            setup.takes_no_results = true;
            check_all_orders(&setup, |outcomes, shared| {
                recovers(outcomes, shared);
                assert_eq!(shared.calls, 1);
            });
        }
    }
}

#[test]
fn a_result_that_the_store_rejects_blocks_no_refresh_of_the_newer_cookie() {
    let newer = Actor::Due(1);
    for (actors, events) in [
        (&[OLD, newer][..], &[][..]),
        (&[OLD, newer], &[Event::HeldIsPublished]),
        (&[OLD, newer, OLD], &[]),
        (&[OLD, newer, newer], &[]),
        (&[OLD, newer, Actor::Due(2)], &[]),
    ] {
        let mut setup = setup(actors, Environment::SpendsOnce, events);
        setup.keys_are_unreachable = false;
        setup.takes_no_results = true;
        check_all_orders(&setup, |outcomes, shared| {
            ends_nothing(outcomes, shared);
            let newest = u32::try_from(shared.calls).unwrap();
            assert!(newest > 1 && got(outcomes.last().unwrap(), newest), "{outcomes:?}");
            assert_eq!(shared.calls, shared.spent.len(), "no token is spent twice");
        });
    }
}

#[test]
fn a_session_with_unverified_tokens_stays_logged_out() {
    for takes_no_results in [false, true] {
        let returns = if takes_no_results { Event::HeldIsPublished } else { Event::KeysReturn };
        let events = [Event::LogOut, returns];
        let mut setup = setup(&[OLD; 2], Environment::SpendsOnce, &events);
        setup.takes_no_results = takes_no_results;
        check_all_orders(&setup, |outcomes, shared| {
            if shared.logged_out {
                assert_eq!(shared.entry, Some(Entry::Ended.encode()));
                assert_eq!(outcomes.last(), Some(&Some(RefreshResult::Ended)));
            }
        });
    }
}

#[test]
fn an_older_cookie_gets_the_verified_session_before_unverified_tokens() {
    let actors = [OLD, Actor::Due(1), Actor::Present(1)];
    let mut setup = setup(&actors, Environment::SpendsOnce, &[Event::KeysReturn]).published(1);
    check_all_orders(&setup, |outcomes, shared| {
        ends_nothing(outcomes, shared);
        assert!(got(&outcomes[0], 1) || got(&outcomes[0], 2));
        assert!(outcomes[1] == UNAVAILABLE || got(&outcomes[1], 2));
        assert_eq!(shared.calls, 1);
    });
    setup.events = vec![Event::StoreFails];
    check_all_orders(&setup, ends_nothing);
}
