//! The services that the sandbox simulates, beside Gmail.

use std::time::Duration;

use futures::TryStreamExt as _;
use serde_json::{Value, json};
use tower_scalekit::Sandbox;
use tower_scalekit::api::connected_accounts::{
    AccountKey, AuthorizationType, Credentials, NewConnectedAccount, StaticCredentials,
};
use tower_scalekit::api::tools::{ExecuteError, ToolCall, ToolsApi};
use tower_scalekit::model::ConnectedAccountStatus;

use super::environment;

async fn run(tools: &ToolsApi, tool: &str, params: Value) -> Result<Value, ExecuteError> {
    let connection = tool.split('_').next().unwrap();
    let call = ToolCall::new(tool, &AccountKey::new(connection, "user_123"));
    let Value::Object(params) = params else { panic!("{params}") };
    Ok(tools.execute(&call.parameters(params)).await?.data.into())
}

#[tokio::test]
async fn a_message_that_a_tool_has_sent_is_in_the_channel() {
    let (sandbox, api, _) = environment();
    sandbox.connected_accounts().add("slack", "user_123");
    let tools = &api.tools();
    let channels = run(tools, "slack_list_channels", json!({})).await.unwrap();
    assert_eq!(channels["channels"][1]["name"], "launch");
    let message = json!({ "channel": "#launch", "text": "The drill is done." });
    let sent = run(tools, "slack_send_message", message.clone()).await.unwrap();
    assert_eq!(sent["channel"], channels["channels"][1]["id"]);
    let history =
        run(tools, "slack_fetch_conversation_history", json!({ "channel": "launch" })).await;
    let history = history.unwrap();
    assert_eq!(history["messages"][0]["text"], "The drill is done.");
    assert_eq!(history["messages"].as_array().unwrap().len(), 3);
    let elsewhere = json!({ "channel": "general", "limit": 5 });
    let elsewhere = run(tools, "slack_fetch_conversation_history", elsewhere).await.unwrap();
    assert_eq!(elsewhere["messages"].as_array().unwrap().len(), 1);

    let unknown = json!({ "channel": "nowhere", "text": "?" });
    let Err(ExecuteError::Tool(error)) = run(tools, "slack_send_message", unknown).await else {
        panic!("there is no such channel")
    };
    assert_eq!(error.message.as_deref(), Some("channel_not_found"));
    let runs = sandbox.connected_accounts().tool_runs();
    let sent = &runs.iter().find(|run| run.tool_name == "slack_send_message").unwrap();
    assert_eq!((&sent.connection_name[..], &sent.identifier[..]), ("slack", "user_123"));
    assert_eq!(Value::from(sent.params.clone()), message);
    assert_eq!(runs.len(), 4, "what has failed is no run");
}

#[tokio::test]
async fn a_record_that_a_tool_has_deleted_is_gone() {
    let (sandbox, api, _) = environment();
    sandbox.connected_accounts().add("salesforce", "user_123");
    let tools = &api.tools();
    let list = async || run(tools, "salesforce_accounts_list", json!({})).await.unwrap();
    let first = list().await["records"][0].clone();
    assert_eq!(first["Name"], "Globex");
    let delete = json!({ "account_id": first["Id"] });
    run(tools, "salesforce_account_delete", delete.clone()).await.unwrap();
    assert_eq!(list().await["records"][0]["Name"], "Initech");
    let again = run(tools, "salesforce_account_delete", delete).await;
    assert!(matches!(again, Err(ExecuteError::Tool(_))), "{again:?}");
}

#[tokio::test]
async fn an_account_with_an_api_key_is_active_at_once() {
    let (sandbox, api, accounts) = environment();
    let key = AccountKey::new("exa", "user_123");
    let new = NewConnectedAccount::new(&key)
        .credentials(StaticCredentials::new([("api_key", "exa-of-jane")]));
    let account = accounts.create(&new).await.unwrap();
    assert!(account.is_active());
    assert_eq!(account.authorization_type, Some(AuthorizationType::ApiKey));
    assert_eq!(account.provider.as_deref(), Some("EXA"));
    assert_eq!(account.token_expires_at, None);
    let found = run(&api.tools(), "exa_search", json!({ "query": "step-up" })).await.unwrap();
    assert_eq!(found["results"][0]["title"], "Step-up authentication");
    let Some(Credentials::Static(own)) = accounts.credentials(&key).await.unwrap() else {
        panic!("no key")
    };
    assert_eq!(own.expose()["api_key"], "exa-of-jane");
    assert!(!sandbox.connected_accounts().deny_refresh(&account.id), "a key does not expire");

    // By a link, the user enters the key.
    let other = AccountKey::new("exa", "user_456");
    accounts.create(&NewConnectedAccount::new(&other)).await.unwrap();
    let link = accounts.authorization_link(&other).await.unwrap();
    sandbox.consent(link.url().as_str()).unwrap();
    assert!(accounts.get(&other).await.unwrap().is_active());
}

#[tokio::test]
async fn an_account_whose_tokens_cannot_be_refreshed_expires() {
    let (sandbox, api, accounts) = environment();
    sandbox.webhooks().add_endpoint("https://app.example.com/webhook");
    let id = sandbox.connected_accounts().add("salesforce", "user_123");
    let lists = async || run(&api.tools(), "salesforce_accounts_list", json!({})).await;
    assert!(sandbox.connected_accounts().deny_refresh(&id));
    assert!(lists().await.is_ok());
    sandbox.clock().advance(Duration::from_secs(60 * 60));
    let expired = lists().await.unwrap_err();
    assert!(expired.to_string().contains("EXPIRED"), "{expired}");
    let account = accounts.get(&AccountKey::id(&id)).await.unwrap();
    assert_eq!(account.status, Some(ConnectedAccountStatus::Expired));
    let types: Vec<_> =
        sandbox.webhooks().deliveries().into_iter().map(|sent| sent.event_type).collect();
    let [failed, updated] =
        ["token_refresh_failed", "status_updated"].map(|name| format!("connected_account.{name}"));
    assert_eq!(types, [failed, updated]);
}

#[tokio::test]
async fn a_tool_uses_the_account_of_its_own_service() {
    let (sandbox, api, _) = environment();
    for connection in ["gmail", "slack"] {
        sandbox.connected_accounts().add(connection, "user_123");
    }
    let scoped: Vec<_> = api.tools().scoped("user_123").stream().try_collect().await.unwrap();
    let services: Vec<_> =
        scoped.iter().map(|scoped| scoped.tool.provider.clone().unwrap()).collect();
    assert_eq!(services, ["GMAIL", "GMAIL", "SLACK", "SLACK", "SLACK"]);
    let providers = api.tools().scoped("user_123").provider("slack").stream();
    assert_eq!(providers.try_collect::<Vec<_>>().await.unwrap().len(), 3);
    let wrong = ToolCall::new("slack_list_channels", &AccountKey::new("gmail", "user_123"));
    let wrong = api.tools().execute(&wrong).await.unwrap_err();
    assert!(wrong.to_string().contains("of another service"), "{wrong}");
}

#[test]
#[should_panic = "cannot add a connection x of HOTMAIL"]
fn a_connection_to_an_unknown_service_cannot_be_added() {
    Sandbox::new().connected_accounts().add_connection("x", "HOTMAIL");
}
