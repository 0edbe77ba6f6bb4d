//! What a protected route costs, beside an unprotected one and beside other crates.
//!
//! `cargo run --release` prints the table and writes `src/docs/chart.svg`. Arguments:
//!
//! - `--group=WORD`: only groups with this word in their title
//! - `--case=WORD`: of each group, only the first case and those with this word in their name
//! - `--curves`: how the cost grows, instead of the table; without instructions
//! - `--rounds=N`: how often each case is measured
//! - `--gate`: asserts counts of instructions and allocations

mod cases;
mod chart;
mod curves;
mod measure;
#[cfg(feature = "others")]
mod others;
mod sockets;
mod tokens;

use std::env;
use std::rc::Rc;

use measure::{COUNTED, Figures, Group};
use sockets::Served;
use tokens::Issuer;

const ROUNDS: usize = 60;

/// Instructions and allocations that a case may cost more than the first one of its group: a tenth
/// more instructions than measured.
const LIMITS: [(&str, &str, f64, f64); 11] = [
    ("a route, warm", "RequireToken", 4_900.0, 5.0),
    ("a route, warm", "RequireToken, token of 8 KB", 5_900.0, 5.0),
    ("a route, warm", "Bearer, extractor", 2_300.0, 1.0),
    ("a route, warm", "RequireScope in RequireToken", 8_300.0, 11.0),
    ("a route, warm", "RequireSession, one cookie", 7_000.0, 5.0),
    ("a route, warm", "RequireSession, two cookies", 8_100.0, 5.0),
    ("a route, warm", "RequireSession, three cookies", 9_000.0, 5.0),
    ("a route, warm", "the same without a session", 10_700.0, 6.0),
    ("first sight of a token", "RequireToken", 53_000.0, 25.0),
    ("a session that is not cached", "RequireSession, a cookie of 2 KB", 225_000.0, 48.0),
    ("an MCP message of 64 KB", "RequireMcpScope, numbers", 2_800_000.0, 11.0),
];

fn main() {
    let has = |name: &str| env::args().any(|argument| argument == name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runtime = Rc::new(runtime);
    let issuer = Issuer::new();
    let mut groups = match has("--curves") {
        true => curves::groups(&runtime, &issuer),
        false => cases::groups(&runtime, &issuer),
    };
    let argument =
        |name: &str| env::args().find_map(|argument| Some(argument.strip_prefix(name)?.to_owned()));
    let filter = argument("--group=");
    if let Some(title) = &filter {
        groups.retain(|group| group.title.contains(title));
    }
    if let Some(name) = argument("--case=") {
        groups.iter_mut().for_each(|group| {
            let mut index = 0..;
            group.cases.retain(|case| index.next() == Some(0) || case.name.contains(&name));
        });
    }
    if has(COUNTED) {
        return measure::run_counted(&mut groups);
    }
    if has("--gate") {
        return check_limits(&mut groups);
    }
    let rounds = argument("--rounds=").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut figures: Vec<_> =
        groups.iter_mut().map(|group| measure::measure(group, rounds)).collect();
    // A store of a million entries takes too long under callgrind.
    if !has("--curves") {
        measure::count_instructions(&groups, &mut figures);
    }
    for (group, figures) in groups.iter().zip(&figures) {
        print(group, figures);
    }
    if filter.is_none() && !has("--curves") {
        print_served(&sockets::measure(cases::served(&runtime, &issuer)));
        chart::write(&groups[0], &figures[0]);
    }
}

/// Counts instructions and allocations, and fails if a case costs more than its limits.
fn check_limits(groups: &mut [Group]) {
    let mut figures: Vec<_> = groups.iter_mut().map(|group| measure::measure(group, 1)).collect();
    measure::count_instructions(groups, &mut figures);
    let mut checked = 0;
    let mut is_within = true;
    println!("{:<44}{:>24}{:>14}", "more than the first of the group", "instructions", "allocs");
    for (group, figures) in groups.iter().zip(&figures) {
        let base = figures[0];
        for (case, figures) in group.cases.iter().zip(figures) {
            let limit = LIMITS.iter().find(|limit| limit.0 == group.title && limit.1 == case.name);
            let Some((_, _, instructions, allocations)) = limit else { continue };
            let added = figures.instructions.zip(base.instructions).map(|(own, base)| own - base);
            let added = added.expect("valgrind is needed");
            let allocated = figures.allocations - base.allocations;
            println!(
                "{:<44}{added:>12.0} of {instructions:>8.0}{allocated:>6.0} of {allocations}",
                case.name
            );
            checked += 1;
            is_within &= added <= *instructions && allocated <= *allocations;
        }
    }
    assert_eq!(checked, LIMITS.len(), "each limit is that of one case");
    assert!(is_within, "a case costs more than its limits");
}

fn print_served(served: &[Served]) {
    println!(
        "\n{:<44}{:>10}{:>8}{:>14}{:>8}",
        "over sockets, one server thread", "req/s", "ratio", "CPU ns/req", "ratio"
    );
    let mut base = &served[0];
    for app in served {
        let Served { name, requests_per_second, server_nanos } = app;
        if name.starts_with("bare") {
            base = app;
        }
        println!(
            "{name:<44}{requests_per_second:>10.0}{:>8.2}{server_nanos:>14.0}{:>8.2}",
            requests_per_second / base.requests_per_second,
            server_nanos / base.server_nanos,
        );
    }
}

fn print(group: &Group, figures: &[Figures]) {
    println!(
        "\n{:<44}{:>10}{:>8}{:>14}{:>8}{:>8}",
        group.title, "ns", "ratio", "instructions", "ratio", "allocs"
    );
    let base = figures[0];
    for (case, figures) in group.cases.iter().zip(figures) {
        let (instructions, ratio) = match (figures.instructions, base.instructions) {
            (Some(own), Some(base)) => (format!("{own:.0}"), format!("{:.2}", own / base)),
            _ => ("-".into(), "-".into()),
        };
        println!(
            "{:<44}{:>10.0}{:>8.2}{instructions:>14}{ratio:>8}{:>8}",
            case.name,
            figures.nanos,
            figures.nanos / base.nanos,
            figures.allocations,
        );
    }
    if !group.explanation.is_empty() {
        println!("  {}", group.explanation);
    }
}
