//! Three replicas of an app, each with a connection of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use futures::future::join_all;
use http::{HeaderMap, Method, StatusCode};
use tower_scalekit::sandbox::{Endpoint, NewUser};
use tower_scalekit::session::SessionsBuilder;
use tower_scalekit::{Sessions, WebhookVerify};

use super::server::{Network, Redis, State, eventually};
use crate::support::{Browser, FETCH, JANE, Reading as _, World, app, send, set_cookies};
use crate::webhooks;

struct Replicas {
    redis: Redis,
    networks: Vec<Network>,
    world: World,
    sessions: Vec<Sessions>,
    apps: Vec<Router>,
}

impl Replicas {
    async fn new(change: impl Fn(SessionsBuilder) -> SessionsBuilder) -> Option<Self> {
        Self::with_grace(Duration::ZERO, change).await
    }

    /// With the time in which the environment accepts a spent refresh token.
    async fn with_grace(
        grace: Duration,
        change: impl Fn(SessionsBuilder) -> SessionsBuilder,
    ) -> Option<Self> {
        let redis = Redis::start().await?;
        let world = World::with(|sandbox| sandbox.refresh_grace(grace), |sessions| sessions);
        let mut replicas =
            Self { redis, networks: Vec::new(), world, sessions: Vec::new(), apps: Vec::new() };
        for _ in 0..3 {
            replicas.add(&change).await;
        }
        Some(replicas)
    }

    /// Starts another replica.
    async fn add(&mut self, change: impl Fn(SessionsBuilder) -> SessionsBuilder) {
        let network = Network::before(&self.redis, None).await;
        let store = network
            .builder()
            .response_timeout(Duration::from_millis(1500))
            .connect()
            .await
            .unwrap();
        let sessions = self.world.replica(|sessions| change(sessions.shared_store(store)));
        self.apps.push(app(&sessions));
        self.sessions.push(sessions);
        self.networks.push(network);
    }

    async fn logged_in(&self, replica: usize) -> Browser {
        self.logged_in_as(JANE, replica).await
    }

    async fn logged_in_as(&self, email: &str, replica: usize) -> Browser {
        self.world.logged_in_at(&self.apps[replica], email).await
    }

    /// Waits for what runs in the background, and forgets its calls.
    async fn quiet(&self) {
        self.settled().await;
        self.redis.reset_calls().await;
    }

    /// Waits for what runs in the background.
    async fn settled(&self) {
        let mut before = Vec::new();
        eventually("no more calls", async || {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let calls = self.redis.calls().await;
            std::mem::replace(&mut before, calls.clone()) == calls
        })
        .await;
    }

    fn refreshes(&self) -> usize {
        self.world.sandbox.requests().refreshes()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn simultaneous_requests_of_an_expired_session_refresh_it_once() {
    let Some(replicas) = Replicas::new(|sessions| sessions).await else { return };
    let mut browser = replicas.logged_in(0).await;
    // The environment revokes a session whose refresh token is used twice.
    for round in 0..50 {
        replicas.world.advance(301);
        let before = replicas.refreshes();
        let count = if round == 0 { 300 } else { 30 };
        let requests = (0..count).map(|number| {
            let app = replicas.apps[number % 3].clone();
            let request = browser.request(Method::GET, "/me", &FETCH);
            tokio::spawn(async move { send(&app, request).await })
        });
        let responses = join_all(requests).await;
        for response in &responses {
            let response = response.as_ref().unwrap();
            assert_eq!(response.status(), StatusCode::OK, "round {round}: {}", response.text());
        }
        assert_eq!(replicas.refreshes() - before, 1, "round {round}");
        browser.store_cookies(responses[round % 3].as_ref().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_every_replica_within_two_seconds_of_its_connection() {
    let Some(replicas) = Replicas::new(|sessions| sessions).await else { return };
    let browser = replicas.logged_in(0).await;
    for replica in 0..3 {
        assert_eq!(browser.status_at(&replicas.apps[replica]).await, StatusCode::OK);
    }
    let me = send(&replicas.apps[0], browser.request(Method::GET, "/me", &FETCH)).await.json();
    replicas.networks[2].set(State::Silent);
    replicas.sessions[0].revoke_user(me["sub"].as_str().unwrap()).await.unwrap();
    assert_eq!(browser.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
    replicas.world.advance(2);
    assert_eq!(browser.status_at(&replicas.apps[1]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.status_at(&replicas.apps[2]).await, StatusCode::OK);
    replicas.networks[2].set(State::Connected);
    // Fails until there is a new connection; then once more after two seconds at most.
    eventually("the revocation is read", async || {
        replicas.world.advance(2);
        browser.status_at(&replicas.apps[2]).await == StatusCode::UNAUTHORIZED
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_by_a_replica_without_connection_is_published_later() {
    let Some(replicas) = Replicas::new(|sessions| sessions).await else { return };
    let browser = replicas.logged_in(0).await;
    let me = send(&replicas.apps[0], browser.request(Method::GET, "/me", &FETCH)).await.json();
    assert_eq!(browser.status_at(&replicas.apps[1]).await, StatusCode::OK);
    replicas.networks[0].set(State::Silent);
    assert!(replicas.sessions[0].revoke_user(me["sub"].as_str().unwrap()).await.is_err());
    assert_eq!(browser.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
    replicas.networks[0].set(State::Connected);
    // Without further requests on the replica that revoked it.
    eventually("the revocation is read", async || {
        replicas.world.advance(2);
        browser.status_at(&replicas.apps[1]).await == StatusCode::UNAUTHORIZED
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_are_published_again_after_redis_has_lost_its_data() {
    let Some(mut replicas) = Replicas::new(|sessions| sessions).await else { return };
    let browser = replicas.logged_in(0).await;
    let me = send(&replicas.apps[0], browser.request(Method::GET, "/me", &FETCH)).await.json();
    replicas.sessions[0].revoke_user(me["sub"].as_str().unwrap()).await.unwrap();
    replicas.redis.command::<()>(&["FLUSHALL"]).await;
    // Replicas read the log at least every two seconds while they have requests.
    eventually("the revocation is published again", async || {
        replicas.world.advance(2);
        assert_eq!(browser.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
        browser.status_at(&replicas.apps[1]).await == StatusCode::UNAUTHORIZED
    })
    .await;
    // One that starts now knows nothing else.
    replicas.add(|sessions| sessions).await;
    assert_eq!(browser.status_at(&replicas.apps[3]).await, StatusCode::UNAUTHORIZED);
}

/// As a failover to a replica that lacks the last writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_redis_has_lost_is_published_again() {
    let Some(replicas) = Replicas::new(|sessions| sessions).await else { return };
    let browser = replicas.logged_in(0).await;
    for replica in [0, 1] {
        assert_eq!(browser.status_at(&replicas.apps[replica]).await, StatusCode::OK);
    }
    let me = send(&replicas.apps[0], browser.request(Method::GET, "/me", &FETCH)).await.json();
    let snapshot = replicas.redis.snapshot().await;
    replicas.sessions[0].revoke_user(me["sub"].as_str().unwrap()).await.unwrap();
    replicas.redis.restore(&snapshot).await;
    replicas.world.advance(2);
    assert_eq!(browser.status_at(&replicas.apps[1]).await, StatusCode::OK);
    // The replica that revoked it notices the loss, and publishes it with its next read.
    eventually("the revocation is published again", async || {
        replicas.world.advance(2);
        assert_eq!(browser.status_at(&replicas.apps[0]).await, StatusCode::UNAUTHORIZED);
        browser.status_at(&replicas.apps[1]).await == StatusCode::UNAUTHORIZED
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_sessions_continue_and_expired_ones_wait() {
    let Some(replicas) = Replicas::new(|sessions| sessions).await else { return };
    let mut browser = replicas.logged_in(0).await;
    for state in [State::Closed, State::Silent] {
        replicas.networks[0].set(state);
        replicas.world.advance(3);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        replicas.world.advance(301);
        let refused = browser.fetch("/me").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text());
        assert!(refused.header("retry-after").is_some());
        assert!(set_cookies(refused.headers()).is_empty(), "{:?}", refused.headers());
        replicas.networks[0].set(State::Connected);
        eventually("the session is refreshed", async || {
            browser.fetch("/me").await.status() == StatusCode::OK
        })
        .await;
    }
    assert_eq!(replicas.refreshes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_during_a_restart_of_redis_ends_no_session() {
    let Some(replicas) = Replicas::new(|sessions| sessions).await else { return };
    let mut browser = replicas.logged_in(0).await;
    for round in 0..3 {
        replicas.world.advance(301);
        let held = replicas.world.sandbox.faults().hold(Endpoint::Token);
        let before = replicas.world.sandbox.requests().count(Endpoint::Token);
        let (app, request) =
            (replicas.apps[round].clone(), browser.request(Method::GET, "/me", &FETCH));
        let refreshing = tokio::spawn(async move { send(&app, request).await });
        eventually("the token is used", async || {
            replicas.world.sandbox.requests().count(Endpoint::Token) > before
        })
        .await;
        replicas.redis.kill();
        drop(held);
        let response = refreshing.await.unwrap();
        // The replica has the new tokens, though it cannot publish them yet.
        assert_eq!(response.status(), StatusCode::OK, "{}", response.text());
        browser.store_cookies(&response);
        replicas.redis.start_again().await;
        for replica in 0..3 {
            eventually("the session is accepted", async || {
                browser.status_at(&replicas.apps[replica]).await == StatusCode::OK
            })
            .await;
        }
    }
    assert_eq!(replicas.refreshes(), 3);
}

/// As a failover to a replica of Redis that lacks the lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_costs_a_second_refresh_and_without_the_grace_of_the_environment_a_login() {
    for grace in [Duration::from_secs(30), Duration::ZERO] {
        let Some(replicas) = Replicas::with_grace(grace, |sessions| sessions).await else { return };
        let mut browser = replicas.logged_in(0).await;
        replicas.world.advance(301);
        replicas.quiet().await;
        let snapshot = replicas.redis.snapshot().await;
        let requests = replicas.world.sandbox.requests();
        let (refreshes, calls) = (replicas.refreshes(), requests.count(Endpoint::Token));
        let held = replicas.world.sandbox.faults().hold(Endpoint::Token);
        let mut responses = Vec::new();
        for replica in 0..2 {
            let (app, request) =
                (replicas.apps[replica].clone(), browser.request(Method::GET, "/me", &FETCH));
            responses.push(tokio::spawn(async move { send(&app, request).await }));
            eventually("the token is sent", async || {
                requests.count(Endpoint::Token) == calls + replica + 1
            })
            .await;
            // With the lease of the first one.
            if replica == 0 {
                replicas.redis.restore(&snapshot).await;
            }
        }
        drop(held);
        let mut logouts = 0;
        for response in join_all(responses).await {
            let response = response.unwrap();
            logouts += usize::from(response.status() == StatusCode::UNAUTHORIZED);
            browser.store_cookies(&response);
        }
        let refreshes = replicas.refreshes() - refreshes;
        replicas.world.advance(301);
        let next = browser.status_at(&replicas.apps[2]).await;
        println!("grace {grace:?}: {refreshes} refreshes, {logouts} logouts at once, then {next}");
        if grace.is_zero() {
            assert_eq!((refreshes, next), (2, StatusCode::UNAUTHORIZED));
        } else {
            assert_eq!((refreshes, logouts, next), (2, 0, StatusCode::OK));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_handled_once_by_any_replica() {
    let Some(redis) = Redis::start().await else { return };
    let (clock, handled) = (webhooks::clock(), Arc::<Mutex<HashMap<String, usize>>>::default());
    let mut apps = Vec::new();
    for _ in 0..3 {
        // All messages arrive at once.
        let store = redis.builder().response_timeout(Duration::from_secs(2)).connect().await;
        let layer: WebhookVerify = webhooks::layer(&clock).deduplicate(store.unwrap());
        let handled = Arc::clone(&handled);
        let handler = async move |headers: HeaderMap| {
            let id = headers["webhook-id"].to_str().unwrap().to_owned();
            *handled.lock().unwrap().entry(id).or_default() += 1;
            StatusCode::NO_CONTENT
        };
        apps.push(Router::new().route("/webhook", post(handler)).route_layer(layer));
    }
    const MESSAGES: usize = 300;
    let deliveries = (0..MESSAGES * 4).map(|number| {
        let app = apps[number % 3].clone();
        let request = webhooks::message(&format!("msg_{}", number % MESSAGES));
        tokio::spawn(async move { send(&app, request).await.status() })
    });
    for status in join_all(deliveries).await {
        // A sender repeats the second one, which then is a duplicate.
        let status = status.unwrap();
        let expected = [StatusCode::NO_CONTENT, StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE];
        assert!(expected.contains(&status), "{status}");
    }
    let handled = handled.lock().unwrap();
    assert_eq!(handled.len(), MESSAGES);
    assert!(handled.values().all(|count| *count == 1), "{handled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_request_sends_redis_nothing() {
    for stored in [false, true] {
        let change = |one: SessionsBuilder| if stored { one.store_backed() } else { one };
        let Some(replicas) = Replicas::new(change).await else { return };
        let mut browser = replicas.logged_in(0).await;
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        replicas.quiet().await;
        for _ in 0..1000 {
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        }
        assert_eq!(replicas.redis.calls().await, [], "stored: {stored}");
        // Each second, one read of the log and its counter, whatever the number of requests.
        replicas.world.advance(2);
        for _ in 0..100 {
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        }
        let calls: u64 = replicas.redis.calls().await.iter().map(|(_, calls)| calls).sum();
        // The script's own commands count, too.
        assert!((2..=8).contains(&calls), "{:?}", replicas.redis.calls().await);
    }
}

async fn used_memory(redis: &Redis) -> usize {
    let info: String = redis.command(&["INFO", "memory"]).await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    used.unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_and_sessions_cost_no_more_than_the_guide_says() {
    // A larger number is for the figures of the guide.
    let sessions = std::env::var("SESSIONS").map_or(90, |sessions| sessions.parse().unwrap());
    for stored in [false, true] {
        let change = |one: SessionsBuilder| if stored { one.store_backed() } else { one };
        let Some(replicas) = Replicas::new(change).await else { return };
        let memory = async || {
            let mut sum = 0;
            for name in replicas.redis.command::<Vec<String>>(&["KEYS", "*"]).await {
                // The results of logins are kept for ten seconds.
                if replicas.redis.command::<i64>(&["PTTL", &name]).await <= 10_000 {
                    continue;
                }
                sum += replicas.redis.command::<usize>(&["MEMORY", "USAGE", &name]).await;
            }
            sum
        };
        let mut browsers = vec![replicas.logged_in(0).await];
        let before = memory().await;
        let used_before = used_memory(&replicas.redis).await;
        for number in 0..sessions {
            let email = format!("user{}@acme.test", number / 30);
            if number % 30 == 0 {
                replicas.world.sandbox.users().add(NewUser::new(&email));
            }
            browsers.push(replicas.logged_in_as(&email, number % 3).await);
        }
        let created = (memory().await - before) / sessions;
        replicas.quiet().await;
        replicas.world.advance(301);
        for (number, browser) in browsers.iter_mut().enumerate() {
            assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK, "{number}");
        }
        replicas.settled().await;
        let calls: u64 = replicas.redis.calls().await.iter().map(|(_, calls)| calls).sum();
        let (calls, refreshed) = (calls as usize / sessions, (memory().await - before) / sessions);
        let used = (used_memory(&replicas.redis).await - used_before) / sessions;
        println!(
            "stored: {stored}; {created} bytes, then {refreshed}, of the server {used}; \
             {calls} commands per refresh"
        );
        let most = if stored { (2200, 4000, 18) } else { (400, 2200, 11) };
        assert!(created < most.0 && refreshed < most.1 && calls < most.2, "{most:?}");
    }
}
