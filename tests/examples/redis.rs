//! The examples with a Redis server.

use std::time::Duration;

use http::StatusCode;

use crate::redis_server::{Network, Redis, State, eventually};
use crate::running::{run, start};
use crate::watched::Watched;

const SECRET: (&str, &str) = ("SESSION_SECRET", "0123456789abcdef0123456789abcdef");

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_sessions_and_logouts() {
    let Some(redis) = Redis::start().await else { return };
    let one = Watched::start("saaskit", &[("REDIS_URL", &redis.url())]).await;
    let (_two, address) = one.replica("saaskit");
    one.log_in("/login").await;
    let me = format!("{address}/api/me");
    assert_eq!(one.visitor.get(&me).await.status(), StatusCode::OK);
    let copy = one.visitor.copy();
    one.visitor.post(&one.address("/logout"), &[]).await;
    eventually("the logout is known", async || copy.get(&me).await.status() != StatusCode::OK)
        .await;
    one.assert_discreet(&["login_completed"], 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_logged_once_and_ends_no_session() {
    let Some(redis) = Redis::start().await else { return };
    let settings = [("REDIS_URL", &*redis.url()), ("RUST_LOG", "info")];
    let one = Watched::start("saaskit", &settings).await;
    one.log_in("/login").await;
    redis.kill();
    let me = one.address("/api/me");
    let request = async || assert_eq!(one.visitor.get(&me).await.status(), StatusCode::OK);
    eventually("the outage is logged", async || {
        request().await;
        one.program.errors().contains("shared_store_unavailable")
    })
    .await;
    // The log of revocations is read every second.
    for _ in 0..30 {
        request().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let errors = one.program.errors();
    assert_eq!(errors.matches("shared_store_unavailable").count(), 1, "{errors}");
    assert!(!errors.contains("internal_error"), "{errors}");
    redis.start_again().await;
    eventually("the end is logged", async || {
        request().await;
        one.program.errors().contains("shared_store_available")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_web_example_uses_the_store() {
    let Some(redis) = Redis::start().await else { return };
    let (url, folder) = (redis.url(), tempfile::tempdir().unwrap());
    let database = format!("sqlite://{}", folder.path().join("scim.sqlite").display());
    let settings =
        [SECRET, ("REDIS_URL", &url), ("BIND", "127.0.0.1:0"), ("DATABASE_URL", &database)];
    for example in [
        "bring_your_own_auth",
        "call_api",
        "saaskit",
        "forward_auth",
        "login",
        "observability",
        "passwordless",
        "spa",
        "sso",
        "scim",
        "agentkit",
        "mcp_server",
    ] {
        let arguments: &[&str] = if example == "agentkit" { &["--serve"] } else { &[] };
        let program = start(example, arguments, &settings);
        program.said("listening on ");
        let clients: String = redis.command(&["CLIENT", "LIST", "TYPE", "normal"]).await;
        assert_eq!(clients.lines().count(), 2, "{example}: {clients}");
        assert!(!program.errors().contains("REDIS_URL"), "{}", program.errors());
        drop(program);
        eventually("the connection is closed", async || {
            let clients: String = redis.command(&["CLIENT", "LIST", "TYPE", "normal"]).await;
            clients.lines().count() == 1
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_unavailable_or_invalid_is_one_line_and_an_exit_code() {
    let (code, _, errors) = run("saaskit", &[SECRET, ("REDIS_URL", "redis://127.0.0.1:1")]).await;
    assert_eq!((code, errors.lines().count()), (Some(1), 1), "{errors}");
    assert!(errors.starts_with("error: REDIS_URL: Redis is unavailable: "), "{errors}");
    let (code, _, errors) = run("saaskit", &[SECRET, ("REDIS_URL", "localhost:6379")]).await;
    assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
    assert!(errors.starts_with("error: REDIS_URL: "), "{errors}");
    let (code, _, errors) = run("saaskit", &[("REDIS_URL", "redis://127.0.0.1:1")]).await;
    assert_eq!((code, errors.as_str()), (Some(2), "error: SESSION_SECRET is not set\n"));

    let Some(redis) = Redis::with(&["--maxmemory-policy", "allkeys-lru"]).await else { return };
    let network = Network::before(&redis, None).await;
    let url = format!("redis://{}", network.address);
    let (code, _, errors) = run("saaskit", &[SECRET, ("REDIS_URL", &url)]).await;
    assert_eq!((code, errors.lines().count()), (Some(1), 1), "{errors}");
    assert!(errors.contains("noeviction"), "{errors}");
    network.set(State::Silent);
    let (code, _, errors) = run("saaskit", &[SECRET, ("REDIS_URL", &url)]).await;
    assert_eq!((code, errors.lines().count()), (Some(1), 1), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_without_a_store_says_what_that_means() {
    let program = start("saaskit", &[], &[SECRET, ("BIND", "127.0.0.1:0")]);
    program.said("listening on ");
    assert_eq!(program.errors().matches("no REDIS_URL: run one process only").count(), 1);
}
