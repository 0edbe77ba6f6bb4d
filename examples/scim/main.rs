//! The users of a customer's directory in a table, kept in sync by webhooks.
//!
//! `cargo run --example scim`, then open the printed URL. Without the SCALEKIT_ variables it runs
//! on an embedded sandbox, whose `/deliveries` page lists its webhooks. With them, add
//! `{PUBLIC_URL}/webhook` in the dashboard (Webhooks) for the events of directory users and set
//! `SCALEKIT_WEBHOOK_SECRET`; without it, only the full sync runs.
//!
//! `/users` shows logged-in users the users of their own organization. `DATABASE_URL` is
//! `sqlite://PATH`, by default `~/.local/state/tower-scalekit/scim.sqlite`, which only its user can
//! read. `SCALEKIT_ORGANIZATION_ID` is the organization whose directory is synced at each start, by
//! default the first one.

#[path = "../common/mod.rs"]
mod common;
mod evaluate;
mod sync;
mod table;
mod user;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use axum::extract::State;
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::future::{self, FutureExt as _};
use http::StatusCode;
use time::OffsetDateTime;
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::{RequireSession, Session, Sessions, WebhookVerify};

use self::common::OrExit as _;
use self::table::Table;
use self::user::{Change, User};

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let secret = setup.webhook_secret("/webhook");
    let path = database().or_exit(2);
    create_private(&path).map_err(|error| format!("{}: {error}", path.display())).or_exit(1);
    let table =
        Table::open(&path).map_err(|error| format!("{}: {error}", path.display())).or_exit(1);
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .shared_store(setup.store.clone())
        .cookie_name("scim")
        .build()
        .or_exit(2);

    // No `deduplicate`: the table of events is permanent.
    let webhooks = secret
        .map(WebhookVerify::new)
        .map(|verified| Router::new().route("/webhook", post(webhook)).route_layer(verified));
    let app = Router::new()
        .route("/users", get(users))
        .route_layer(RequireSession::new(&sessions))
        .route("/", get(async || Redirect::to(&common::at("/users"))))
        .merge(sessions.routes())
        .merge(webhooks.unwrap_or_default())
        .with_state(table.clone());
    // Events are accepted from the start, so that none is lost during the sync.
    let sync = sync::run(setup.scalekit.api(), common::setting("SCALEKIT_ORGANIZATION_ID"), table);
    tokio::select! {
        biased;
        () = setup.serve(app) => {}
        () = sync.then(|()| future::pending()) => {}
    }
    common::finish(sessions.shutdown(common::SHUTDOWN)).await;
}

/// After any response but 2xx, the event is sent again.
async fn webhook(
    State(table): State<Table>,
    event: WebhookEvent,
) -> Result<StatusCode, StatusCode> {
    blocking(&table, move |table| {
        table.handle(event.id(), event.event_type(), Change::of(&event, OffsetDateTime::now_utc()))
    })
    .await
    .map(|_| StatusCode::CREATED)
    .map_err(failed)
}

/// The users of the logged-in user's organization.
async fn users(
    State(table): State<Table>,
    session: Session,
) -> Result<Json<Vec<User>>, StatusCode> {
    let organization =
        session.principal().organization_id().ok_or(StatusCode::FORBIDDEN)?.to_owned();
    blocking(&table, move |table| table.users(&organization)).await.map(Json).map_err(failed)
}

fn failed(error: rusqlite::Error) -> StatusCode {
    tracing::error!("the table: {error}");
    StatusCode::INTERNAL_SERVER_ERROR
}

/// Runs database work on a blocking thread.
async fn blocking<T: Send + 'static>(
    table: &Table,
    work: impl FnOnce(&Table) -> rusqlite::Result<T> + Send + 'static,
) -> rusqlite::Result<T> {
    let table = table.clone();
    tokio::task::spawn_blocking(move || work(&table))
        .await
        .unwrap_or(Err(rusqlite::Error::UnwindingPanic))
}

/// The file of `DATABASE_URL`.
fn database() -> Result<PathBuf, &'static str> {
    let Some(url) = common::setting("DATABASE_URL") else {
        return env::home_dir()
            .filter(|home| home.is_absolute())
            .map(|home| home.join(".local/state/tower-scalekit/scim.sqlite"))
            .ok_or("DATABASE_URL is not set, and there is no home directory");
    };
    url.strip_prefix("sqlite://")
        .and_then(|path| path.split('?').next())
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .ok_or("DATABASE_URL must be sqlite:// and the path of a file")
}

/// Creates the file, and the default folder, for this user only: SQLite would make it readable for
/// all.
fn create_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|_| common::setting("DATABASE_URL").is_none()) {
        own_folder().recursive(true).create(folder)?;
    }
    own_file().append(true).create(true).open(path).map(drop)
}

#[cfg(unix)]
fn own_folder() -> fs::DirBuilder {
    let mut folder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder
}

#[cfg(unix)]
fn own_file() -> fs::OpenOptions {
    let mut file = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file
}

/// On Windows, the home folder is the user's own already.
#[cfg(not(unix))]
fn own_folder() -> fs::DirBuilder {
    fs::DirBuilder::new()
}

#[cfg(not(unix))]
fn own_file() -> fs::OpenOptions {
    fs::OpenOptions::new()
}
