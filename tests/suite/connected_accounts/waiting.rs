//! Waiting until a user has authorized the application.

use std::time::Duration;

use tower_scalekit::api::ApiError;
use tower_scalekit::api::connected_accounts::{AccountEvents, WaitError};
use tower_scalekit::model::ConnectedAccountStatus;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::webhook::WebhookEvent;

use super::{environment, ready, user};

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_the_account_is_active() {
    let (sandbox, _, accounts) = environment();
    ready(&accounts).await;
    let link = accounts.authorization_link(&user()).await.unwrap();
    // At first, it may mean that the environment URL is wrong.
    let rejection = http::Response::builder().status(404).body("<html>".into()).unwrap();
    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Response(rejection));
    let failed = accounts.wait_until_active(&user()).await;
    assert!(matches!(failed, Err(WaitError::Api(_))), "{failed:?}");
    let waiting = tokio::spawn(accounts.wait_until_active(&user()).into_future());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(!waiting.is_finished());
    let requests = sandbox.requests().count(Endpoint::Api);
    assert!((12..=24).contains(&requests), "{requests} requests in two minutes");
    // A temporary outage of the environment ends nothing.
    sandbox.faults().add_times(Endpoint::Api, 4, Fault::Unreachable);
    // Of a gateway.
    let rejection = http::Response::builder().status(403).body("<html>".into()).unwrap();
    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Response(rejection));
    sandbox.consent(link.url().as_str()).unwrap();
    assert!(waiting.await.unwrap().unwrap().is_active());
}

#[tokio::test(start_paused = true)]
async fn waiting_has_a_timeout_and_can_be_cancelled() {
    let (sandbox, _, accounts) = environment();
    ready(&accounts).await;
    let start = tokio::time::Instant::now();
    let wait = accounts.wait_until_active(&user()).timeout(Duration::from_secs(30)).await;
    let last = Some(ConnectedAccountStatus::PendingAuth);
    assert!(matches!(&wait, Err(WaitError::Timeout { last: known }) if *known == last));
    assert_eq!(start.elapsed(), Duration::from_secs(30));
    assert!(wait.unwrap_err().to_string().ends_with("PENDING_AUTH"));

    // Delayed by the environment for longer than the timeout: still in time.
    sandbox.faults().add(Endpoint::Api, Fault::Delay(Duration::from_secs(15)));
    let start = tokio::time::Instant::now();
    let wait = accounts.wait_until_active(&user()).timeout(Duration::from_secs(10)).await;
    assert!(matches!(wait, Err(WaitError::Timeout { last: None })));
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    sandbox.faults().clear(Endpoint::Api);

    let waiting = tokio::spawn(accounts.wait_until_active(&user()).into_future());
    tokio::time::sleep(Duration::from_secs(5)).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    let requests = sandbox.requests().count(Endpoint::Api);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(sandbox.requests().count(Endpoint::Api), requests, "no more requests");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_cannot_become_active_ends_the_wait() {
    let (sandbox, _, accounts) = environment();
    ready(&accounts).await;
    let waiting = tokio::spawn(accounts.wait_until_active(&user()).into_future());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let id = sandbox.connected_accounts().list()[0].id.clone();
    assert!(sandbox.connected_accounts().disconnect(&id));
    assert!(!sandbox.connected_accounts().disconnect(&id));
    let start = tokio::time::Instant::now();
    assert!(matches!(waiting.await.unwrap(), Err(WaitError::Disconnected)));
    assert!(start.elapsed() < Duration::from_secs(5), "at the next request");

    accounts.delete(&user()).await.unwrap();
    let start = tokio::time::Instant::now();
    let wait = accounts.wait_until_active(&user()).await;
    assert!(matches!(wait, Err(WaitError::Api(ApiError::NotFound(_)))));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_account_may_become_active() {
    for (kept, status) in [(false, "PENDING_AUTH"), (true, "DISCONNECTED")] {
        let (sandbox, _, accounts) = environment();
        sandbox.connected_accounts().keep_status_until_consent(kept);
        let id = sandbox.connected_accounts().add("gmail", "user_123");
        assert!(sandbox.connected_accounts().disconnect(&id));
        let link = accounts.authorization_link(&user()).await.unwrap();
        let waiting = tokio::spawn(accounts.wait_until_active(&user()).into_future());
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(sandbox.connected_accounts().get("gmail", "user_123").unwrap().status, status);
        assert!(!waiting.is_finished(), "{status}");
        sandbox.consent(link.url().as_str()).unwrap();
        assert!(waiting.await.unwrap().unwrap().is_active(), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_ends_the_wait_early() {
    let (sandbox, _, accounts) = environment();
    sandbox.webhooks().add_endpoint("https://app.example.com/webhook");
    ready(&accounts).await;
    let link = accounts.authorization_link(&user()).await.unwrap();
    let events = AccountEvents::new();
    let wait = accounts.wait_until_active(&user()).events(&events);
    let waiting = tokio::spawn(wait.into_future());
    // During one of the long intervals.
    tokio::time::sleep(Duration::from_secs(100)).await;
    let requests = sandbox.requests().count(Endpoint::Api);
    while sandbox.requests().count(Endpoint::Api) == requests {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let requests = sandbox.requests().count(Endpoint::Api);
    let start = tokio::time::Instant::now();

    let body = br#"{"id":"evt_1","type":"connected_account.updated",
        "data":{"id":"ca_2","identifier":"another user"}}"#;
    assert!(events.apply(&WebhookEvent::parse(body).unwrap()));
    let body = br#"{"id":"evt_2","type":"organization.created","data":{"id":"org_1"}}"#;
    assert!(!events.apply(&WebhookEvent::parse(body).unwrap()));
    tokio::task::yield_now().await;
    assert_eq!(
        sandbox.requests().count(Endpoint::Api),
        requests,
        "events of other accounts cause no request"
    );

    sandbox.consent(link.url().as_str()).unwrap();
    let sent = sandbox.webhooks().deliveries();
    assert!(events.apply(&WebhookEvent::parse(&sent.last().unwrap().body).unwrap()));
    assert!(waiting.await.unwrap().unwrap().is_active());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_webhooks_causes_no_flood_of_requests() {
    let (sandbox, _, accounts) = environment();
    ready(&accounts).await;
    let link = accounts.authorization_link(&user()).await.unwrap();
    let events = AccountEvents::new();
    let wait = accounts.wait_until_active(&user()).events(&events);
    let waiting = tokio::spawn(wait.into_future());
    let body = br#"{"id":"evt_1","type":"connected_account.updated",
        "data":{"identifier":"user_123","connection_name":"gmail"}}"#;
    let event = WebhookEvent::parse(body).unwrap();
    let before = sandbox.requests().count(Endpoint::Api);
    for _ in 0..6000 {
        events.apply(&event);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let requests = sandbox.requests().count(Endpoint::Api) - before;
    assert!((70..=81).contains(&requests), "{requests} requests in a minute");

    // Events that one request has covered cause no others.
    let before = sandbox.requests().count(Endpoint::Api);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let requests = sandbox.requests().count(Endpoint::Api) - before;
    assert!(requests <= 16, "{requests} requests in a minute without events");

    // Any number of events of other accounts causes no request.
    let body = br#"{"id":"evt_1","type":"connected_account.updated",
        "data":{"identifier":"another user","connection_name":"gmail"}}"#;
    let other = WebhookEvent::parse(body).unwrap();
    // Also during a request.
    for delay in [Duration::ZERO, Duration::from_secs(1)] {
        sandbox.faults().clear(Endpoint::Api);
        sandbox.faults().add(Endpoint::Api, Fault::Delay(delay));
        let before = sandbox.requests().count(Endpoint::Api);
        for _ in 0..6000 {
            events.apply(&other);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let requests = sandbox.requests().count(Endpoint::Api) - before;
        assert!(requests <= 8, "{requests} requests in a minute with events of others, {delay:?}");
    }
    sandbox.faults().clear(Endpoint::Api);

    // An event right after a request is not lost.
    let before = sandbox.requests().count(Endpoint::Api);
    while sandbox.requests().count(Endpoint::Api) == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sandbox.consent(link.url().as_str()).unwrap();
    events.apply(&event);
    let start = tokio::time::Instant::now();
    assert!(waiting.await.unwrap().unwrap().is_active());
    assert!(start.elapsed() <= Duration::from_millis(750), "{:?}", start.elapsed());
}
