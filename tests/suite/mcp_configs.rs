//! MCP configurations, and their servers as the sandbox plays them.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tower_scalekit::Sandbox;
use tower_scalekit::api::ApiError;
use tower_scalekit::api::mcp_configs::{McpConfig, McpConfigSettings, McpConfigsApi};
use tower_scalekit::http_client::HttpClient as _;
use tower_scalekit::model::ConnectedAccountStatus;
use tower_scalekit::sandbox::Endpoint;

use crate::support::sandbox_builder;

struct World {
    sandbox: Sandbox,
    configs: McpConfigsApi,
    config: McpConfig,
}

impl World {
    /// A configuration with a tool of Gmail, and all of Salesforce.
    async fn new() -> Self {
        let sandbox = sandbox_builder().build();
        let configs = sandbox.scalekit().api().mcp_configs();
        let settings =
            McpConfigSettings::new().tools("gmail", ["gmail_fetch_mails"]).all_tools("salesforce");
        let config = configs.create("sales", &settings).await.unwrap();
        Self { sandbox, configs, config }
    }

    fn connect(&self, identifier: &str) {
        for connection in ["gmail", "salesforce"] {
            self.sandbox.connected_accounts().add(connection, identifier);
        }
    }

    async fn token(&self, identifier: &str) -> String {
        let created = self.configs.create_session_token(&self.config.id, identifier, None).await;
        created.unwrap().token.expose().to_owned()
    }

    async fn send(&self, token: Option<&str>, method: Method, body: &str) -> Response<Bytes> {
        let url = self.config.mcp_server_url.as_deref().unwrap();
        let mut request = Request::builder().method(method).uri(url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Bytes::from(body.to_owned())).unwrap();
        self.sandbox.client().send(request).await.unwrap()
    }

    async fn call(&self, token: &str, method: &str, params: Value) -> Value {
        let message = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let response = self.send(Some(token), Method::POST, &message.to_string()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!((&body["jsonrpc"], &body["id"]), (&json!("2.0"), &json!(7)));
        body
    }
}

#[tokio::test]
async fn a_user_connects_the_accounts_of_a_configuration() {
    let World { sandbox, configs, config } = World::new().await;
    let before = configs.connected_accounts(&config.id, "user_123").await.unwrap();
    assert_eq!(before.len(), 2);
    for account in &before {
        assert_eq!((account.is_active, &account.status), (false, &None));
        assert_eq!((&account.connected_account_id, &account.authentication_link), (&None, &None));
    }
    assert!(sandbox.connected_accounts().list().is_empty(), "looking creates nothing");
    let early = configs.create_session_token(&config.id, "user_123", None).await;
    assert!(matches!(early, Err(ApiError::InvalidRequest(_))), "{early:?}");

    for account in configs.connect_accounts(&config.id, "user_123").await.unwrap() {
        assert_eq!(account.status, Some(ConnectedAccountStatus::PendingAuth));
        let link = account.authentication_link.unwrap();
        assert!(!format!("{link:?}").contains(link.url().path()), "{link:?}");
        sandbox.consent(link.url().as_str()).unwrap();
    }
    let after = configs.connected_accounts(&config.id, "user_123").await.unwrap();
    assert!(after.iter().all(|account| account.is_active), "{after:?}");
    assert_eq!(after[0].connection_name.as_deref(), Some("gmail"));
    assert_eq!(after[1].provider.as_deref(), Some("SALESFORCE"));
    configs.create_session_token(&config.id, "user_123", None).await.unwrap();
}

#[tokio::test]
async fn a_configuration_never_gets_all_tools_by_mistake() {
    let World { sandbox, configs, config } = World::new().await;
    let before = sandbox.requests().count(Endpoint::Api);
    let none: [&str; 0] = [];
    let many = (0..26).fold(McpConfigSettings::new(), |all, _| all.all_tools("gmail"));
    for settings in [McpConfigSettings::new().tools("gmail", none), many] {
        let created = configs.create("none", &settings).await;
        assert!(matches!(created, Err(ApiError::InvalidCall(_))), "{created:?}");
        let updated = configs.update(&config.id, &settings).await;
        assert!(matches!(updated, Err(ApiError::InvalidCall(_))), "{updated:?}");
    }
    for identifier in ["", " "] {
        let token = configs.create_session_token(&config.id, identifier, None).await;
        assert!(token.is_err(), "{identifier:?}");
    }
    for seconds in [0, 59, 86_401] {
        let lifetime = Some(Duration::from_secs(seconds));
        let token = configs.create_session_token(&config.id, "user_123", lifetime).await;
        assert!(matches!(token, Err(ApiError::InvalidCall(_))), "{token:?}");
    }
    assert_eq!(sandbox.requests().count(Endpoint::Api), before + 1, "only the blank identifier");
}

#[tokio::test]
async fn configurations_are_listed_changed_and_deleted() {
    let World { configs, config, .. } = World::new().await;
    let other = McpConfigSettings::new().tools("exa", ["exa_search"]).description("Searches");
    let other = configs.create("search-agent", &other).await.unwrap();
    assert_eq!(other.description.as_deref(), Some("Searches"));
    for (list, expected) in [
        (configs.list().page_size(1), vec!["sales", "search-agent"]),
        (configs.list().id(&other.id), vec!["search-agent"]),
        (configs.list().name("SALES"), vec!["sales"]),
        (configs.list().provider("GMAIL"), vec!["sales"]),
        (configs.list().matching("sea"), vec!["search-agent"]),
        (configs.list().mcp_server_url(config.mcp_server_url.as_deref().unwrap()), vec!["sales"]),
    ] {
        let found: Vec<_> = list.stream().try_collect().await.unwrap();
        let names: Vec<_> = found.iter().map(|config| config.name.as_deref().unwrap()).collect();
        assert_eq!(names, expected);
    }
    let changed = McpConfigSettings::new().tools("slack", ["slack_list_channels"]);
    let changed = configs.update(&config.id, &changed).await.unwrap();
    assert_eq!(changed, configs.get(&config.id).await.unwrap());
    assert_eq!(changed.connection_tool_mappings.len(), 1);
    assert_eq!(changed.mcp_server_url, config.mcp_server_url);
    for wrong in [
        McpConfigSettings::new().all_tools("nowhere"),
        McpConfigSettings::new().tools("gmail", ["slack_send_message"]),
    ] {
        let rejected = configs.create("wrong", &wrong).await;
        assert!(matches!(rejected, Err(ApiError::InvalidRequest(_))), "{rejected:?}");
    }
    for name in ["", "Upper", "a b", "sales"] {
        let rejected = configs.create(name, &McpConfigSettings::new()).await;
        assert!(matches!(rejected, Err(ApiError::InvalidRequest(_))), "{name}: {rejected:?}");
    }
    configs.delete(&other.id).await.unwrap();
    assert!(matches!(configs.get(&other.id).await, Err(ApiError::NotFound(_))));
    assert!(matches!(configs.delete(&other.id).await, Err(ApiError::NotFound(_))));
}

#[tokio::test]
async fn the_server_lists_and_calls_the_tools_of_the_configuration() {
    let world = World::new().await;
    world.connect("user_123");
    let token = world.token("user_123").await;
    let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {} });
    let hello = world.call(&token, "initialize", hello).await;
    assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let accepted = world.send(Some(&token), Method::POST, notification).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    let listed = world.call(&token, "tools/list", json!({})).await;
    let listed = listed["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = listed.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let expected = ["gmail_fetch_mails", "salesforce_accounts_list", "salesforce_account_delete"];
    assert_eq!(names, expected);
    assert_eq!(listed[2]["annotations"]["destructiveHint"], true);

    let one = json!({ "name": "gmail_fetch_mails", "arguments": { "max_results": 1 } });
    let result = &world.call(&token, "tools/call", one).await["result"];
    assert_eq!(result["structuredContent"]["messages"].as_array().unwrap().len(), 1);
    let wrong = json!({ "name": "salesforce_account_delete", "arguments": {} });
    let result = &world.call(&token, "tools/call", wrong).await["result"];
    assert_eq!(result["isError"], true, "{result}");
    for hidden in ["gmail_get_message_by_id", "slack_send_message", ""] {
        let hidden = world.call(&token, "tools/call", json!({ "name": hidden })).await;
        assert_eq!(hidden["error"]["code"], -32602, "{hidden}");
    }
    assert_eq!(world.call(&token, "resources/list", json!({})).await["error"]["code"], -32601);
    let id = world.sandbox.connected_accounts().get("gmail", "user_123").unwrap().id;
    world.sandbox.connected_accounts().disconnect(&id);
    let late = json!({ "name": "gmail_fetch_mails" });
    assert_eq!(world.call(&token, "tools/call", late).await["result"]["isError"], true);
    let listening = world.send(Some(&token), Method::GET, "").await;
    assert_eq!(listening.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_session_token_acts_as_its_user_at_its_server_only() {
    let world = World::new().await;
    world.connect("user_123");
    let token = world.token("user_123").await;
    let other = McpConfigSettings::new().tools("gmail", ["gmail_fetch_mails"]);
    let other = world.configs.create("other", &other).await.unwrap();
    let elsewhere = world.configs.create_session_token(&other.id, "user_123", None).await.unwrap();
    let api = world.sandbox.scalekit().client_credentials(&[]).await.unwrap().access_token;
    let jane = world.sandbox.tokens().access_token("jane@acme.test");
    let (unsigned, _) = token.rsplit_once('.').unwrap();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for rejected in [
        None,
        Some(elsewhere.token.expose()),
        Some(api.expose()),
        Some(jane.as_str()),
        Some(unsigned),
        Some(&format!("{unsigned}.AAAA")),
    ] {
        let response = world.send(rejected, Method::POST, ping).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{rejected:?}");
        assert!(response.headers().contains_key("www-authenticate"));
    }
    assert_eq!(world.send(Some(&token), Method::POST, ping).await.status(), StatusCode::OK);
    // A session token is none for the API.
    let request = Request::get(format!("{}/api/v1/mcp/configs", world.sandbox.environment_url()))
        .header("authorization", format!("Bearer {token}"));
    let response = world.sandbox.client().send(request.body(Bytes::new()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);

    // Another user's token uses that user's accounts.
    world.connect("user_456");
    let delete = json!({
        "name": "salesforce_account_delete", "arguments": { "account_id": "001Hs00003B1aXYIAZ" },
    });
    world.call(&world.token("user_456").await, "tools/call", delete).await;
    assert_eq!(world.sandbox.connected_accounts().tool_runs()[0].identifier, "user_456");

    world.sandbox.clock().advance(Duration::from_secs(3600));
    let expired = world.send(Some(&token), Method::POST, ping).await;
    assert_eq!(expired.status(), StatusCode::UNAUTHORIZED);
}
