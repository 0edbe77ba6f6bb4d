mod builder;
mod error;
mod link;
mod sealing;

use std::fmt;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, Script, Value, cmd};
use bytes::Bytes;
use futures::FutureExt as _;

pub use self::builder::RedisStoreBuilder;
pub use self::error::RedisStoreError;
use self::link::Link;
use self::sealing::{Name, Sealer};
use super::{LogCursor, LogPage, SharedStore, StoreError, StoreFuture, StoreKey};
use crate::session_secret::SessionSecret;
use crate::util::telemetry;

/// [`SharedStore`] for several replicas, in Redis 6.2 or later: one server, Sentinel or Cluster.
///
/// ```no_run
/// use tower_scalekit::SessionSecret;
/// use tower_scalekit::shared_store::RedisStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = SessionSecret::from_env("SESSION_SECRET")?;
/// let store = RedisStore::builder("rediss://redis.example.com", secret).connect().await?;
/// # Ok(())
/// # }
/// ```
///
/// The store is cheap to clone, and its clones share a connection. An operation that gets no
/// response in time fails, and the connection is replaced. Operations that wait for a new connection
/// share one attempt. The log lines `shared_store_unavailable` and `shared_store_available` report
/// a change, and the counter `tower_scalekit_shared_store_errors_total` counts failed operations.
///
/// # What Redis can see
///
/// Key names are keyed hashes (HMAC-SHA-256) of namespace and ID. All values are sealed
/// (AES-256-GCM-SIV) and bound to their key name: sessions are sealed already, but other values have
/// IDs of sessions or messages, and one rule cannot miss one. The cost is 21 bytes and about a
/// microsecond for each value. Comparisons run in Redis, so sealing is deterministic: Redis can see
/// that a key has the same value as before, but not that two keys have.
///
/// # Requirements
///
/// - `maxmemory-policy noeviction`. Any other policy can drop leases and revocations. It is checked
///   for each new connection; of a cluster, at start.
/// - Persistence with `appendonly yes`. What a server that stops has not written is lost, by default one
///   second. After a loss of everything, replicas publish the revocations that they know again;
///   sessions in the store have ended, and a session that was being refreshed may have to log in
///   again.
/// - Replication is asynchronous. If a replica is promoted that lacks the last writes, two app
///   replicas can refresh one session: the environment accepts the second refresh within its grace
///   period of about 30 s. A lost revocation of a user or an organization is published again; one of
///   a single session in the last moment can be lost. `min-replicas-to-write 1` and
///   `min-replicas-max-lag 1` limit the loss.
#[derive(Clone)]
pub struct RedisStore {
    link: Link,
    sealer: std::sync::Arc<Sealer>,
    scripts: std::sync::Arc<Scripts>,
}

impl RedisStore {
    /// Creates a builder for the server at a URL: `redis://user:password@host:port/database`,
    /// `rediss://…` for TLS, or `unix:///path`.
    ///
    /// Names and values are protected with keys derived from `secret`, which may be that of the
    /// sessions.
    pub fn builder(url: &str, secret: SessionSecret) -> RedisStoreBuilder {
        RedisStoreBuilder::single(url, secret)
    }

    /// Creates a builder for the server that Sentinel monitors under a name. The URLs are those of
    /// the sentinels.
    pub fn sentinel<U: AsRef<str>>(
        name: &str,
        sentinels: impl IntoIterator<Item = U>,
        secret: SessionSecret,
    ) -> RedisStoreBuilder {
        RedisStoreBuilder::sentinel(name, sentinels, secret)
    }

    /// Creates a builder for a Redis Cluster. The URLs are those of some of its nodes.
    pub fn cluster<U: AsRef<str>>(
        nodes: impl IntoIterator<Item = U>,
        secret: SessionSecret,
    ) -> RedisStoreBuilder {
        RedisStoreBuilder::cluster(nodes, secret)
    }

    async fn query<T: FromRedisValue>(&self, key: &StoreKey, cmd: &Cmd) -> Result<T, StoreError> {
        self.link.query(key.namespace(), cmd).await
    }

    /// Runs a script on one key. Redis forgets scripts when it restarts.
    async fn run<T: FromRedisValue>(
        &self,
        key: &StoreKey,
        script: &Script,
        code: &str,
        args: &[&[u8]],
        name: &Name,
    ) -> Result<T, StoreError> {
        let call = |command: &str, script: &str| {
            let mut call = cmd(command);
            call.arg(script).arg(1).arg(name.text()).arg(args);
            call
        };
        match self.link.query_script(key.namespace(), &call("EVALSHA", script.get_hash())).await? {
            Some(value) => Ok(value),
            None => self.query(key, &call("EVAL", code)).await,
        }
    }

    /// Replaces the value if it is one of the candidates; without `ttl` the lifetime is kept.
    async fn replace(
        &self,
        key: &StoreKey,
        name: &Name,
        candidates: &[Vec<u8>],
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let ttl = ttl.map(millis).unwrap_or_default();
        let mut args = vec![value, ttl.as_bytes()];
        args.extend(candidates.iter().map(Vec::as_slice));
        self.run(key, &self.scripts.replace, REPLACE, &args, name).await
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("link", &self.link).finish_non_exhaustive()
    }
}

/// At most this many entries of a log are returned at once.
const PAGE_ENTRIES: usize = 1000;

/// `value ttl candidates…`; an empty `ttl` keeps the lifetime.
const REPLACE: &str = r"
local seen = redis.call('GET', KEYS[1])
for i = 3, #ARGV do
  if seen == ARGV[i] then
    if ARGV[2] == '' then
      redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
    else
      redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    end
    return 1
  end
end
return 0";

/// `candidates…`
const REMOVE: &str = r"
local seen = redis.call('GET', KEYS[1])
for i = 1, #ARGV do
  if seen == ARGV[i] then
    return redis.call('DEL', KEYS[1])
  end
end
return 0";

/// `entry ttl`. The stream lives as long as its longest entry; each call trims a few expired ones.
const APPEND: &str = r"
local ttl, time = tonumber(ARGV[2]), redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, old in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 16)) do
  if tonumber(old[2][4]) > now then break end
  redis.call('XDEL', KEYS[1], old[1])
end
local left = redis.call('PTTL', KEYS[1])
redis.call('XADD', KEYS[1], '*', 'entry', ARGV[1], 'until', string.format('%.0f', now + ttl))
if ttl > left then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1";

/// `cursor count`. A cursor after the last position is that of a stream that was lost.
const READ: &str = r"
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local function position(id)
  local time, number = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(time) or 0, tonumber(number) or 0
end
local info, last = redis.call('XINFO', 'STREAM', KEYS[1]), '0-0'
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then last = info[i + 1] end
end
local time, number = position(ARGV[1])
local last_time, last_number = position(last)
local start = '-'
if (time > 0 or number > 0) and
   (time < last_time or (time == last_time and number <= last_number)) then
  start = '(' .. ARGV[1]
end
return redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', ARGV[2])";

struct Scripts {
    replace: Script,
    remove: Script,
    append: Script,
    read: Script,
}

impl Scripts {
    fn new() -> Self {
        let [replace, remove, append, read] = [REPLACE, REMOVE, APPEND, READ].map(Script::new);
        Self { replace, remove, append, read }
    }
}

/// A lifetime in milliseconds, rounded up, and short enough for Redis.
fn millis(ttl: Duration) -> String {
    const MAX: u128 = 100 * 366 * 24 * 60 * 60 * 1000;
    ttl.as_nanos().div_ceil(1_000_000).clamp(1, MAX).to_string()
}

impl SharedStore for RedisStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        async move {
            let name = self.sealer.name(key);
            let mut get = cmd("GET");
            get.arg(name.text());
            let Some(sealed) = self.query::<Option<Vec<u8>>>(key, &get).await? else {
                return Ok(None);
            };
            let opened = self.sealer.open(&name, &sealed)?;
            if opened.outdated_key {
                // While the former secret is available.
                let value = self.sealer.seal(&name, &opened.value)?;
                self.replace(key, &name, &[sealed], &value, None).await?;
            }
            Ok(Some(opened.value))
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        async move {
            let name = self.sealer.name(key);
            let mut set = cmd("SET");
            set.arg(name.text()).arg(self.sealer.seal(&name, &value)?).arg("PX").arg(millis(ttl));
            self.query(key, &set).await
        }
        .boxed()
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        async move {
            let name = self.sealer.name(key);
            let mut set = cmd("SET");
            set.arg(name.text()).arg(self.sealer.seal(&name, &value)?).arg("PX").arg(millis(ttl));
            // `OK` or nil.
            Ok(self.query::<Value>(key, set.arg("NX")).await? != Value::Nil)
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
            let name = self.sealer.name(key);
            let value = self.sealer.seal(&name, &value)?;
            self.replace(key, &name, &self.sealer.candidates(&name, &expected)?, &value, Some(ttl))
                .await
        }
        .boxed()
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        async move {
            let name = self.sealer.name(key);
            let candidates = self.sealer.candidates(&name, &expected)?;
            let candidates: Vec<_> = candidates.iter().map(Vec::as_slice).collect();
            self.run(key, &self.scripts.remove, REMOVE, &candidates, &name).await
        }
        .boxed()
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        async move {
            let name = self.sealer.name(log);
            let (entry, ttl) = (self.sealer.seal(&name, &entry)?, millis(ttl));
            self.run(log, &self.scripts.append, APPEND, &[&entry, ttl.as_bytes()], &name).await
        }
        .boxed()
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        async move {
            let (name, count) = (self.sealer.name(log), PAGE_ENTRIES.to_string());
            let args = [cursor.as_text().as_bytes(), count.as_bytes()];
            let read: Option<Vec<(String, Vec<Vec<u8>>)>> =
                self.run(log, &self.scripts.read, READ, &args, &name).await?;
            let Some(read) = read else { return Ok(LogPage::new(Vec::new(), LogCursor::start())) };
            let next = read.last().map_or(cursor, |(id, _)| LogCursor::from_text(id.clone()));
            let mut entries = Vec::with_capacity(read.len());
            for sealed in read.iter().filter_map(|(_, fields)| fields.get(1)) {
                match self.sealer.open(&name, sealed) {
                    Ok(opened) => entries.push(opened.value),
                    Err(error) => telemetry::internal_error("shared_store_log", &error),
                }
            }
            Ok(LogPage::new(entries, next))
        }
        .boxed()
    }
}
