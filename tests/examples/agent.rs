//! The examples `agent` and `mcp_gateway`.

use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::processes::PATIENCE;
use crate::running::{Environment, command};
use crate::watched::Watched;

/// The output of a process that succeeds, and was given this input.
async fn run(
    environment: &Environment,
    arguments: &[&str],
    settings: &[(&str, &str)],
    input: &str,
) -> Output {
    let mut command = command("agent", arguments);
    command.envs(environment.settings()).envs(settings.iter().copied());
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A process that has ended does not read.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    timeout(PATIENCE, child.wait_with_output()).await.expect("it runs on").unwrap()
}

fn printed(output: &Output) -> Vec<&str> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}: {errors}", output.status);
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}

/// The names of the tools that were executed.
fn executed(environment: &Environment) -> Vec<&'static str> {
    let runs = environment.sandbox.connected_accounts().tool_runs();
    runs.iter().map(|run| run.tool_name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_connects_reads_and_posts() {
    let environment = Environment::serve().await;
    let output = run(&environment, &["--yes"], &[], "").await;
    let lines = printed(&output);
    assert_eq!(lines[..2], ["gmail is connected", "slack is connected"]);
    assert!(lines[2].starts_with("> gmail_fetch_mails {"), "{lines:?}");
    assert!(lines[4].starts_with("> slack_send_message {"), "{lines:?}");
    assert_eq!(lines[6..], ["I have posted your unread mail to #general."]);
    let runs = environment.sandbox.connected_accounts().tool_runs();
    assert_eq!(executed(&environment), ["gmail_fetch_mails", "slack_send_message"]);
    let text = runs[1].params["text"].as_str().unwrap();
    assert!(text.starts_with("Unread mail: Launch checklist for Thursday; Re: "), "{text}");

    let again = run(&environment, &["--yes"], &[], "").await;
    assert!(printed(&again)[0].starts_with("> gmail_fetch_mails"), "no further consent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_writes_needs_approval() {
    let environment = Environment::serve().await;
    for connection in ["gmail", "slack"] {
        environment.sandbox.connected_accounts().add(connection, "user_123");
    }
    for (input, is_posted) in
        [("y\n", true), ("Y\r\n", true), ("n\n", false), ("\n", false), ("", false)]
    {
        let before = executed(&environment).len();
        let output = run(&environment, &["Post", "my", "mail"], &[], input).await;
        let text = printed(&output).join("\n");
        assert!(text.contains("allow slack_send_message {"), "{text}");
        assert!(!text.contains("allow gmail"), "reading needs none: {text}");
        let runs = &executed(&environment)[before..];
        let expected = ["gmail_fetch_mails", "slack_send_message"];
        assert_eq!(runs, if is_posted { &expected[..] } else { &expected[..1] }, "{input:?}");
        let report = match is_posted {
            true => "I have posted your unread mail to #general.",
            false => "I have posted nothing: The user has denied this call.",
        };
        assert!(text.ends_with(report), "{text}");
    }
}

type Requests = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

/// A model that sends this message each time, and keeps the requests.
async fn model(status: u16, message: Value) -> (String, Requests) {
    let requests = Requests::default();
    let body = match status {
        200 => json!({ "choices": [{ "message": message }] }),
        _ => message,
    };
    let response = (StatusCode::from_u16(status).unwrap(), Json(body));
    let kept = Arc::clone(&requests);
    let complete = move |headers: HeaderMap, Json(body): Json<Value>| {
        kept.lock().unwrap().push((headers, body));
        std::future::ready(response)
    };
    let app = Router::new().route("/v1/chat/completions", post(complete));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    (url, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_never_finishes_is_stopped() {
    let environment = Environment::serve().await;
    let call = |id: &str, name: &str, arguments: &str| {
        let function = json!({ "name": name, "arguments": arguments });
        json!({ "id": id, "type": "function", "function": function })
    };
    let calls = json!([
        call("1", "gmail_fetch_mails", r#"{"max_results":1}"#),
        call("2", "gmail_fetch_mails", "{"),
        call("3", "rm", "{}"),
        call("4", "slack_send_message", r#"{"channel":"nowhere","text":"x"}"#),
    ]);
    let (url, requests) = model(200, json!({ "role": "assistant", "tool_calls": calls })).await;
    let settings =
        [("OPENAI_BASE_URL", &*url), ("OPENAI_API_KEY", "sk-1"), ("OPENAI_MODEL", "m-1")];
    let output = run(&environment, &["--yes", "Do", "it"], &settings, "").await;
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(errors, "error: the model has not finished after 8 rounds\n");
    assert_eq!(executed(&environment), ["gmail_fetch_mails"; 8]);

    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 8);
    let (headers, first) = &requests[0];
    assert_eq!(headers["authorization"], "Bearer sk-1");
    assert_eq!(
        (&first["model"], &first["messages"][1]["content"]),
        (&json!("m-1"), &json!("Do it"))
    );
    let tools = first["tools"].as_array().unwrap();
    let names: Vec<_> =
        tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["gmail_fetch_mails", "gmail_get_message_by_id", "slack_list_channels"]);
    let messages = requests[1].1["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 7, "instructions, task, calls, and a result for each");
    for (message, (id, part)) in messages[3..].iter().zip([
        ("1", "Launch checklist"),
        ("2", "the arguments are invalid: they are not JSON"),
        ("3", "there is no tool with this name"),
        ("4", "channel_not_found"),
    ]) {
        assert_eq!((&message["role"], &message["tool_call_id"]), (&json!("tool"), &json!(id)));
        assert!(message["content"].as_str().unwrap().contains(part), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_one_line() {
    let environment = Environment::serve().await;
    let error = json!({ "error": { "message": "Incorrect\u{1b}[2J\nAPI key." } });
    let (unauthorized, _) = model(401, error).await;
    let (empty, _) = model(200, Value::Null).await;
    for (settings, arguments, code, expected) in [
        (
            vec![("OPENAI_BASE_URL", &*unauthorized)],
            vec!["--yes"],
            1,
            "the model responded with 401 Unauthorized: Incorrect [2J API key.",
        ),
        (vec![("OPENAI_BASE_URL", &*empty)], vec!["--yes"], 1, "has no message"),
        (vec![("SLACK_CONNECTION_NAME", "Slack")], vec!["--yes"], 1, "no connection named Slack"),
        (vec![], vec!["--no"], 2, "--no: there is --yes"),
    ] {
        let output = run(&environment, &arguments, &settings, "").await;
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.starts_with("error: ") && errors.contains(expected), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mcp_client_uses_the_accounts_of_its_user() {
    let environment = Environment::serve().await;
    for first in [true, false] {
        let mut command = command("mcp_gateway", &["--yes"]);
        command.envs(environment.settings());
        let output = timeout(PATIENCE, command.output()).await.expect("it runs on").unwrap();
        // rmcp logs to standard error.
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("gmail_fetch_mails: "), "{lines:?}");
        let mails: Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(mails["messages"].as_array().unwrap().len(), 3);
        assert_eq!(executed(&environment).len(), if first { 1 } else { 2 });
    }
    assert_eq!(environment.sandbox.connected_accounts().list().len(), 1);
    let id = environment.sandbox.connected_accounts().list()[0].id.clone();
    environment.sandbox.connected_accounts().expire(&id);
    let mut command = command("mcp_gateway", &["--yes"]);
    let output = command.envs(environment.settings()).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(environment.sandbox.connected_accounts().list()[0].status == "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_print_no_secret() {
    let agent = Watched::run("agent", &["--yes"], &[]).await;
    agent.program.said("I have posted your unread mail to #general.");
    agent.assert_discreet(&[], 6).await;
    let client = Watched::run("mcp_gateway", &["--yes"], &[]).await;
    client.program.said("gmail_fetch_mails: ");
    client.assert_discreet(&[], 6).await;
}
