//! Time, instructions and allocations of a call. One mechanism for all cases: a case prepares a
//! batch of calls, of which only the run is measured.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

/// Calls that are ready to run.
pub type Batch = Box<dyn FnOnce()>;

pub struct Case {
    pub name: String,
    /// Calls in a batch.
    pub calls: usize,
    prepare: Box<dyn FnMut(usize) -> Batch>,
}

impl Case {
    pub fn new(
        name: impl Into<String>,
        calls: usize,
        prepare: impl FnMut(usize) -> Batch + 'static,
    ) -> Self {
        Self { name: name.into(), calls, prepare: Box::new(prepare) }
    }

    /// A case without anything to prepare.
    pub fn of_call(
        name: impl Into<String>,
        calls: usize,
        call: impl Fn() + Clone + 'static,
    ) -> Self {
        Self::new(name, calls, move |calls| {
            let call = call.clone();
            Box::new(move || (0..calls).for_each(|_| call()))
        })
    }
}

/// Cases that are compared with the first of them.
pub struct Group {
    pub title: &'static str,
    pub cases: Vec<Case>,
    /// Why the cases differ.
    pub explanation: &'static str,
}

#[derive(Clone, Copy, Default)]
pub struct Figures {
    pub nanos: f64,
    /// `None` without valgrind.
    pub instructions: Option<f64>,
    pub allocations: f64,
}

/// Measures all cases of a group, in interleaved rounds: the ratios hold on a machine whose speed
/// drifts. The time is the tenth percentile of the rounds.
pub fn measure(group: &mut Group, rounds: usize) -> Vec<Figures> {
    let mut nanos = vec![Vec::new(); group.cases.len()];
    for round in 0..=rounds {
        for (case, nanos) in group.cases.iter_mut().zip(&mut nanos) {
            let batch = (case.prepare)(case.calls);
            LEFT_OUT.set(Duration::ZERO);
            let started = Instant::now();
            batch();
            let time = started.elapsed().saturating_sub(LEFT_OUT.get());
            // The first round fills the caches.
            if round > 0 {
                nanos.push(time.as_nanos() as f64 / case.calls as f64);
            }
        }
    }
    group
        .cases
        .iter_mut()
        .zip(nanos)
        .map(|(case, mut nanos)| {
            nanos.sort_by(f64::total_cmp);
            let batch = (case.prepare)(case.calls);
            let allocations = allocation_counter::measure(batch).count_total;
            Figures {
                nanos: nanos[nanos.len() / 10],
                instructions: None,
                allocations: (allocations as f64 / case.calls as f64).round(),
            }
        })
        .collect()
}

thread_local! {
    static LEFT_OUT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static IS_COUNTING: Cell<bool> = const { Cell::new(false) };
}

/// Work within a call that counts neither as time nor as instructions: that of the environment.
pub fn left_out<R>(work: impl FnOnce() -> R) -> R {
    let started = Instant::now();
    let result = if IS_COUNTING.get() { uncounted(work) } else { work() };
    leave_out(started.elapsed());
    result
}

/// Subtracts time from that of the current call.
pub fn leave_out(time: Duration) {
    LEFT_OUT.set(LEFT_OUT.get() + time);
}

/// Callgrind stops counting here.
#[inline(never)]
fn uncounted<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Callgrind counts here.
#[inline(never)]
fn counted(batch: Batch) {
    batch();
}

/// Callgrind writes its counts here.
#[inline(never)]
fn written() {
    std::hint::black_box(());
}

/// The argument that makes this program run each case for callgrind.
pub const COUNTED: &str = "--counted";

/// Calls of a counted batch.
fn counted_calls(case: &Case) -> usize {
    case.calls.min(16)
}

/// Runs each case once, after a batch that fills the caches.
pub fn run_counted(groups: &mut [Group]) {
    for case in groups.iter_mut().flat_map(|group| &mut group.cases) {
        (case.prepare)(case.calls)();
        let calls = counted_calls(case);
        let batch = (case.prepare)(calls);
        IS_COUNTING.set(true);
        counted(batch);
        IS_COUNTING.set(false);
        written();
    }
}

/// Counts the instructions of all cases in one run of callgrind; nothing where it is not installed.
pub fn count_instructions(groups: &[Group], figures: &mut [Vec<Figures>]) {
    let directory = env::temp_dir().join(format!("peers-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*measure::counted*"])
        .args(["--toggle-collect=*measure::uncounted*", "--dump-after=*measure::written*"])
        .arg(format!("--callgrind-out-file={}", directory.join("out").display()))
        .arg(env::current_exe().unwrap())
        .args(env::args().skip(1))
        .arg(COUNTED)
        .output();
    match run {
        Ok(run) if run.status.success() => {
            let cases = groups.iter().flat_map(|group| &group.cases);
            for (index, (case, figures)) in cases.zip(figures.iter_mut().flatten()).enumerate() {
                let file = directory.join(format!("out.{}", index + 1));
                figures.instructions = Some((total(&file) / counted_calls(case) as f64).round());
            }
        }
        Ok(run) => panic!("callgrind: {}", String::from_utf8_lossy(&run.stderr)),
        Err(error) => println!("no instruction counts: valgrind: {error}"),
    }
    fs::remove_dir_all(directory).unwrap();
}

fn total(file: &Path) -> f64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    line.trim().parse().unwrap()
}
