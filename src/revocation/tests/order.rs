//! Logins and revocations while the store fails.

use super::*;

#[tokio::test]
async fn a_replica_that_has_never_reached_the_store_begins_no_session() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let here = replica(&store, &clock);
    here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    store.set(Fails::Unavailable);
    let late = replica(&store, &clock);
    // Its session would be older than each revocation that other replicas know.
    assert!(late.position().await.is_err());
    let known = begin(&here).await;
    store.set(Fails::Not);
    let new = begin(&late).await;
    for one in [&here, &late] {
        read(&clock, one).await;
        assert!(!one.is_revoked(&known) && !one.is_revoked(&new));
    }
}

#[tokio::test]
async fn a_full_store_has_a_position_for_logins() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let old = begin(&there).await;
    store.set(Fails::Full);
    assert!(here.revoke(RevocationTarget::User("usr_1"), HOUR).await.is_err());
    let new = begin(&here).await;
    store.set(Fails::Not);
    for one in [&here, &there] {
        read(&clock, one).await;
        assert!(one.is_revoked(&old) && !one.is_revoked(&new));
    }
}

/// Each of the first operations fails or not, with or without an effect.
#[tokio::test]
async fn whatever_fails_a_login_after_a_revocation_lives_and_one_before_ends() {
    const OPERATIONS: u32 = 8;
    let cases = (0..1 << OPERATIONS).flat_map(|bits| [false, true].map(|effect| (bits, effect)));
    for (bits, have_effect) in cases {
        for [revoking, beginning] in [[0, 0], [0, 1]] {
            let clock = SteppedClock::steady();
            let store = TestStore::new(&clock);
            let all = [replica(&store, &clock), replica(&store, &clock)];
            let old = [begin(&all[0]).await, begin(&all[1]).await];
            store.set(Fails::Some { bits, have_effect });
            let revoked = all[revoking].revoke(RevocationTarget::User("usr_1"), HOUR).await;
            let position = all[beginning].position().await.unwrap();
            store.set(Fails::Not);
            for one in all.iter().chain(&all) {
                read(&clock, one).await;
            }
            let late = replica(&store, &clock);
            read(&clock, &late).await;
            let new = named("one", position, None);
            // Otherwise it is unknown which was first: a login without the store does not know of
            // revocations by others, and they do not know of one that the store has not accepted.
            let is_ordered =
                revoking == beginning || (revoked.is_ok() && position.begun_by.is_none());
            let case = format!("{bits:b} {have_effect} {revoking} {beginning}");
            let is_covered = late.is_revoked(&new);
            assert!(!is_covered || !is_ordered, "{case}");
            for one in all.iter().chain([&late]) {
                assert!(old.iter().all(|session| one.is_revoked(session)), "{case}");
                assert_eq!(one.is_revoked(&new), is_covered, "{case}");
                assert!(!one.is_revoked(&begin(one).await), "{case}");
            }
        }
    }
}
