//! `RedisStore` on a real server.

mod replicas;
pub(crate) mod server;
#[allow(dead_code, reason = "each test uses its part")]
pub(crate) mod servers;
mod topologies;

use std::env;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use rcgen::{Certificate, CertificateParams, Issuer, KeyPair};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tower_scalekit::shared_store::{
    KeyNamespace, LogCursor, RedisStore, RedisStoreBuilder, RedisStoreError, SharedStore,
    StoreError, StoreKey, StoreScope, conformance,
};

use self::server::{Network, PATIENCE, Redis, State, eventually};
use crate::support::{secret, send};
use crate::webhooks;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn key(id: &str) -> StoreKey {
    StoreScope::new(["test"]).key(KeyNamespace::Session, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_conforms_and_notices_lost_logs() {
    let Some(redis) = Redis::start().await else { return };
    let store = redis.store().await;
    conformance::check(&store, async |by| tokio::time::sleep(by).await).await.unwrap();
    conformance::check_loss(&store, async || redis.command(&["FLUSHALL"]).await).await.unwrap();
    let saved = Mutex::new(Vec::new());
    let save = async || {
        let snapshot = redis.snapshot().await;
        *saved.lock().unwrap() = snapshot;
    };
    let restore = async || {
        let snapshot = std::mem::take(&mut *saved.lock().unwrap());
        redis.restore(&snapshot).await;
    };
    conformance::check_restore(&store, save, restore).await.unwrap();
}

/// The command of the guide that creates a user, with the further rules after `needs`.
fn acl_of_the_guide(needs: &str) -> Vec<&'static str> {
    let guide = include_str!("../../src/docs/how_to/several_replicas.md");
    let command = guide.split("```text\n").find_map(|block| block.strip_prefix("ACL SETUSER "));
    let command = command.unwrap().split("```").next().unwrap();
    let more = guide.split(needs).nth(1).unwrap().split('`').nth(1).unwrap();
    ["ACL", "SETUSER"]
        .into_iter()
        .chain(command.split_whitespace())
        .chain(more.split_whitespace())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_commands_of_the_guide_can_use_the_store() {
    let Some(redis) = Redis::start().await else { return };
    let user = acl_of_the_guide("A URL with a database needs");
    let network = Network::before(&redis, None).await;
    let url = format!("redis://app:password@{}", network.address);
    // The last rule is that of the database.
    redis.command::<()>(&user[..user.len() - 1]).await;
    let store = RedisStore::builder(&url, secret(1)).connect().await.unwrap();
    conformance::check(&store, async |by| tokio::time::sleep(by).await).await.unwrap();
    let database = RedisStore::builder(&format!("{url}/2"), secret(1));
    assert!(database.clone().connect().await.is_err());
    redis.command::<()>(&user).await;
    let database = database.connect().await.unwrap();
    database.put(&key("any"), "value".into(), HOUR).await.unwrap();
    assert_eq!(store.get(&key("any")).await.unwrap(), None);
    let other = RedisStore::builder(&url, secret(1)).key_prefix("other:").connect().await.unwrap();
    assert!(other.get(&key("any")).await.is_err());
    let wrong = format!("redis://app:wrong@{}", network.address);
    let wrong = RedisStore::builder(&wrong, secret(1)).connect().await.unwrap_err();
    assert!(matches!(wrong, RedisStoreError::Unreachable(_)), "{wrong:?}");
}

#[tokio::test]
async fn redis_sees_neither_ids_nor_values() {
    let Some(redis) = Redis::start().await else { return };
    let store = redis.store().await;
    let id = "visible-id";
    let value = Bytes::from_static(b"visible-value");
    store.put(&key(id), value.clone(), HOUR).await.unwrap();
    store.put(&key("other"), value.clone(), HOUR).await.unwrap();
    store.append(&key("visible-log"), value.clone(), HOUR).await.unwrap();
    let names: Vec<String> = redis.command(&["KEYS", "*"]).await;
    assert_eq!(names.len(), 3);
    let mut dump = names.join("\n").into_bytes();
    for name in &names {
        assert!(name.starts_with("scalekit:"), "{name}");
        dump.extend(redis.command::<Vec<u8>>(&["DUMP", name]).await);
    }
    let readable = String::from_utf8_lossy(&dump);
    assert!(!readable.contains("visible"), "{readable}");
    assert!(!readable.contains("Session") && !readable.contains(key(id).id()), "{readable}");
    // Equal values of different keys differ, and one that is moved does not open.
    let mut values = Vec::new();
    for name in &names {
        if redis.command::<String>(&["TYPE", name]).await == "string" {
            values.push((name, redis.command::<Vec<u8>>(&["GET", name]).await));
        }
    }
    assert_ne!(values[0].1, values[1].1);
    redis.command::<()>(&["COPY", values[0].0, values[1].0, "REPLACE"]).await;
    let read = [store.get(&key(id)).await, store.get(&key("other")).await];
    assert_eq!(read.iter().filter(|read| read.is_err()).count(), 1, "{read:?}");
    assert!(read.iter().flatten().all(|read| *read == Some(value.clone())), "{read:?}");
}

/// With key names of the first secret.
fn sealing_with(redis: &Redis, current: u8) -> RedisStoreBuilder {
    RedisStore::builder(&redis.url(), secret(current)).key_name_secret(secret(1))
}

/// Waits until the value is sealed with the second secret, by this store.
async fn until_resealed(redis: &Redis, store: &RedisStore, key: &StoreKey) {
    let after = sealing_with(redis, 2).connect().await.unwrap();
    eventually("the value is sealed again", async || {
        store.get(key).await.unwrap();
        after.get(key).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn secrets_rotate_while_replicas_use_both() {
    let Some(redis) = Redis::start().await else { return };
    let before = redis.store().await;
    let one = sealing_with(&redis, 1).previous_secret(secret(2)).connect().await.unwrap();
    let two = sealing_with(&redis, 2).previous_secret(secret(1)).connect().await.unwrap();
    let key = key("rotated");
    let [a, b, c] = ["a", "b", "c"].map(Bytes::from);
    before.put(&key, a.clone(), HOUR).await.unwrap();
    assert!(two.replace_if(&key, a.clone(), b.clone(), HOUR).await.unwrap());
    assert!(one.replace_if(&key, b.clone(), c.clone(), HOUR).await.unwrap());
    assert!(!two.put_if_absent(&key, a, HOUR).await.unwrap());
    assert!(two.remove_if(&key, c.clone()).await.unwrap());
    // What is read is sealed with the new secret, and keeps its lifetime.
    before.put(&key, c.clone(), HOUR).await.unwrap();
    assert_eq!(two.get(&key).await.unwrap(), Some(c.clone()));
    until_resealed(&redis, &two, &key).await;
    let names: Vec<String> = redis.command(&["KEYS", "*"]).await;
    let left: u64 = redis.command(&["TTL", &names[0]]).await;
    assert!((3500..=3600).contains(&left), "{left}");
    assert_eq!(two.get(&key).await.unwrap(), Some(c));
    assert!(matches!(before.get(&key).await, Err(StoreError::Unavailable(_))));
    // Another secret for the names is another store.
    let other = RedisStore::builder(&redis.url(), secret(2));
    assert_eq!(other.clone().connect().await.unwrap().get(&key).await.unwrap(), None);
    let error = other.previous_secret(secret(1)).connect().await.unwrap_err();
    assert!(error.to_string().contains("key_name_secret"), "{error}");
}

#[tokio::test]
async fn a_value_is_read_although_the_server_rejects_or_delays_its_new_seal() {
    let Some(redis) = Redis::start().await else { return };
    let limit = Duration::from_millis(1800);
    let two = sealing_with(&redis, 2).previous_secret(secret(1)).response_timeout(limit);
    let (before, two) = (redis.store().await, two.connect().await.unwrap());
    let value = Bytes::from("value");
    for (prevent, allow) in [
        (&["CONFIG", "SET", "maxmemory", "1"][..], &["CONFIG", "SET", "maxmemory", "0"][..]),
        (&["CLIENT", "PAUSE", "60000", "WRITE"], &["CLIENT", "UNPAUSE"]),
    ] {
        let key = key(prevent[1]);
        before.put(&key, value.clone(), HOUR).await.unwrap();
        redis.command::<()>(prevent).await;
        let read = timeout(limit / 2, two.get(&key)).await.expect("it does not wait for the write");
        assert_eq!(read.unwrap(), Some(value.clone()), "{prevent:?}");
        redis.command::<()>(allow).await;
        until_resealed(&redis, &two, &key).await;
    }
}

#[tokio::test]
async fn a_page_of_a_log_that_does_not_open_is_not_its_end() {
    let Some(redis) = Redis::start().await else { return };
    let store = redis.store().await;
    let other = RedisStore::builder(&redis.url(), secret(2)).key_name_secret(secret(1));
    let (other, log) = (other.connect().await.unwrap(), key("log"));
    for number in 0..1000 {
        other.append(&log, number.to_string().into(), HOUR).await.unwrap();
    }
    store.append(&log, "own".into(), HOUR).await.unwrap();
    let first = store.read_since(&log, LogCursor::start()).await.unwrap();
    assert!(first.entries.is_empty() && first.next != LogCursor::start());
    assert_eq!(first.unreadable, 1000);
    let second = store.read_since(&log, first.next).await.unwrap();
    assert_eq!(second.entries, ["own"]);
    let end = store.read_since(&log, second.next.clone()).await.unwrap();
    assert!(end.entries.is_empty() && end.next == second.next);
}

#[tokio::test]
async fn a_server_that_may_drop_values_is_rejected_at_start_and_after_a_reconnect() {
    let Some(redis) = Redis::with(&["--maxmemory-policy", "allkeys-lru"]).await else { return };
    let error = redis.builder().connect().await.unwrap_err();
    assert!(
        matches!(&error, RedisStoreError::EvictionPolicy { policy } if policy == "allkeys-lru")
    );
    assert!(error.to_string().contains("CONFIG SET maxmemory-policy noeviction"), "{error}");
    redis.command::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let store = redis.store().await;
    redis.command::<()>(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]).await;
    redis.command::<()>(&["CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal"]).await;
    eventually("the policy is rejected", async || {
        let read = store.get(&key("any")).await;
        read.is_err_and(|error| error.to_string().contains("volatile-ttl"))
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_unreachable_or_a_replica_is_an_error_at_start() {
    let Some(redis) = Redis::start().await else { return };
    let network = Network::before(&redis, None).await;
    network.set(State::Silent);
    let silent = network.builder().connect_timeout(Duration::from_millis(200)).connect();
    let silent = timeout(PATIENCE, silent).await.expect("connecting has a limit");
    assert!(matches!(silent, Err(RedisStoreError::Unreachable(_))), "{silent:?}");
    network.set(State::Closed);
    let closed = network.builder().connect().await;
    assert!(matches!(closed, Err(RedisStoreError::Unreachable(_))), "{closed:?}");
    redis.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let replica = redis.builder().connect().await.unwrap_err();
    assert!(replica.to_string().contains("replica"), "{replica}");
    for url in ["http://localhost", "redis://", "localhost:6379", ""] {
        let invalid = RedisStore::builder(url, secret(1)).connect().await.unwrap_err();
        assert!(matches!(invalid, RedisStoreError::Config(_)), "{url}: {invalid}");
    }
    let none: [&str; 0] = [];
    for builder in
        [RedisStore::cluster(none, secret(1)), RedisStore::sentinel("a", none, secret(1))]
    {
        let invalid = builder.connect().await.unwrap_err();
        assert!(matches!(invalid, RedisStoreError::Config(_)), "{invalid}");
    }
}

#[tokio::test]
async fn errors_and_debug_output_name_no_password() {
    let Some(redis) = Redis::start().await else { return };
    let url = "redis://jane:hunter2hunter2@127.0.0.1:1/x";
    let builder = RedisStore::builder(url, secret(1)).server_credentials("jane", "hunter2hunter2");
    let printed =
        format!("{builder:?} {:?} {:?}", builder.clone().connect().await, redis.store().await);
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[tokio::test]
async fn scripts_are_loaded_again_after_a_restart_which_loses_nothing() {
    let Some(redis) = Redis::start().await else { return };
    let store = redis.store().await;
    let (key, log) = (key("lease"), key("log"));
    let [a, b, c] = ["a", "b", "c"].map(Bytes::from);
    store.put(&key, a.clone(), HOUR).await.unwrap();
    store.append(&log, a.clone(), HOUR).await.unwrap();
    let read = store.read_since(&log, LogCursor::start()).await.unwrap();
    redis.command::<()>(&["SCRIPT", "FLUSH"]).await;
    assert!(store.replace_if(&key, a, b.clone(), HOUR).await.unwrap());
    redis.kill();
    let down = store.get(&key).await;
    assert!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");
    redis.start_again().await;
    eventually("the store is connected", async || store.get(&key).await.is_ok()).await;
    assert_eq!(store.get(&key).await.unwrap(), Some(b.clone()));
    store.append(&log, c.clone(), HOUR).await.unwrap();
    assert_eq!(store.read_since(&log, read.next).await.unwrap().entries, [c]);
    assert!(store.remove_if(&key, b).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_to_connect_that_hangs_does_not_delay_the_return_of_the_store() {
    let Some(redis) = Redis::start().await else { return };
    let network = Network::before(&redis, None).await;
    let limit = PATIENCE * 2;
    let store = network
        .builder()
        .response_timeout(limit / 80)
        .connect_timeout(limit)
        .connect()
        .await
        .unwrap();
    network.set(State::Silent);
    assert!(store.get(&key("any")).await.is_err());
    let attempt = tokio::spawn({
        let store = store.clone();
        async move { store.get(&key("any")).await }
    });
    // The attempt has begun, and its connection stays silent.
    tokio::time::sleep(Duration::from_millis(300)).await;
    network.set(State::Connected);
    // Earlier than the attempt ends.
    eventually("the store is connected", async || store.get(&key("any")).await.is_ok()).await;
    drop(attempt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_responses_is_replaced_and_delays_no_operation_twice() {
    let Some(redis) = Redis::start().await else { return };
    let network = Network::before(&redis, None).await;
    let limit = Duration::from_secs(2);
    let store =
        network.builder().response_timeout(limit).connect_timeout(limit).connect().await.unwrap();
    let key = key("any");
    store.put(&key, Bytes::from("value"), HOUR).await.unwrap();
    network.set(State::Silent);
    // One after the other, they would take several times as long.
    let all = futures::future::join_all((0..50).map(|_| store.get(&key)));
    let all = timeout(PATIENCE, all).await.expect("they wait at the same time");
    assert!(all.iter().all(Result::is_err), "{all:?}");
    // The network is back; the connection from before is not.
    network.set(State::Connected);
    eventually("the store is connected", async || store.get(&key).await.is_ok()).await;
    network.set(State::Closed);
    assert!(store.get(&key).await.is_err());
    network.set(State::Connected);
    eventually("the store is connected", async || store.get(&key).await.is_ok()).await;
    let clients: String = redis.command(&["CLIENT", "LIST", "TYPE", "normal"]).await;
    // Of the store, and of this command.
    assert_eq!(clients.lines().count(), 2, "{clients}");
}

/// The library drops an operation after two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_responses_is_replaced_whatever_the_response_timeout() {
    let Some(redis) = Redis::start().await else { return };
    let network = Network::before(&redis, None).await;
    let store = network.builder().response_timeout(HOUR).connect().await.unwrap();
    let layer = webhooks::layer(&webhooks::clock()).deduplicate(store);
    let app = Router::new().route("/webhook", post(|| async {})).route_layer(layer);
    let deliver = async |id| send(&app, webhooks::message(id)).await.status();
    assert_eq!(deliver("one").await, StatusCode::OK);
    network.set(State::Silent);
    assert_eq!(deliver("two").await, StatusCode::SERVICE_UNAVAILABLE);
    // The network is back; the connection from before is not.
    network.set(State::Connected);
    eventually("the store is connected", async || deliver("two").await == StatusCode::OK).await;
}

#[tokio::test]
async fn a_former_primary_is_left_for_the_new_one() {
    let Some(redis) = Redis::start().await else { return };
    let store = redis.store().await;
    redis.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let rejected = store.put(&key("any"), Bytes::from("value"), HOUR).await.unwrap_err();
    assert!(rejected.to_string().contains("read only replica"), "{rejected}");
    // The next connection is not to a replica.
    let next = store.put(&key("any"), Bytes::from("value"), HOUR).await.unwrap_err();
    assert!(next.to_string().contains("is a replica"), "{next}");
    redis.command::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    eventually("the store is connected", async || {
        store.put(&key("any"), Bytes::from("value"), HOUR).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_full_server_rejects_new_values_and_keeps_the_old_ones() {
    let Some(redis) = Redis::start().await else { return };
    let store = redis.store().await;
    let rotated = RedisStore::builder(&redis.url(), secret(2))
        .key_name_secret(secret(1))
        .previous_secret(secret(1))
        .connect()
        .await
        .unwrap();
    store.put(&key("old"), Bytes::from("value"), HOUR).await.unwrap();
    redis.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for full in [
        store.put(&key("new"), Bytes::from("value"), HOUR).await,
        store.append(&key("log"), Bytes::from("value"), HOUR).await,
        store
            .replace_if(&key("old"), Bytes::from("value"), Bytes::from("x"), HOUR)
            .await
            .map(|_| ()),
    ] {
        let is_full =
            matches!(full, Err(StoreError::Full { namespace: KeyNamespace::Session, .. }));
        assert!(is_full, "{full:?}");
    }
    // The second one cannot seal it again with the current secret.
    for store in [store, rotated] {
        assert_eq!(store.get(&key("old")).await.unwrap(), Some(Bytes::from("value")));
    }
}

#[tokio::test]
async fn expired_entries_of_a_log_are_removed_in_steps() {
    let Some(redis) = Redis::start().await else { return };
    let (store, log) = (redis.store().await, key("log"));
    for _ in 0..10 {
        store.append(&log, Bytes::from("short"), Duration::from_millis(1)).await.unwrap();
    }
    store.append(&log, Bytes::from("long"), HOUR).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    store.append(&log, Bytes::from("last"), HOUR).await.unwrap();
    let read = store.read_since(&log, LogCursor::start()).await.unwrap();
    assert_eq!(read.entries, ["long", "last"]);
}

#[tokio::test]
async fn expired_entries_are_removed_between_others_and_the_last_one_stays() {
    let Some(redis) = Redis::start().await else { return };
    let (store, log) = (redis.store().await, key("log"));
    store.append(&log, Bytes::from("head"), HOUR).await.unwrap();
    for number in 0..200 {
        let ttl = if number % 50 == 0 { HOUR } else { Duration::from_millis(1) };
        store.append(&log, Bytes::from(number.to_string()), ttl).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    let names: Vec<String> = redis.command(&["KEYS", "*"]).await;
    let before: usize = redis.command(&["XLEN", &names[0]]).await;
    let end = store.read_since(&log, LogCursor::start()).await.unwrap().next;
    store.append(&log, Bytes::from("later"), HOUR).await.unwrap();
    let later = store.read_since(&log, end).await.unwrap();
    assert_eq!((later.entries, later.cursor_lost), (vec![Bytes::from("later")], false));
    for _ in 0..40 {
        store.append(&log, Bytes::from("more"), HOUR).await.unwrap();
    }
    let left: usize = redis.command(&["XLEN", &names[0]]).await;
    // The head, those of an hour, the later ones.
    println!("{before} entries, then {left}");
    assert_eq!(left, 1 + 4 + 41);
}

/// A certificate authority of a test.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn pem(&self) -> String {
        pem("CERTIFICATE", self.certificate.der())
    }

    fn sign(&self, host: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Returns a certificate and its key as PEM.
    fn issue(&self, host: &str) -> (String, String) {
        let (certificate, key) = self.sign(host);
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_connections_verify_the_server_and_need_no_provider_of_the_process() {
    let Some(redis) = Redis::start().await else { return };
    let authority = Authority::new();
    let (pem, (certificate, key)) = (authority.pem(), authority.sign("localhost"));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let network = Network::before(&redis, Some(TlsAcceptor::from(Arc::new(config)))).await;
    let url = format!("rediss://localhost:{}", network.address.port());
    let untrusted = RedisStore::builder(&url, secret(1)).connect().await.unwrap_err();
    assert!(matches!(untrusted, RedisStoreError::Unreachable(_)), "{untrusted:?}");
    let store = RedisStore::builder(&url, secret(1))
        .root_certificates(pem.clone())
        .connect()
        .await
        .unwrap();
    store.put(&self::key("any"), Bytes::from("value"), HOUR).await.unwrap();
    assert_eq!(redis.store().await.get(&self::key("any")).await.unwrap(), Some("value".into()));
    // The name must match, too.
    let other_name = format!("rediss://{}", network.address);
    let other = RedisStore::builder(&other_name, secret(1)).root_certificates(pem).connect().await;
    assert!(matches!(other, Err(RedisStoreError::Unreachable(_))), "{other:?}");
    let damaged = RedisStore::builder(&url, secret(1)).root_certificates("no PEM").connect().await;
    assert!(damaged.is_err(), "{damaged:?}");
}

/// Selects what the process of `tls_provider_process` does.
const PROVIDER: &str = "SCALEKIT_TEST_TLS_PROVIDER";

/// A provider is installed once in a process.
#[test]
fn a_rustls_provider_that_the_app_has_installed_is_kept_and_none_is_no_error() {
    for installed in ["one", "none"] {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["redis::tls_provider_process", "--exact", "--nocapture"]);
        let output = command.env(PROVIDER, installed).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && printed.contains("connected without a panic"),
            "{printed}"
        );
    }
}

#[tokio::test]
async fn tls_provider_process() {
    let Ok(installed) = env::var(PROVIDER) else { return };
    if installed == "one" {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.truncate(1);
        provider.install_default().unwrap();
    }
    assert_eq!(CryptoProvider::get_default().is_some(), installed == "one");
    let connected = RedisStore::builder("rediss://127.0.0.1:1", secret(1)).connect().await;
    assert!(matches!(connected, Err(RedisStoreError::Unreachable(_))), "{connected:?}");
    let suites = CryptoProvider::get_default().unwrap().cipher_suites.len();
    assert_eq!(suites == 1, installed == "one");
    println!("connected without a panic");
}
