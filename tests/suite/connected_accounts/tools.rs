//! Tools, and the proxy to the services.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::{HeaderName, Method, Request, Response, StatusCode};
use serde_json::json;
use tower_scalekit::api::ApiError;
use tower_scalekit::api::connected_accounts::AccountKey;
use tower_scalekit::api::tools::{ExecuteError, ServiceLocation, ToolCall};
use tower_scalekit::sandbox::{Endpoint, Fault};

use super::{environment, fetch, user};

#[tokio::test]
async fn a_tool_returns_structured_e_mails() {
    let (sandbox, api, _) = environment();
    let id = sandbox.connected_accounts().add("gmail", "user_123");
    for call in [
        fetch(5),
        ToolCall::new("gmail_fetch_mails", &AccountKey::id(&id)).parameter("max_results", 5),
    ] {
        let result = api.tools().execute(&call.agent_run_id("run_1")).await.unwrap();
        assert!(result.execution_id.is_some());
        let mails = result.data["messages"].as_array().unwrap();
        assert_eq!(mails.len(), 5);
        for mail in mails {
            let mut names: Vec<_> = mail.as_object().unwrap().keys().collect();
            names.sort_unstable();
            assert_eq!(names, ["date", "from", "id", "snippet", "subject"]);
        }
    }
    let first = &api.tools().execute(&fetch(1)).await.unwrap().data["messages"][0];
    let get = ToolCall::new("gmail_get_message_by_id", &user());
    let one = api.tools().execute(&get.parameter("message_id", first["id"].clone())).await.unwrap();
    assert_eq!(&one.data["subject"], &first["subject"]);
}

#[tokio::test]
async fn tool_errors_are_distinguished_from_scalekits() {
    let (sandbox, api, _) = environment();
    let tools = api.tools();
    let missing = tools.execute(&fetch(5)).await;
    assert!(matches!(missing, Err(ExecuteError::Api(ApiError::NotFound(_)))), "{missing:?}");
    let id = sandbox.connected_accounts().add("gmail", "user_123");
    let unknown = tools.execute(&ToolCall::new("gmail_fly", &user())).await;
    assert!(matches!(unknown, Err(ExecuteError::Api(ApiError::NotFound(_)))), "{unknown:?}");

    let token_requests = sandbox.requests().count(Endpoint::Token);
    for (status, code) in [
        (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
        (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
    ] {
        sandbox.connected_accounts().fail_provider("gmail", 1, status);
        let before = sandbox.requests().count(Endpoint::Api);
        let Err(ExecuteError::Tool(error)) = tools.execute(&fetch(5)).await else {
            panic!("{status} is no tool's error")
        };
        assert_eq!(error.code.as_deref(), Some(code));
        let execution_id = error.execution_id.clone().unwrap();
        assert!(error.to_string().contains(&execution_id), "{error}");
        assert_eq!(sandbox.requests().count(Endpoint::Api) - before, 1, "a tool is never retried");
    }
    assert_eq!(
        sandbox.requests().count(Endpoint::Token),
        token_requests,
        "the access token is valid"
    );
    let wrong = tools.execute(&fetch(5).parameter("max_results", "many")).await;
    assert!(matches!(wrong, Err(ExecuteError::Tool(_))), "{wrong:?}");

    assert!(sandbox.connected_accounts().expire(&id));
    let Err(ExecuteError::Api(ApiError::InvalidRequest(response))) = tools.execute(&fetch(5)).await
    else {
        panic!("an expired account is not used")
    };
    assert!(response.message.unwrap().contains("EXPIRED"));
}

#[tokio::test(start_paused = true)]
async fn a_tool_is_executed_at_most_once() {
    let (sandbox, api, _) = environment();
    sandbox.connected_accounts().add("gmail", "user_123");
    for fault in [
        Fault::Unreachable,
        Fault::ResponseLost,
        Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
        Fault::Status(StatusCode::TOO_MANY_REQUESTS),
    ] {
        sandbox.faults().add_times(Endpoint::Api, 1, fault.clone());
        let before = sandbox.requests().count(Endpoint::Api);
        let failed = api.tools().execute(&fetch(5)).await;
        assert!(matches!(failed, Err(ExecuteError::Api(_))), "{fault:?}");
        assert_eq!(sandbox.requests().count(Endpoint::Api) - before, 1, "{fault:?}");
    }
    // The timeout is a minute.
    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Delay(Duration::from_secs(59)));
    assert!(api.tools().execute(&fetch(5)).await.is_ok());
    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Delay(Duration::from_secs(61)));
    assert!(api.tools().execute(&fetch(5)).await.is_err());
}

#[tokio::test]
async fn tools_are_listed() {
    let (sandbox, api, _) = environment();
    sandbox.connected_accounts().add_connection("second", "GMAIL");
    let first = sandbox.connected_accounts().add("gmail", "user_123");
    sandbox.connected_accounts().add("second", "user_123");
    let tools = api.tools();
    let all: Vec<_> = tools.list().page_size(1).stream().try_collect().await.unwrap();
    let names: Vec<_> = tools.list().names().try_collect().await.unwrap();
    assert_eq!(all.iter().map(|tool| tool.name().unwrap()).collect::<Vec<_>>(), names);
    assert_eq!(names.len(), 8);
    assert_eq!(names[..2], ["gmail_fetch_mails", "gmail_get_message_by_id"]);
    let one = tools.list().tool_name("gmail_fetch_mails").provider("GMAIL").matching("emails");
    assert_eq!(one.stream().count().await, 1);
    assert_eq!(tools.list().provider("SLACK").stream().count().await, 3);

    let scoped: Vec<_> =
        tools.scoped("user_123").page_size(3).stream().try_collect().await.unwrap();
    assert_eq!(scoped.len(), 4);
    assert_eq!(scoped[0].connected_account_id.as_ref(), Some(&first));
    let narrow = tools.scoped("user_123").connection_name("second").tool_name("gmail_fetch_mails");
    assert_eq!(narrow.provider("GMAIL").stream().count().await, 1);
    assert_eq!(tools.available("user_123").page_size(1).stream().count().await, 8);
}

#[tokio::test]
async fn the_proxy_returns_the_services_responses() {
    let (sandbox, api, _) = environment();
    sandbox.connected_accounts().add("gmail", "user_123");
    let send = async |target: &str| {
        let request = Request::get(target).body("").unwrap();
        api.tools().proxy(&user(), request).await
    };
    let found = send("/gmail/v1/users/me/messages?q=is%3Aunread&maxResults=2").await.unwrap();
    let found: serde_json::Value = serde_json::from_slice(found.body()).unwrap();
    assert_eq!(found["messages"].as_array().map(Vec::len), Some(2));
    let id = found["messages"][0]["id"].as_str().unwrap();
    let mail = send(&format!("/gmail/v1/users/me/messages/{id}")).await.unwrap();
    let mail: serde_json::Value = serde_json::from_slice(mail.body()).unwrap();
    assert_eq!(mail["labelIds"], json!(["INBOX", "UNREAD"]));
    let none = send("/gmail/v1/users/me/messages/none").await.unwrap();
    assert_eq!(none.status(), StatusCode::NOT_FOUND);

    // A 401 of the service does not concern the access token.
    let (tokens, calls) =
        (sandbox.requests().count(Endpoint::Token), sandbox.requests().count(Endpoint::Api));
    sandbox.connected_accounts().fail_provider("gmail", 1, StatusCode::UNAUTHORIZED);
    let rejected = send("/gmail/v1/users/me/profile").await.unwrap();
    assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.requests().count(Endpoint::Token), tokens);
    assert_eq!(sandbox.requests().count(Endpoint::Api) - calls, 1);

    // The environment's own 401 does.
    sandbox.clock().advance(Duration::from_secs(24 * 60 * 60));
    let profile = send("/gmail/v1/users/me/profile").await.unwrap();
    assert_eq!(profile.status(), StatusCode::OK);
    for outside in ["/../api/v1/organizations", "/%2e%2e/keys", "https://evil.test/"] {
        assert!(matches!(send(outside).await, Err(ApiError::InvalidCall(_))), "{outside}");
    }
}

#[tokio::test]
async fn headers_that_affect_the_apps_origin_are_removed_from_proxied_responses() {
    let (sandbox, api, _) = environment();
    sandbox.connected_accounts().add("gmail", "user_123");
    let removed = [
        ("set-cookie", "__Host-scalekit_session=x; Path=/; Secure"),
        ("set-cookie2", "a=b"),
        ("access-control-allow-origin", "https://evil.test"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "*"),
        ("timing-allow-origin", "*"),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("transfer-encoding", "chunked"),
        ("trailer", "x-checksum"),
        ("upgrade", "h2c"),
        ("location", "https://evil.test/"),
        ("refresh", "0; url=https://evil.test/"),
        ("clear-site-data", "\"*\""),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("service-worker-allowed", "/"),
        ("x-accel-redirect", "/internal/secrets"),
        ("x-sendfile", "/etc/passwd"),
    ];
    let kept = [
        ("content-type", "application/json"),
        ("etag", "\"1\""),
        ("link", "</next>; rel=next"),
        ("retry-after", "5"),
        ("x-ratelimit-remaining", "7"),
        ("www-authenticate", "Bearer"),
    ];
    let mut response = Response::builder().status(StatusCode::FOUND);
    for (name, value) in removed.into_iter().chain(kept) {
        response = response.header(name, value);
    }
    sandbox.faults().add_times(
        Endpoint::Api,
        1,
        Fault::Response(response.body(Bytes::new()).unwrap()),
    );
    let request = Request::get("/gmail/v1/users/me/profile").body("").unwrap();
    let response = api.tools().proxy(&user(), request).await.unwrap();
    let names: BTreeSet<_> = response.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(names, kept.map(|(name, _)| name).into());
    let location = response.extensions().get::<ServiceLocation>().unwrap();
    assert_eq!(location.0, "https://evil.test/");
}

#[tokio::test]
async fn requests_with_side_effects_are_not_retried_in_doubt() {
    let (sandbox, api, _) = environment();
    sandbox.connected_accounts().add("gmail", "user_123");
    let rejected = |body: &'static str| {
        let response = Response::builder().status(StatusCode::UNAUTHORIZED);
        Fault::Response(response.body(Bytes::from(body)).unwrap())
    };
    // The gateway's words, which are also those of other gateways.
    let gateway = r#"{"code":16,"message":"m","details":[]}"#;
    let tools = api.tools();
    tools.execute(&fetch(1)).await.unwrap(); // From here on there is a token.
    for (method, sent) in [
        (Method::POST, 1),
        (Method::PATCH, 1),
        (Method::GET, 2),
        (Method::PUT, 2),
        (Method::DELETE, 2),
    ] {
        let before =
            (sandbox.requests().count(Endpoint::Token), sandbox.requests().count(Endpoint::Api));
        sandbox.faults().add_times(Endpoint::Api, 1, rejected(gateway));
        let request = Request::builder().method(&method).uri("/gmail/v1/users/me/profile");
        let response = tools.proxy(&user(), request.body("").unwrap()).await.unwrap();
        assert_eq!(response.status() == StatusCode::UNAUTHORIZED, sent == 1, "{method}");
        assert_eq!(sandbox.requests().count(Endpoint::Api) - before.1, sent, "{method}");
        // The next call has another token, in case this one was rejected.
        let request = Request::get("/gmail/v1/users/me/profile").body("").unwrap();
        assert_eq!(tools.proxy(&user(), request).await.unwrap().status(), StatusCode::OK);
        assert_eq!(sandbox.requests().count(Endpoint::Token) - before.0, 1, "{method}");
    }

    // A tool is executed again only if the environment itself says that it did not run.
    for (body, sent) in [(gateway, 2), ("", 1), ("<html>", 1), ("{}", 1)] {
        let before = sandbox.requests().count(Endpoint::Api);
        sandbox.faults().add_times(Endpoint::Api, 1, rejected(body));
        let ran = tools.execute(&fetch(1)).await;
        assert_eq!(ran.is_ok(), sent == 2, "{body}: {ran:?}");
        assert_eq!(sandbox.requests().count(Endpoint::Api) - before, sent, "{body}");
    }
}
