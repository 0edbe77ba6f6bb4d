//! The outcomes of requests in every order of events.

use super::*;

#[test]
fn any_number_of_requests_cause_one_call_and_get_one_result() {
    let setup = Setup::new(&[OLD; 3], Environment::SpendsOnce, &[]).coarse();
    let runs = check_all_orders(&setup, |outcomes, shared| {
        assert!(outcomes.iter().all(|outcome| got(outcome, 1)));
        assert_eq!(shared.calls, 1);
    });
    assert!(runs > 10_000, "{runs}");
}

#[test]
fn a_failing_token_endpoint_ends_no_session() {
    for environment in [Environment::FailsOnce, Environment::LosesFirstResponse] {
        check_all_orders(&Setup::new(&[OLD; 2], environment, &[Event::LeaseExpires]), ends_nothing);
    }
}

#[test]
fn a_definite_rejection_ends_the_session_for_all() {
    let setup = Setup::new(&[OLD; 3], Environment::Rejects, &[]).coarse();
    check_all_orders(&setup, |outcomes, shared| {
        let ended = |outcome: &&Option<RefreshResult>| {
            matches!(outcome, Some(RefreshResult::Ended | RefreshResult::InvalidGrant))
        };
        assert_eq!(outcomes.iter().filter(ended).count(), 3);
        let rejected =
            outcomes.iter().filter(|outcome| **outcome == Some(RefreshResult::InvalidGrant));
        assert_eq!(rejected.count(), 1);
        assert_eq!((shared.calls, &shared.entry), (1, &Some(RefreshEntry::Ended.encode())));
    });
}

#[test]
fn a_replica_that_crashes_delays_others_for_no_longer_than_its_lease() {
    let events = [Event::Crash(0), Event::LeaseExpires];
    let setup = Setup::new(&[OLD; 2], Environment::AcceptsSpent, &events).coarse();
    check_all_orders(&setup, |outcomes, shared| {
        let is_held = shared.lease.as_deref().and_then(LeaseValue::decode);
        let waits_for_the_crashed =
            outcomes[1].is_none() && matches!(is_held, Some(LeaseValue::Held { .. }));
        assert!(got(&outcomes[1], 1) || waits_for_the_crashed);
        assert!(shared.calls <= 2);
    });
}

#[test]
fn a_lease_that_expires_early_loses_no_session() {
    let setup = Setup::new(&[OLD; 2], Environment::AcceptsSpent, &[Event::LeaseExpires]);
    check_all_orders(&setup, |outcomes, shared| {
        assert!(outcomes.iter().all(|outcome| got(outcome, 1)));
        assert!(shared.calls_at_once <= 2 && shared.calls <= 2);
    });
}

#[test]
fn a_rejection_ends_no_session_whose_token_was_spent_under_the_lease() {
    let events = [Event::LeaseExpires];
    let setup = Setup::new(&[OLD; 2], Environment::SpendsOnce, &events).coarse();
    check_all_orders(&setup, |outcomes, shared| {
        if !shared.spent_without_lease {
            ends_nothing(outcomes, shared);
        }
    });
}

#[test]
fn a_concurrent_refresh_does_not_restore_a_session_that_was_logged_out() {
    for (actors, environment, events) in [
        ([OLD; 2], Environment::AcceptsSpent, &[Event::LogOut][..]),
        ([OLD; 2], Environment::FailsOnce, &[Event::LogOut]),
        ([OLD; 2], Environment::Rejects, &[Event::LogOut]),
        (
            [OLD, Actor::Present(1)],
            Environment::AcceptsSpent,
            &[Event::LogOut, Event::LeaseExpires],
        ),
    ] {
        check_all_orders(&Setup::new(&actors, environment, events), |_, shared| {
            if shared.logged_out {
                assert_eq!(shared.entry, Some(RefreshEntry::Ended.encode()));
            }
        });
    }
}

#[test]
fn an_older_cookie_gets_the_newest_session_in_every_order_of_events() {
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
        check_all_orders(&setup, |outcomes, shared| {
            ends_nothing(outcomes, shared);
            assert!(got(&outcomes[0], 1) || got(&outcomes[0], 2));
            // The spent token was not spent again.
            assert!(shared.calls <= 1);
        });
    }
    let setup = Setup::new(&[OLD, newer], Environment::SpendsOnce, &[Event::StoreFails]);
    check_all_orders(&setup.published(1), |outcomes, shared| {
        ends_nothing(outcomes, shared);
        assert!(got(&outcomes[0], 1) || got(&outcomes[0], 2) || outcomes[0] == UNAVAILABLE);
    });
}

#[test]
fn the_result_expires_only_after_its_cookie_was_presented() {
    let actors = [OLD, Actor::Due(1), Actor::Present(1)];
    let setup = Setup::new(&actors, Environment::SpendsOnce, &[Event::ResultExpires]);
    check_all_orders(&setup.clone().published(1), |outcomes, shared| {
        assert!(got(&outcomes[1], 2));
        let is_superseded = outcomes[0] == Some(RefreshResult::Superseded);
        assert!(got(&outcomes[0], 1) || got(&outcomes[0], 2) || is_superseded);
        assert!(!is_superseded || shared.result_expired);
        assert_ne!(shared.entry, Some(RefreshEntry::Ended.encode()));
        assert_eq!(shared.calls, 1);
    });
    // A cookie from before the newest one is presented late.
    let late = Setup { actors: vec![OLD, Actor::Present(1), Actor::Present(2)], ..setup.clone() };
    check_all_orders(&late.published(2), |outcomes, shared| {
        let is_superseded = outcomes[0] == Some(RefreshResult::Superseded) && shared.result_expired;
        assert!(got(&outcomes[0], 2) || is_superseded);
        assert_eq!(shared.calls, 0);
    });
    // From the beginning, with a refresh that is still in progress when its cookie arrives.
    let setup = Setup { actors: vec![OLD, OLD, Actor::Present(1)], ..setup }.coarse();
    check_all_orders(&setup, |outcomes, shared| {
        assert!(outcomes[..2].iter().any(|outcome| got(outcome, 1)));
        for outcome in &outcomes[..2] {
            let is_superseded = *outcome == Some(RefreshResult::Superseded);
            assert!(got(outcome, 1) || (is_superseded && shared.result_expired));
        }
        assert_eq!(shared.calls, 1);
    });
}

#[test]
fn a_result_that_is_published_and_presented_during_a_refresh_is_found() {
    let actors = [OLD, Actor::Present(1)];
    let setup = Setup {
        marks_are_steps: true,
        ..Setup::new(&actors, Environment::SpendsOnce, &[Event::RefreshedElsewhere])
    };
    check_all_orders(&setup, |outcomes, shared| {
        ends_nothing(outcomes, shared);
        assert!(got(&outcomes[0], 1));
    });
}

#[test]
fn a_presented_cookie_publishes_the_result_that_the_store_had_not_accepted() {
    let actors = [OLD, OLD, Actor::Present(1)];
    let setup = Setup {
        takes_no_results: true,
        ..Setup::new(&actors, Environment::SpendsOnce, &[]).coarse()
    };
    check_all_orders(&setup, |outcomes, shared| {
        assert!(outcomes[..2].iter().any(|outcome| got(outcome, 1)));
        // Until then, the lease prevents the other one from spending the token again.
        assert_eq!(shared.calls, 1);
        let newest = shared.newest().unwrap();
        assert_eq!((newest.generation, newest.presented), (1, true));
    });
}

#[test]
fn requests_for_a_refresh_share_its_result_for_a_while() {
    let actors = [Actor::Requested(0), Actor::Requested(0), Actor::Requested(1)];
    let setup = Setup::new(&actors[..2], Environment::SpendsOnce, &[]);
    check_all_orders(&setup, |outcomes, shared| {
        assert!(outcomes.iter().all(|outcome| got(outcome, 1)));
        assert_eq!(shared.calls, 1);
    });
    // The newest cookie, before and after that time.
    let setup = Setup::new(&actors[1..], Environment::SpendsOnce, &[Event::LeaseExpires]);
    check_all_orders(&setup.published(1), |outcomes, shared| {
        assert!(got(&outcomes[0], 1) || got(&outcomes[0], 2));
        assert!(got(&outcomes[1], 2));
        assert_eq!(shared.calls, 1);
    });
}

#[test]
fn a_rejection_that_cannot_be_published_ends_no_session() {
    let setup = Setup { takes_no_results: true, ..Setup::new(&[OLD], Environment::Rejects, &[]) };
    check_all_orders(&setup, |outcomes, _| assert_eq!(outcomes[0], UNAVAILABLE));
}

#[test]
fn a_refresh_that_fails_before_the_exchange_leaves_no_lease() {
    for event in [Event::StoreFails, Event::ResponseLost] {
        let setup = Setup::new(&[OLD], Environment::AcceptsSpent, &[event]);
        check_all_orders(&setup, |_, shared| assert!(shared.calls > 0 || shared.lease.is_none()));
    }
}

#[test]
fn a_store_that_fails_once_ends_no_session() {
    let and_a_lease_expires = [Event::StoreFails, Event::LeaseExpires];
    for (environment, events) in [
        (Environment::SpendsOnce, &[Event::StoreFails][..]),
        (Environment::SpendsOnce, &[Event::ResponseLost]),
        (Environment::SpendsOnce, &[Event::StoreFails, Event::StoreFails]),
        (Environment::AcceptsSpent, &and_a_lease_expires),
    ] {
        let setup =
            Setup { is_coarse: events.len() > 1, ..Setup::new(&[OLD; 2], environment, events) };
        check_all_orders(&setup, |outcomes, shared| {
            ends_nothing(outcomes, shared);
            assert!(shared.calls <= 2);
        });
    }
}

#[test]
fn a_refresh_without_a_lease_ends_no_session_within_the_grace_of_the_environment() {
    let fails = Event::StoreFails;
    for events in [&[fails][..], &[fails, fails], &[fails, Event::HeldIsPublished]] {
        let setup = Setup {
            exchanges_alone: true,
            recovers: true,
            ..Setup::new(&[OLD; 2], Environment::AcceptsSpent, events).coarse()
        };
        check_all_orders(&setup, |outcomes, shared| {
            ends_nothing(outcomes, shared);
            assert!(shared.calls <= 2);
            assert!(got(&outcomes[2], 1));
        });
    }
}

#[test]
fn a_rejection_without_a_lease_is_not_definite() {
    let setup = Setup {
        exchanges_alone: true,
        ..Setup::new(&[OLD], Environment::Rejects, &[Event::StoreFails])
    };
    check_all_orders(&setup, |outcomes, shared| {
        let is_definite = outcomes[0] == Some(RefreshResult::InvalidGrant);
        // It may wait for its own lease, which it could not read.
        assert!(is_definite || outcomes[0].is_none() || outcomes[0] == UNAVAILABLE);
        assert_eq!(is_definite, shared.entry == Some(RefreshEntry::Ended.encode()));
        assert!(shared.calls <= 1);
    });
}

#[test]
fn stale_reads_of_the_store_delay_a_request_and_end_no_session() {
    for environment in [Environment::SpendsOnce, Environment::AcceptsSpent] {
        let setup =
            Setup { reads_are_stale: true, ..Setup::new(&[OLD], environment, &[]).published(1) };
        check_all_orders(&setup, |outcomes, shared| {
            ends_nothing(outcomes, shared);
            let graceful = environment == Environment::AcceptsSpent && got(&outcomes[0], 1);
            assert!(outcomes[0] == UNAVAILABLE || graceful);
            assert_eq!(shared.newest().unwrap().generation, 1);
        });
    }
}
