//! Tokens of a refresh that cannot be verified when they are received, and results that the shared
//! store does not accept. The refresh token is spent, so they contain the session's only tokens.

use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::time::sleep;
use tower_scalekit::sandbox::{Endpoint, Fault, TokenFault, TokenKind};
use tower_scalekit::shared_store::KeyNamespace;

use crate::store::FlakyStore;
use crate::support::{Browser, JANE, JOHN, Reading as _, World, app, set_cookies};

struct Replicas {
    world: World,
    store: FlakyStore,
    store_backed: bool,
    apps: [Router; 2],
}

impl Replicas {
    async fn new(store_backed: bool) -> Self {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |s| s);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let mut replicas = Self { world, store, store_backed, apps: Default::default() };
        replicas.apps = [replicas.start(), replicas.start()];
        for app in &replicas.apps {
            // Both have keys.
            let mut browser = Browser::new(app, &replicas.world.sandbox);
            browser.log_in(&replicas.world.sandbox, JOHN).await;
        }
        replicas
    }

    fn start(&self) -> Router {
        app(&self.world.replica(|one| {
            let one = one.shared_store(self.store.clone());
            if self.store_backed { one.store_backed() } else { one }
        }))
    }

    async fn logged_in(&self) -> Browser {
        let mut browser = Browser::new(&self.apps[0], &self.world.sandbox);
        let done = browser.log_in(&self.world.sandbox, JANE).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
        browser
    }

    /// New signing keys are unavailable.
    fn hide_keys(&self) {
        self.world.sandbox.keys().rotate();
        self.world.sandbox.keys().remove_old();
        self.world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    }

    /// Advances both clocks.
    async fn pass(&self, time: Duration) {
        self.world.sandbox.clock().advance(time);
        sleep(time).await;
    }

    async fn fetch(&self, replica: usize, browser: &Browser) -> Response<Bytes> {
        browser.at(&self.apps[replica]).fetch("/me").await
    }
}

fn assert_unavailable(response: &Response<Bytes>, case: &str) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{case}: {}", response.text());
    assert!(response.header("retry-after").is_some(), "{case}");
    assert_eq!(set_cookies(response.headers()), [""; 0], "{case}");
}

#[tokio::test(start_paused = true)]
async fn tokens_that_one_replica_could_not_verify_are_verified_by_any() {
    for store_backed in [false, true] {
        // The second outage outlasts the new access token.
        for (outage, refreshes) in [(40, 1), (2000, 2)] {
            for restarts in [false, true] {
                let case = format!("{store_backed}, {outage} s, restart {restarts}");
                let mut replicas = Replicas::new(store_backed).await;
                let browser = replicas.logged_in().await;
                replicas.hide_keys();
                replicas.world.advance(301);
                assert_unavailable(&replicas.fetch(0, &browser).await, &case);
                assert_eq!(replicas.world.sandbox.requests().refreshes(), 1);
                if restarts {
                    replicas.apps = [replicas.start(), replicas.start()];
                }
                for replica in [1, 0, 1] {
                    replicas.pass(Duration::from_secs(outage / 4)).await;
                    assert_unavailable(&replicas.fetch(replica, &browser).await, &case);
                }
                replicas.world.sandbox.faults().clear(Endpoint::Keys);
                replicas.pass(Duration::from_secs(10)).await;
                for replica in [1, 0] {
                    let response = replicas.fetch(replica, &browser).await;
                    assert_eq!(response.status(), StatusCode::OK, "{case}: {}", response.text());
                }
                assert_eq!(replicas.world.sandbox.requests().refreshes(), refreshes, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_valid_access_token_is_used_while_the_next_one_cannot_be_verified() {
    let replicas = Replicas::new(false).await;
    let browser = replicas.logged_in().await;
    replicas.hide_keys();
    replicas.world.advance(296);
    for replica in [0, 1, 0] {
        let response = replicas.fetch(replica, &browser).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(set_cookies(response.headers()), [""; 0]);
        replicas.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(replicas.world.sandbox.requests().refreshes(), 1);
    replicas.pass(Duration::from_secs(3)).await;
    assert_unavailable(&replicas.fetch(1, &browser).await, "expired");
}

#[tokio::test(start_paused = true)]
async fn a_logout_ends_a_session_whose_tokens_are_not_verified() {
    for store_backed in [false, true] {
        let replicas = Replicas::new(store_backed).await;
        let mut browser = replicas.logged_in().await;
        let copy = browser.clone();
        replicas.hide_keys();
        replicas.world.advance(301);
        assert_unavailable(&replicas.fetch(0, &browser).await, "hidden keys");
        assert_eq!(browser.post("/logout").await.status(), StatusCode::SEE_OTHER);
        replicas.world.sandbox.faults().clear(Endpoint::Keys);
        replicas.pass(Duration::from_secs(10)).await;
        for replica in [0, 1] {
            let response = replicas.fetch(replica, &copy).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{store_backed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unverified_tokens_in_the_store_are_sealed_under_their_session() {
    let replicas = Replicas::new(false).await;
    let (jane, other) = (replicas.logged_in().await, replicas.logged_in().await);
    let unverified = async |browser: &Browser| {
        assert_unavailable(&replicas.fetch(0, browser).await, "hidden keys");
        let seen = replicas.store.seen().into_iter();
        seen.filter(|(key, _)| key.namespace() == KeyNamespace::Refresh).collect::<Vec<_>>()
    };
    replicas.hide_keys();
    replicas.world.advance(301);
    let of_jane = unverified(&jane).await;
    let [(key, entry)] = &of_jane[..] else { panic!("one entry: {}", of_jane.len()) };
    let text = String::from_utf8(entry.to_vec()).unwrap();
    assert!(text.contains("unverified"), "{text}");
    for plain in [JANE, "access_token", "refresh_token"] {
        assert!(!text.contains(plain), "{text}");
    }
    // Under another session, they do not open.
    let of_both = unverified(&other).await;
    let (other_key, _) = of_both.iter().find(|(known, _)| known != key).unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    tower_scalekit::shared_store::SharedStore::put(&replicas.store, other_key, entry.clone(), day)
        .await
        .unwrap();
    replicas.world.sandbox.faults().clear(Endpoint::Keys);
    replicas.pass(Duration::from_secs(10)).await;
    assert_ne!(replicas.fetch(1, &other).await.status(), StatusCode::OK);
    assert_eq!(replicas.fetch(1, &jane).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_expired_or_whose_key_is_not_published_end_no_session() {
    for fault in [TokenFault::UnknownKeyId, TokenFault::InvalidSignature, TokenFault::Expired] {
        let replicas = Replicas::new(false).await;
        let browser = replicas.logged_in().await;
        replicas.world.sandbox.tokens().add_fault(TokenKind::AccessToken, fault.clone());
        replicas.world.advance(301);
        // More often than the rate limit allows fetches.
        for number in 0..6 {
            let response = replicas.fetch(number % 2, &browser).await;
            assert_unavailable(&response, &format!("{fault:?} {number}"));
            replicas.pass(Duration::from_secs(2)).await;
        }
        replicas.world.sandbox.tokens().clear_faults();
        replicas.pass(Duration::from_secs(10)).await;
        let response = replicas.fetch(1, &browser).await;
        assert_eq!(response.status(), StatusCode::OK, "{fault:?}: {}", response.text());
        assert_eq!(response.json()["email"], JANE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_refresh_of_unverified_tokens_spends_each_token_once() {
    let replicas = Replicas::new(false).await;
    let browser = replicas.logged_in().await;
    replicas.hide_keys();
    replicas.world.advance(301);
    assert_unavailable(&replicas.fetch(0, &browser).await, "hidden keys");
    replicas.pass(Duration::from_secs(2000)).await;
    replicas.world.sandbox.faults().clear(Endpoint::Keys);
    replicas.world.sandbox.faults().add(Endpoint::Keys, Fault::Delay(Duration::from_millis(4900)));
    replicas.world.sandbox.faults().add(Endpoint::Token, Fault::Delay(Duration::from_millis(9900)));
    // Together these take longer than a lease.
    let slow = {
        let mut browser = browser.at(&replicas.apps[0]);
        tokio::spawn(async move { browser.fetch("/me").await })
    };
    for _ in 0..30 {
        replicas.pass(Duration::from_secs(1)).await;
        let mut browser = browser.at(&replicas.apps[1]);
        drop(tokio::spawn(async move { browser.fetch("/me").await }));
    }
    assert_eq!(slow.await.unwrap().status(), StatusCode::OK);
    assert_eq!(replicas.fetch(1, &browser).await.status(), StatusCode::OK);
    assert_eq!(replicas.world.sandbox.requests().refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_the_store_rejects_for_a_long_time_ends_no_session_on_another_replica() {
    for store_backed in [false, true] {
        for seconds in [25, 58, 59, 60, 61, 150] {
            let case = format!("{store_backed}, {seconds} s");
            let replicas = Replicas::new(store_backed).await;
            let browser = replicas.logged_in().await;
            replicas.world.advance(301);
            replicas.store.reject(Some(KeyNamespace::Refresh));
            // The response is lost.
            assert_eq!(replicas.fetch(0, &browser).await.status(), StatusCode::OK, "{case}");
            for _ in 0..seconds {
                replicas.pass(Duration::from_secs(1)).await;
            }
            replicas.store.reject(None);
            for _ in 0..8 {
                let response = replicas.fetch(1, &browser).await;
                assert_ne!(response.status(), StatusCode::UNAUTHORIZED, "{case}");
                replicas.pass(Duration::from_secs(1)).await;
            }
            for replica in [0, 1] {
                assert_eq!(replicas.fetch(replica, &browser).await.status(), StatusCode::OK);
            }
            assert_eq!(replicas.world.sandbox.requests().refreshes(), 1, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_refreshed_again_while_the_store_rejects_its_last_result() {
    for store_backed in [false, true] {
        for other in [0, 1] {
            let case = format!("{store_backed}, replicas 0 and {other}");
            let replicas = Replicas::new(store_backed).await;
            let mut browser = replicas.logged_in().await;
            let old = browser.clone();
            replicas.store.reject(Some(KeyNamespace::Refresh));
            for refreshes in 1..=3 {
                for _ in 0..301 {
                    replicas.pass(Duration::from_secs(1)).await;
                }
                browser = browser.at(&replicas.apps[refreshes % 2 * other]);
                let response = browser.fetch("/me").await;
                assert_eq!(response.status(), StatusCode::OK, "{case}: {}", response.text());
                assert_eq!(replicas.world.sandbox.requests().refreshes(), refreshes, "{case}");
            }
            // The response to a tab was lost. Its token is not spent again.
            for replica in [0, 1] {
                let response = replicas.fetch(replica, &old).await;
                assert_ne!(response.status(), StatusCode::UNAUTHORIZED, "{case}");
            }
            replicas.store.reject(None);
            for _ in 0..10 {
                replicas.pass(Duration::from_secs(1)).await;
            }
            for replica in [0, 1] {
                for cookie in [&old, &browser] {
                    let response = replicas.fetch(replica, cookie).await;
                    assert_eq!(response.status(), StatusCode::OK, "{case}");
                }
            }
            assert_eq!(replicas.world.sandbox.requests().refreshes(), 3, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unverified_tokens_that_the_store_rejects_are_kept_and_verified_in_the_process() {
    // Meanwhile the keys return, or the access token expires, or the store accepts values again.
    for (outage, keys_return_first) in [(40, true), (400, true), (40, false), (400, false)] {
        let case = format!("{outage} s, keys first: {keys_return_first}");
        let replicas = Replicas::new(false).await;
        let browser = replicas.logged_in().await;
        replicas.hide_keys();
        replicas.world.advance(301);
        replicas.store.reject(Some(KeyNamespace::Refresh));
        assert_unavailable(&replicas.fetch(0, &browser).await, &case);
        for _ in 0..outage {
            replicas.pass(Duration::from_secs(1)).await;
        }
        assert_unavailable(&replicas.fetch(0, &browser).await, &case);
        if keys_return_first {
            replicas.world.sandbox.faults().clear(Endpoint::Keys);
            for _ in 0..20 {
                replicas.pass(Duration::from_secs(1)).await;
            }
            assert_eq!(replicas.fetch(0, &browser).await.status(), StatusCode::OK, "{case}");
            replicas.store.reject(None);
        } else {
            replicas.store.reject(None);
            for _ in 0..8 {
                replicas.pass(Duration::from_secs(1)).await;
            }
            assert_unavailable(&replicas.fetch(1, &browser).await, &case);
            replicas.world.sandbox.faults().clear(Endpoint::Keys);
        }
        for _ in 0..20 {
            replicas.pass(Duration::from_secs(1)).await;
        }
        for replica in [1, 0] {
            assert_eq!(replicas.fetch(replica, &browser).await.status(), StatusCode::OK, "{case}");
        }
    }
}
