//! Events are in the span of the request that causes them, also after waiting and in tasks, and
//! requests to other systems have spans of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use futures::future::join;
use http::{Method, Request, Response, StatusCode};
use tower_scalekit::RequireToken;
use tower_scalekit::sandbox::{Endpoint, Fault, TokenFault};
use tracing::field::{Empty, Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Instrument as _, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::store::FlakyStore;
use crate::support::{
    FETCH, JANE, World, request, request_with_token, sandbox_builder, send, settle,
};
use crate::webhooks::{clock, layer, message};

type Fields = BTreeMap<&'static str, String>;

/// A span or an event, and the trace that it belongs to.
#[derive(Clone, Debug)]
struct Noted {
    name: String,
    fields: Fields,
    /// That of the request, unless it is of none.
    trace: Option<String>,
    /// Traces that it follows from.
    follows: Vec<Option<String>>,
}

/// Notes the events and the closed spans of this crate.
#[derive(Clone, Default)]
struct Traces(Arc<Mutex<Vec<Noted>>>);

struct Visitor<'a>(&'a mut Fields);

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// In the extensions of a span.
struct Known(Noted);

impl Traces {
    fn subscribe(&self) -> (DefaultGuard, Dispatch) {
        let subscriber = Registry::default().with(self.clone());
        // A single subscriber would let other threads disable the events' callsites globally.
        let second = Dispatch::new(Registry::default().with(Self::default()));
        (tracing::subscriber::set_default(subscriber), second)
    }

    fn take(&self) -> Vec<Noted> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn trace_of<S>(id: &Id, context: &Context<'_, S>) -> Option<String>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let span = context.span(id)?;
    let extensions = span.extensions();
    extensions.get::<Known>()?.0.trace.clone()
}

impl<S> Layer<S> for Traces
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let mut fields = Fields::new();
        attributes.record(&mut Visitor(&mut fields));
        let parent = span.parent().and_then(|parent| trace_of(&parent.id(), &context));
        let trace = fields.get("trace_id").cloned().or(parent);
        let name = span.name().to_owned();
        let known = Known(Noted { name, fields, trace, follows: Vec::new() });
        span.extensions_mut().insert(known);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let mut extensions = span.extensions_mut();
        values.record(&mut Visitor(&mut extensions.get_mut::<Known>().unwrap().0.fields));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        let trace = trace_of(follows, &context);
        let span = context.span(id).unwrap();
        span.extensions_mut().get_mut::<Known>().unwrap().0.follows.push(trace);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().target() != "tower_scalekit" {
            return;
        }
        let mut fields = Fields::new();
        event.record(&mut Visitor(&mut fields));
        let trace = context.event_span(event).and_then(|span| trace_of(&span.id(), &context));
        let message = fields.remove("message").unwrap();
        let name = message.split([':', ' ']).next().unwrap().to_owned();
        self.0.lock().unwrap().push(Noted { name, fields, trace, follows: Vec::new() });
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap();
        let known = span.extensions_mut().remove::<Known>().unwrap().0;
        self.0.lock().unwrap().push(known);
    }
}

/// Sends a request in a span of its own, as `TraceLayer` does.
async fn traced(app: &Router, request: Request<Body>, trace_id: &str) -> Response<Bytes> {
    let span = tracing::info_span!("request", trace_id, scalekit.rejection = Empty);
    send(app, request).instrument(span).await
}

fn find<'n>(noted: &'n [Noted], name: &str, trace: &str) -> &'n Noted {
    let found = noted.iter().find(|one| one.name == name && one.trace.as_deref() == Some(trace));
    found.unwrap_or_else(|| panic!("no {name} of {trace} in {noted:#?}"))
}

fn bearer_app(sandbox: &tower_scalekit::Sandbox) -> Router {
    let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id());
    let layer = RequireToken::new(verifier.build().unwrap());
    Router::new().route("/", get(async || "in")).route_layer(layer)
}

#[tokio::test]
async fn a_rejection_is_in_the_span_of_its_request_at_once_and_after_waiting() {
    let traces = Traces::default();
    let _guard = traces.subscribe();
    let sandbox = sandbox_builder().build();
    let app = bearer_app(&sandbox);
    let rejected = traced(&app, request(Method::GET, "/", &[]), "at once").await;
    assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);
    let noted = traces.take();
    assert_eq!(find(&noted, "request_rejected", "at once").fields["reason"], "missing_token");
    let span = find(&noted, "request", "at once");
    assert_eq!(span.fields["scalekit.rejection"], "missing_token");

    // Two requests that wait for one fetch of the keys.
    sandbox.faults().add_times(Endpoint::Keys, 1, Fault::Unreachable);
    let token = sandbox.tokens().access_token(JANE);
    let (first, second) = join(
        traced(&app, request_with_token("/", &token), "first"),
        traced(&app, request_with_token("/", &token), "second"),
    )
    .await;
    for response in [first, second] {
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    let noted = traces.take();
    for trace in ["first", "second"] {
        find(&noted, "request_rejected", trace);
        let span = find(&noted, "request", trace);
        assert_eq!(span.fields["scalekit.rejection"], "keys_unavailable");
    }
    // In the task of the fetch.
    find(&noted, "key_set_fetch_failed", "first");
    let fetch = find(&noted, "http_request", "first");
    for (field, value) in [
        ("otel.kind", "client"),
        ("otel.name", "GET /keys"),
        ("otel.status_code", "ERROR"),
        ("http.request.method", "GET"),
        ("url.template", "/keys"),
        ("error.type", "connect"),
    ] {
        assert_eq!(fetch.fields[field], value, "{field}");
    }
    assert!(sandbox.environment_url().contains(&fetch.fields["server.address"]));
    assert!(!fetch.fields.contains_key("http.response.status_code"));

    sandbox.clock().advance(Duration::from_secs(2));
    let mut forged = sandbox.tokens().access_token_draft(JANE);
    TokenFault::InvalidSignature.apply(&mut forged);
    let forged = sandbox.tokens().sign_draft(&forged);
    let rejected = traced(&app, request_with_token("/", &forged), "forged").await;
    assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);
    let noted = traces.take();
    for event in ["check_failed", "token_rejected", "request_rejected", "key_set_fetched"] {
        find(&noted, event, "forged");
    }
    let fetch = find(&noted, "http_request", "forged");
    assert_eq!(fetch.fields["http.response.status_code"], "200");
    assert!(!fetch.fields.contains_key("error.type"));
}

#[tokio::test]
async fn a_refresh_is_in_the_span_of_the_request_that_started_it() {
    let traces = Traces::default();
    let _guard = traces.subscribe();
    let world = World::new();
    let jane = world.logged_in(JANE).await;
    world.advance(301);
    world.sandbox.faults().add_times(Endpoint::Token, 1, Fault::Status(StatusCode::BAD_GATEWAY));
    traces.take();
    let (first, second) = join(
        traced(&world.app, jane.request(Method::GET, "/me", &FETCH), "first"),
        traced(&world.app, jane.request(Method::GET, "/me", &FETCH), "second"),
    )
    .await;
    for response in [first, second] {
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    let noted = traces.take();
    for trace in ["first", "second"] {
        find(&noted, "request_rejected", trace);
    }
    for event in ["internal_error", "session_refreshed"] {
        find(&noted, event, "first");
    }
    let exchange = find(&noted, "http_request", "first");
    assert_eq!(exchange.fields["otel.name"], "POST /oauth/token");
    assert_eq!(exchange.fields["http.response.status_code"], "502");
    assert_eq!(exchange.fields["error.type"], "502");
}

#[tokio::test]
async fn a_task_that_outlives_its_request_is_linked_to_it_and_does_not_prolong_it() {
    let traces = Traces::default();
    let _guard = traces.subscribe();
    let (clock, store) = (clock(), FlakyStore::new(clock().clock()));
    let down = store.clone();
    let handler = post(async move || down.set_down(true));
    let verified = layer(&clock).deduplicate(store.clone());
    let app = Router::new().route("/webhook", handler).layer(verified);
    traced(&app, message("msg_1"), "webhook").await;
    let noted = traces.take();
    for event in ["webhook_received", "internal_error", "shared_store_unavailable"] {
        find(&noted, event, "webhook");
    }
    let claim = find(&noted, "shared_store", "webhook");
    assert_eq!(claim.fields["otel.name"], "shared_store put_if_absent");
    let failed = noted.iter().rfind(|one| one.name == "shared_store").unwrap();
    assert_eq!(failed.fields["error.type"], "unavailable");
    // It has ended, although its completion is still repeated.
    find(&noted, "request", "webhook");

    store.set_down(false);
    tokio::time::pause();
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(1)).await;
        settle().await;
    }
    let noted = traces.take();
    let task = noted.iter().find(|one| one.name == "background_task").unwrap();
    assert_eq!((&task.trace, &task.follows), (&None, &vec![Some("webhook".to_owned())]));
    assert_eq!(task.fields["otel.name"], "webhook completion");
}
