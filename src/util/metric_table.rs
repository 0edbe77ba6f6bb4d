//! The metrics of [`telemetry`](super::telemetry). The table in the documentation is generated from
//! them.

/// Describes the metrics of this crate to the installed recorder, and registers those whose labels
/// are known in advance, with the value zero.
///
/// Call it once, after the recorder was installed. Without it, exporters have no descriptions, and the
/// first failure of a kind creates its counter instead of increasing it: functions such as Prometheus'
/// `increase` do not notice it. All metrics are in the [reference](crate::guides::telemetry#metrics).
///
/// ```
/// // After `metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?`, for example:
/// tower_scalekit::describe_metrics();
/// ```
pub fn describe_metrics() {
    for &Metric { name, kind, label, meaning, .. } in METRICS {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, meaning),
            Kind::Gauge => metrics::describe_gauge!(name, meaning),
            Kind::Histogram => metrics::describe_histogram!(name, metrics::Unit::Seconds, meaning),
        }
        match (kind, label) {
            (Kind::Counter, None) => drop(metrics::counter!(name)),
            (Kind::Counter, Some(label)) => {
                for value in label.values {
                    drop(metrics::counter!(name, label.name => *value));
                }
            }
            (Kind::Gauge, None) => drop(metrics::gauge!(name)),
            _ => {}
        }
    }
}

#[derive(Clone, Copy)]
struct Metric {
    name: &'static str,
    kind: Kind,
    /// What it counts or measures.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation"))]
    unit: &'static str,
    label: Option<Label>,
    meaning: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Clients cannot choose its values.
#[derive(Clone, Copy)]
struct Label {
    name: &'static str,
    values: &'static [&'static str],
    /// Describes the values that are not listed.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation"))]
    others: &'static str,
}

impl Metric {
    const fn new(
        kind: Kind,
        name: &'static str,
        unit: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self { name, kind, unit, label: None, meaning }
    }

    const fn by(
        self,
        name: &'static str,
        values: &'static [&'static str],
        others: &'static str,
    ) -> Self {
        Self { label: Some(Label { name, values, others }), ..self }
    }
}

const fn counter(name: &'static str, unit: &'static str, meaning: &'static str) -> Metric {
    Metric::new(Kind::Counter, name, unit, meaning)
}

const fn gauge(name: &'static str, meaning: &'static str) -> Metric {
    Metric::new(Kind::Gauge, name, "0 or 1", meaning)
}

const fn histogram(name: &'static str, meaning: &'static str) -> Metric {
    Metric::new(Kind::Histogram, name, "seconds", meaning)
}

const ERROR_CODE: &str = "the code of the error";
const EVENT_TYPE: &str = "the type of the webhook event";

const METRICS: &[Metric] = &[
    counter(
        "tower_scalekit_connected_accounts_total",
        "accounts",
        "Accounts that users connected, or failed to",
    )
    .by("outcome", &["connected"], ERROR_CODE),
    counter(
        "tower_scalekit_deprovisionings_total",
        "events",
        "Webhook events that end the sessions of users or organizations",
    )
    .by("event", &[], EVENT_TYPE),
    counter(
        "tower_scalekit_directory_user_names_dropped_total",
        "addresses",
        "Former addresses of directory users that were dropped, because a user has too many",
    ),
    counter(
        "tower_scalekit_directory_users_without_history_total",
        "events",
        "Events of directory users whose creation was not received: sessions with earlier addresses \
         cannot be found",
    )
    .by("event", &[], EVENT_TYPE),
    histogram(
        "tower_scalekit_http_client_request_duration_seconds",
        "Requests to the environment and to other issuers, until the last byte of the response",
    )
    .by("outcome", &["2xx", "3xx", "4xx", "5xx", "timeout", "failed"], ""),
    counter(
        "tower_scalekit_internal_errors_total",
        "errors",
        "Errors inside of the crate, for which requests are rejected or work is repeated",
    )
    .by("what", &[], "the operation"),
    counter("tower_scalekit_key_set_fetches_total", "requests", "Requests for key sets").by(
        "outcome",
        &["failed", "fetched"],
        "",
    ),
    counter("tower_scalekit_logins_total", "logins", "Logins that were completed, or failed").by(
        "outcome",
        &["completed"],
        ERROR_CODE,
    ),
    counter("tower_scalekit_logout_tokens_total", "tokens", "Back-channel logouts").by(
        "outcome",
        &["accepted", "replayed"],
        ERROR_CODE,
    ),
    gauge(
        "tower_scalekit_memory_store_nearly_full",
        "1 while four fifths of a namespace's memory in a store in memory are in use",
    )
    .by("namespace", &[], "of the values in the store, such as `Session`"),
    counter(
        "tower_scalekit_rejections_total",
        "requests",
        "Requests that a layer or route rejected",
    )
    .by("reason", &[], "the code of the rejection"),
    gauge(
        "tower_scalekit_revocations_nearly_full",
        "1 while half of the places for revocations without a known session are in use",
    ),
    gauge(
        "tower_scalekit_revocations_stale",
        "1 while revocations of other replicas are not known here",
    ),
    counter(
        "tower_scalekit_session_refreshes_total",
        "refreshes",
        "Refreshes of sessions: successful, rejected by the environment, or failed and repeated later",
    )
    .by("outcome", &["ended", "failed", "refreshed"], ""),
    counter(
        "tower_scalekit_sessions_over_limit_total",
        "sessions",
        "Sessions that ended because their user has too many",
    ),
    counter(
        "tower_scalekit_shared_store_errors_total",
        "operations",
        "Failed operations of the shared store",
    ),
    histogram(
        "tower_scalekit_shared_store_operation_duration_seconds",
        "Operations of the shared store, failed ones too",
    )
    .by(
        "operation",
        &["append", "get", "put", "put_if_absent", "read_since", "remove_if", "replace_if"],
        "",
    ),
    counter(
        "tower_scalekit_token_verifications_total",
        "credentials",
        "Bearer tokens and API keys that were verified now, accepted from the cache, or rejected",
    )
    .by("outcome", &["accepted", "cached"], ERROR_CODE),
    counter(
        "tower_scalekit_unmatched_deprovisionings_total",
        "events",
        "Those of `deprovisionings_total` for which no session was known",
    )
    .by("event", &[], EVENT_TYPE),
    counter(
        "tower_scalekit_unreadable_revocations_total",
        "revocations",
        "Revocations of another version or secret, which this replica cannot apply",
    ),
    counter(
        "tower_scalekit_webhook_ids_dropped_total",
        "webhooks",
        "Handled webhooks that would be handled again, because the store in memory is full",
    ),
    counter(
        "tower_scalekit_webhooks_not_deduplicated_total",
        "webhooks",
        "Webhooks that were handled without protection from duplicates, because the store is full",
    ),
    counter("tower_scalekit_webhooks_total", "webhooks", "Webhooks with a valid signature").by(
        "outcome",
        &["accepted", "duplicate"],
        "",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;

    fn table() -> String {
        let mut table =
            String::from("| metric | type | label | unit | meaning |\n|---|---|---|---|---|\n");
        for Metric { name, kind, unit, label, meaning } in METRICS {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let label = label.map_or_else(String::new, |Label { name, values, others }| {
                let values = values.iter().map(|value| format!("`{value}`"));
                let values = values.chain((!others.is_empty()).then(|| others.to_owned()));
                format!("`{name}`: {}", values.collect::<Vec<_>>().join(", "))
            });
            let row = format!("| `{name}` | {kind} | {label} | {unit} | {meaning} |");
            writeln!(table, "{}", row.replace("|  |", "| |")).unwrap();
        }
        table
    }

    #[test]
    fn the_page_has_the_table() {
        let page = include_str!("../docs/reference/telemetry.md");
        assert!(page.contains(&table()), "the table must be:\n{}", table());
    }

    #[test]
    fn each_metric_of_the_source_is_in_the_table_and_each_row_is_in_the_source() {
        let source = [include_str!("spans.rs"), include_str!("telemetry.rs")].concat();
        let used: BTreeSet<_> = source
            .split("\"tower_scalekit_")
            .skip(1)
            .map(|rest| format!("tower_scalekit_{}", rest.split('"').next().unwrap()))
            .collect();
        let listed: Vec<_> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
        assert!(listed.is_sorted());
        assert_eq!(used.into_iter().collect::<Vec<_>>(), listed);
    }

    /// <https://prometheus.io/docs/practices/naming/>
    #[test]
    fn names_follow_the_conventions() {
        for metric in METRICS {
            let name = metric.name;
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            match metric.kind {
                Kind::Counter => assert!(name.ends_with("_total"), "{name}"),
                Kind::Gauge => assert!(!name.ends_with("_total"), "{name}"),
                Kind::Histogram => assert!(name.ends_with("_seconds"), "{name}"),
            }
        }
    }
}
