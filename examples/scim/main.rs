//! The people of a customer's directory in a table of one's own, kept in step by webhooks.
//!
//! `cargo run --example scim`, then open the printed address. Without the SCALEKIT_
//! variables it runs on an embedded sandbox, whose `/deliveries` shows what it sends. With them, add
//! `{PUBLIC_URL}/webhook` in the dashboard (Webhooks) for the events of directory users and set
//! `SCALEKIT_WEBHOOK_SECRET`; without it there is the sync alone.
//!
//! `DATABASE_URL` is `sqlite://PATH`, a temporary file unless set. `SCALEKIT_ORGANIZATION_ID` says
//! whose directory is synced at each start, that of the first one unless set.

#[path = "../common/mod.rs"]
mod common;
mod judge;
mod person;
mod sync;
mod table;

use std::env;
use std::path::PathBuf;

use axum::extract::State;
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::future::{self, FutureExt as _};
use http::StatusCode;
use time::OffsetDateTime;
use tower_scalekit::WebhookVerify;
use tower_scalekit::webhook::WebhookEvent;

use self::person::{Change, Person};
use self::table::Table;

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let secret = setup.webhook_secret("/webhook");
    let path = common::or_exit(2, database());
    let table = Table::open(&path).map_err(|error| format!("{}: {error}", path.display()));
    let table = common::or_exit(1, table);

    // No `deduplicate`: the table of events knows more than a store could, also after a restart.
    let webhooks = secret
        .map(WebhookVerify::new)
        .map(|verified| Router::new().route("/webhook", post(webhook)).route_layer(verified));
    let app = Router::new()
        .route("/", get(async || Redirect::to("/users")))
        .route("/users", get(users)) // for all to see: yours is behind a login
        .merge(webhooks.unwrap_or_default())
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
        table.handle(event.id(), event.event_type(), Change::of(&event, OffsetDateTime::now_utc()))
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

/// The file that `DATABASE_URL` names.
fn database() -> Result<PathBuf, &'static str> {
    let Some(url) = common::setting("DATABASE_URL") else {
        return Ok(env::temp_dir().join("tower-scalekit-scim.sqlite"));
    };
    let path = url.strip_prefix("sqlite://").and_then(|path| path.split('?').next());
    path.filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .ok_or("DATABASE_URL must be sqlite:// and the path of a file")
}
