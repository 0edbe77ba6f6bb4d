use futures::future::join_all;

use super::*;
use crate::api::{ApiRequest, Unavailable};

/// Lifetime of the sandbox's client-credentials tokens.
const TOKEN_LIFETIME: u64 = 86_399;

#[tokio::test]
async fn concurrent_calls_share_one_token() {
    let (sandbox, api, jane) = sandbox_with_sessions(1);
    let id = all(&sandbox.scalekit().api(), &jane).await[0].session_id.clone();
    let before = requests(&sandbox);
    let held = sandbox.faults().hold(Endpoint::Token);
    let calls = (0..100).map(|_| {
        let (sessions, id) = (api.clone().sessions(), id.clone());
        tokio::spawn(async move { sessions.get(&id).await })
    });
    let calls: Vec<_> = calls.collect();
    while requests(&sandbox).0 == before.0 {
        tokio::task::yield_now().await;
    }
    drop(held);
    for call in join_all(calls).await {
        call.unwrap().unwrap();
    }
    assert_eq!(requests(&sandbox), (before.0 + 1, before.1 + 100));
    api.sessions().get(&id).await.unwrap();
    assert_eq!(requests(&sandbox).0, before.0 + 1, "it is cached");
}

#[tokio::test]
async fn all_waiting_calls_get_the_error_of_the_token_request() {
    let (sandbox, api, jane) = sandbox_with_sessions(0);
    sandbox.faults().add(Endpoint::Token, Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    let calls = (0..10).map(|_| api.sessions()).map(|sessions| {
        let jane = &jane;
        async move { sessions.revoke_all_for_user(jane).await }
    });
    for result in join_all(calls).await {
        assert!(matches!(result, Err(ApiError::Unavailable(Unavailable::MissingToken(_)))));
    }
    assert_eq!(requests(&sandbox), (1, 0), "a token request is never retried");
    sandbox.faults().clear(Endpoint::Token);
    api.sessions().revoke_all_for_user(&jane).await.unwrap();

    let other = Scalekit::builder(sandbox.environment_url(), sandbox.client_id(), "wrong")
        .http_client(sandbox.client())
        .build()
        .unwrap();
    let rejected = other.api().sessions().revoke_all_for_user(&jane).await;
    assert!(matches!(rejected, Err(ApiError::Credentials { code }) if code == "invalid_client"));
}

#[tokio::test]
async fn a_token_is_replaced_a_minute_before_it_expires() {
    let (sandbox, api, jane) = sandbox_with_sessions(0);
    all(&api, &jane).await;
    sandbox.clock().advance(Duration::from_secs(TOKEN_LIFETIME - 61));
    all(&api, &jane).await;
    assert_eq!(requests(&sandbox), (1, 2));
    sandbox.clock().advance(Duration::from_secs(1));
    all(&api, &jane).await;
    all(&api, &jane).await;
    assert_eq!(requests(&sandbox), (2, 4));
}

#[tokio::test]
async fn a_rejected_token_is_replaced_once() {
    let (sandbox, api, jane) = sandbox_with_sessions(3);
    all(&api, &jane).await;
    sandbox.keys().rotate();
    sandbox.keys().remove_old();
    let calls = join_all((0..10).map(|_| all(&api, &jane))).await;
    assert!(calls.iter().all(|sessions| sessions.len() == 3));
    assert_eq!(requests(&sandbox), (2, 1 + 20), "one new token for all of them");

    // A POST whose token was rejected was not processed, so it is retried too.
    sandbox.keys().rotate();
    sandbox.keys().remove_old();
    assert_eq!(api.sessions().revoke_all_for_user(&jane).await.unwrap().total_revoked, 3);
    assert_eq!(requests(&sandbox), (3, 23));

    sandbox.faults().add(Endpoint::Api, Fault::Status(StatusCode::UNAUTHORIZED));
    let rejected = api.sessions().get("ses_1").await;
    assert!(matches!(rejected, Err(ApiError::Unauthorized(_))));
    assert_eq!(requests(&sandbox), (4, 25));
}

#[tokio::test(start_paused = true)]
async fn a_401_of_a_tools_provider_does_not_replace_the_token() {
    let (sandbox, api, _) = sandbox_with_sessions(0);
    for status in [401, 429] {
        let body = r#"{"code":16,"message":"m","details":[{"error_code":"TOOL_ERROR"}]}"#;
        let response = Response::builder().status(status).body(Bytes::from(body)).unwrap();
        sandbox.faults().add_times(Endpoint::Api, 1, Fault::Response(response));
        let rejected = api.sessions().get("ses_1").await.unwrap_err();
        assert_eq!(rejected.response().unwrap().error_code.as_deref(), Some("TOOL_ERROR"));
    }
    assert_eq!(requests(&sandbox), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn only_safe_calls_are_retried() {
    let failures = [
        ("connect", Fault::Unreachable),
        ("lost", Fault::ResponseLost),
        ("deadline", Fault::Delay(Duration::from_secs(60))),
        ("429", Fault::Status(StatusCode::TOO_MANY_REQUESTS)),
        ("429, 2 s", busy(429, "2")),
        ("429, 11 s", busy(429, "11")),
        ("500", Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)),
        ("502", Fault::Status(StatusCode::BAD_GATEWAY)),
        ("503", Fault::Status(StatusCode::SERVICE_UNAVAILABLE)),
        ("503, 1 h", busy(503, "3600")),
        ("504", Fault::Status(StatusCode::GATEWAY_TIMEOUT)),
        ("404", Fault::Status(StatusCode::NOT_FOUND)),
        ("html", Fault::Html),
    ];
    // connect, lost, deadline, 429, 2 s, 11 s, 500, 502, 503, 1 h, 504, 404, html
    let idempotent = [3, 1, 1, 3, 3, 1, 1, 3, 3, 1, 3, 1, 1];
    let revocation = [3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
    let post = [1; 13];
    let get = |api: &Api| Call::Any(api.request(Method::GET, "/api/v1/x"));
    for (name, call, attempts) in [
        ("GET", &get as &dyn Fn(&Api) -> Call, idempotent),
        ("PUT", &|api| Call::Any(api.request(Method::PUT, "/api/v1/x")), idempotent),
        ("DELETE", &|api| Call::Any(api.request(Method::DELETE, "/api/v1/x")), idempotent),
        ("POST", &|api| Call::Any(api.request(Method::POST, "/api/v1/x")), post),
        ("PATCH", &|api| Call::Any(api.request(Method::PATCH, "/api/v1/x")), post),
        ("revoke", &|_| Call::Revoke, revocation),
    ] {
        for ((failure, fault), expected) in failures.iter().zip(attempts) {
            let (sandbox, api, _) = sandbox_with_sessions(0);
            sandbox.faults().add(Endpoint::Api, fault.clone());
            let error = match call(&api) {
                Call::Any(request) => request.send::<SessionDetails>().await.unwrap_err(),
                Call::Revoke => api.sessions().revoke("ses_1").await.unwrap_err(),
            };
            assert_eq!(requests(&sandbox), (1, expected), "{name}, {failure}: {error}");
        }
    }
}

enum Call {
    Any(ApiRequest),
    Revoke,
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_and_succeeds() {
    let (sandbox, api, jane) = sandbox_with_sessions(1);
    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Status(StatusCode::BAD_GATEWAY));
    sandbox.faults().add_times(Endpoint::Api, 1, busy(429, "7"));
    let start = tokio::time::Instant::now();
    assert_eq!(all(&api, &jane).await.len(), 1);
    let waited = start.elapsed();
    let millis = (250 + 7000 + 500)..=(500 + 7000 + 1000 + 10);
    assert!(millis.contains(&waited.as_millis()), "{waited:?}");

    sandbox.faults().add(Endpoint::Api, busy(429, "3600"));
    let limited = api.sessions().get("ses_1").await.unwrap_err();
    let ApiError::RateLimited { response, retry_after } = limited else { panic!("{limited}") };
    assert_eq!(response.error_code.as_deref(), Some("RATE_LIMITED"));
    assert_eq!(retry_after, Some(Duration::from_secs(3600)));
}
