//! What a store has lost.

use super::*;

#[tokio::test]
async fn after_state_loss_new_logins_work_and_old_ones_can_be_revoked() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let old = begin(&here).await;
    here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    let newer = begin(&here).await;
    read(&clock, &there).await;

    store.lose_state(&clock);
    let newest = begin(&here).await;
    read(&clock, &there).await;
    for one in [&here, &there] {
        assert!(one.is_revoked(&old) && !one.is_revoked(&newer) && !one.is_revoked(&newest));
    }
    there.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    read(&clock, &here).await;
    for one in [&here, &there] {
        assert!(one.is_revoked(&old) && one.is_revoked(&newer) && one.is_revoked(&newest));
        assert!(!one.is_revoked(&begin(one).await));
    }
}

#[tokio::test]
async fn a_replica_that_starts_after_state_loss_reads_the_revocations_of_others() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let old = begin(&here).await;
    here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    let new = begin(&here).await;
    store.lose_state(&clock);
    let newest = begin(&there).await;
    // Once to notice, once to publish.
    read(&clock, &here).await;
    read(&clock, &here).await;
    let late = replica(&store, &clock);
    read(&clock, &late).await;
    assert!(late.is_revoked(&old));
    assert!(!late.is_revoked(&new) && !late.is_revoked(&newest) && !here.is_revoked(&newest));
}

#[tokio::test]
async fn ended_sessions_are_published_again_after_state_loss() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let ids: Vec<_> = (0..200).map(|number| format!("session {number}")).collect();
    for id in &ids {
        here.revoke(RevocationTarget::Record(id), HOUR).await.unwrap();
    }
    read(&clock, &there).await;
    for _ in 0..2 {
        store.lose_state(&clock);
        // Once to notice, once to publish.
        for _ in 0..2 {
            for replica in [&here, &there] {
                read(&clock, replica).await;
                assert!(
                    ids.iter().all(|id| replica.is_record_id_revoked(id)),
                    "known all the time"
                );
            }
        }
        let entries = store.entries(&scope().key(KeyNamespace::Revocation, "log")).await;
        assert_eq!(entries, ids.len(), "published by one of the replicas");
        let late = replica(&store, &clock);
        read(&clock, &late).await;
        assert!(ids.iter().all(|id| late.is_record_id_revoked(id)));
        assert!(!late.is_record_id_revoked("another"));
    }
}

#[tokio::test(start_paused = true)]
async fn requests_do_not_wait_for_the_publication_of_what_the_store_has_lost() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let old = begin(&here).await;
    here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    for number in 0..200 {
        here.revoke(RevocationTarget::Record(&number.to_string()), HOUR).await.unwrap();
    }
    read(&clock, &there).await;
    store.lose_state(&clock);
    read(&clock, &there).await;
    store.set(Fails::AppendsHang);
    let started = Instant::now();
    for _ in 0..5 {
        clock.advance(Duration::from_millis(2000));
        there.pending_read().expect("the last reading is too old").await;
        assert!(there.is_revoked(&old) && there.is_record_id_revoked("7"));
        assert!(there.pending_read().is_none());
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    store.set(Fails::Not);
    tokio::time::sleep(Duration::from_secs(10)).await;
    read(&clock, &there).await;
    let late = replica(&store, &clock);
    read(&clock, &late).await;
    assert!(late.is_revoked(&old) && late.is_record_id_revoked("7"));
}

#[tokio::test]
async fn after_the_store_has_lost_its_state_revocations_are_published_once_and_not_by_logins() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let all = [(); 3].map(|()| replica(&store, &clock));
    let users: Vec<_> = (0..100).map(|number| format!("usr_{number}")).collect();
    for user in &users {
        all[0].revoke(RevocationTarget::User(user), HOUR).await.unwrap();
    }
    for one in &all {
        read(&clock, one).await;
    }
    let log = scope().key(KeyNamespace::Revocation, "log");
    store.lose_state(&clock);
    for one in &all {
        drop(begin(one).await);
    }
    store.set(Fails::Yields);
    futures::future::join_all(all.iter().chain(&all).map(begin)).await;
    assert_eq!(store.entries(&log).await, 0);
    futures::future::join(all[0].publish_again(), all[0].publish_again()).await;
    for one in &all {
        read(&clock, one).await;
    }
    assert_eq!(store.entries(&log).await, users.len());
}

#[tokio::test]
async fn a_store_that_is_late_to_show_writes_has_lost_nothing() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let all = [(); 3].map(|()| replica(&store, &clock));
    for one in &all {
        drop(begin(one).await);
        read(&clock, one).await;
    }
    store.set(Fails::Lags);
    for number in 0..30 {
        let id = number.to_string();
        let here = &all[number % 3];
        for revoked in [RevocationTarget::User(&id), RevocationTarget::Record(&id)] {
            here.revoke(revoked, HOUR).await.unwrap();
            store.catch_up().await;
        }
        here.revoke(RevocationTarget::Organization(&id), HOUR).await.unwrap();
        for _ in 0..2 {
            for one in &all {
                drop(begin(one).await);
                read_now(one).await;
            }
            clock.advance(Duration::from_millis(400));
        }
        store.catch_up().await;
        for one in &all {
            read_now(one).await;
        }
    }
    let log = scope().key(KeyNamespace::Revocation, "log");
    assert_eq!(store.entries(&log).await, 90);
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_a_login_notices_during_a_read_is_repaired_once() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    for number in 0..50 {
        let id = number.to_string();
        here.revoke(RevocationTarget::User(&id), HOUR).await.unwrap();
        here.revoke(RevocationTarget::Record(&id), HOUR).await.unwrap();
    }
    for one in [&here, &there] {
        read(&clock, one).await;
    }
    store.set(Fails::ReadsSlowly);
    clock.advance(Duration::from_millis(2000));
    let reading = here.pending_read().unwrap();
    tokio::task::yield_now().await;
    store.set(Fails::Not);
    store.lose_state(&clock);
    // Once to notice, once to publish.
    read(&clock, &there).await;
    read(&clock, &there).await;
    drop(begin(&here).await);
    reading.await;
    read(&clock, &here).await;
    let log = scope().key(KeyNamespace::Revocation, "log");
    assert_eq!(store.entries(&log).await, 100);
}

#[tokio::test]
async fn a_replica_that_reads_revocations_and_cannot_publish_is_not_stale() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let here = replica(&store, &clock);
    read(&clock, &here).await;
    store.set(Fails::Full);
    assert!(here.revoke(RevocationTarget::User("usr_1"), HOUR).await.is_err());
    for _ in 0..3 {
        clock.advance(STALENESS.after);
        read(&clock, &here).await;
        assert!(!here.rejects_requests());
    }
}

#[tokio::test]
async fn a_new_login_is_valid_on_every_replica_after_the_store_lost_the_last_revocation() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    drop(begin(&here).await);
    let counter = scope().key(KeyNamespace::Revocation, "counter");
    let before = store.get(&counter).await.unwrap().unwrap();
    here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    store.put(&counter, before, HOUR).await.unwrap();
    read(&clock, &here).await;
    let new = begin(&there).await;
    assert!(!here.is_revoked(&new));
}

#[tokio::test]
async fn entries_that_only_the_log_has_lost_are_published_again() {
    for read_before in [false, true] {
        let clock = SteppedClock::steady();
        let store = TestStore::new(&clock);
        let here = replica(&store, &clock);
        let old = begin(&here).await;
        read(&clock, &here).await;
        if !read_before {
            store.set(Fails::LosesEntries);
        }
        here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
        here.revoke(RevocationTarget::Record("two"), HOUR).await.unwrap();
        store.set(Fails::Not);
        if read_before {
            read(&clock, &here).await;
            store.lose_log(&clock, None).await;
        }
        // Notices and publishes.
        read(&clock, &here).await;
        let late = replica(&store, &clock);
        read(&clock, &late).await;
        assert!(late.is_revoked(&old) && late.is_record_id_revoked("two"), "{read_before}");
        assert!(!late.is_revoked(&begin(&late).await));
        // Once.
        let log = scope().key(KeyNamespace::Revocation, "log");
        read(&clock, &here).await;
        read(&clock, &here).await;
        assert_eq!(store.entries(&log).await, 2);
    }
}

#[tokio::test]
async fn expired_revocations_are_not_published_again() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let here = replica(&store, &clock);
    here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    here.revoke(RevocationTarget::Record("two"), HOUR).await.unwrap();
    read(&clock, &here).await;
    clock.advance(2 * HOUR);
    store.lose_log(&clock, None).await;
    read(&clock, &here).await;
    read(&clock, &here).await;
    assert_eq!(store.entries(&scope().key(KeyNamespace::Revocation, "log")).await, 0);
}

#[tokio::test]
async fn an_old_revocation_that_a_replica_has_dropped_is_not_made_again() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    here.revoke(RevocationTarget::User("usr_1"), 24 * HOUR).await.unwrap();
    read(&clock, &there).await;
    clock.advance(HOUR);
    let session = begin(&there).await;
    there.revoke(RevocationTarget::User("other"), HOUR).await.unwrap();
    drop(std::mem::take(&mut there.state.known().revocations));
    store.lose_log(&clock, None).await;
    read(&clock, &here).await;
    read(&clock, &there).await;
    read(&clock, &there).await;
    assert!(!there.is_revoked(&session) && !here.is_revoked(&session));
}

#[tokio::test]
async fn a_revocation_with_a_number_that_was_assigned_before_covers_earlier_sessions() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let here = replica(&store, &clock);
    drop(begin(&here).await);
    let counter = scope().key(KeyNamespace::Revocation, "counter");
    let before = store.get(&counter).await.unwrap();
    for number in 0..100 {
        here.revoke(RevocationTarget::User(&format!("other {number}")), HOUR).await.unwrap();
    }
    let session = begin(&here).await;
    read(&clock, &here).await;
    // A replica without the last writes becomes the primary.
    store.lose_log(&clock, before).await;
    let elsewhere = replica(&store, &clock);
    elsewhere.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    for _ in 0..2 {
        read(&clock, &here).await;
        read(&clock, &elsewhere).await;
    }
    assert!(here.is_revoked(&session) && elsewhere.is_revoked(&session));
    let late = replica(&store, &clock);
    read(&clock, &late).await;
    assert!(late.is_revoked(&session));
    for one in [&here, &elsewhere, &late] {
        assert!(!one.is_revoked(&begin(one).await));
    }
}

#[tokio::test]
async fn a_login_after_the_loss_of_the_counter_is_valid_on_a_replica_that_starts_then() {
    for begins_there in [false, true] {
        let clock = SteppedClock::steady();
        let store = TestStore::new(&clock);
        let here = replica(&store, &clock);
        let old = begin(&here).await;
        here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
        store.lose_state(&clock);
        // Once to notice, once to publish.
        read(&clock, &here).await;
        read(&clock, &here).await;
        let late = replica(&store, &clock);
        let new = begin(if begins_there { &late } else { &here }).await;
        // Requests wait for the read, not for what follows in the background.
        let background = late.state.republishing.lock().await;
        late.state.join_read().await;
        assert!(late.is_revoked(&old) && !late.is_revoked(&new), "{begins_there}");
        drop(background);
    }
}

#[tokio::test]
async fn a_revocation_after_the_loss_of_the_counter_covers_earlier_sessions_when_it_is_read() {
    for counter_fails in [false, true] {
        let clock = SteppedClock::steady();
        let store = TestStore::new(&clock);
        let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
        let old = begin(&there).await;
        read(&clock, &there).await;
        let counter = scope().key(KeyNamespace::Revocation, "counter");
        let lost = store.get(&counter).await.unwrap().unwrap();
        assert!(store.remove_if(&counter, lost).await.unwrap());
        here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
        read_now(&here).await;
        let background = there.state.republishing.lock().await;
        if counter_fails {
            // The page is read, the counter is not.
            store.set(Fails::Some { bits: 0b10, have_effect: false });
        }
        there.state.join_read().await;
        assert!(there.is_revoked(&old), "{counter_fails}");
        drop(background);
        store.set(Fails::Not);
        assert!(!there.is_revoked(&begin(&there).await), "{counter_fails}");
    }
}

#[tokio::test]
async fn a_loss_during_the_repair_of_another_loses_no_ended_session() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    for id in ["known", "missing"] {
        here.revoke(RevocationTarget::Record(id), HOUR).await.unwrap();
    }
    read(&clock, &here).await;
    store.lose_log(&clock, None).await;
    there.revoke(RevocationTarget::Record("known"), HOUR).await.unwrap();
    clock.advance(Duration::from_secs(2));
    let background = here.state.republishing.lock().await;
    here.state.join_read().await;
    store.set(Fails::Yields);
    let mut repair = Box::pin(here.state.publish_lost());
    assert!(futures::poll!(&mut repair).is_pending(), "the entry is being appended");
    store.set(Fails::Not);
    store.lose_log(&clock, None).await;
    here.state.known().note_loss();
    repair.await.unwrap();
    drop(background);
    // Once to notice, once to publish.
    read(&clock, &here).await;
    read(&clock, &here).await;
    let late = replica(&store, &clock);
    read(&clock, &late).await;
    assert!(late.is_record_id_revoked("known") && late.is_record_id_revoked("missing"));
}

#[tokio::test]
async fn an_outdated_read_of_the_counter_is_no_loss_if_the_next_one_fails() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    drop(begin(&here).await);
    store.set(Fails::Lags);
    there.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    let newer = there.state.known().position.unwrap();
    here.state.known().observe(newer);
    // An outdated number is read and not replaced.
    store.set(Fails::Some { bits: 0b100, have_effect: false });
    assert!(here.position().await.unwrap().begun_by.is_some(), "the counter was not read again");
    assert_eq!(here.state.known().losses, 0);
}

#[tokio::test]
async fn a_restored_backup_of_the_store_undoes_no_revocation() {
    for has_other in [false, true] {
        let clock = SteppedClock::steady();
        let store = TestStore::new(&clock);
        let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
        let (old, _) = (begin(&there).await, begin(&here).await);
        read(&clock, &there).await;
        let backup = store.memory();
        if has_other {
            // The same state, which the backup does not share.
            store.lose_log(&clock, None).await;
            // Its key is after that of the user.
            let id = (0..).map(|number| format!("usr_other_{number}")).find(|id| {
                RevocationTarget::User(id).key() > RevocationTarget::User("usr_1").key()
            });
            here.revoke(RevocationTarget::User(&id.unwrap()), HOUR).await.unwrap();
        }
        store.lose_state(&clock);
        drop(begin(&here).await);
        here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
        read(&clock, &there).await;
        assert!(there.is_revoked(&old) && here.is_revoked(&old));

        store.restore(backup);
        for one in [&here, &there, &here, &there] {
            read(&clock, one).await;
            assert!(one.is_revoked(&old), "{has_other}");
        }
        let late = replica(&store, &clock);
        read(&clock, &late).await;
        for one in [&here, &there, &late] {
            assert!(one.is_revoked(&old) && !one.is_revoked(&begin(one).await), "{has_other}");
        }
    }
}

#[tokio::test]
async fn an_outdated_read_of_another_counter_is_no_loss() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    drop(begin(&here).await);
    let counter = scope().key(KeyNamespace::Revocation, "counter");
    let earlier = store.get(&counter).await.unwrap().unwrap();
    store.lose_state(&clock);
    // The second one has never seen the first counter.
    let both = [begin(&here).await, begin(&there).await];
    store.show_earlier(&counter, earlier);
    for (one, session) in [here, there].iter().zip(both) {
        let losses = one.state.known().losses;
        assert_eq!(begin(one).await.position, session.position);
        assert_eq!(one.state.known().losses, losses);
    }
}

#[tokio::test]
async fn a_session_is_checked_again_when_the_counter_of_a_known_revocation_turns_out_to_be_newer() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let old = begin(&there).await;
    let counter = scope().key(KeyNamespace::Revocation, "counter");
    let earlier = store.get(&counter).await.unwrap().unwrap();
    assert!(store.remove_if(&counter, earlier.clone()).await.unwrap());
    here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    store.show_earlier(&counter, earlier);
    read(&clock, &there).await;
    let (checked, was_revoked) = (there.change_count(), there.is_revoked(&old));
    store.catch_up().await;
    drop(begin(&there).await);
    assert!(!was_revoked && there.is_revoked(&old) && there.change_count() > checked);
}
