//! The reference of events is generated from the source.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::files::{files, read};

pub(super) const PAGE: &str = include_str!("../../../src/docs/reference/telemetry.md");
const EVENTS: &str = include_str!("../../../src/util/telemetry.rs");

/// The most severe first.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// An event as its function in the source emits it.
#[derive(Default)]
struct Event<'a> {
    levels: Vec<&'a str>,
    fields: Vec<&'a str>,
    meaning: String,
}

/// The arguments of a macro, from behind its parenthesis.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut in_text, mut start, mut found) = (1, false, 0, Vec::new());
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        match letter {
            '"' if before != '\\' => in_text = !in_text,
            '(' | '[' | '{' if !in_text => depth += 1,
            ')' | ']' | '}' if !in_text => depth -= 1,
            _ => {}
        }
        if !in_text && (depth == 0 || (depth == 1 && letter == ',')) {
            found.push(text[start..at].trim());
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
        before = letter;
    }
    found.retain(|argument| !argument.is_empty());
    found
}

fn name_in(text: &str) -> &str {
    text.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_').next().unwrap()
}

/// The first sentence of a function's documentation.
fn first_sentence(before: &str) -> String {
    let lines: Vec<_> = before
        .lines()
        .rev()
        .skip_while(|line| line.is_empty() || line.starts_with("#["))
        .map_while(|line| line.strip_prefix("///"))
        .map(str::trim)
        .collect();
    let paragraph =
        lines.into_iter().rev().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    paragraph.split(". ").next().unwrap().trim_end_matches('.').to_owned()
}

fn events() -> BTreeMap<&'static str, Event<'static>> {
    let (source, _) = EVENTS.split_once("#[cfg(test)]\nmod tests").unwrap();
    let functions: Vec<_> = source.split("pub(crate) fn ").collect();
    let mut events = BTreeMap::<_, Event<'_>>::new();
    for pair in functions.windows(2) {
        let (body, _) = pair[1].split_once("\n}\n").unwrap();
        let (mut name, mut event) = (None, Event::default());
        let pieces: Vec<_> = body.split("!(").collect();
        for call in pieces.windows(2) {
            let macro_name = call[0].rsplit(|letter: char| !letter.is_ascii_lowercase()).next();
            let arguments = arguments(call[1]);
            // A limited event has two levels, and its limit before its fields.
            let (levels, arguments) = match macro_name {
                Some("limited") => (vec![arguments[0], "debug"], &arguments[3..]),
                Some(level) if LEVELS.contains(&level) => (vec![level], &arguments[..]),
                _ => continue,
            };
            event.levels.extend(levels);
            for argument in arguments {
                if let Some(text) = argument.strip_prefix('"') {
                    name = Some(name_in(text));
                    break;
                }
                if !argument.starts_with("target:") {
                    event.fields.push(name_in(argument.trim_start_matches(['%', '?'])));
                }
            }
        }
        event.levels.sort_by_key(|level| LEVELS.iter().position(|known| known == level));
        event.levels.dedup();
        event.fields.dedup();
        let half = event.fields.len() / 2;
        if event.fields[..half] == event.fields[half..] {
            event.fields.truncate(half);
        }
        event.meaning = first_sentence(pair[0]);
        if let Some(name) = name {
            events.entry(name).or_insert(event);
        }
    }
    events
}

#[test]
fn the_page_has_the_table_of_events() {
    let mut table = String::from("| event | level | fields | meaning |\n|---|---|---|---|\n");
    for (name, Event { levels, fields, meaning }) in events() {
        let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
        let levels: Vec<_> =
            levels.iter().map(|level| format!("`{}`", level.to_uppercase())).collect();
        let cells = [levels.join(" or "), fields.join(", "), meaning];
        let cells =
            cells.map(|cell| if cell.is_empty() { " ".into() } else { format!(" {cell} ") });
        writeln!(table, "| `{name}` |{}|", cells.join("|")).unwrap();
    }
    assert!(table.lines().count() > 45, "{table}");
    assert!(PAGE.contains(&table), "the table must be:\n{table}");
}

/// Events and spans are emitted where the reference finds them, and metrics by nothing else.
#[test]
fn nothing_else_in_the_source_emits_events_or_metrics() {
    let emitters = ["util/telemetry.rs", "util/spans.rs", "util/metric_table.rs"];
    for path in files(&["src"], "rs") {
        if path.ends_with("tests.rs") || emitters.iter().any(|emitter| path.ends_with(emitter)) {
            continue;
        }
        let source = read(&path);
        let (source, _) = source.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&source, ""));
        for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for macro_name in [
                "tracing::error!",
                "tracing::warn!",
                "tracing::info!",
                "tracing::debug!",
                "tracing::trace!",
                "_span!(",
                "#[instrument",
                "metrics::counter!",
                "metrics::gauge!",
                "metrics::histogram!",
            ] {
                assert!(!line.contains(macro_name), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn the_page_has_the_spans_and_their_fields() {
    let source = include_str!("../../../src/util/spans.rs");
    let mut spans = 0;
    for span in source.split("_span!(").skip(1) {
        let arguments = arguments(span);
        let name = arguments.iter().find(|argument| argument.starts_with('"')).unwrap();
        let row = format!("| `{}` |", name.trim_matches('"'));
        let row = PAGE.lines().find(|line| line.starts_with(&row)).expect(name);
        spans += 1;
        for argument in arguments.iter().filter(|argument| argument.contains(" = ")) {
            let field = argument.split('"').nth(1).unwrap();
            assert!(field.starts_with("otel.") || row.contains(&format!("`{field}`")), "{field}");
        }
    }
    assert_eq!(spans, 3);
}
