//! The table in SQLite. Each change is one transaction: an event and its row are stored together or
//! not at all.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use time::{Duration, OffsetDateTime};
use tower_scalekit::api::directories::DirectoryUser;

use crate::evaluate::{self, Known, Sync};
use crate::user::{Change, User, nanoseconds};

/// Maximum difference between the clocks here and at the environment.
const SKEW: Duration = Duration::MINUTE;

/// Cheap to clone; clones share one connection, because SQLite has one writer.
#[derive(Clone)]
pub struct Table(Arc<Mutex<Connection>>);

/// A listed user, and the time of the last change.
pub struct Listed {
    pub user: User,
    pub updated_at: Option<i64>,
}

impl From<DirectoryUser> for Listed {
    fn from(user: DirectoryUser) -> Self {
        Self { updated_at: user.updated_at.map(nanoseconds), user: user.into() }
    }
}

impl Table {
    /// Opens the file, and creates it if it is missing.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // An event that got 2xx is not sent again, so it must survive a power failure.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(include_str!("schema.sql"))?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Handles an event, once. Returns whether it was new.
    pub fn handle(
        &self,
        event_id: &str,
        event_type: &str,
        change: Option<Change>,
    ) -> rusqlite::Result<bool> {
        self.write(|transaction| {
            let insert = "INSERT OR IGNORE INTO events (id, type, changed_user) VALUES (?, ?, 0)";
            let is_new = transaction.prepare_cached(insert)?.execute([event_id, event_type])? == 1;
            if let Some(change) = change.filter(|_| is_new) {
                let (user_id, changed) = apply(transaction, change)?;
                let update = "UPDATE events SET user_id = ?, changed_user = ? WHERE id = ?";
                transaction.prepare_cached(update)?.execute(params![user_id, changed, event_id])?;
            }
            Ok(is_new)
        })
    }

    /// Begins a full sync.
    pub fn begin_sync(&self, now: OffsetDateTime) -> rusqlite::Result<Sync> {
        let since = nanoseconds(now.saturating_sub(SKEW));
        self.write(|transaction| {
            transaction.execute("INSERT INTO syncs (since) VALUES (?)", [since])?;
            Ok(Sync { number: transaction.last_insert_rowid(), since })
        })
    }

    /// Stores a page of the listing.
    pub fn take_page(
        &self,
        sync: Sync,
        organization_id: &str,
        page: Vec<Listed>,
    ) -> rusqlite::Result<()> {
        self.write(|transaction| {
            for Listed { user, updated_at } in page {
                let known = known(transaction, &user.id)?;
                let seen_in = evaluate::seen_after_listing(known.as_ref(), sync);
                if evaluate::listing_counts(known.as_ref(), updated_at, sync) {
                    let before = known.map(|known| known.changed_at);
                    let row = Known {
                        changed_at: before.max(updated_at).unwrap_or_default(),
                        seen_in,
                        ..Known::default()
                    };
                    put(transaction, organization_id, &user, &row)?;
                } else {
                    let update = "UPDATE users SET seen_in = ? WHERE id = ?";
                    transaction.prepare_cached(update)?.execute(params![seen_in, user.id])?;
                }
            }
            Ok(())
        })
    }

    /// Ends a full sync: users in the table who are neither in the listing nor in a later event are
    /// gone. Returns their number.
    pub fn finish_sync(&self, sync: Sync, organization_id: &str) -> rusqlite::Result<usize> {
        self.write(|transaction| {
            let all = format!("SELECT id, {KNOWN} FROM users WHERE organization_id = ?");
            let mut gone = Vec::new();
            let mut rows = transaction.prepare(&all)?;
            let mut rows = rows.query([organization_id])?;
            while let Some(row) = rows.next()? {
                if evaluate::is_gone(&to_known(row)?, sync) {
                    gone.push(row.get::<_, String>("id")?);
                }
            }
            for id in &gone {
                let update = "UPDATE users SET active = 0, gone_since = ? WHERE id = ?";
                transaction.prepare_cached(update)?.execute(params![sync.since, id])?;
            }
            transaction.execute("UPDATE syncs SET finished = 1 WHERE number = ?", [sync.number])?;
            Ok(gone.len())
        })
    }

    /// All users of an organization who were not deleted.
    pub fn users(&self, organization_id: &str) -> rusqlite::Result<Vec<User>> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = connection.prepare_cached(
            "SELECT id, email, name, given_name, family_name, active FROM users
             WHERE organization_id = ? AND NOT deleted ORDER BY email, id",
        )?;
        all.query_map([organization_id], to_user)?.collect()
    }

    /// Runs `change` in a transaction.
    fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        // A transaction that panicked was rolled back, so the connection is usable.
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = change(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// Returns the user's ID, and whether the event changed the user.
fn apply(transaction: &Transaction<'_>, change: Change) -> rusqlite::Result<(String, bool)> {
    let Change { mut user, organization_id, happened_at, deletes } = change;
    if user.id.is_empty() {
        user.id = id_by_email(transaction, &organization_id, &user.email)?;
    }
    let known = known(transaction, &user.id)?;
    if !evaluate::event_counts(known.as_ref(), happened_at, deletes) {
        return Ok((user.id, false));
    }
    if deletes {
        user.active = Some(false);
    }
    let before = user_of(transaction, &user.id)?.unwrap_or_default();
    let user = user.completed(before);
    let sync = transaction
        .prepare_cached("SELECT number, since FROM syncs ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| Ok(Sync { number: row.get(0)?, since: row.get(1)? }))
        .optional()?;
    let seen_in =
        sync.map_or(0, |sync| evaluate::seen_after_event(known.as_ref(), happened_at, sync));
    let row = Known { changed_at: happened_at, deleted: deletes, gone_since: None, seen_in };
    put(transaction, &organization_id, &user, &row)?;
    Ok((user.id, true))
}

/// Events in the envelope of older guides identify a user by organization and e-mail.
fn id_by_email(
    transaction: &Transaction<'_>,
    organization_id: &str,
    email: &str,
) -> rusqlite::Result<String> {
    let find = "SELECT id FROM users WHERE organization_id = ? AND email = ?
                ORDER BY deleted, changed_at DESC LIMIT 1";
    Ok(transaction
        .prepare_cached(find)?
        .query_row([organization_id, email], |row| row.get(0))
        .optional()?
        .unwrap_or_else(|| format!("{organization_id}/{email}")))
}

fn user_of(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<User>> {
    let select = "SELECT id, email, name, given_name, family_name, active FROM users WHERE id = ?";
    transaction.prepare_cached(select)?.query_row([id], to_user).optional()
}

fn to_user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get("id")?,
        email: row.get("email")?,
        name: row.get("name")?,
        given_name: row.get("given_name")?,
        family_name: row.get("family_name")?,
        active: row.get("active")?,
    })
}

const KNOWN: &str = "changed_at, deleted, gone_since, seen_in";

fn known(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<Known>> {
    let select = format!("SELECT {KNOWN} FROM users WHERE id = ?");
    transaction.prepare_cached(&select)?.query_row([id], to_known).optional()
}

fn to_known(row: &Row<'_>) -> rusqlite::Result<Known> {
    Ok(Known {
        changed_at: row.get("changed_at")?,
        deleted: row.get("deleted")?,
        gone_since: row.get("gone_since")?,
        seen_in: row.get("seen_in")?,
    })
}

fn put(
    transaction: &Transaction<'_>,
    organization_id: &str,
    user: &User,
    row: &Known,
) -> rusqlite::Result<()> {
    // If the event does not contain whether the user is active, the status is kept; new and
    // restored users are active.
    let upsert = "INSERT INTO users (id, organization_id, email, name, given_name, family_name,
            active, changed_at, deleted, gone_since, seen_in)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce(?7, 1), ?8, ?9, ?10, ?11)
        ON CONFLICT (id) DO UPDATE SET organization_id = ?2, email = ?3, name = ?4,
            given_name = ?5, family_name = ?6,
            active = coalesce(?7, active OR deleted OR gone_since IS NOT NULL),
            changed_at = ?8, deleted = ?9, gone_since = ?10, seen_in = ?11";
    transaction.prepare_cached(upsert)?.execute(params![
        user.id,
        organization_id,
        user.email,
        user.name,
        user.given_name,
        user.family_name,
        user.active,
        row.changed_at,
        row.deleted,
        row.gone_since,
        row.seen_in,
    ])?;
    Ok(())
}
