//! An MCP client at a server of Scalekit whose tools use its user's accounts: creates the server,
//! connects the accounts, and calls a tool with a session token.
//!
//! `cargo run --example mcp_gateway -- --yes` runs on an embedded sandbox, or on your environment if
//! the SCALEKIT_ variables are set; it then creates the MCP configuration `tower-scalekit-example`.
//! The example prints the authorization links and waits until you have opened them; `--yes` opens
//! the links itself, which is enough in a sandbox.

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "each example uses its part")]
#[path = "../agentkit/terminal.rs"]
mod terminal;

use std::error::Error;

use futures::TryStreamExt as _;
use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Map, Value};
use tower_scalekit::Scalekit;
use tower_scalekit::api::connected_accounts::AccountKey;
use tower_scalekit::api::mcp_configs::{McpConfig, McpConfigSettings};

use crate::common::OrExit as _;
use crate::terminal::line;

/// Your system's stable ID of the user.
const IDENTIFIER: &str = "user_123";

/// One server for all users of an agent.
const NAME: &str = "tower-scalekit-example";

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let Some(unknown) = arguments.iter().find(|argument| *argument != "--yes") {
        common::exit(2, format!("{unknown}: there is --yes"));
    }
    common::init_logging();
    let (scalekit, _sandbox) = common::environment().await;
    run(&scalekit, !arguments.is_empty())
        .await
        .map_err(|error| line(&error.to_string()))
        .or_exit(1);
}

async fn run(scalekit: &Scalekit, yes: bool) -> Result<(), Failure> {
    let config = config(scalekit).await?;
    connect(scalekit, &config.id, yes).await?;
    let url = config.mcp_server_url.ok_or("this environment has no MCP servers")?;
    let configs = scalekit.api().mcp_configs();
    let session = configs.create_session_token(&config.id, IDENTIFIER, None).await?;

    let transport =
        StreamableHttpClientTransportConfig::with_uri(url).auth_header(session.token.expose());
    let client = ().serve(StreamableHttpClientTransport::from_config(transport)).await?;
    for tool in client.list_all_tools().await? {
        println!("{}: {}", line(&tool.name), line(tool.description.as_deref().unwrap_or_default()));
    }
    let call = CallToolRequestParams::new("gmail_fetch_mails").with_arguments(Map::from_iter([
        ("query".to_owned(), Value::from("is:unread")),
        ("max_results".to_owned(), Value::from(3)),
    ]));
    let result = client.call_tool(call).await?;
    for text in result.content.iter().filter_map(|content| content.as_text()) {
        println!("{}", line(&text.text));
    }
    client.cancel().await?;
    Ok(())
}

/// The configuration, which is created once.
async fn config(scalekit: &Scalekit) -> Result<McpConfig, Failure> {
    let configs = scalekit.api().mcp_configs();
    if let Some(config) = configs.list().name(NAME).stream().try_next().await? {
        return Ok(config);
    }
    let gmail = common::setting("GMAIL_CONNECTION_NAME").unwrap_or_else(|| "gmail".to_owned());
    let settings = McpConfigSettings::new().tools(gmail, ["gmail_fetch_mails"]);
    Ok(configs.create(NAME, &settings).await?)
}

/// Returns when all accounts of the user are active.
async fn connect(scalekit: &Scalekit, config_id: &str, yes: bool) -> Result<(), Failure> {
    let configs = scalekit.api().mcp_configs();
    for account in configs.connect_accounts(config_id, IDENTIFIER).await? {
        let (false, Some(id), Some(link)) =
            (account.is_active, account.connected_account_id, account.authentication_link)
        else {
            continue;
        };
        if yes {
            terminal::visit(&link).await?;
        } else {
            println!("open this link to connect the account: {}", link.url());
        }
        scalekit.api().connected_accounts().wait_until_active(&AccountKey::id(id)).await?;
    }
    Ok(())
}
