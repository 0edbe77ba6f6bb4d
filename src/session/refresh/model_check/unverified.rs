//! Tokens that cannot be verified when they are received, and results that the store does not accept.

use super::*;

fn setup(actors: &[Actor], environment: Environment, events: &[Event]) -> Setup {
    Setup {
        keys_are_unreachable: true,
        recovers: true,
        ..Setup::new(actors, environment, events).coarse()
    }
}

/// Asserts that the session is valid when everything is available again.
fn recovers(outcomes: &[Option<RefreshResult>], shared: &Shared) {
    ends_nothing(outcomes, shared);
    let (last, others) = outcomes.split_last().unwrap();
    assert!(got(last, 1), "{last:?}");
    assert!(others.iter().all(|one| one.is_none() || *one == UNAVAILABLE || got(one, 1)));
}

#[test]
fn tokens_that_cannot_be_verified_are_spent_once_and_kept_for_all() {
    let setup = Setup { recovers: false, ..setup(&[OLD; 3], Environment::SpendsOnce, &[]) };
    check_all_orders(&setup, |outcomes, shared| {
        assert!(outcomes.iter().all(|outcome| *outcome == UNAVAILABLE));
        assert_eq!(shared.calls, 1);
        let entry = shared.entry.as_deref().map(|entry| RefreshEntry::decode(entry).unwrap());
        assert!(matches!(entry, Some(RefreshEntry::Unverified { .. })));
        let lease = shared.lease.as_deref().and_then(LeaseValue::decode);
        assert_eq!(lease, Some(LeaseValue::FailedRecently));
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
    let verifies =
        Setup { received: Some(1), ..setup(&[OLD; 2], Environment::SpendsOnce, &events) };
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
    let setup = Setup {
        keys_are_unreachable: false,
        received: Some(0),
        extends_lease: true,
        ..setup(&[OLD; 2], Environment::SpendsOnce, &[Event::LeaseExpires])
    };
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
            let setup = Setup {
                keys_are_unreachable,
                takes_no_results: true,
                ..setup(&[OLD; 2], Environment::SpendsOnce, events)
            };
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
        let setup = Setup {
            keys_are_unreachable: false,
            takes_no_results: true,
            ..setup(actors, Environment::SpendsOnce, events)
        };
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
        let setup = Setup {
            takes_no_results,
            ..setup(&[OLD; 2], Environment::SpendsOnce, &[Event::LogOut, returns])
        };
        check_all_orders(&setup, |outcomes, shared| {
            if shared.logged_out {
                assert_eq!(shared.entry, Some(RefreshEntry::Ended.encode()));
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
