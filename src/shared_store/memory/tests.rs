use super::super::StoreScope;
use super::*;
use crate::clock::testing::SteppedClock;

const MINUTE: Duration = Duration::from_secs(60);

fn scoped(namespace: KeyNamespace, id: &str) -> StoreKey {
    StoreScope::new(["test"]).key(namespace, id)
}

fn key(id: &str) -> StoreKey {
    scoped(KeyNamespace::Refresh, id)
}

fn webhook(id: usize) -> StoreKey {
    scoped(KeyNamespace::WebhookEvent, &format!("msg_{id:05}"))
}

/// A store with room for about this many small values of each namespace.
fn store(clock: &SteppedClock, values: usize) -> MemoryStore {
    let one = Shard::cost(&key("a"), &Bytes::from("v"));
    MemoryStore::with_max_bytes(clock.clock(), values * one)
}

fn bytes(store: &MemoryStore, namespace: KeyNamespace) -> usize {
    store.usage(namespace).unwrap().bytes.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_lease_is_acquired_once_replaced_and_released() {
    for clock in SteppedClock::each() {
        let store = store(&clock, 10);
        let (mine, yours) = (Bytes::from("mine"), Bytes::from("yours"));
        assert!(store.put_if_absent(&key("lease"), mine.clone(), MINUTE).await.unwrap());
        clock.advance(MINUTE / 2);
        assert!(!store.put_if_absent(&key("lease"), yours.clone(), MINUTE).await.unwrap());
        assert!(!store.remove_if(&key("lease"), yours.clone()).await.unwrap());
        let lease = key("lease");
        let replaced = store.replace_if(&lease, yours.clone(), mine.clone(), MINUTE);
        assert!(!replaced.await.unwrap());
        assert!(store.replace_if(&key("lease"), mine, yours.clone(), MINUTE).await.unwrap());
        clock.advance(MINUTE / 2);
        assert_eq!(store.get(&key("lease")).await.unwrap(), Some(yours.clone()));
        assert!(store.remove_if(&key("lease"), yours).await.unwrap());
        assert_eq!(store.get(&key("lease")).await.unwrap(), None);
        assert_eq!(bytes(&store, KeyNamespace::Refresh), 0);
    }
}

#[tokio::test]
async fn an_expired_value_counts_as_absent() {
    for clock in SteppedClock::each() {
        let store = store(&clock, 10);
        let value = Bytes::from("v");
        store.put(&key("k"), value.clone(), MINUTE).await.unwrap();
        clock.advance(MINUTE);
        assert_eq!(store.get(&key("k")).await.unwrap(), None);
        let k = key("k");
        let replaced = store.replace_if(&k, value.clone(), value.clone(), MINUTE);
        assert!(!replaced.await.unwrap());
        assert!(!store.remove_if(&key("k"), value.clone()).await.unwrap());
        assert!(store.put_if_absent(&key("k"), value, MINUTE).await.unwrap());
    }
}

#[tokio::test]
async fn a_full_namespace_rejects_new_values_loses_none_and_affects_no_other() {
    for clock in SteppedClock::each() {
        let store = store(&clock, 2);
        for id in ["a", "b"] {
            store.put(&key(id), Bytes::from("v"), MINUTE).await.unwrap();
        }
        let full = store.put(&key("c"), Bytes::new(), MINUTE).await.unwrap_err();
        assert!(matches!(full, StoreError::Full { namespace: KeyNamespace::Refresh, .. }));
        assert!(full.to_string().contains(&store.max_bytes.to_string()), "{full}");
        assert!(store.put_if_absent(&key("c"), Bytes::new(), MINUTE).await.is_err());
        store.put(&key("a"), Bytes::from("w"), MINUTE).await.unwrap();
        assert_eq!(store.get(&key("b")).await.unwrap(), Some(Bytes::from("v")));
        let other = scoped(KeyNamespace::IdpInitiatedLogin, "c");
        assert!(store.put_if_absent(&other, Bytes::new(), MINUTE).await.unwrap());
        clock.advance(MINUTE);
        store.put(&key("c"), Bytes::new(), MINUTE).await.unwrap();
    }
}

#[tokio::test]
async fn large_values_use_up_the_bound_sooner_and_shrinking_one_always_works() {
    let clock = SteppedClock::steady();
    let store = MemoryStore::with_max_bytes(clock.clock(), 10_000);
    store.put(&key("a"), vec![0; 9000].into(), MINUTE).await.unwrap();
    assert!(store.put(&key("b"), vec![0; 9000].into(), MINUTE).await.is_err());
    assert!(store.put(&key("a"), vec![0; 10_000].into(), MINUTE).await.is_err());
    store.put(&key("a"), Bytes::from("ended"), MINUTE).await.unwrap();
    store.put(&key("b"), vec![0; 9000].into(), MINUTE).await.unwrap();
}

#[tokio::test]
async fn expired_values_are_removed_in_small_steps() {
    let clock = SteppedClock::steady();
    let store = MemoryStore::new(clock.clock());
    for number in 0..20_000 {
        store.put(&key(&number.to_string()), Bytes::new(), MINUTE).await.unwrap();
        clock.advance(Duration::from_millis(100));
    }
    let kept = bytes(&store, KeyNamespace::Refresh) / Shard::cost(&key("10000"), &Bytes::new());
    assert!(kept <= 2 * 600, "{kept}");
    assert!(store.get(&key("19999")).await.unwrap().is_some());
}

#[tokio::test]
async fn revocations_have_no_bound() {
    let clock = SteppedClock::steady();
    let store = store(&clock, 2);
    let log = scoped(KeyNamespace::Revocation, "log");
    for number in 0..100 {
        let tombstone = scoped(KeyNamespace::Revocation, &number.to_string());
        store.put(&tombstone, Bytes::from("v"), MINUTE).await.unwrap();
        store.append(&log, Bytes::from("v"), MINUTE).await.unwrap();
    }
    assert!(store.usage(KeyNamespace::Revocation).unwrap().is_nearly_full.load(Ordering::SeqCst));
    clock.advance(MINUTE);
    for _ in 0..SHARDS {
        store.append(&log, Bytes::from("v"), Duration::ZERO).await.unwrap();
    }
    assert!(!store.usage(KeyNamespace::Revocation).unwrap().is_nearly_full.load(Ordering::SeqCst));
}

#[tokio::test]
async fn only_webhook_messages_completed_half_an_hour_ago_make_room() {
    for clock in SteppedClock::each() {
        let store = store(&clock, 20);
        let day = MINUTE * 60 * 24;
        let mut stored = 0;
        while store.put(&webhook(stored), Bytes::from("done 200"), day).await.is_ok() {
            stored += 1;
        }
        assert!(stored > 10);
        clock.advance(RETRY_SCHEDULE - Duration::from_secs(1));
        assert!(store.put(&webhook(99), Bytes::from("running"), day).await.is_err());
        clock.advance(Duration::from_secs(1));
        for number in 0..stored {
            store.put(&webhook(100 + number), Bytes::from("running"), day).await.unwrap();
        }
        assert!(store.put(&webhook(99), Bytes::from("running"), day).await.is_err());
        clock.advance(RETRY_SCHEDULE);
        assert!(store.put(&webhook(99), Bytes::from("running"), day).await.is_err());
    }
}

#[tokio::test]
async fn expired_values_of_other_namespaces_do_not_keep_a_full_namespace_full() {
    let clock = SteppedClock::steady();
    let store = store(&clock, 20_000);
    for number in 0..19_000 {
        let wrong_code = scoped(KeyNamespace::WrongCode, &number.to_string());
        store.put(&wrong_code, Bytes::from("v"), MINUTE).await.unwrap();
    }
    clock.advance(Duration::from_secs(1));
    let mut stored = 0;
    while store.put(&key(&stored.to_string()), Bytes::from("v"), MINUTE).await.is_ok() {
        stored += 1;
    }
    clock.advance(MINUTE);
    for number in 0..100 {
        store.put(&key(&format!("new {number}")), Bytes::from("v"), MINUTE).await.unwrap();
    }
}

#[tokio::test]
async fn completed_messages_that_have_expired_use_no_memory() {
    let clock = SteppedClock::steady();
    let store = MemoryStore::new(clock.clock());
    let day = MINUTE * 60 * 24;
    // An older message of another endpoint is retained for longer.
    for number in 0..2000 {
        store.put(&webhook(90_000 + number), Bytes::from("done 200"), day).await.unwrap();
    }
    for number in 0..40_000 {
        store.put(&webhook(number), Bytes::from("done 200"), MINUTE).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    let handled: usize = store.shards.iter().map(|shard| shard.lock().unwrap().handled()).sum();
    assert!(handled < 3 * 2000 + SHARDS * 65, "{handled}");
}

#[tokio::test]
async fn a_log_is_read_in_order_from_any_cursor() {
    for clock in SteppedClock::each() {
        let store = store(&clock, 4);
        let log = scoped(KeyNamespace::Session, "log");
        let empty = store.read_since(&log, LogCursor::start()).await.unwrap();
        assert!(empty.entries.is_empty());
        for entry in ["1", "2"] {
            store.append(&log, Bytes::from(entry), MINUTE).await.unwrap();
        }
        let first = store.read_since(&log, empty.next).await.unwrap();
        assert_eq!(first.entries, ["1", "2"]);
        clock.advance(MINUTE / 2);
        store.append(&log, Bytes::from("3"), MINUTE).await.unwrap();
        let full = store.append(&log, vec![0; 600].into(), MINUTE).await.unwrap_err();
        assert!(matches!(full, StoreError::Full { namespace: KeyNamespace::Session, .. }));
        clock.advance(MINUTE / 2);
        store.append(&log, Bytes::from("4"), MINUTE).await.unwrap();
        let second = store.read_since(&log, first.next).await.unwrap();
        assert_eq!(second.entries, ["3", "4"]);
        let third = store.read_since(&log, second.next).await.unwrap();
        assert!(third.entries.is_empty());
        assert_eq!(store.read_since(&log, LogCursor::start()).await.unwrap().entries, ["3", "4"]);
        // Also after all entries have expired.
        clock.advance(2 * MINUTE);
        store.append(&log, Bytes::from("5"), MINUTE).await.unwrap();
        assert_eq!(store.read_since(&log, third.next).await.unwrap().entries, ["5"]);
    }
}

#[tokio::test]
async fn a_long_log_is_read_in_pages() {
    let clock = SteppedClock::steady();
    let store = MemoryStore::new(clock.clock());
    let log = scoped(KeyNamespace::Session, "log");
    for number in 0..2500_u32 {
        store.append(&log, number.to_string().into(), MINUTE).await.unwrap();
    }
    let (mut read, mut cursor) = (Vec::new(), LogCursor::start());
    loop {
        let page = store.read_since(&log, cursor).await.unwrap();
        if page.entries.is_empty() {
            break;
        }
        read.extend(page.entries);
        cursor = page.next;
    }
    assert_eq!(read.len(), 2500);
    assert!(read.iter().enumerate().all(|(index, entry)| *entry == index.to_string()));
}

#[tokio::test]
async fn used_bytes_are_those_of_all_namespaces() {
    let clock = SteppedClock::steady();
    let store = store(&clock, 10);
    let keys = [scoped(KeyNamespace::Refresh, "a"), scoped(KeyNamespace::Session, "b")];
    for key in &keys {
        store.put(key, Bytes::from("value"), MINUTE).await.unwrap();
    }
    let expected: usize = keys.iter().map(|key| bytes(&store, key.namespace())).sum();
    assert_eq!(store.used_bytes(), expected);
    clock.advance(MINUTE);
    for _ in 0..SHARDS {
        store.put(&key("c"), Bytes::from("value"), Duration::ZERO).await.unwrap();
    }
    assert!(store.used_bytes() < expected);
}
