//! Requests and responses of connected accounts and tools.

use futures::TryStreamExt as _;
use serde_json::{Value, json};

use super::played::Played;
use crate::api::ApiError;
use crate::api::connected_accounts::{
    AccountKey, AuthorizationType, NewConnectedAccount, StaticCredentials,
};
use crate::api::tools::{ExecuteError, ToolCall};
use crate::model::ConnectedAccountStatus;

const ACCOUNT: &str = r#"{"connected_account":{"id":"ca_1","status":"ACTIVE"}}"#;

fn user() -> AccountKey {
    AccountKey::new("gmail", "user_123")
}

fn bodies(played: &Played) -> Vec<Value> {
    let calls = played.take();
    calls.iter().map(|call| serde_json::from_slice(call.body()).unwrap()).collect()
}

#[tokio::test]
async fn calls_are_serialized_as_the_document_specifies() {
    let (played, api) = Played::responses([
        (201, ACCOUNT),
        (201, ACCOUNT),
        (200, ACCOUNT),
        (200, "{}"),
        (
            200,
            r#"{"link":"https://acme.test/magicLink/1","expiry":"2026-01-01T00:00:00.123456789Z"}"#,
        ),
        (200, r#"{"post_user_verify_redirect_url":"https://app.test/"}"#),
        (200, r#"{"data":{"messages":[]},"execution_id":"exec_1"}"#),
        (200, r#"{"data":{}}"#),
    ]);
    let accounts = api.connected_accounts();
    accounts.create(&NewConnectedAccount::new(&user())).await.unwrap();
    let key = StaticCredentials::new([("api_key", "k")]);
    let new = NewConnectedAccount::new(&user().organization_id("org_1").user_id("usr_1"));
    accounts.create(&new.credentials(key.clone())).await.unwrap();
    accounts.update(&AccountKey::id("ca_1"), Some(&key.into()), None).await.unwrap();
    accounts.delete(&AccountKey::id("ca_1")).await.unwrap();
    let verify_url = "https://app.test/verify";
    accounts.verified_authorization_link(&user(), verify_url, "s").await.unwrap();
    accounts.verify_user("req_1", "user_123").await.unwrap();
    let call = ToolCall::new("gmail_fetch_mails", &user()).parameter("max_results", 5);
    api.tools().execute(&call.agent_run_id("run_1")).await.unwrap();
    api.tools()
        .execute(&ToolCall::new("gmail_fetch_mails", &AccountKey::id("ca_1")))
        .await
        .unwrap();
    let details = json!({ "static_auth": { "details": { "api_key": "k" } } });
    assert_eq!(
        bodies(&played),
        [
            json!({
                "connector": "gmail", "identifier": "user_123",
                "connected_account": { "authorization_details": { "oauth_token": {} } },
            }),
            json!({
                "connector": "gmail", "identifier": "user_123",
                "organization_id": "org_1", "user_id": "usr_1",
                "connected_account": { "authorization_details": details },
            }),
            json!({ "id": "ca_1", "connected_account": { "authorization_details": details } }),
            json!({ "id": "ca_1" }),
            json!({
                "connector": "gmail", "identifier": "user_123",
                "user_verify_url": verify_url, "state": "s",
            }),
            json!({ "auth_request_id": "req_1", "identifier": "user_123" }),
            json!({
                "tool_name": "gmail_fetch_mails", "params": { "max_results": 5 },
                "connector": "gmail", "identifier": "user_123", "agent_run_id": "run_1",
            }),
            json!({
                "tool_name": "gmail_fetch_mails", "params": {}, "connected_account_id": "ca_1",
            }),
        ],
    );
}

#[tokio::test]
async fn queries_are_serialized_as_the_document_specifies() {
    let (played, api) = Played::responses([
        (200, ACCOUNT),
        (200, ACCOUNT),
        (200, "{}"),
        (200, "{}"),
        (200, "{}"),
        (200, "{}"),
        (200, "{}"),
    ]);
    let accounts = api.connected_accounts();
    accounts.get(&user()).await.unwrap();
    accounts.credentials(&AccountKey::id("ca_1")).await.unwrap();
    let list = accounts.list().connection_name("a b").connection_name("c").page_size(100);
    list.stream().try_next().await.unwrap();
    accounts.search("user").page_size(30).stream().try_next().await.unwrap();
    let tools = api.tools();
    tools.list().tool_name("a").tool_name("b").names().try_next().await.unwrap();
    tools.scoped("u 1").provider("GMAIL").stream().try_next().await.unwrap();
    tools.available("u 1").stream().try_next().await.unwrap();
    assert_eq!(
        played.requests(),
        [
            "GET /api/v1/connected_accounts/details?connector=gmail&identifier=user_123",
            "GET /api/v1/connected_accounts/auth?id=ca_1",
            "GET /api/v1/connected_accounts?connection_names=a+b&connection_names=c&page_size=100",
            "GET /api/v1/connected_accounts:search?query=user&page_size=30",
            "GET /api/v1/tools?filter.tool_name=a&filter.tool_name=b&filter.summary=true",
            "GET /api/v1/tools/scoped?identifier=u+1&filter.providers=GMAIL",
            "GET /api/v1/tools/available?identifier=u+1",
        ],
    );
}

#[tokio::test]
async fn an_account_is_read_completely_and_without_secrets() {
    let body = r#"{"connected_account":{
        "id":"ca_1","identifier":"user_123","connector":"gmail","connection_id":"conn_1",
        "provider":"GMAIL","authorization_type":"OAUTH","status":"PENDING_VERIFICATION",
        "token_expires_at":"2026-01-01T00:00:00.123456789Z","last_used_at":null,"updated_at":"",
        "api_config":{"a":1},"unheard_of":[1],
        "authorization_details":{"oauth_token":{"access_token":"ya29.secret"}}}}"#;
    let (_, api) = Played::responses([(200, body)]);
    let account = api.connected_accounts().get(&user()).await.unwrap();
    assert_eq!(account.status, Some(ConnectedAccountStatus::PendingVerification));
    assert_eq!(account.authorization_type, Some(AuthorizationType::OAuth));
    assert!(account.token_expires_at.is_some() && account.last_used_at.is_none());
    assert_eq!(account.api_config["a"], 1);
    assert!(!format!("{account:?}").contains("ya29"));
}

#[tokio::test]
async fn tool_errors_are_recognized_by_code_or_details() {
    let gateway = r#"{"code":8,"message":"failed","details":[{"@type":"x"},{"error_code":"TOOL_ERROR",
        "tool_error_info":{"execution_id":"exec_1","tool_error_code":"QUOTA","tool_error_message":"m"}}]}"#;
    let plain =
        r#"{"error_code":"OTHER","tool_error_info":{"execution_id":"exec_2"},"message":"why"}"#;
    let bare = r#"{"error_code":"TOOL_ERROR","message":"token eyJhbGciOi is bad"}"#;
    let (_, api) = Played::responses([(429, gateway), (500, plain), (401, bare), (429, "{}")]);
    let mut shown = Vec::new();
    for _ in 0..3 {
        match api.tools().execute(&ToolCall::new("t", &user())).await {
            Err(ExecuteError::Tool(error)) => shown.push(error.to_string()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        shown,
        [
            "the tool failed, QUOTA: m (execution exec_1)",
            "the tool failed: why (execution exec_2)",
            "the tool failed: token [redacted] is bad",
        ],
    );
    let limited = api.tools().execute(&ToolCall::new("t", &user())).await;
    assert!(matches!(limited, Err(ExecuteError::Api(ApiError::RateLimited { .. }))));
}
