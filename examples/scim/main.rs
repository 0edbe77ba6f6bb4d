//! The people of a customer's directory in a table of one's own, kept in step by webhooks.
//!
//! `cargo run --example scim`, then open the printed address and `/users`. Without the SCALEKIT_
//! variables it runs on an embedded sandbox, whose `/deliveries` shows what it sends. With them, add
//! `{PUBLIC_URL}/webhook` in the dashboard (Webhooks) for the events of directory users and set
//! `SCALEKIT_WEBHOOK_SECRET`. `DATABASE_URL` is `sqlite://PATH`, a temporary file unless set;
//! `SCALEKIT_ORGANIZATION_ID` says whose directory is synced at each start, the first one's unless
//! set.

#[path = "../common/mod.rs"]
mod common;
mod judge;
mod person;
mod sync;
mod table;

use std::env;
use std::path::PathBuf;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::future::{self, FutureExt as _};
use http::StatusCode;
use tower_scalekit::WebhookVerify;
use tower_scalekit::http_client::ReqwestClient;
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::webhook_verify::WebhookSecret;

use self::person::{Change, Person};
use self::table::Table;

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    // No `deduplicate`: the table of events knows more than a store could, also after a restart.
    let verified = common::or_exit(2, webhook_verify(&setup));
    let path = common::or_exit(2, database());
    let table = Table::open(&path).map_err(|error| format!("{}: {error}", path.display()));
    let table = common::or_exit(1, table);

    let app = Router::new()
        .route("/webhook", post(webhook))
        .route_layer(verified)
        .route("/users", get(users)) // for all to see: yours is behind a login
        .with_state(table.clone());
    // Events are taken from the start: none is lost that comes while the sync runs.
    let organization_id = common::setting("SCALEKIT_ORGANIZATION_ID");
    let sync = sync::run(setup.scalekit.api(), organization_id, table);
    tokio::select! {
        biased;
        () = setup.serve(app) => {}
        () = sync.then(|()| future::pending()) => {}
    }
}

/// Anything but 2xx, and the event is sent again.
async fn webhook(
    State(table): State<Table>,
    event: WebhookEvent,
) -> Result<StatusCode, StatusCode> {
    let handled = blocking(&table, move |table| {
        table.handle(event.id(), event.event_type(), Change::of(&event))
    });
    handled.await.map(|_| StatusCode::CREATED).map_err(failed)
}

async fn users(State(table): State<Table>) -> Result<Json<Vec<Person>>, StatusCode> {
    blocking(&table, Table::users).await.map(Json).map_err(failed)
}

fn failed(error: rusqlite::Error) -> StatusCode {
    tracing::error!("the table: {error}");
    StatusCode::INTERNAL_SERVER_ERROR
}

/// Works with the table where waiting for the disk holds up nobody else.
async fn blocking<T: Send + 'static>(
    table: &Table,
    work: impl FnOnce(&Table) -> rusqlite::Result<T> + Send + 'static,
) -> rusqlite::Result<T> {
    let table = table.clone();
    let done = tokio::task::spawn_blocking(move || work(&table)).await;
    done.unwrap_or(Err(rusqlite::Error::UnwindingPanic))
}

/// Checks signatures with the dashboard's secret, or the sandbox's.
fn webhook_verify(setup: &common::Setup) -> Result<WebhookVerify, tower_scalekit::ConfigError> {
    const VARIABLE: &str = "SCALEKIT_WEBHOOK_SECRET";
    let Some((sandbox, _)) = &setup.sandbox else {
        return Ok(WebhookVerify::new(WebhookSecret::from_env(VARIABLE)?));
    };
    sandbox.deliver_webhooks_with(common::or_exit(1, ReqwestClient::new()));
    sandbox.start_delivery();
    let endpoint = sandbox.add_webhook_endpoint(&format!("{}/webhook", setup.public_url));
    let verify = WebhookVerify::new(WebhookSecret::new(endpoint.secret().expose())?);
    match common::setting(VARIABLE) {
        Some(_) => Ok(verify.secret(WebhookSecret::from_env(VARIABLE)?)),
        None => Ok(verify),
    }
}

/// The file that `DATABASE_URL` names.
fn database() -> Result<PathBuf, &'static str> {
    let Some(url) = common::setting("DATABASE_URL") else {
        return Ok(env::temp_dir().join("tower-scalekit-scim.sqlite"));
    };
    let path = url.strip_prefix("sqlite://").and_then(|path| path.split('?').next());
    path.filter(|path| !path.is_empty()).map(PathBuf::from).ok_or("DATABASE_URL: sqlite://PATH")
}
