//! The seven operations, each as one statement.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{Executor as _, Postgres, Row as _};
use tokio::time::timeout;
use tower_scalekit::shared_store::{
    LogCursor, LogPage, SharedStore, StoreError, StoreFuture, StoreKey,
};

/// A read returns at most this many entries of a log.
const PAGE_ENTRIES: i64 = 1000;

/// The time limit of a statement. Requests wait two seconds for a store, of which half a second is for
/// a connection.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// `SharedStore` in PostgreSQL.
///
/// Lifetimes are those of the server's clock, `now()`. Values are stored as they are: restrict who
/// can read the tables, or seal them as `RedisStore` does.
#[derive(Clone)]
pub struct PostgresStore(PgPool);

impl PostgresStore {
    /// Connects and creates the tables.
    pub async fn connect(url: &str) -> Result<Self, sqlx::Error> {
        let pool = PgPoolOptions::new()
            .acquire_timeout(Duration::from_millis(500))
            // A statement fails on a broken connection, and a further round trip tests nothing else.
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                connection
                    .execute("SET statement_timeout = '1s'")
                    .map(|done| done.map(|_| ()))
                    .boxed()
            })
            .connect(url)
            .await?;
        pool.execute(include_str!("schema.sql")).await?;
        Ok(Self(pool))
    }

    /// Removes expired values. They count as absent, but take up space: call this every few minutes.
    pub async fn remove_expired(&self) -> Result<(), sqlx::Error> {
        self.0.execute("DELETE FROM shared_value WHERE expires_at <= now()").await?;
        self.0.execute(REMOVE_EXPIRED_ENTRIES).await?;
        Ok(())
    }

    /// Removes everything.
    pub async fn clear(&self) -> Result<(), sqlx::Error> {
        self.0.execute("TRUNCATE shared_value, shared_log, shared_log_entry").await?;
        Ok(())
    }

    /// Runs a statement on a value. Returns the first row, if there is one.
    async fn on_value(
        &self,
        statement: &'static str,
        key: &StoreKey,
        values: &[&Bytes],
        ttl: Option<Duration>,
    ) -> Result<Option<PgRow>, StoreError> {
        let mut query =
            sqlx::query(statement).bind(format!("{:?}", key.namespace())).bind(key.id());
        if let Some(ttl) = ttl {
            query = query.bind(ttl.as_secs_f64());
        }
        for value in values {
            query = query.bind(&value[..]);
        }
        Ok(self.run(query).await?.pop())
    }

    /// Runs a statement.
    async fn run(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, StoreError> {
        let mut running = Running(None);
        let connection = running.0.insert(self.0.acquire().await.map_err(unavailable)?);
        let rows = timeout(RESPONSE_TIMEOUT, query.fetch_all(&mut **connection))
            .await
            .map_err(|late| StoreError::Unavailable(late.into()))?;
        // Back to the pool.
        running.0 = None;
        rows.map_err(unavailable)
    }
}

/// The connection of a statement that has not responded. It is closed if the response is late, or if
/// the caller leaves: the pool would wait for the response without a limit.
struct Running(Option<PoolConnection<Postgres>>);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

const GET: &str = "
    SELECT value FROM shared_value WHERE namespace = $1 AND id = $2 AND expires_at > now()";

const PUT: &str = "
    INSERT INTO shared_value (namespace, id, expires_at, value)
    VALUES ($1, $2, now() + $3 * interval '1 second', $4)
    ON CONFLICT (namespace, id)
    DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";

/// An expired value counts as absent.
const PUT_IF_ABSENT: &str = "
    INSERT INTO shared_value (namespace, id, expires_at, value)
    VALUES ($1, $2, now() + $3 * interval '1 second', $4)
    ON CONFLICT (namespace, id)
    DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
    WHERE shared_value.expires_at <= now()
    RETURNING true";

const REPLACE_IF: &str = "
    UPDATE shared_value SET value = $4, expires_at = now() + $3 * interval '1 second'
    WHERE namespace = $1 AND id = $2 AND value = $5 AND expires_at > now()
    RETURNING true";

const REMOVE_IF: &str = "
    DELETE FROM shared_value
    WHERE namespace = $1 AND id = $2 AND value = $3 AND expires_at > now()
    RETURNING true";

/// The lock on the row of the log lasts until the entry is committed. A sequence instead would assign
/// numbers whose entries appear in another order, and a reader would miss some.
const APPEND: &str = "
    WITH next AS (
        INSERT INTO shared_log AS known (log, last_position) VALUES ($1, 1)
        ON CONFLICT (log) DO UPDATE SET last_position = known.last_position + 1
        RETURNING last_position
    )
    INSERT INTO shared_log_entry (log, position, entry, expires_at)
    SELECT $1, last_position, $2, now() + $3 * interval '1 second' FROM next";

/// The last entry stays, because cursors refer to it.
const REMOVE_EXPIRED_ENTRIES: &str = "
    DELETE FROM shared_log_entry USING shared_log
    WHERE shared_log.log = shared_log_entry.log AND position < last_position
        AND expires_at <= now()";

/// A cursor whose entry was lost is the start. Returns whether it was in each row, and one row even
/// without entries.
const READ_SINCE: &str = "
    WITH seen AS (
        SELECT position FROM shared_log_entry
        WHERE log = $1 AND mark::text = $2 AND position = $3
    )
    SELECT $3 <> 0 AND NOT EXISTS (SELECT FROM seen), position, mark::text, entry
    FROM (SELECT) AS one LEFT JOIN LATERAL (
        SELECT position, mark, entry FROM shared_log_entry
        WHERE log = $1 AND expires_at > now()
            AND position > coalesce((SELECT position FROM seen), 0)
        ORDER BY position LIMIT $4
    ) AS later ON true
    ORDER BY position";

impl SharedStore for PostgresStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        async move {
            let row = self.on_value(GET, key, &[], None).await?;
            row.map(|row| bytes(&row, 0)).transpose()
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        async move { self.on_value(PUT, key, &[&value], Some(ttl)).await.map(|_| ()) }.boxed()
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        async move {
            let row = self.on_value(PUT_IF_ABSENT, key, &[&value], Some(ttl)).await?;
            Ok(row.is_some())
        }
        .boxed()
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        async move {
            let row = self.on_value(REPLACE_IF, key, &[&value, &expected], Some(ttl)).await?;
            Ok(row.is_some())
        }
        .boxed()
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        async move { Ok(self.on_value(REMOVE_IF, key, &[&expected], None).await?.is_some()) }
            .boxed()
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        async move {
            let query = sqlx::query(APPEND).bind(name(log)).bind(&entry[..]);
            self.run(query.bind(ttl.as_secs_f64())).await.map(|_| ())
        }
        .boxed()
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        async move {
            // Positions begin with one.
            let (mark, position) = match cursor.as_text().split_once(' ') {
                Some((mark, position)) => (mark, position.parse().unwrap_or(-1)),
                None => ("", 0_i64),
            };
            let query = sqlx::query(READ_SINCE).bind(name(log)).bind(mark).bind(position);
            let rows = self.run(query.bind(PAGE_ENTRIES)).await?;
            let (mut entries, mut next, mut is_lost) = (Vec::new(), cursor.clone(), false);
            for row in &rows {
                is_lost = row.try_get(0).map_err(unavailable)?;
                let position: Option<i64> = row.try_get(1).map_err(unavailable)?;
                if let Some(position) = position {
                    let mark: String = row.try_get(2).map_err(unavailable)?;
                    entries.push(bytes(row, 3)?);
                    next = LogCursor::from_text(format!("{mark} {position}"));
                }
            }
            if is_lost && entries.is_empty() {
                next = LogCursor::start();
            }
            Ok(match is_lost {
                true => LogPage::after_loss(entries, next),
                false => LogPage::new(entries, next),
            })
        }
        .boxed()
    }
}

fn name(log: &StoreKey) -> String {
    format!("{:?} {}", log.namespace(), log.id())
}

fn bytes(row: &PgRow, column: usize) -> Result<Bytes, StoreError> {
    row.try_get::<Vec<u8>, _>(column).map(Bytes::from).map_err(unavailable)
}

fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.into())
}
