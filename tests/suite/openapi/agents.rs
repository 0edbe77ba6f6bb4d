//! Connected accounts and tools.

use std::time::Duration;

use futures::TryStreamExt as _;
use http::{HeaderName, Request};
use serde_json::json;
use tower_scalekit::Sandbox;
use tower_scalekit::api::Api;
use tower_scalekit::api::connected_accounts::{
    AccountKey, AccountSearch, ConnectedAccounts, ConnectedAccountsApi, NewConnectedAccount,
    OAuthCredentials, StaticCredentials,
};
use tower_scalekit::api::mcp_configs::{McpConfigSettings, McpConfigs, McpConfigsApi};
use tower_scalekit::api::tools::{
    AvailableTools, ScopedTools, ToolCall, ToolFormat, Tools, ToolsApi,
};

use super::calls::{Calls, call};
use crate::support::parameter;

const VERIFY_URL: &str = "https://app.example.com/user/verify";

impl Calls {
    pub(super) async fn connected_accounts(&mut self, api: &Api, sandbox: &Sandbox) {
        let calls = self;
        let accounts = &api.connected_accounts();
        let key = AccountKey::new("gmail", "user_123");
        let new = NewConnectedAccount::new(&key);
        call!(calls, ConnectedAccountsApi::get_or_create(accounts, &new)).await.unwrap();
        let other = AccountKey::new("gmail", "user_456").organization_id("org_1").user_id("usr_1");
        let config = json!({"rate_limit": 5}).as_object().unwrap().clone();
        let new = NewConnectedAccount::new(&other)
            .credentials(OAuthCredentials::new("token"))
            .api_config(config.clone());
        call!(calls, ConnectedAccountsApi::create(accounts, &new)).await.unwrap();
        accounts.create(&new).await.unwrap_err();
        call!(calls, ConnectedAccountsApi::get(accounts, &other)).await.unwrap();
        call!(calls, ConnectedAccountsApi::credentials(accounts, &other)).await.unwrap();
        let secrets = StaticCredentials::new([("api_key", "hush")]).into();
        call!(calls, ConnectedAccountsApi::update(accounts, &other, Some(&secrets), Some(&config)))
            .await
            .unwrap();

        let link = call!(calls, ConnectedAccountsApi::authorization_link(accounts, &key));
        sandbox.consent(link.await.unwrap().url().as_str()).unwrap();
        let waiting = call!(calls, ConnectedAccountsApi::wait_until_active(accounts, &key));
        assert!(waiting.await.unwrap().is_active());
        let link = call!(
            calls,
            ConnectedAccountsApi::verified_authorization_link(accounts, &key, VERIFY_URL, "s")
        );
        let returned = sandbox.consent(link.await.unwrap().url().as_str()).unwrap();
        let id = parameter(&returned, "auth_request_id").unwrap();
        accounts.verify_user(&id, "user_456").await.unwrap_err();
        call!(calls, ConnectedAccountsApi::verify_user(accounts, &id, "user_123")).await.unwrap();

        let all = call!(calls, ConnectedAccountsApi::list(accounts));
        let all = call!(calls, ConnectedAccounts::page_size(all, 1));
        let all = call!(calls, ConnectedAccounts::stream(all));
        assert_eq!(all.try_collect::<Vec<_>>().await.unwrap().len(), 2);
        let named = call!(calls, ConnectedAccounts::connection_name(accounts.list(), "gmail"));
        assert_eq!(named.stream().try_collect::<Vec<_>>().await.unwrap().len(), 2);
        let one = call!(calls, ConnectedAccounts::connector(accounts.list(), "gmail"));
        let one = call!(calls, ConnectedAccounts::identifier(one, "user_456"));
        let one = call!(calls, ConnectedAccounts::organization_id(one, "org_1"));
        let one = call!(calls, ConnectedAccounts::provider(one, "GMAIL"));
        let one = call!(calls, ConnectedAccounts::matching(one, "user"));
        let one = call!(calls, ConnectedAccounts::user_id(one, "usr_1"))
            .stream()
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .remove(0);
        let found = call!(calls, ConnectedAccountsApi::search(accounts, "user"));
        let found = call!(calls, AccountSearch::page_size(found, 1));
        let connection = one.connection_id.as_deref().unwrap();
        let found = call!(calls, AccountSearch::connection_id(found, connection));
        let found = call!(calls, AccountSearch::stream(found));
        assert_eq!(found.try_collect::<Vec<_>>().await.unwrap().len(), 2);
        accounts.search("us").stream().try_next().await.unwrap_err();

        calls.tools(&api.tools(), &key, sandbox).await;
        call!(calls, ConnectedAccountsApi::delete(accounts, &other)).await.unwrap();
        accounts.delete(&AccountKey::id(one.id)).await.unwrap_err();
    }

    async fn tools(&mut self, tools: &ToolsApi, account: &AccountKey, sandbox: &Sandbox) {
        let calls = self;
        let all = call!(calls, ToolsApi::list(tools));
        let all = call!(calls, Tools::page_size(all, 1));
        let all: Vec<_> = call!(calls, Tools::stream(all)).try_collect().await.unwrap();
        assert_eq!(all.len(), 8);
        let names = call!(calls, Tools::names(tools.list()));
        assert_eq!(names.try_collect::<Vec<_>>().await.unwrap().len(), 8);
        let some = call!(calls, Tools::provider(tools.list(), "GMAIL"));
        let some = call!(calls, Tools::tool_name(some, "gmail_fetch_mails"));
        let some = call!(calls, Tools::matching(some, "emails"));
        some.stream().try_collect::<Vec<_>>().await.unwrap();
        let some = call!(calls, Tools::connector(tools.list(), "gmail"));
        let some = call!(calls, Tools::identifier(some, "user_123"));
        let some = call!(calls, Tools::organization_id(some, "org_1"));
        let some = call!(calls, Tools::user_id(some, "usr_1"));
        let some = call!(calls, Tools::connected_account_id(some, "ca_1"));
        some.stream().try_collect::<Vec<_>>().await.ok();

        let scoped = call!(calls, ToolsApi::scoped(tools, "user_123"));
        let scoped = call!(calls, ScopedTools::connection_name(scoped, "gmail"));
        let scoped = call!(calls, ScopedTools::provider(scoped, "GMAIL"));
        let scoped = call!(calls, ScopedTools::tool_name(scoped, "gmail_fetch_mails"));
        let scoped = call!(calls, ScopedTools::page_size(scoped, 1));
        let scoped = call!(calls, ScopedTools::stream(scoped));
        assert_eq!(scoped.try_collect::<Vec<_>>().await.unwrap().len(), 1);
        let toolset = call!(calls, ScopedTools::toolset(tools.scoped("user_123"))).await.unwrap();
        assert_eq!(toolset.definitions(ToolFormat::Mcp).len(), 2);
        let available = call!(calls, ToolsApi::available(tools, "user_123"));
        let available = call!(calls, AvailableTools::page_size(available, 1));
        let available = call!(calls, AvailableTools::stream(available));
        assert_eq!(available.try_collect::<Vec<_>>().await.unwrap().len(), 8);

        let fetch = ToolCall::new("gmail_fetch_mails", account)
            .parameter("max_results", 1)
            .agent_run_id("run_1");
        call!(calls, ToolsApi::execute(tools, &fetch)).await.unwrap();
        sandbox.connected_accounts().fail_provider("gmail", 1, http::StatusCode::TOO_MANY_REQUESTS);
        tools.execute(&fetch).await.unwrap_err();
        let profile = Request::get("/gmail/v1/users/me/profile").body("").unwrap();
        let user = AccountKey::new("gmail", "user_123");
        let named = HeaderName::from_static("x-goog-user-project");
        let tools = &call!(calls, ToolsApi::forward_header(tools.clone(), named));
        call!(calls, ToolsApi::proxy(tools, &user, profile)).await.unwrap();
    }

    pub(super) async fn mcp_configs(&mut self, configs: &McpConfigsApi, sandbox: &Sandbox) {
        let calls = self;
        let settings = McpConfigSettings::new()
            .tools("slack", ["slack_list_channels"])
            .all_tools("exa")
            .description("Searches and posts");
        let created = call!(calls, McpConfigsApi::create(configs, "a-config", &settings));
        let config = created.await.unwrap();
        let id = &config.id;
        configs.create("a-config", &settings).await.unwrap_err();
        call!(calls, McpConfigsApi::get(configs, id)).await.unwrap();
        call!(calls, McpConfigsApi::update(configs, id, &settings)).await.unwrap();
        let list = call!(calls, McpConfigsApi::list(configs));
        let list = call!(calls, McpConfigs::id(list, id));
        let list = call!(calls, McpConfigs::name(list, "a-config"));
        let list = call!(calls, McpConfigs::provider(list, "SLACK"));
        let url = config.mcp_server_url.as_deref().unwrap();
        let list = call!(calls, McpConfigs::mcp_server_url(list, url));
        let list = call!(calls, McpConfigs::matching(list, "a-"));
        let list = call!(calls, McpConfigs::page_size(list, 1));
        let list = call!(calls, McpConfigs::stream(list));
        assert_eq!(list.try_collect::<Vec<_>>().await.unwrap().len(), 1);

        let accounts = call!(calls, McpConfigsApi::connected_accounts(configs, id, "user_789"));
        assert_eq!(accounts.await.unwrap().len(), 2);
        configs.create_session_token(id, "user_789", None).await.unwrap_err();
        let accounts = call!(calls, McpConfigsApi::connect_accounts(configs, id, "user_789"));
        for account in accounts.await.unwrap() {
            sandbox.consent(account.authentication_link.unwrap().url().as_str()).unwrap();
        }
        let lifetime = Some(Duration::from_secs(60));
        let created =
            call!(calls, McpConfigsApi::create_session_token(configs, id, "user_789", lifetime));
        assert!(created.await.unwrap().expires_at.is_some());
        call!(calls, McpConfigsApi::delete(configs, id)).await.unwrap();
        configs.get(id).await.unwrap_err();
    }
}
