//! Counters, and assertions on them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peak_alloc::PeakAlloc;
use tokio::time::Instant;

use crate::store::Store;
use crate::world::Stops;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Shorter runs do not reach a plateau.
const SHORTEST_PLATEAU: Duration = Duration::from_secs(600);
const SAMPLES: u32 = 40;
/// Up to half a minute.
const BUCKETS: usize = 200;

#[derive(Default)]
pub(crate) struct Figures(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    responses: BTreeMap<(&'static str, String), u64>,
    latencies: BTreeMap<&'static str, Latencies>,
    events: BTreeMap<(Stops, &'static str), (u64, Instant)>,
    wrong: u64,
    /// The first of them.
    examples: Vec<String>,
    memory: Vec<Memory>,
}

/// Memory of this process, in KiB.
struct Memory {
    at: Duration,
    /// If the operating system reports it.
    resident: Option<usize>,
    allocated: usize,
    /// The part of it that the stores account for.
    stored: usize,
    /// The memory of Redis servers.
    in_redis: usize,
}

/// Counts by powers of 2^(1/8) microseconds, and the longest.
struct Latencies([u64; BUCKETS], Duration);

impl Latencies {
    fn add(&mut self, time: Duration) {
        let place = (time.as_secs_f64() * 1e6).max(1.0).log2() * 8.0;
        self.0[(place as usize).min(BUCKETS - 1)] += 1;
        self.1 = self.1.max(time);
    }

    fn milliseconds(&self, quantile: f64) -> f64 {
        let all: u64 = self.0.iter().sum();
        let mut left = (all as f64 * quantile) as u64;
        let place = self.0.iter().position(|count| {
            let is_there = left < *count;
            left = left.saturating_sub(*count);
            is_there
        });
        ((place.unwrap_or(BUCKETS) as f64 + 1.0) / 8.0).exp2() / 1e3
    }
}

impl Figures {
    pub(crate) fn count(&self, kind: &'static str, status: &str, time: Duration) {
        let mut counts = self.0.lock().unwrap();
        *counts.responses.entry((kind, status.to_owned())).or_default() += 1;
        counts.latencies.entry(kind).or_insert(Latencies([0; BUCKETS], Duration::ZERO)).add(time);
    }

    pub(crate) fn happened(&self, deployment: Stops, event: &'static str) {
        let mut counts = self.0.lock().unwrap();
        let (count, at) = counts.events.entry((deployment, event)).or_insert((0, Instant::now()));
        (*count, *at) = (*count + 1, Instant::now());
    }

    /// Records an unexpected response.
    pub(crate) fn wrong(&self, deployment: Stops, what: String) {
        let mut counts = self.0.lock().unwrap();
        let recent = counts.events.iter().filter(|((of, _), _)| *of == deployment);
        let recent = recent.map(|((_, event), (_, at))| (at.elapsed(), event));
        let mut recent: Vec<_> = recent.filter(|(ago, _)| *ago < Duration::from_secs(10)).collect();
        recent.sort_unstable();
        let what = format!("{deployment:?}: {what}; before: {recent:.1?}");
        counts.wrong += 1;
        if counts.examples.len() < 20 {
            println!("soak: WRONG: {what}");
            counts.examples.push(what);
        }
    }

    pub(crate) fn print(&self, duration: Duration) {
        let counts = self.0.lock().unwrap();
        let all: u64 = counts.responses.values().sum();
        println!("\n{all} requests in {} s, {} wrong", duration.as_secs(), counts.wrong);
        println!(
            "\n| request | p50 ms | p99 | p99.9 | longest | statuses |\n|---|---|---|---|---|---|"
        );
        for (kind, latencies) in &counts.latencies {
            let longest = latencies.1.as_secs_f64() * 1e3;
            let quantile = |part| latencies.milliseconds(part).min(longest);
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(quantile);
            let statuses = counts.responses.iter().filter(|((of, _), _)| of == kind);
            let statuses: Vec<_> =
                statuses.map(|((_, status), count)| format!("{status}: {count}")).collect();
            let statuses = statuses.join(", ");
            println!("| {kind} | {p50:.1} | {p99:.1} | {p999:.1} | {longest:.1} | {statuses} |");
        }
        println!();
        for ((deployment, event), (count, _)) in &counts.events {
            println!("{deployment:?}: {event}: {count}");
        }
        println!(
            "\n| memory in MiB at | resident | allocated | of that in the stores | in Redis |"
        );
        println!("|---|---|---|---|---|");
        for Memory { at, resident, allocated, stored, in_redis } in &counts.memory {
            let [resident, allocated, stored, in_redis] =
                [resident.unwrap_or(0), *allocated, *stored, *in_redis]
                    .map(|kib| format!("{:.1}", kib as f64 / 1024.0));
            println!("| {} s | {resident} | {allocated} | {stored} | {in_redis} |", at.as_secs());
        }
    }

    pub(crate) fn assert_good(&self, duration: Duration) {
        let counts = self.0.lock().unwrap();
        assert_eq!(counts.wrong, 0, "{:#?}", counts.examples);
        let memory = &counts.memory;
        if duration < SHORTEST_PLATEAU {
            return;
        }
        let [middle, end] =
            [memory.len() / 2..memory.len() * 3 / 4, memory.len() * 3 / 4..memory.len()];
        let [middle, end] = [middle, end].map(|part| {
            let mut part: Vec<_> = memory[part].iter().map(|memory| memory.allocated).collect();
            part.sort_unstable();
            part[part.len() / 2]
        });
        assert!(end <= middle + middle / 20 + 2048, "memory grows from {middle} to {end} KiB");
    }
}

/// Samples the memory of this process.
pub(crate) async fn sample(figures: Arc<Figures>, stores: Vec<Store>, duration: Duration) {
    let started = Instant::now();
    for sample in 1..=SAMPLES {
        tokio::time::sleep_until(started + duration * sample / SAMPLES).await;
        let (mut stored, mut in_redis) = (0, 0);
        for store in &stores {
            let (used, is_ours) = store.used_bytes().await;
            *if is_ours { &mut stored } else { &mut in_redis } += used / 1024;
        }
        figures.0.lock().unwrap().memory.push(Memory {
            at: started.elapsed(),
            resident: resident_kib(),
            allocated: ALLOCATOR.current_usage() / 1024,
            stored,
            in_redis,
        });
    }
}

fn resident_kib() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
