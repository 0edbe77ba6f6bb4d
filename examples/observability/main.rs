//! What an operator sees of an app: `/metrics` for Prometheus, `/health/live` and `/health/ready` for
//! probes, and a trace of each request in the log.
//!
//! `cargo run --example observability`, then `prometheus --config.file=prometheus.yml` in this folder,
//! which loads the alert rules too. `dashboard.json` is for Grafana.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/me.rs"]
mod me;

use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tower_http::trace::TraceLayer;
use tower_scalekit::readiness::Readiness;
use tower_scalekit::{Principal, RequireSession, RequireToken, Sessions, describe_metrics};
use tracing::Span;
use tracing::field::Empty;

use crate::common::OrExit as _;

/// Upper bounds in seconds. Requests to the environment take up to 20 s.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 20.0];

#[tokio::main]
async fn main() {
    // Before anything is counted.
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .or_exit(1);
    describe_metrics();

    let setup = common::Setup::from_env().await;
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .cookie_name("observability")
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .shared_store(setup.store.clone())
        .build()
        .or_exit(2);
    let token = RequireToken::for_audience(&setup.scalekit, setup.scalekit.client_id())
        .or_exit(2)
        .reject_revoked(&sessions.revocations());

    let of_probe = sessions.clone();
    let app = Router::new()
        .route("/", get(me::me))
        .route_layer(RequireSession::new(&sessions))
        .merge(Router::new().route("/api", get(greet)).route_layer(token))
        .merge(sessions.routes())
        .layer(TraceLayer::new_for_http().make_span_with(request_span))
        // Not for the public: let the proxy in front forward none of these.
        .route("/health/live", get(async || "alive\n"))
        .route("/health/ready", get(async move || ready(&of_probe).await))
        .route("/metrics", get(async move || prometheus.render()));
    setup.serve(app).await;
    common::finish(sessions.shutdown(common::SHUTDOWN)).await;
}

/// The span of a request, around the layers, so that their events are inside. The path of the route
/// instead of the URL, which can contain codes.
fn request_span(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    tracing::info_span!(
        "request",
        "http.request.method" = request.method().as_str(),
        "http.route" = route,
        "user.id" = Empty,
        // A layer that rejects the request records why.
        "scalekit.rejection" = Empty,
    )
}

async fn greet(principal: Principal) -> String {
    Span::current().record("user.id", principal.subject());
    format!("Hello, {}\n", principal.subject())
}

/// Responds with 503 until the keys and the revocations are loaded. A later outage is in the body
/// only.
async fn ready(sessions: &Sessions) -> (StatusCode, Json<Readiness>) {
    let readiness = sessions.readiness().await;
    let status =
        if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}
