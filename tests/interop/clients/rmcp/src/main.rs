//! An MCP client of rmcp, the official Rust SDK; speaks the lines of `mcp_client.mjs`.

use std::error::Error;

use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::service::ServiceError;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthorizationCallback, AuthorizationRequest, OAuthState};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin, stdin};

type Failure = Box<dyn Error>;

struct Console(Lines<BufReader<Stdin>>);

impl Console {
    async fn read(&mut self) -> Result<Option<Value>, Failure> {
        let line = self.0.next_line().await?;
        Ok(line.map(|line| serde_json::from_str(&line)).transpose()?)
    }

    /// Lets the user log in, and returns the redirect after that.
    async fn authorize(&mut self, address: &str) -> Result<String, Failure> {
        println!("{}", json!({ "authorize": address }));
        let response = self.read().await?.ok_or("no callback")?;
        Ok(response["callback"].as_str().ok_or("no callback")?.to_owned())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut console = Console(BufReader::new(stdin()).lines());
    let asked = console.read().await?.ok_or("no server")?;
    let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
    let (url, redirect_uri) = (text("url"), text("redirectUri"));

    let mut state = OAuthState::new(&url, None).await?;
    let request = AuthorizationRequest::new(redirect_uri).with_initial_scope_selection();
    state.start_authorization(request.with_client_name("A client of rmcp")).await?;
    let callback = console.authorize(&state.get_authorization_url().await?).await?;
    state.handle_callback_url(&callback).await?;
    let manager = state.into_authorization_manager().ok_or("not authorized")?;
    let client_id = manager.get_credentials().await?.0;

    let http_client = AuthClient::new(reqwest::Client::new(), manager);
    let manager = http_client.auth_manager.clone();
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    let transport = StreamableHttpClientTransport::with_client(http_client, config);
    let client = ().serve(transport).await?;
    println!("{}", json!({ "ready": true, "client_id": client_id }));

    while let Some(mut arguments) = console.read().await? {
        let tool = arguments.as_object_mut().and_then(|arguments| arguments.remove("tool"));
        let mut steps = 0;
        let result = loop {
            let result = match tool.as_ref().and_then(Value::as_str) {
                Some(tool) => {
                    let call = CallToolRequestParams::new(tool.to_owned());
                    let arguments = arguments.as_object().cloned().unwrap_or_default();
                    let result = client.call_tool(call.with_arguments(arguments)).await;
                    result.map(|result| json!(result))
                }
                None => client.list_tools(None).await.map(|result| json!(result)),
            };
            let scope = result.as_ref().err().and_then(missing_scope);
            match scope {
                Some(scope) if steps == 0 => {
                    steps += 1;
                    let manager = manager.lock().await;
                    let address = manager.request_scope_upgrade(&scope).await?;
                    let callback = console.authorize(&address).await?;
                    let AuthorizationCallback { code, csrf_token, issuer, .. } =
                        AuthorizationCallback::from_redirect_url(&callback)?;
                    manager
                        .exchange_code_for_token_with_issuer(&code, &csrf_token, issuer.as_deref())
                        .await?;
                }
                _ => break result,
            }
        };
        let scope = manager.lock().await.get_current_scopes().await.join(" ");
        let response = match result {
            Ok(mut result) => {
                result["scope"] = scope.into();
                result
            }
            Err(error) => json!({ "failed": error.to_string() }),
        };
        println!("{response}");
    }
    Ok(())
}

/// The scopes of a challenge.
fn missing_scope(error: &ServiceError) -> Option<String> {
    let challenge = error.auth_challenge()?;
    let (_, scope) = challenge.split_once("scope=\"")?;
    Some(scope.split_once('"')?.0.to_owned())
}
