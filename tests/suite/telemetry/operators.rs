//! The alert rules and the dashboard name metrics and labels that exist. Prometheus itself evaluates
//! them in `tests/examples/prometheus.rs`.

use std::collections::BTreeSet;

use super::metrics::rows;

const ALERTS: &str = include_str!("../../../examples/observability/alerts.yml");
const ALERT_TESTS: &str = include_str!("../../../examples/observability/alerts.test.yml");
const DASHBOARD: &str = include_str!("../../../examples/observability/dashboard.json");

fn name_at(text: &str) -> &str {
    text.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_').next().unwrap()
}

/// The metrics that a text names, each with the text behind its name.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.match_indices("tower_scalekit_").map(|(at, _)| {
        let name = name_at(&text[at..]);
        (name, &text[at + name.len()..])
    })
}

/// The name without the suffixes of a histogram's series.
fn base(name: &str) -> &str {
    let suffix = ["_bucket", "_count", "_sum"].into_iter().find(|end| name.ends_with(end));
    suffix.map_or(name, |suffix| &name[..name.len() - suffix.len()])
}

#[test]
fn the_files_name_metrics_and_labels_that_exist() {
    let (rows, common) = (rows(), ["job", "instance", "le"]);
    for text in [ALERTS, ALERT_TESTS, DASHBOARD] {
        let mut count = 0;
        for (name, rest) in named(text) {
            count += 1;
            let row = rows.get(base(name)).unwrap_or_else(|| panic!("there is no {name}"));
            assert_eq!(base(name) != name, row.kind == "histogram", "{name}");
            let Some(selector) = rest.strip_prefix('{') else { continue };
            let (selector, _) = selector.split_once('}').unwrap();
            for part in selector.split(", ") {
                let label = name_at(part);
                let own = row.label.as_ref().filter(|(own, _)| *own == label);
                assert!(common.contains(&label) || own.is_some(), "{name}: {part}");
                let values = part
                    .trim_start_matches(label)
                    .trim_start_matches(['=', '!', '~'])
                    .replace('\\', "");
                for value in values.trim_matches('"').split('|').filter(|_| own.is_some()) {
                    let (_, known) = own.unwrap();
                    assert!(row.has_other_values || known.contains(&value), "{name}: {value}");
                }
            }
        }
        assert!(count > 15, "{count}");
    }
}

#[test]
fn the_dashboard_shows_each_metric_and_each_alert_has_a_test() {
    let shown: BTreeSet<_> = named(DASHBOARD).map(|(name, _)| base(name)).collect();
    assert!(rows().keys().all(|name| shown.contains(name)), "{shown:?}");
    for alert in ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let test = format!("alertname: {alert}\n        exp_alerts:");
        assert!(ALERT_TESTS.contains(&test), "no test in which {alert} fires");
    }
}
