mod builder;
mod error;
mod failure;
mod link;
mod sealing;
mod servers;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, Value, cmd};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::Semaphore;

pub use self::builder::RedisStoreBuilder;
pub use self::error::RedisStoreError;
use self::link::Link;
use self::sealing::{Name, Sealer};
use super::{LogCursor, LogPage, SharedStore, StoreError, StoreFuture, StoreKey};
use crate::session_secret::SessionSecret;
use crate::util::tasks::Tasks;
use crate::util::telemetry;

/// [`SharedStore`] for several replicas, in Redis 6.2 or later or Valkey: one server, Sentinel or
/// Cluster.
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
/// share one attempt.
///
/// # What Redis can see
///
/// Key names are keyed hashes (HMAC-SHA-256) of namespace and ID. All values are sealed
/// (AES-256-GCM-SIV) and bound to their key name: sessions are sealed already, but other values have
/// IDs of sessions or messages, and sealing all of them leaves no exception to forget. It costs 21
/// bytes and about a microsecond for each value. Comparisons run in Redis, so sealing is deterministic: Redis can see
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
///   period of about 30 s. Lost revocations are published again by the replicas that know them.
///   `min-replicas-to-write 1` and `min-replicas-max-lag 1` limit the loss.
///
/// An operation whose response is lost fails, and is not repeated. A cluster repeats only commands that
/// a node has rejected without running them.
#[derive(Clone)]
pub struct RedisStore {
    link: Link,
    sealer: Arc<Sealer>,
    scripts: Arc<Scripts>,
    tasks: Tasks,
    resealing: Arc<Semaphore>,
}

/// How many values are sealed again at once. Others are when they are read again.
const MAX_RESEALING: usize = 64;

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

    /// Runs a script on one key. Redis loses its script cache on a restart.
    async fn run<T: FromRedisValue>(
        &self,
        key: &StoreKey,
        name: &Name,
        script: &Script,
        args: &[&[u8]],
    ) -> Result<T, StoreError> {
        let eval_sha = script_call("EVALSHA", &script.sha1, name, args);
        match self.link.query_script(key.namespace(), &eval_sha).await? {
            Some(value) => Ok(value),
            None => self.query(key, &script_call("EVAL", script.code, name, args)).await,
        }
    }

    /// `SET` with the sealed value and its lifetime.
    fn set(&self, key: &StoreKey, value: &[u8], ttl: Duration) -> Result<Cmd, StoreError> {
        let name = self.sealer.name(key);
        let mut set = cmd("SET");
        set.arg(name.text()).arg(self.sealer.seal(&name, value)?).arg("PX").arg(millis(ttl));
        Ok(set)
    }

    /// Seals a value with the current secret, while the former one is available. In the background:
    /// a server that is slow, or rejects writes because its memory is full, serves reads.
    fn reseal(&self, key: &StoreKey, name: Name, sealed: Vec<u8>, value: Bytes) {
        let Ok(permit) = Arc::clone(&self.resealing).try_acquire_owned() else { return };
        let (store, key) = (self.clone(), key.clone());
        self.tasks.detach("new seal of a stored value", async move {
            let _permit = permit;
            let replaced = match store.sealer.seal(&name, &value) {
                Ok(resealed) => store.replace(&key, &name, &[sealed], &resealed, None).await,
                Err(error) => Err(error),
            };
            if let Err(error) = replaced {
                telemetry::internal_error("shared_store_reseal", &error);
            }
        });
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
        self.run(key, name, &self.scripts.replace, &args).await
    }
}

/// A call of a script on one key.
fn script_call(command: &str, script: &str, name: &Name, args: &[&[u8]]) -> Cmd {
    let mut call = cmd(command);
    call.arg(script).arg(1).arg(name.text()).arg(args);
    call
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

/// `entry ttl mark`. Each call examines a few entries, from where the call before has stopped, and
/// removes those that have expired. The last one stays, for readers that stopped there. The stream
/// outlives the memory of replicas, which would notice a loss otherwise.
const APPEND: &str = r"
local function field(entry, name)
  for i = 1, #entry[2], 2 do
    if entry[2][i] == name then return entry[2][i + 1] end
  end
end
local ttl, time = tonumber(ARGV[2]), redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last, sweep = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1], '-'
if last then
  local old = redis.call('XRANGE', KEYS[1], field(last, 'sweep') or '-', '+', 'COUNT', 17)
  for i = 1, math.min(#old, 16) do
    if old[i][1] ~= last[1] and tonumber(field(old[i], 'until')) <= now then
      redis.call('XDEL', KEYS[1], old[i][1])
    end
  end
  if old[17] then sweep = old[17][1] end
end
local left, keep = redis.call('PTTL', KEYS[1]), math.ceil(ttl * 17 / 16) + 60000
redis.call('XADD', KEYS[1], '*', 'entry', ARGV[1], 'until', string.format('%.0f', now + ttl),
  'mark', ARGV[3], 'sweep', sweep)
if keep > left then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', keep)) end
return 1";

/// `id mark count`. Returns whether the entry of the cursor was lost, and entries. A stream that has
/// lost its last entries gets others, perhaps with the same IDs, but never with the same marks.
const READ: &str = r"
local start, lost = '-', 0
if ARGV[1] ~= '' then
  local at = redis.pcall('XRANGE', KEYS[1], ARGV[1], ARGV[1])
  if not at.err and at[1] and at[1][2][6] == ARGV[2] then
    start = '(' .. ARGV[1]
  else
    lost = 1
  end
end
return {lost, redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', ARGV[3])}";

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

struct Script {
    code: &'static str,
    /// Identifies it in Redis.
    sha1: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, sha1: ::redis::Script::new(code).get_hash().to_owned() }
    }
}

/// The ID of an entry, and its fields with their names.
type StreamEntry = (String, Vec<Vec<u8>>);

/// Identifies an entry of a log.
fn mark() -> Result<String, StoreError> {
    let mut mark = [0; 8];
    rand::fill(&mut mark)
        .map_err(|_| StoreError::Unavailable("there are no random numbers".into()))?;
    Ok(URL_SAFE_NO_PAD.encode(mark))
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
            let sealed: Option<Vec<u8>> = self.query(key, cmd("GET").arg(name.text())).await?;
            let Some(sealed) = sealed else { return Ok(None) };
            let opened = self.sealer.open(&name, &sealed)?;
            if opened.outdated_key {
                self.reseal(key, name, sealed, opened.value.clone());
            }
            Ok(Some(opened.value))
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        async move { self.query(key, &self.set(key, &value, ttl)?).await }.boxed()
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool> {
        async move {
            // `OK` or nil.
            let set: Value = self.query(key, self.set(key, &value, ttl)?.arg("NX")).await?;
            Ok(set != Value::Nil)
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
            self.run(key, &name, &self.scripts.remove, &candidates).await
        }
        .boxed()
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, ttl: Duration) -> StoreFuture<'a, ()> {
        async move {
            let name = self.sealer.name(log);
            let (entry, ttl, mark) = (self.sealer.seal(&name, &entry)?, millis(ttl), mark()?);
            let args: [&[u8]; 3] = [&entry, ttl.as_bytes(), mark.as_bytes()];
            self.run(log, &name, &self.scripts.append, &args).await
        }
        .boxed()
    }

    fn read_since<'a>(&'a self, log: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        async move {
            let (name, count) = (self.sealer.name(log), PAGE_ENTRIES.to_string());
            let (id, mark) = cursor.as_text().split_once(' ').unwrap_or((cursor.as_text(), ""));
            let args = [id.as_bytes(), mark.as_bytes(), count.as_bytes()];
            let (is_lost, read): (bool, Vec<StreamEntry>) =
                self.run(log, &name, &self.scripts.read, &args).await?;
            let next = match read.last() {
                Some((id, fields)) => LogCursor::from_text(format!(
                    "{id} {}",
                    String::from_utf8_lossy(fields.get(5).map(Vec::as_slice).unwrap_or_default())
                )),
                None if is_lost => LogCursor::start(),
                None => cursor,
            };
            let mut page = match is_lost {
                true => LogPage::after_loss(Vec::with_capacity(read.len()), next),
                false => LogPage::new(Vec::with_capacity(read.len()), next),
            };
            for sealed in read.iter().filter_map(|(_, fields)| fields.get(1)) {
                match self.sealer.open(&name, sealed) {
                    Ok(opened) => page.entries.push(opened.value),
                    Err(error) => {
                        page.unreadable += 1;
                        telemetry::internal_error("shared_store_log", &error);
                    }
                }
            }
            Ok(page)
        }
        .boxed()
    }
}
