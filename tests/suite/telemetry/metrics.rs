//! Each metric of the reference is emitted, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use serde_json::json;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::session::Deprovisioning;
use tower_scalekit::shared_store::{KeyNamespace, MemoryStore, SharedStore as _};
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::{ConnectAccount, RequireToken, describe_metrics};

use super::reference::PAGE;
use crate::backchannel::logout_token;
use crate::deprovisioning::event;
use crate::store::FlakyStore;
use crate::support::{
    JANE, Reading as _, World, app, request, sandbox_builder, send, settle, with_parameters,
};
use crate::webhooks::{clock, layer, message, signed};

/// The values of all series, as `name{label="value"}`.
#[derive(Default)]
struct Recorded {
    series: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    descriptions: Mutex<BTreeMap<String, String>>,
}

impl Recorded {
    fn register(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key
            .labels()
            .map(|label| format!("{}={:?}", label.key(), label.value()))
            .collect::<Vec<_>>()
            .join(",");
        let name = format!("{}{{{labels}}}", key.name());
        Arc::clone(self.series.lock().unwrap().entry(name).or_default())
    }

    fn describe(&self, name: &KeyName, description: &SharedString) {
        let mut descriptions = self.descriptions.lock().unwrap();
        descriptions.insert(name.as_str().to_owned(), description.to_string());
    }

    fn get(&self, series: &str) -> u64 {
        let known = self.series.lock().unwrap();
        let value = known.get(series).unwrap_or_else(|| panic!("{series} is not in {known:?}"));
        value.load(Ordering::SeqCst)
    }

    fn all(&self) -> Vec<String> {
        self.series.lock().unwrap().keys().cloned().collect()
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.register(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.register(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Count(self.register(key))))
    }
}

/// Counts the values of a histogram.
struct Count(Arc<AtomicU64>);

impl HistogramFn for Count {
    fn record(&self, value: f64) {
        assert!((0.0..60.0).contains(&value), "{value}");
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A row of the reference.
pub(super) struct Row {
    pub(super) kind: &'static str,
    pub(super) label: Option<(&'static str, Vec<&'static str>)>,
    pub(super) has_other_values: bool,
    meaning: &'static str,
}

pub(super) fn rows() -> BTreeMap<&'static str, Row> {
    let (_, table) = PAGE.split_once("| metric | type | label | unit | meaning |\n").unwrap();
    let rows = table.lines().skip(1).map_while(|line| line.strip_prefix("| ")).map(|line| {
        let cells: Vec<_> = line.trim_end_matches(" |").split(" | ").map(str::trim).collect();
        let [name, kind, label, _, meaning] = cells[..] else {
            let [name, kind, _, meaning] = cells[..] else { panic!("{line}") };
            let row = Row { kind, label: None, has_other_values: false, meaning };
            return (name.trim_matches('`'), row);
        };
        let (label, values) = label.split_once(": ").unwrap();
        let known = values.split('`').skip(1).step_by(2).collect();
        let has_other_values = !values.ends_with('`') || values.contains("such as");
        let label = Some((label.trim_matches('`'), known));
        (name.trim_matches('`'), Row { kind, label, has_other_values, meaning })
    });
    rows.collect()
}

#[tokio::test]
async fn each_metric_of_the_reference_is_emitted_and_nothing_else() {
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    bearer_tokens(&recorded).await;
    logins_and_refreshes(&recorded).await;
    sessions_over_the_limit(&recorded).await;
    logout_tokens(&recorded).await;
    directories(&recorded).await;
    connected_accounts(&recorded).await;
    webhooks(&recorded).await;
    full_stores(&recorded).await;
    revocations(&recorded).await;

    let rows = rows();
    let mut emitted = BTreeSet::new();
    for series in recorded.all() {
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap();
        let row = rows.get(name).unwrap_or_else(|| panic!("{series} is not in the reference"));
        match (&row.label, labels) {
            (None, labels) => assert_eq!(labels, "", "{series}"),
            (Some((label, values)), labels) => {
                let (found, value) = labels.split_once('=').unwrap();
                assert_eq!(found, *label, "{series}");
                let value = value.trim_matches('"');
                assert!(row.has_other_values || values.contains(&value), "{series}");
            }
        }
        emitted.insert(name.to_owned());
    }
    let listed: BTreeSet<_> = rows.keys().map(|&name| name.to_owned()).collect();
    assert_eq!(emitted, listed);
}

#[test]
fn describe_metrics_describes_all_and_registers_those_with_known_labels() {
    let recorded = Recorded::default();
    metrics::with_local_recorder(&recorded, describe_metrics);
    let rows = rows();
    let described = recorded.descriptions.lock().unwrap();
    assert!(described.keys().eq(rows.keys()), "{described:?}");
    let mut registered = BTreeSet::new();
    for (name, row) in rows {
        assert_eq!(described[name], row.meaning);
        match row.label {
            None => drop(registered.insert(format!("{name}{{}}"))),
            Some((label, values)) if row.kind == "counter" => {
                registered.extend(values.iter().map(|value| format!("{name}{{{label}={value:?}}}")))
            }
            Some(_) => {}
        }
    }
    assert_eq!(recorded.all().into_iter().collect::<BTreeSet<_>>(), registered);
    assert!(recorded.all().iter().all(|series| recorded.get(series) == 0));
}

async fn bearer_tokens(recorded: &Recorded) {
    let sandbox = sandbox_builder().build();
    let api = || {
        let verifier = sandbox.scalekit().token_verifier().audience("https://api.example.com");
        let layer = RequireToken::new(verifier.build().unwrap());
        Router::new().route("/", get(async || "in")).route_layer(layer)
    };
    let mut draft = sandbox.tokens().access_token_draft(JANE);
    draft.claims.insert("aud".into(), "https://api.example.com".into());
    let token = format!("Bearer {}", sandbox.tokens().sign_draft(&draft));
    let (app, valid) = (api(), [("authorization", token.as_str())]);
    for headers in [&valid[..], &valid, &[("authorization", "Bearer a.b.c")], &[]] {
        send(&app, request(Method::GET, "/", headers)).await;
    }
    let verified = "tower_scalekit_token_verifications_total";
    for outcome in ["accepted", "cached", "malformed"] {
        assert_eq!(recorded.get(&format!("{verified}{{outcome={outcome:?}}}")), 1, "{outcome}");
    }
    let rejected = "tower_scalekit_rejections_total";
    assert_eq!(recorded.get(&format!("{rejected}{{reason=\"missing_token\"}}")), 1);

    sandbox.faults().add_times(Endpoint::Keys, 1, Fault::Unreachable);
    let unavailable = send(&api(), request(Method::GET, "/", &valid)).await;
    assert_eq!(unavailable.status(), StatusCode::SERVICE_UNAVAILABLE);
    let fetches = "tower_scalekit_key_set_fetches_total";
    for outcome in ["failed", "fetched"] {
        assert_eq!(recorded.get(&format!("{fetches}{{outcome={outcome:?}}}")), 1, "{outcome}");
    }
    let requests = "tower_scalekit_http_client_request_duration_seconds";
    for outcome in ["2xx", "failed"] {
        assert_eq!(recorded.get(&format!("{requests}{{outcome={outcome:?}}}")), 1, "{outcome}");
    }
}

async fn logins_and_refreshes(recorded: &Recorded) {
    let world = World::new();
    let mut jane = world.logged_in(JANE).await;
    let callback = "/auth/callback?code=1&state=2";
    assert_eq!(world.browser().open(callback).await.status(), StatusCode::BAD_REQUEST);
    let logins = "tower_scalekit_logins_total";
    for outcome in ["completed", "state_mismatch"] {
        assert_eq!(recorded.get(&format!("{logins}{{outcome={outcome:?}}}")), 1, "{outcome}");
    }

    world.advance(301);
    assert_eq!(jane.fetch("/me").await.status(), StatusCode::OK);
    let rejection = Response::builder()
        .status(StatusCode::BAD_REQUEST)
        .body(Bytes::from(json!({ "error": "invalid_grant" }).to_string()))
        .unwrap();
    for (fault, status) in [
        (Fault::Status(StatusCode::BAD_GATEWAY), StatusCode::SERVICE_UNAVAILABLE),
        (Fault::Response(rejection), StatusCode::UNAUTHORIZED),
    ] {
        world.advance(302);
        world.sandbox.faults().add_times(Endpoint::Token, 1, fault);
        assert_eq!(jane.fetch("/me").await.status(), status);
    }
    let refreshes = "tower_scalekit_session_refreshes_total";
    for outcome in ["ended", "failed", "refreshed"] {
        assert_eq!(recorded.get(&format!("{refreshes}{{outcome={outcome:?}}}")), 1, "{outcome}");
    }
}

async fn sessions_over_the_limit(recorded: &Recorded) {
    let world = World::with(|one| one, |one| one.store_backed().max_sessions_per_user(1));
    for _ in 0..3 {
        world.logged_in(JANE).await;
    }
    assert_eq!(recorded.get("tower_scalekit_sessions_over_limit_total{}"), 2);
}

async fn logout_tokens(recorded: &Recorded) {
    let world = World::new();
    let token = logout_token(&world.sandbox, "t1", &json!({ "sid": "ses_1" }));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for token in [&*token, &token, "a.b.c"] {
        let mut sent = request(Method::POST, world.sessions.backchannel_logout_path(), &form);
        *sent.body_mut() = format!("logout_token={token}").into();
        send(&world.app, sent).await;
    }
    let tokens = "tower_scalekit_logout_tokens_total";
    for outcome in ["accepted", "malformed", "replayed"] {
        assert_eq!(recorded.get(&format!("{tokens}{{outcome={outcome:?}}}")), 1, "{outcome}");
    }
}

async fn directories(recorded: &Recorded) {
    const CREATED: &str = "organization.directory.user_created";
    const DELETED: &str = "organization.directory.user_deleted";
    let world = World::new();
    let deprovisioning = Deprovisioning::new(&world.sessions);
    let apply = async |event_type: &str, id: &str, email: &str| {
        let event = event(event_type, &json!({ "id": id, "email": email })).to_string();
        deprovisioning.apply(&WebhookEvent::parse(event.as_bytes()).unwrap()).await.unwrap();
    };
    for number in 0..40 {
        apply(CREATED, "diruser_1", &format!("{number}@acme.test")).await;
    }
    apply(DELETED, "diruser_2", JANE).await;
    let deleted = format!("{{event={DELETED:?}}}");
    for (name, value) in [
        ("deprovisionings_total", 1),
        ("directory_users_without_history_total", 1),
        ("unmatched_deprovisionings_total", 1),
    ] {
        assert_eq!(recorded.get(&format!("tower_scalekit_{name}{deleted}")), value, "{name}");
    }
    assert!(recorded.get("tower_scalekit_directory_user_names_dropped_total{}") > 0);
}

async fn connected_accounts(recorded: &Recorded) {
    let world = World::new();
    world.sandbox.connected_accounts().require_user_verification(true);
    let connect = ConnectAccount::builder(&world.sessions, "gmail").build().unwrap();
    let mut jane = world.logged_in(JANE).await.at(&world.app.clone().merge(connect.routes()));
    let begun = jane.post("/connect/gmail").await;
    let callback = world.sandbox.consent(begun.location()).unwrap();
    jane.open(&with_parameters(&callback, &[("state", "another")])).await;
    assert_eq!(jane.open(&callback).await.status(), StatusCode::SEE_OTHER);
    let accounts = "tower_scalekit_connected_accounts_total";
    for outcome in ["connected", "state_mismatch"] {
        assert_eq!(recorded.get(&format!("{accounts}{{outcome={outcome:?}}}")), 1, "{outcome}");
    }
}

async fn webhooks(recorded: &Recorded) {
    let (clock, store) = (clock(), FlakyStore::new(clock().clock()));
    let verified = layer(&clock).deduplicate(store.clone());
    let app = Router::new().route("/webhook", post(async || ())).layer(verified);
    for _ in 0..2 {
        send(&app, message("msg_1")).await;
    }
    store.reject(Some(KeyNamespace::WebhookEvent));
    send(&app, message("msg_2")).await;
    let webhooks = "tower_scalekit_webhooks_total";
    assert_eq!(recorded.get(&format!("{webhooks}{{outcome=\"accepted\"}}")), 2);
    assert_eq!(recorded.get(&format!("{webhooks}{{outcome=\"duplicate\"}}")), 1);
    assert_eq!(recorded.get("tower_scalekit_webhooks_not_deduplicated_total{}"), 1);
}

async fn full_stores(recorded: &Recorded) {
    let clock = clock();
    let store = Arc::new(MemoryStore::with_max_bytes(clock.clock(), 64 * 1024));
    let verified = layer(&clock).deduplicate(Arc::clone(&store));
    let app = Router::new().route("/webhook", post(async || ())).layer(verified);
    let fill = async |first: usize| {
        for number in first..first + 1000 {
            let at = clock.clock().now().unix_timestamp();
            send(&app, signed("webhook", &format!("msg_{number}"), at, "{}", 1)).await;
        }
    };
    fill(0).await;
    let nearly_full = "tower_scalekit_memory_store_nearly_full{namespace=\"WebhookEvent\"}";
    assert_eq!(f64::from_bits(recorded.get(nearly_full)).to_string(), "1");
    // Senders do not retry the first ones any more.
    clock.advance(Duration::from_secs(23 * 3600));
    fill(1000).await;
    assert!(recorded.get("tower_scalekit_webhook_ids_dropped_total{}") > 0);
}

async fn revocations(recorded: &Recorded) {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let [sessions, other] = [(); 2].map(|()| world.replica(|one| one.shared_store(store.clone())));
    let app = app(&sessions);
    let jane = world.logged_in(JANE).await.at(&app);
    other.revoke_user("usr_other").await.unwrap();
    assert_eq!(jane.clone().fetch("/me").await.status(), StatusCode::OK);
    settle().await;

    // An entry of another version.
    for log in store.keys().into_iter().filter(|key| key.namespace() == KeyNamespace::Revocation) {
        store.append(&log, Bytes::from("not JSON"), Duration::from_secs(60)).await.unwrap();
    }
    world.advance(3);
    jane.clone().fetch("/me").await;
    settle().await;
    assert!(recorded.get("tower_scalekit_unreadable_revocations_total{}") > 0);

    store.set_down(true);
    for _ in 0..3 {
        world.advance(31);
        jane.clone().fetch("/me").await;
        settle().await;
    }
    assert!(recorded.get("tower_scalekit_shared_store_errors_total{}") > 0);
    assert!(recorded.get("tower_scalekit_internal_errors_total{what=\"revocation_log\"}") > 0);
    let stale = recorded.get("tower_scalekit_revocations_stale{}");
    assert_eq!(f64::from_bits(stale).to_string(), "1");
    let operations = "tower_scalekit_shared_store_operation_duration_seconds";
    assert!(recorded.get(&format!("{operations}{{operation=\"read_since\"}}")) > 0);

    for number in 0..50_000 {
        world.sessions.revoke_user(&format!("usr_{number}")).await.unwrap();
    }
    let nearly_full = recorded.get("tower_scalekit_revocations_nearly_full{}");
    assert_eq!(f64::from_bits(nearly_full).to_string(), "1");
}
