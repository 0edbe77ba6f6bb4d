//! Calls that a model requests.

use std::sync::{Arc, Mutex};

use futures::TryStreamExt as _;
use serde_json::{Value, json};
use tower_scalekit::Sandbox;
use tower_scalekit::api::tools::{
    ExecuteError, Next, RequestedCall, ScopedTool, ToolCallError, ToolFormat, ToolResult, Toolset,
};
use tower_scalekit::api::{Api, ApiError};

use super::environment;

/// The tools of a user with accounts at Gmail and Slack.
async fn toolset() -> (Sandbox, Api, Toolset) {
    let (sandbox, api, _) = environment();
    for connection in ["gmail", "slack"] {
        sandbox.connected_accounts().add(connection, "user_123");
    }
    let toolset = api.tools().scoped("user_123").toolset().await.unwrap();
    (sandbox, api, toolset)
}

fn names(toolset: &Toolset) -> Vec<String> {
    let definitions = toolset.definitions(ToolFormat::Anthropic);
    definitions.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn hello() -> Value {
    json!({ "channel": "general", "text": "Hello" })
}

#[tokio::test]
async fn arguments_are_an_object_or_text_that_is_one() {
    let (sandbox, _, toolset) = toolset().await;
    for arguments in [json!({ "max_results": 1 }), json!(r#" {"max_results": 1} "#)] {
        let result = toolset.call("gmail_fetch_mails", &arguments).await.unwrap();
        assert_eq!(result.data["messages"].as_array().unwrap().len(), 1);
    }
    for nothing in [json!({}), json!(""), json!(" "), json!("{}"), json!("null"), Value::Null] {
        let result = toolset.call("gmail_fetch_mails", &nothing).await.unwrap();
        assert_eq!(result.data["messages"].as_array().unwrap().len(), 10, "{nothing}");
    }
    let runs = sandbox.connected_accounts().tool_runs().len();
    let deep = "[".repeat(10_000);
    for invalid in
        [json!([1]), json!("[1]"), json!("{"), json!("x"), json!(7), json!(true), json!(deep)]
    {
        let rejected = toolset.call("gmail_fetch_mails", &invalid).await.unwrap_err();
        assert!(matches!(rejected, ToolCallError::InvalidArguments(_)), "{invalid}: {rejected:?}");
        assert!(rejected.into_text().unwrap().starts_with("the arguments are invalid: they are"));
    }
    let small = toolset.max_argument_bytes(17);
    for (arguments, fits) in [
        (json!({ "max_results": 1 }), true),
        (json!({ "max_results": 12 }), false),
        (json!(r#"{"max_results":1}"#), true),
        (json!(r#"{"max_results":1} "#), false),
    ] {
        let result = small.call("gmail_fetch_mails", &arguments).await;
        assert_eq!(result.is_ok(), fits, "{arguments}: {result:?}");
    }
    assert_eq!(sandbox.connected_accounts().tool_runs().len(), runs + 2);
}

#[tokio::test]
async fn hooks_approve_deny_replace_and_observe() {
    let (sandbox, _, toolset) = toolset().await;
    let log = Arc::new(Mutex::new(Vec::new()));
    let entries = Arc::clone(&log);
    let observe = move |call: RequestedCall, next: Next| {
        let entries = Arc::clone(&entries);
        async move {
            let name = call.tool_name().to_owned();
            let result = next.run(call).await;
            let outcome =
                result.as_ref().map(|result| result.data.len()).map_err(ToString::to_string);
            entries.lock().unwrap().push(format!("{name} {outcome:?}"));
            result
        }
    };
    let guard = async |call: RequestedCall, next: Next| -> Result<ToolResult, ToolCallError> {
        if call.arguments.get("text") == Some(&json!("secret")) {
            return Err(ToolCallError::Denied("Do not post secrets.".to_owned()));
        }
        next.run(call).await
    };
    let sign = async |mut call: RequestedCall, next: Next| {
        if !call.tool().is_read_only() {
            let signed = format!("{} (sent by an agent)", call.arguments["text"].as_str().unwrap());
            call.arguments.insert("text".to_owned(), signed.into());
        }
        next.run(call).await
    };
    let toolset = toolset.agent_run_id("run_1").hook(observe).hook(guard).hook(sign);

    toolset.call("slack_send_message", &hello()).await.unwrap();
    let denied = json!({ "channel": "general", "text": "secret" });
    let text = toolset.call_for_text("slack_send_message", &denied).await.unwrap();
    assert_eq!(text, "Do not post secrets.");
    toolset.call("gmail_fetch_mails", &Value::Null).await.unwrap();
    toolset.call("slack_fetch_conversation_history", &json!({})).await.unwrap_err();

    let runs = sandbox.connected_accounts().tool_runs();
    assert_eq!(runs.len(), 2, "neither the denied one nor the failed one");
    assert_eq!(runs[0].params["text"], "Hello (sent by an agent)");
    assert_eq!(runs[0].agent_run_id.as_deref(), Some("run_1"));
    let log = log.lock().unwrap();
    assert_eq!(
        log[..3],
        [
            "slack_send_message Ok(2)",
            r#"slack_send_message Err("Do not post secrets.")"#,
            "gmail_fetch_mails Ok(1)",
        ]
    );
    assert!(log[3].contains("channel must be a string"), "{log:?}");
}

#[tokio::test]
async fn errors_that_a_model_can_avoid_are_texts_and_others_are_the_apps() {
    let (sandbox, _, toolset) = toolset().await;
    let unknown = toolset.call_for_text("gmail_fly", &json!({})).await.unwrap();
    assert_eq!(unknown, "there is no tool with this name");
    let wrong = json!({ "message_id": "none" });
    let failed = toolset.call_for_text("gmail_get_message_by_id", &wrong).await.unwrap();
    assert!(failed.contains("NOT_FOUND: Requested entity was not found."), "{failed}");

    let id = sandbox.connected_accounts().get("gmail", "user_123").unwrap().id;
    sandbox.connected_accounts().disconnect(&id);
    let inactive = toolset.call_for_text("gmail_fetch_mails", &json!({})).await.unwrap_err();
    assert!(matches!(inactive, ApiError::InvalidRequest(_)), "{inactive:?}");
    let inactive = toolset.call("gmail_fetch_mails", &json!({})).await.unwrap_err();
    assert!(matches!(inactive, ToolCallError::Execute(ExecuteError::Api(_))), "{inactive:?}");
}

#[tokio::test]
async fn a_long_text_is_cut() {
    let (_, _, toolset) = toolset().await;
    let all = json!({ "max_results": 500 });
    let whole = toolset.call_for_text("gmail_fetch_mails", &all).await.unwrap();
    let toolset = toolset.max_result_bytes(200);
    let text = toolset.call_for_text("gmail_fetch_mails", &all).await.unwrap();
    assert!(text.len() <= 200 && whole.starts_with(text.split('\n').next().unwrap()), "{text}");
    assert!(text.ends_with(&format!(" of {} bytes]", whole.len())), "{text}");
    let unknown = toolset.max_result_bytes(5).call_for_text("x", &json!({})).await.unwrap();
    assert_eq!(unknown.len(), 5);
}

#[tokio::test]
async fn each_account_of_a_service_has_a_name_of_its_own() {
    let (sandbox, api, _) = toolset().await;
    sandbox.connected_accounts().add_connection("gmail-work", "GMAIL");
    let second = sandbox.connected_accounts().add("gmail-work", "user_123");
    let toolset = api.tools().scoped("user_123").provider("GMAIL").toolset().await.unwrap();
    let expected = [
        "gmail_fetch_mails",
        "gmail_get_message_by_id",
        "gmail_fetch_mails_2",
        "gmail_get_message_by_id_2",
    ];
    assert_eq!(names(&toolset), expected);
    let definitions = toolset.definitions(ToolFormat::OpenAi);
    for (definition, account) in [0, 2]
        .map(|at| &definitions[at])
        .iter()
        .zip([sandbox.connected_accounts().get("gmail", "user_123").unwrap().id, second])
    {
        let description = definition["function"]["description"].as_str().unwrap();
        assert!(description.ends_with(&format!(" Connected account: {account}.")), "{description}");
    }
    toolset.call("gmail_fetch_mails_2", &json!({})).await.unwrap();
    let runs = sandbox.connected_accounts().tool_runs();
    assert_eq!(runs[0].connection_name, "gmail-work");
    assert_eq!(runs[0].tool_name, "gmail_fetch_mails");
}

#[tokio::test]
async fn names_are_those_that_models_accept() {
    let (_, api, _) = toolset().await;
    let tool = |name: &str, account: Option<&str>| -> ScopedTool {
        serde_json::from_value(json!({
            "connected_account_id": account, "tool": { "definition": { "name": name } },
        }))
        .unwrap()
    };
    let long = "l".repeat(80);
    let toolset = Toolset::new(
        &api.tools(),
        [
            tool("my server.find", Some("ca_1")),
            tool("my_server_find", Some("ca_1")),
            tool("übung", Some("ca_1")),
            tool(&long, Some("ca_1")),
            tool(&format!("{long}2"), Some("ca_1")),
            tool("", Some("ca_1")),
            tool("without_account", None),
        ],
    );
    let cut = "l".repeat(64);
    let numbered = format!("{}_2", "l".repeat(62));
    let expected = ["my_server_find", "my_server_find_2", "_bung", &cut, &numbered];
    assert_eq!(names(&toolset), expected);
    assert!(toolset.call("my server.find", &json!({})).await.is_err(), "only names of definitions");
}

#[tokio::test]
async fn a_toolset_has_the_tools_of_its_user_only() {
    let (sandbox, api, toolset) = toolset().await;
    sandbox.connected_accounts().add("salesforce", "user_456");
    assert_eq!(names(&toolset).len(), 5);
    let other = api.tools().scoped("user_456").toolset().await.unwrap();
    assert_eq!(names(&other), ["salesforce_accounts_list", "salesforce_account_delete"]);
    let empty = api.tools().scoped("").toolset().await;
    assert!(matches!(empty, Err(ApiError::InvalidCall(_))), "never those of all users");
    let scoped: Vec<_> = api.tools().scoped("user_123").stream().try_collect().await.unwrap();
    let read_only = scoped.into_iter().filter(|scoped| scoped.tool.is_read_only());
    let toolset = Toolset::new(&api.tools(), read_only);
    assert!(!names(&toolset).contains(&"slack_send_message".to_owned()));
    assert!(toolset.call("slack_send_message", &hello()).await.is_err());
}

#[tokio::test]
async fn debug_prints_no_arguments() {
    let (_, _, toolset) = toolset().await;
    let toolset = toolset.hook(async |call: RequestedCall, next: Next| {
        Err(ToolCallError::Denied(format!("{call:?} {next:?}")))
    });
    let arguments = json!({ "channel": "general", "text": "confidential" });
    let text = toolset.call_for_text("slack_send_message", &arguments).await.unwrap();
    assert!(text.contains("slack_send_message") && !text.contains("confidential"), "{text}");
    assert!(format!("{toolset:?}").contains("slack_send_message"));
}
