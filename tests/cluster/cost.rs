//! The cost of Redis for a request.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};

use crate::figures::Figures;
use crate::site::{Jar, Outcome, Replica, Site};
use crate::store::Store;

const CONCURRENCY: usize = 16;
/// Commands that a read of the revocations consists of, and such reads per second.
const READ: f64 = 8.0;

/// Counts the commands for warm requests, and compares the CPU time with that of a process without
/// Redis in pairs of runs.
pub(crate) async fn measure(site: &Site, requests: usize, runs: usize, figures: &mut Figures) {
    let Store::Single { redis, .. } = &site.store else { return };
    let (with, without) = (&site.replicas[0], site.start_alone());
    let jar = site.log_in("jane@acme.test").await;
    for replica in [with, &without] {
        send(site, replica, &jar, CONCURRENCY).await;
    }
    redis.reset_calls().await;
    let started = Instant::now();
    send(site, with, &jar, requests).await;
    let seconds = started.elapsed().as_secs_f64();
    let calls: u64 = redis.calls().await.iter().map(|(_, calls)| calls).sum();
    println!("cost: {calls} commands for {requests} requests in {seconds:.1} s");
    if calls as f64 > READ * (seconds + 2.0) {
        figures.wrong(format!("{requests} warm requests in {seconds:.1} s send {calls} commands"));
    }

    let mut times = [Vec::new(), Vec::new()];
    for run in 0..runs {
        // A new session is not refreshed during the run. The order alternates.
        let jar = site.log_in("jane@acme.test").await;
        for number in [run % 2, 1 - run % 2] {
            let replica = [with, &without][number];
            send(site, replica, &jar, CONCURRENCY).await;
            let before = replica.cpu_time();
            send(site, replica, &jar, requests).await;
            times[number].push(replica.cpu_time() - before);
        }
    }
    let per_request = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2] / requests as u32
    });
    let [with, without] = per_request.map(|time: Duration| time.as_secs_f64() * 1e6);
    let more = (with / without - 1.0) * 100.0;
    println!(
        "cost: {with:.1} µs of CPU time per request with Redis, {without:.1} µs without: {more:+.1} %"
    );
}

async fn send(site: &Site, replica: &Replica, jar: &Jar, requests: usize) {
    let sent = stream::iter(0..requests).map(|_| site.me(&replica.address, jar));
    let accepted = sent.buffer_unordered(CONCURRENCY);
    let accepted = accepted.filter(|outcome| {
        let is_accepted = matches!(outcome, Outcome::Accepted { .. });
        async move { is_accepted }
    });
    assert_eq!(accepted.count().await, requests);
}
