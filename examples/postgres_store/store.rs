//! The seven operations, each as one statement.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::{Executor as _, Row as _};
use tower_scalekit::shared_store::{
    LogCursor, LogPage, SharedStore, StoreError, StoreFuture, StoreKey,
};

/// A read returns at most this many entries of a log.
const PAGE_ENTRIES: i64 = 1000;

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
            // Requests wait two seconds for a store.
            .acquire_timeout(Duration::from_secs(1))
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
        self.0.execute("DELETE FROM shared_log_entry WHERE expires_at <= now()").await?;
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
        query.fetch_optional(&self.0).await.map_err(unavailable)
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

/// A cursor of another incarnation is the start. One row has the incarnation, even without entries.
const READ_SINCE: &str = "
    SELECT shared_log.incarnation::text, position, entry
    FROM shared_log LEFT JOIN LATERAL (
        SELECT position, entry FROM shared_log_entry
        WHERE shared_log_entry.log = $1 AND expires_at > now()
            AND position > CASE WHEN shared_log.incarnation::text = $2 THEN $3 ELSE 0 END
        ORDER BY position LIMIT $4
    ) AS later ON true
    WHERE shared_log.log = $1
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
            let query =
                sqlx::query(APPEND).bind(name(log)).bind(&entry[..]).bind(ttl.as_secs_f64());
            query.execute(&self.0).await.map(|_| ()).map_err(unavailable)
        }
        .boxed()
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        async move {
            let (incarnation, position) = cursor.as_text().split_once(' ').unwrap_or_default();
            let position: i64 = position.parse().unwrap_or(0);
            let query = sqlx::query(READ_SINCE).bind(name(log)).bind(incarnation).bind(position);
            let rows = query.bind(PAGE_ENTRIES).fetch_all(&self.0).await.map_err(unavailable)?;
            let (mut entries, mut next) = (Vec::new(), LogCursor::start());
            for row in &rows {
                let now: String = row.try_get(0).map_err(unavailable)?;
                let found: Option<i64> = row.try_get(1).map_err(unavailable)?;
                match found {
                    Some(position) => {
                        entries.push(bytes(row, 2)?);
                        next = LogCursor::from_text(format!("{now} {position}"));
                    }
                    None if now == incarnation => next = cursor.clone(),
                    None => {}
                }
            }
            Ok(LogPage::new(entries, next))
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
