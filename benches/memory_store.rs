//! The longest pause of a write to the memory store while it grows to a million values, and while
//! those expire: `cargo bench --bench memory_store`. Time in which other programs have the processor is
//! left out, where the system tells it.

use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use time::OffsetDateTime;
use tower_scalekit::clock::ManualClock;
use tower_scalekit::shared_store::{KeyNamespace, MemoryStore, SharedStore, StoreKey, StoreScope};

const VALUES: usize = 1_000_000;
const MINUTE: Duration = Duration::from_secs(60);
/// Shorter ones are not compared with the time of other programs.
const PAUSE: Duration = Duration::from_millis(1);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let scope = StoreScope::new(["bench"]);
    let log = scope.key(KeyNamespace::Revocation, "log");
    println!("{:<10}{:>20}{:>20}", "write", "growing, longest", "expiring, longest");
    for appends in [false, true] {
        let clock = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        let store = MemoryStore::with_max_bytes(clock.clock(), usize::MAX);
        let (mut longest, mut waited) = ([Duration::ZERO; 2], time_waited());
        for (phase, longest) in longest.iter_mut().enumerate() {
            for number in 0..VALUES {
                let key: StoreKey = scope.key(KeyNamespace::Refresh, &format!("{phase} {number}"));
                let value = Bytes::from_static(b"a value");
                let started = Instant::now();
                if appends {
                    store.append(&log, value, MINUTE).await.unwrap();
                } else {
                    store.put(&key, value, MINUTE).await.unwrap();
                }
                let mut pause = started.elapsed();
                if pause > PAUSE {
                    let before = std::mem::replace(&mut waited, time_waited());
                    pause = pause.saturating_sub(waited.saturating_sub(before));
                }
                *longest = (*longest).max(pause);
            }
            clock.advance(MINUTE);
        }
        let [growing, expiring] = longest.map(|longest| format!("{longest:.1?}"));
        let write = if appends { "append" } else { "put" };
        println!("{write:<10}{growing:>20}{expiring:>20}");
    }
}

/// How long this thread has waited for a processor.
fn time_waited() -> Duration {
    let times = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = times.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}
