//! The tools of connected accounts in rig.
//!
//! `cargo run --manifest-path examples/rig/Cargo.toml -- "Post my unread mail to #general"` runs on
//! the scripted model of the example `agent`, or with `OPENAI_API_KEY` on a real one, and on a sandbox,
//! or on your environment if the SCALEKIT_ variables are set. Connect the accounts with the example
//! `agent`, which also asks before a tool writes.

#[path = "../../agent/scripted_model.rs"]
mod scripted_model;

use std::env;
use std::error::Error;

use rig_core::completion::CompletionRequest;
use rig_core::message::{Message, ToolResultContent};
use rig_core::providers::openai::OpenAIConfig;
use rig_core::tool::{DynamicTool, ToolExecutionError, ToolOutput};
use serde_json::Value;
use tower_scalekit::api::tools::{ToolFormat, Toolset};
use tower_scalekit::{Sandbox, Scalekit};

type Failure = Box<dyn Error + Send + Sync>;

const MAX_ROUNDS: usize = 8;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let scalekit = match Scalekit::from_env() {
        Ok(scalekit) => scalekit,
        Err(_) if env::var_os("SCALEKIT_ENVIRONMENT_URL").is_none() => connected().scalekit(),
        Err(error) => return Err(error.into()),
    };
    let task = env::args().nth(1).unwrap_or_else(|| "Post my unread mail to #general".to_owned());
    println!("{}", run(&scalekit, &task).await?);
    Ok(())
}

async fn run(scalekit: &Scalekit, task: &str) -> Result<String, Failure> {
    let mut config = match OpenAIConfig::from_env() {
        Ok(config) => config,
        Err(_) => {
            let (url, key) = scripted_model::serve().await?;
            let mut config = OpenAIConfig::new(key);
            config.base_url = url;
            config
        }
    };
    config.base_url = config.base_url.trim_end_matches('/').to_owned();
    let model = config.client().chat("gpt-5-mini");

    let toolset = scalekit.api().tools().scoped("user_123").toolset().await?;
    let tools = tools(&toolset)?;
    let definitions = tools.iter().map(DynamicTool::definition).collect();
    let mut request = CompletionRequest::new(task).tools(definitions);
    for _ in 0..MAX_ROUNDS {
        let response = model.call(request.clone()).await?;
        let calls: Vec<_> = response.tool_calls().cloned().collect();
        if calls.is_empty() {
            return Ok(response.text());
        }
        request.chat_history.extend(response.message());
        let mut results = Vec::new();
        for call in calls {
            let arguments = call.function.arguments.clone().into();
            let content = match tools.iter().find(|tool| *tool.name() == call.function.name) {
                Some(tool) => tool.execute(arguments).await?.into_content(),
                None => vec![ToolResultContent::text("there is no tool with this name")],
            };
            results.push(call.result(content));
        }
        request.chat_history.push(Message::tool_results(results));
    }
    Err("the model has not finished".into())
}

/// The tools for rig. Errors that the model can avoid are results.
fn tools(toolset: &Toolset) -> Result<Vec<DynamicTool>, Failure> {
    let tool = |mut definition: Value| {
        let name = definition["name"].as_str().unwrap_or_default().to_owned();
        let description = definition["description"].as_str().unwrap_or_default().to_owned();
        let (toolset, function) = (toolset.clone(), name.clone());
        let call = move |arguments: Value| -> futures::future::BoxFuture<'static, _> {
            let (toolset, function) = (toolset.clone(), function.clone());
            Box::pin(async move {
                let text = toolset.call_for_text(&function, &arguments).await;
                text.map(ToolOutput::text).map_err(ToolExecutionError::from_error)
            })
        };
        let schema = definition["inputSchema"].take();
        Ok(DynamicTool::new(name.try_into()?, description, schema, call))
    };
    toolset.definitions(ToolFormat::Mcp).into_iter().map(tool).collect()
}

/// An environment whose user has connected Gmail and Slack.
fn connected() -> Sandbox {
    let sandbox = Sandbox::new();
    for connection in ["gmail", "slack"] {
        sandbox.connected_accounts().add(connection, "user_123");
    }
    sandbox
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_model_uses_the_tools() {
        let sandbox = connected();
        let text = run(&sandbox.scalekit(), "Post my unread mail to #general").await.unwrap();
        assert_eq!(text, "I have posted your unread mail to #general.");
        let runs = sandbox.connected_accounts().tool_runs();
        let names: Vec<_> = runs.iter().map(|run| run.tool_name).collect();
        assert_eq!(names, ["gmail_fetch_mails", "slack_send_message"]);
    }
}
