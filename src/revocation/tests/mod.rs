mod coverage;
mod losses;
mod order;

use bytes::Bytes;
use tokio::time::Instant;

use super::log::MAX_PAGES;
use super::test_store::{Fails, TestStore};
use super::*;
use crate::clock::testing::SteppedClock;
use crate::shared_store::{MemoryStore, SharedStore};

const HOUR: Duration = Duration::from_secs(60 * 60);

const STALENESS: Staleness = Staleness { after: Duration::from_secs(60), rejects: true };

fn scope() -> StoreScope {
    StoreScope::new(["test"])
}

fn replica(store: &(impl SharedStore + Clone), clock: &SteppedClock) -> Revocations {
    Revocations::new(TimedStore::new(store.clone()), &scope(), clock.clock(), true, STALENESS, HOUR)
}

fn alone(clock: &SteppedClock) -> Revocations {
    Revocations::new(
        TimedStore::new(MemoryStore::new(clock.clock())),
        &scope(),
        clock.clock(),
        false,
        STALENESS,
        HOUR,
    )
}

fn replicas(clock: &SteppedClock) -> [Revocations; 2] {
    let store = Arc::new(MemoryStore::new(clock.clock()));
    [replica(&store, clock), replica(&store, clock)]
}

impl Revocations {
    async fn revoke(
        &self,
        target: RevocationTarget<'_>,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        self.publish(self.record(target, None, lifetime).as_slice()).await
    }

    async fn revoke_issued_until(
        &self,
        issued_until: i64,
        target: RevocationTarget<'_>,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        self.publish(self.record(target, Some(issued_until), lifetime).as_slice()).await
    }
}

fn named(id: &str, position: RecordedPosition, issued_at: Option<i64>) -> RevocableSession {
    let targets = [
        RevocationTarget::Record(id),
        RevocationTarget::User("usr_1"),
        RevocationTarget::Organization("org_1"),
    ];
    RevocableSession::new(targets, position, issued_at)
}

async fn begin(revocations: &Revocations) -> RevocableSession {
    named("one", revocations.position().await.unwrap(), None)
}

async fn read(clock: &SteppedClock, revocations: &Revocations) {
    clock.advance(Duration::from_millis(2000));
    assert!(revocations.pending_read().is_some(), "the last reading is too old");
    read_now(revocations).await;
}

async fn read_now(revocations: &Revocations) {
    revocations.state.join_read().await;
    if let Some(write) = revocations.state.writes.get(&()) {
        write.await;
    }
}

#[tokio::test]
async fn a_revocation_takes_effect_here_at_once_and_elsewhere_within_two_seconds() {
    for clock in SteppedClock::each() {
        let [here, there] = replicas(&clock);
        there.pending_read().expect("nothing was read yet").await;
        let before = (here.change_count(), there.change_count());
        here.revoke(RevocationTarget::Record("one"), HOUR).await.unwrap();
        let position = here.position().await.unwrap();
        let [one, two] = ["one", "two"].map(|id| named(id, position, None));
        assert!(here.is_revoked(&one) && !here.is_revoked(&two));
        assert!(here.change_count() > before.0);

        clock.advance(Duration::from_millis(1999));
        assert!(there.pending_read().is_none(), "read in the background");
        read(&clock, &there).await;
        assert!(
            there.is_revoked(&one) && !there.is_revoked(&two) && there.change_count() > before.1
        );
    }
}

#[tokio::test]
async fn a_login_after_a_revocation_survives_it_and_one_before_does_not() {
    for clock in SteppedClock::each() {
        let [here, there] = replicas(&clock);
        let alone = alone(&clock);
        for (first, second) in [(&here, &here), (&here, &there), (&there, &here), (&alone, &alone)]
        {
            for revoked in
                [RevocationTarget::User("usr_1"), RevocationTarget::Organization("org_1")]
            {
                let old = begin(first).await;
                clock.advance(Duration::from_millis(0));
                second.revoke(revoked, HOUR).await.unwrap();
                clock.advance(Duration::from_millis(0));
                let new = begin(first).await;
                if first.state.has_peers {
                    read(&clock, first).await;
                    read(&clock, second).await;
                }
                for replica in [first, second] {
                    assert!(replica.is_revoked(&old), "{:?}", clock.step);
                    assert!(!replica.is_revoked(&new), "{:?}", clock.step);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_late_event_with_its_own_time_does_not_end_later_logins() {
    for clock in SteppedClock::each() {
        let [here, there] = replicas(&clock);
        let position = here.position().await.unwrap();
        let [old, same_second, new, unknown] =
            [Some(90), Some(100), Some(101), None].map(|at| named("one", position, at));
        for _ in 0..2 {
            here.revoke_issued_until(100, RevocationTarget::User("usr_1"), HOUR).await.unwrap();
            // An event with an earlier time, delivered later.
            here.revoke_issued_until(50, RevocationTarget::User("usr_1"), HOUR).await.unwrap();
            read(&clock, &there).await;
            for replica in [&here, &there] {
                assert!(replica.is_revoked(&old) && replica.is_revoked(&same_second));
                assert!(replica.is_revoked(&unknown) && !replica.is_revoked(&new));
            }
        }
        // Sessions that began after the event arrived are later, whatever `iat` their tokens have.
        assert!(!there.is_revoked(&named("one", here.position().await.unwrap(), Some(90))));
    }
}

#[tokio::test]
async fn concurrent_revocations_and_logins_on_many_replicas_keep_their_order() {
    let clock = SteppedClock::steady();
    let store = Arc::new(MemoryStore::new(clock.clock()));
    let all: Vec<_> = (0..8).map(|_| replica(&store, &clock)).collect();
    let old = futures::future::join_all(all.iter().map(begin)).await;
    let revoked = all.iter().map(|one| one.revoke(RevocationTarget::User("usr_1"), HOUR));
    assert!(futures::future::join_all(revoked).await.iter().all(Result::is_ok));
    let new = futures::future::join_all(all.iter().map(begin)).await;
    for one in &all {
        read(&clock, one).await;
        assert!(old.iter().all(|session| one.is_revoked(session)));
        assert!(!new.iter().any(|session| one.is_revoked(session)));
    }
}

#[tokio::test]
async fn a_session_of_an_unknown_position_is_older_than_every_revocation() {
    let clock = SteppedClock::steady();
    let ([here, there], alone) = (replicas(&clock), alone(&clock));
    let elsewhere = self::alone(&clock);
    let (none, other) = (named("one", RecordedPosition::default(), None), begin(&elsewhere).await);
    assert!(!here.is_revoked(&none) && !alone.is_revoked(&other));
    for one in [&here, &alone] {
        one.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    }
    read(&clock, &there).await;
    for one in [&here, &there, &alone] {
        assert!(one.is_revoked(&none) && one.is_revoked(&other));
        assert!(!one.is_revoked(&begin(one).await));
    }
}

#[tokio::test]
async fn at_capacity_logouts_are_retained_without_their_position() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let logout = RevocationTarget::EnvironmentSession("ses_1");
    let position = here.position().await.unwrap();
    let [old, new] = [100, 101].map(|issued_at| {
        let targets = [RevocationTarget::Record("one"), RevocationTarget::User("usr_1"), logout];
        RevocableSession::new(targets, position, Some(issued_at))
    });
    let entry = Revocation {
        coverage: Coverage::At(Position { epoch: 0, number: 0 }),
        issued_until: 100,
        forget_at: clock.clock().monotonic() + HOUR,
        revoked_at: i64::MAX,
        made_by: None,
        is_published: true,
    };
    for number in 0..MAX_WITH_POSITION {
        let key = RevocationTarget::EnvironmentSession(&format!("other {number}")).key();
        here.state.known().revocations.insert(RevocationKey::new(key, Some(100), None), entry);
    }
    here.revoke_issued_until(100, logout, 2 * HOUR).await.unwrap();
    assert_eq!(here.state.known().revocations.len(), MAX_WITH_POSITION);
    read(&clock, &there).await;
    here.state.known().revocations = RevocationMap::default();
    store.lose_state(&clock);
    // Once to notice, once to publish.
    read(&clock, &here).await;
    read(&clock, &here).await;
    let late = replica(&store, &clock);
    read(&clock, &late).await;
    for one in [&here, &there, &late] {
        assert!(one.is_revoked(&old) && !one.is_revoked(&new));
    }
    here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    assert!(here.is_revoked(&new));
}

#[tokio::test]
async fn a_token_is_revoked_by_its_issue_time() {
    let clock = SteppedClock::steady();
    let [here, there] = replicas(&clock);
    read(&clock, &there).await;
    let now = clock.clock().now().unix_timestamp();
    let token = |issued_at| {
        let targets =
            [RevocationTarget::User("usr_1"), RevocationTarget::EnvironmentSession("ses_1")];
        RevocableToken::new(targets, issued_at)
    };
    // Clocks may differ by a minute.
    let [old, latest, new, unknown] = [Some(now), Some(now + 60), Some(now + 61), None].map(token);
    let revoked = [&old, &latest, &unknown];
    assert!(!revoked.iter().any(|token| there.is_token_revoked(token)));
    here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    read(&clock, &there).await;
    for one in [&here, &there] {
        assert!(revoked.iter().all(|token| one.is_token_revoked(token)));
        assert!(!one.is_token_revoked(&new));
    }
    // An event has the environment's own time.
    let [at, after] = [Some(now + 100), Some(now + 101)].map(token);
    let session = RevocationTarget::EnvironmentSession("ses_1");
    here.revoke_issued_until(now + 100, session, HOUR).await.unwrap();
    assert!(here.is_token_revoked(&at) && !here.is_token_revoked(&after));
}

#[tokio::test]
async fn a_later_revocation_elsewhere_covers_tokens_that_an_unpublished_one_does_not() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    read(&clock, &here).await;
    read(&clock, &there).await;
    let user = RevocationTarget::User("usr_1");
    store.set(Fails::Unavailable);
    here.revoke(user, HOUR).await.unwrap_err();
    store.set(Fails::Not);
    let key = RevocationKey::new(user.key(), None, Some(here.state.process));
    let unpublished = *here.state.known().revocations.get(&key).unwrap();

    clock.advance(Duration::from_secs(70));
    let issued_at = clock.clock().now().unix_timestamp();
    let token = RevocableToken::new([user], Some(issued_at));
    assert!(!here.is_token_revoked(&token), "issued after the revocation here");
    there.revoke(user, HOUR).await.unwrap();
    read(&clock, &here).await;
    assert!(here.is_token_revoked(&token));

    // A publication that began before the read.
    here.state.set_coverage(key, unpublished);
    here.state.note_published(key, unpublished);
    assert!(here.is_token_revoked(&RevocableToken::new([user], Some(issued_at))));
}

#[tokio::test]
async fn a_revocation_has_one_position_under_concurrent_logins() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let old = begin(&there).await;
    store.set(Fails::Yields);
    let revoked_then_begun = async {
        here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
        begin(&there).await
    };
    let logins = futures::future::join_all((0..8).map(|_| begin(&here)));
    let (new, _) = futures::future::join(revoked_then_begun, logins).await;
    read(&clock, &here).await;
    read(&clock, &there).await;
    for one in [&here, &there] {
        assert!(one.is_revoked(&old) && !one.is_revoked(&new));
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_revocations_wait_no_longer_than_one_while_the_store_hangs() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let here = replica(&store, &clock);
    let old = begin(&here).await;
    store.set(Fails::Hangs);
    let started = Instant::now();
    let revoked = (0..100).map(|_| here.revoke(RevocationTarget::User("usr_1"), HOUR));
    assert!(futures::future::join_all(revoked).await.iter().all(Result::is_err));
    assert!(started.elapsed() <= PUBLISH_TIMEOUT, "{:?}", started.elapsed());
    assert!(here.is_revoked(&old));
}

#[tokio::test(start_paused = true)]
async fn while_the_store_hangs_revocations_take_effect_here_but_not_on_later_logins() {
    for clock in SteppedClock::each() {
        let store = TestStore::new(&clock);
        let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
        let [old, _] = [begin(&there).await, begin(&here).await];
        store.set(Fails::Hangs);
        let read_there = there.pending_read().expect("nothing was read yet");
        // Time passes while the store hangs.
        clock.advance(Duration::from_millis(30_000));
        read_there.await;
        assert!(there.pending_read().is_none(), "requests are authorized by the known revocations");

        let before = begin(&here).await;
        assert!(here.revoke(RevocationTarget::User("usr_1"), HOUR).await.is_err());
        let after = begin(&here).await;
        for session in [&old, &before] {
            assert!(here.is_revoked(session));
        }
        assert!(!here.is_revoked(&after));

        store.set(Fails::Not);
        read(&clock, &here).await;
        read(&clock, &there).await;
        for one in [&here, &there] {
            assert!(
                one.is_revoked(&old)
                    && one.is_revoked(&before)
                    && !one.is_revoked(&after)
                    && !one.is_revoked(&begin(one).await)
            );
        }
    }
}

#[tokio::test]
async fn an_endless_or_repeating_log_is_read_for_a_limited_time() {
    for (fails, learned) in [(Fails::NeverEnds, true), (Fails::RepeatsPages, true)] {
        let clock = SteppedClock::steady();
        let store = TestStore::new(&clock);
        let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
        let old = begin(&here).await;
        read(&clock, &there).await;
        here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
        read(&clock, &here).await;
        store.set(fails);
        store.take_reads();
        read(&clock, &there).await;
        assert!(store.take_reads() <= MAX_PAGES);
        assert_eq!(there.is_revoked(&old), learned);
        assert!(!there.is_revoked(&begin(&here).await));
        assert!(there.pending_read().is_none(), "the next read is not due yet");
        assert!(there.rejects_requests(), "it may have more revocations");
        assert!(!there.state.is_stale.load(Ordering::SeqCst));

        clock.advance(Duration::from_millis(60_000));
        read(&clock, &there).await;
        assert!(there.rejects_requests());
        assert_eq!(there.state.is_stale.load(Ordering::SeqCst), fails == Fails::RepeatsPages);
        store.set(Fails::Not);
        read(&clock, &there).await;
        assert!(!there.rejects_requests());
    }
}

#[tokio::test]
async fn a_replica_is_stale_while_it_cannot_read_revocations() {
    for clock in SteppedClock::each() {
        let store = TestStore::new(&clock);
        let here = replica(&store, &clock);
        read(&clock, &here).await;
        store.set(Fails::Unavailable);
        read(&clock, &here).await;
        assert!(!here.rejects_requests());
        clock.advance(Duration::from_millis(55_999));
        read(&clock, &here).await;
        assert!(!here.rejects_requests());
        read(&clock, &here).await;
        assert!(here.rejects_requests());
        store.set(Fails::Not);
        read(&clock, &here).await;
        assert!(!here.rejects_requests());
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_idle_is_not_stale_while_it_reads_a_long_log() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let old = begin(&here).await;
    read(&clock, &there).await;
    for number in 0..10_000 {
        here.revoke(RevocationTarget::Record(&number.to_string()), 2 * HOUR).await.unwrap();
    }
    here.revoke(RevocationTarget::User("usr_1"), 2 * HOUR).await.unwrap();
    clock.advance(HOUR);
    store.set(Fails::ReadsSlowly);
    read(&clock, &there).await;
    assert!(there.rejects_requests() && !there.is_revoked(&old), "it has not read all of it");
    read(&clock, &there).await;
    read(&clock, &there).await;
    assert!(!there.rejects_requests() && there.is_revoked(&old));
    // An outage is reported at once.
    assert!(!there.state.is_stale.load(Ordering::SeqCst));
    clock.advance(HOUR);
    store.set(Fails::Unavailable);
    read(&clock, &there).await;
    assert!(there.state.is_stale.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_replica_without_requests_reads_the_log_when_it_revokes() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, webhooks] = [replica(&store, &clock), replica(&store, &clock)];
    let old = begin(&here).await;
    here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    webhooks.revoke(RevocationTarget::User("usr_2"), HOUR).await.unwrap();
    if let Some(read) = webhooks.state.reads.get(&()) {
        read.await;
    }
    assert!(webhooks.is_revoked(&old));
}

#[tokio::test]
async fn entries_that_cannot_be_read_hide_no_later_ones() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let old = begin(&here).await;
    for number in 0..1000 {
        here.revoke(RevocationTarget::Record(&number.to_string()), HOUR).await.unwrap();
    }
    here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
    store.set(Fails::SkipsFirstPage);
    read(&clock, &there).await;
    assert!(there.is_revoked(&old) && !there.is_record_id_revoked("7"));
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_makes_a_replica_stale_while_what_it_revokes_may_be_alive() {
    for of_the_store in [false, true] {
        let clock = SteppedClock::steady();
        let store = TestStore::new(&clock);
        let here = replica(&store, &clock);
        read(&clock, &here).await;
        if of_the_store {
            store.set(Fails::SkipsFirstPage);
        }
        let newer = Bytes::from(r#"{"revoked":"in another way"}"#);
        let log = scope().key(KeyNamespace::Revocation, "log");
        store.append(&log, newer, 2 * HOUR).await.unwrap();
        read(&clock, &here).await;
        assert!(!here.rejects_requests(), "the last complete read is recent");
        clock.advance(Duration::from_secs(60));
        read(&clock, &here).await;
        assert!(here.rejects_requests());
        let started_later = replica(&store, &clock);
        read(&clock, &started_later).await;
        assert!(started_later.rejects_requests(), "it has read no complete log");
        clock.advance(HOUR - Duration::from_secs(70));
        read(&clock, &here).await;
        assert!(here.rejects_requests());
        clock.advance(Duration::from_secs(10));
        read(&clock, &here).await;
        assert!(!here.rejects_requests(), "no session of that time is alive");
    }
}

#[tokio::test]
async fn a_full_store_blocks_no_revocation_here() {
    let clock = SteppedClock::steady();
    let store = TestStore::new(&clock);
    let [here, there] = [replica(&store, &clock), replica(&store, &clock)];
    let old = begin(&here).await;
    store.set(Fails::Full);
    assert!(here.revoke(RevocationTarget::User("usr_1"), HOUR).await.is_err());
    assert!(here.is_revoked(&old));
    store.set(Fails::Not);
    read(&clock, &here).await;
    read(&clock, &there).await;
    assert!(there.is_revoked(&old));
}

#[tokio::test]
async fn revocations_are_removed_when_no_covered_session_can_be_alive() {
    for clock in SteppedClock::each() {
        let [here, _] = replicas(&clock);
        for number in 0..1000 {
            let lifetime = Duration::from_secs(1);
            here.revoke(RevocationTarget::Record(&number.to_string()), lifetime).await.unwrap();
            clock.advance(Duration::from_millis(500));
        }
        assert!(here.state.known().revocations.len() == 0 && here.state.known().ended.len() < 10);
        let old = begin(&here).await;
        here.revoke(RevocationTarget::User("usr_1"), HOUR).await.unwrap();
        clock.advance(Duration::from_millis(1000 * 60 * 60 - 1));
        for number in 0..100 {
            here.revoke(RevocationTarget::Record(&number.to_string()), HOUR).await.unwrap();
        }
        assert!(here.is_revoked(&old), "it is retained for as long as it may be needed");
    }
}
